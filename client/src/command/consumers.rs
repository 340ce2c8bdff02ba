//! `downlink consumers`: who reads the log, and where they have got to.

use anyhow::bail;
use clap::{Args, Subcommand};
use downlink_client::time::rfc3339;
use downlink_client::v1::{CommitCheckpointRequest, Consumer, ListConsumersRequest};
use serde_json::json;

use super::latest::age_text;
use super::output::{Printer, grouped};
use super::{Context, Format};

/// Lists consumers, looks at them, moves them, forgets them.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  downlink consumers list
  downlink consumers commit archive 1200
  downlink consumers commit archive 1 --rewind
  downlink consumers get archive --output json")]
pub(super) enum Consumers {
    /// Prints all consumers, by name.
    #[command(after_help = "Example:
  downlink consumers list --output json")]
    List,
    /// Prints one consumer.
    #[command(after_help = "Example:
  downlink consumers get archive")]
    Get(Named),
    /// Stores where a consumer goes on; creates it if there is none of that name.
    Commit(Commit),
    /// Forgets a consumer.
    #[command(after_help = "Example:
  downlink consumers delete archive")]
    Delete(Named),
}

#[derive(Debug, Args)]
pub(super) struct Named {
    /// Its name.
    name: String,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  downlink consumers commit archive 1200
  downlink consumers commit archive 1 --rewind
  downlink read --from consumer:archive")]
pub(super) struct Commit {
    /// Its name.
    name: String,
    /// The first offset it has not dealt with.
    next_offset: u64,
    /// Only if this is still its etag.
    #[arg(long, default_value = "", hide_default_value = true)]
    etag: String,
    /// Let it go back. Without it an offset below the present one is refused.
    #[arg(long)]
    rewind: bool,
}

impl Consumers {
    pub(super) async fn run(&self, context: &Context) -> anyhow::Result<()> {
        let client = context.connect().await?;
        let mut found = Vec::new();
        match self {
            Self::List => {
                let mut request = ListConsumersRequest::default();
                loop {
                    let page = client.consumers(request.clone()).await?;
                    found.extend(page.consumers);
                    request.page_token = page.next_page_token;
                    if request.page_token.is_empty() {
                        break;
                    }
                }
            }
            Self::Get(Named { name }) => match client.consumer(&**name).get().await? {
                Some(consumer) => found.push(consumer),
                None => bail!("there is no consumer {name:?}"),
            },
            Self::Commit(commit) => {
                let request = CommitCheckpointRequest {
                    next_offset: commit.next_offset,
                    etag: commit.etag.clone(),
                    allow_rewind: commit.rewind,
                    ..CommitCheckpointRequest::default()
                };
                found.push(client.consumer(&*commit.name).commit_with(request).await?);
            }
            Self::Delete(Named { name }) => client.consumer(&**name).delete().await?,
        }
        Ok(print(&found, context.format)?)
    }
}

fn print(consumers: &[Consumer], format: Format) -> std::io::Result<()> {
    let mut printer = Printer::new(format);
    match format {
        Format::Human if consumers.is_empty() => {}
        Format::Human => {
            let rows: Vec<_> = consumers.iter().map(row).collect();
            let header = ["CONSUMER", "NEXT OFFSET", "EVENTS BEHIND", "TIME BEHIND", "COMMITTED", "ETAG"];
            printer.table(header, &rows)?;
        }
        Format::Json => consumers.iter().try_for_each(|consumer| printer.json(&json(consumer)))?,
    }
    printer.flush()
}

fn row(consumer: &Consumer) -> [String; 6] {
    [
        consumer.name.clone(),
        consumer.next_offset.to_string(),
        grouped(consumer.events_behind),
        age_text(consumer.time_behind.map_or(0, |time| time.seconds)),
        consumer.update_time.as_ref().map(rfc3339).unwrap_or_default(),
        consumer.etag.clone(),
    ]
}

fn json(consumer: &Consumer) -> serde_json::Value {
    let seconds = consumer.time_behind.map(|time| time.seconds as f64 + f64::from(time.nanos) / 1e9);
    json!({
        "name": consumer.name,
        "next_offset": consumer.next_offset,
        "events_behind": consumer.events_behind,
        "time_behind_seconds": seconds,
        "update_time": consumer.update_time.as_ref().map(rfc3339),
        "etag": consumer.etag,
    })
}
