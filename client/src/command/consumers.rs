//! `downlink consumers`: who reads the log, and where they have got to.

use anyhow::bail;
use clap::{Args, Subcommand};
use downlink_client::time::rfc3339;
use downlink_client::v1::{CommitCheckpointRequest, Consumer, ListConsumersRequest};
use serde_json::json;

use super::length::brief_length;
use super::output::{Printer, grouped};
use super::pages::Pages;
use super::table::{Cell, Column};
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
                let mut pages = Pages::of(ListConsumersRequest::default());
                while let Some(page) = pages.next(&client).await? {
                    found.extend(page);
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
        if found.is_empty() && matches!(self, Self::List) {
            eprintln!("downlink: there are no consumers yet");
        }
        Ok(print(&found, context.format)?)
    }
}

const COLUMNS: [Column<'_>; 6] = [
    Column::Text("CONSUMER"),
    Column::Whole("NEXT OFFSET"),
    Column::Whole("EVENTS BEHIND"),
    Column::Whole("TIME BEHIND"),
    Column::Time("COMMITTED"),
    Column::Text("ETAG"),
];

fn print(consumers: &[Consumer], format: Format) -> std::io::Result<()> {
    let mut printer = Printer::new(format);
    match format {
        Format::Human if consumers.is_empty() => {}
        Format::Human => {
            let rows: Vec<_> = consumers.iter().map(row).collect();
            printer.table(&COLUMNS, &rows)?;
        }
        Format::Json => consumers.iter().try_for_each(|consumer| printer.json(&json(consumer)))?,
    }
    printer.flush()
}

fn row(consumer: &Consumer) -> [Cell; 6] {
    [
        consumer.name.as_str().into(),
        consumer.next_offset.to_string().into(),
        grouped(consumer.events_behind).into(),
        brief_length(consumer.time_behind.map_or(0, |time| time.seconds)).into(),
        consumer.update_time.as_ref().map(rfc3339).unwrap_or_default().into(),
        consumer.etag.as_str().into(),
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
