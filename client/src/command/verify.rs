//! `downlink verify`: has the server read everything there is, and say what is not as it should be.

use std::io::{self, IsTerminal as _};

use clap::Args;
use downlink_client::v1::VerifyLogRequest;
use downlink_client::v1::verify_log_response::difference::Kind;
use downlink_client::v1::verify_log_response::{Difference, Frame, Summary};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use serde_json::{Value as Json, json};

use super::output::{Printer, grouped};
use super::value::hex;
use super::{Context, Format};

/// Reads the log from the server's disk, on the server, checks it, and names what is damaged or has changed.
///
/// Ends with 3 if anything is.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  downlink verify
  downlink verify --from 1000000 --output json")]
pub(super) struct Verify {
    /// From this offset. By default from the oldest; only then is there a hash over all.
    #[arg(long, value_name = "OFFSET", value_parser = clap::value_parser!(u64).range(1..))]
    from: Option<u64>,
    /// To this offset, inclusive. By default to the newest.
    #[arg(long, value_name = "OFFSET", value_parser = clap::value_parser!(u64).range(1..))]
    to: Option<u64>,
}

/// Something is not as it should be.
#[derive(Debug, thiserror::Error)]
#[error("{0}, see above")]
pub(crate) struct Unsound(String);

impl Verify {
    pub(super) async fn run(&self, context: &Context) -> anyhow::Result<()> {
        let request = VerifyLogRequest {
            first_offset: self.from.unwrap_or_default(),
            last_offset: self.to.unwrap_or_default(),
            ..VerifyLogRequest::default()
        };
        let mut verification = context.connect().await?.verify(request).await?;
        let (mut printer, bar) = (Printer::new(context.format), progress()?);
        while let Some(frame) = verification.next().await? {
            match frame {
                Frame::Progress(progress) => {
                    let speed = HumanBytes(progress.bytes_per_second);
                    bar.set_message(format!(
                        "verified below {}, {speed}/s",
                        grouped(progress.verified_offset)
                    ));
                }
                Frame::Damage(gap) => bar.suspend(|| printer.gap(&gap))?,
                Frame::Difference(difference) => match context.format {
                    Format::Human => bar.suspend(|| eprintln!("downlink: {}", sentence(&difference))),
                    Format::Json => printer.json(&difference_json(&difference))?,
                },
                Frame::Summary(summary) => {
                    bar.finish_and_clear();
                    match context.format {
                        Format::Human => printer.text(&text(&summary))?,
                        Format::Json => printer.json(&summary_json(&summary))?,
                    }
                    printer.flush()?;
                    return Ok(sound(&summary)?);
                }
            }
        }
        Ok(())
    }
}

/// An error if anything is wrong.
fn sound(summary: &Summary) -> Result<(), Unsound> {
    let wrong: Vec<_> = [(summary.damaged_events, "damaged"), (summary.changed_events, "in doubt")]
        .into_iter()
        .filter(|(events, _)| *events > 0)
        .map(|(events, what)| format!("{} events are {what}", grouped(events)))
        .collect();
    if wrong.is_empty() { Ok(()) } else { Err(Unsound(wrong.join(", "))) }
}

fn sentence(difference: &Difference) -> String {
    let Difference { first_offset, last_offset, .. } = difference;
    match difference.kind() {
        Kind::Unspecified => format!("something is wrong with events {first_offset} to {last_offset}"),
        Kind::Changed => {
            format!(
                "one of the events {first_offset} to {last_offset} is not what it was when it came, or their hash is not"
            )
        }
    }
}

fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Unspecified => "unknown",
        Kind::Changed => "changed",
    }
}

fn difference_json(difference: &Difference) -> Json {
    let Difference { first_offset, last_offset, .. } = difference;
    let kind = kind_word(difference.kind());
    json!({"difference": {"kind": kind, "first_offset": first_offset, "last_offset": last_offset}})
}

fn summary_json(summary: &Summary) -> Json {
    json!({
        "events": summary.events,
        "damaged_events": summary.damaged_events,
        "changed_events": summary.changed_events,
        "hash_offset": summary.hash_offset,
        "head_hash": hex(&summary.head_hash),
    })
}

fn text(summary: &Summary) -> String {
    let mut text =
        format!("{} events read, {} damaged", grouped(summary.events), grouped(summary.damaged_events));
    if summary.changed_events > 0 {
        text.push_str(&format!(", {} in doubt", grouped(summary.changed_events)));
    }
    if summary.hash_offset > 0 {
        let (hash, end) = (hex(&summary.head_hash), grouped(summary.hash_offset));
        text.push_str(&format!("\nhash of all below {end}: {hash}"));
    }
    text + "\n"
}

fn progress() -> anyhow::Result<ProgressBar> {
    if !io::stderr().is_terminal() {
        return Ok(ProgressBar::hidden());
    }
    let style = ProgressStyle::with_template("{spinner} {msg}  {elapsed_precise}")?;
    Ok(ProgressBar::new_spinner().with_style(style))
}
