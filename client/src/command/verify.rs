//! `downlink verify`: has the server read everything there is, and say what is not as it should be.

use std::io::{self, IsTerminal as _};

use clap::Args;
use downlink_client::v1::VerifyLogRequest;
use downlink_client::v1::verify_log_response::difference::Kind;
use downlink_client::v1::verify_log_response::{Difference, Frame, Progress, Summary};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use serde_json::{Value as Json, json};

use super::output::{Printer, grouped};
use super::value::hex;
use super::{Context, Format};

/// Reads the log from the server's disk, on the server, checks it, and names what is damaged or has changed; with --mirror also
/// where the mirror is not the same.
///
/// Ends with 3 if anything is.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  downlink verify
  downlink verify --mirror
  downlink verify --from 1000000 --output json")]
pub(super) struct Verify {
    /// From this offset. By default from the oldest; only then is there a hash over all.
    #[arg(long, value_name = "OFFSET", value_parser = clap::value_parser!(u64).range(1..))]
    from: Option<u64>,
    /// To this offset, inclusive. By default to the newest.
    #[arg(long, value_name = "OFFSET", value_parser = clap::value_parser!(u64).range(1..))]
    to: Option<u64>,
    /// Then compare all of it with the mirror's topic.
    #[arg(long)]
    mirror: bool,
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
            check_mirror: self.mirror,
        };
        let mut verification = context.connect().await?.verify(request).await?;
        let (mut printer, bar) = (Printer::new(context.format), progress()?);
        while let Some(frame) = verification.next().await? {
            match frame {
                Frame::Progress(progress) => bar.set_message(how_far(&progress)),
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

fn how_far(progress: &Progress) -> String {
    match progress.compared_offset {
        0 => {
            let speed = HumanBytes(progress.bytes_per_second);
            format!("verified below {}, {speed}/s", grouped(progress.verified_offset))
        }
        compared => format!("compared with the mirror below {}", grouped(compared)),
    }
}

/// What is wrong, counted.
fn wrong(summary: &Summary) -> impl Iterator<Item = String> {
    let counts = [
        (summary.damaged_events, "events damaged"),
        (summary.changed_events, "events in doubt"),
        (summary.missing_events, "events missing in the mirror"),
        (summary.doubled_messages, "messages twice in the mirror"),
        (summary.altered_messages, "messages altered in the mirror"),
        (summary.foreign_messages, "messages foreign in the mirror"),
    ];
    let wrong = counts.into_iter().filter(|(count, _)| *count > 0);
    wrong.map(|(count, what)| format!("{} {what}", grouped(count)))
}

/// An error if anything is wrong.
fn sound(summary: &Summary) -> Result<(), Unsound> {
    let wrong: Vec<_> = wrong(summary).collect();
    if wrong.is_empty() { Ok(()) } else { Err(Unsound(wrong.join(", "))) }
}

fn sentence(difference: &Difference) -> String {
    let Difference { first_offset, last_offset, part, .. } = difference;
    let place = difference.place.unwrap_or_default();
    let place = format!("position {} of partition {}", place.position, place.partition);
    let events = match first_offset == last_offset {
        true => format!("event {first_offset}"),
        false => format!("events {first_offset} to {last_offset}"),
    };
    match difference.kind() {
        Kind::Unspecified => format!("{events}: something is wrong"),
        Kind::Changed => format!("{events}: not all are what they were when they came, or their hash is not"),
        Kind::Missing => format!("{events}: missing in the mirror"),
        Kind::Doubled => format!("{events}: a second time in the mirror, at {place}"),
        Kind::Altered => format!("{events}: {part} is another in the mirror, at {place}"),
        Kind::Foreign => format!("{events}: none of this log, but in the mirror, at {place}"),
    }
}

fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Unspecified => "unknown",
        Kind::Changed => "changed",
        Kind::Missing => "missing",
        Kind::Doubled => "doubled",
        Kind::Altered => "altered",
        Kind::Foreign => "foreign",
    }
}

fn difference_json(difference: &Difference) -> Json {
    json!({"difference": {
        "kind": kind_word(difference.kind()),
        "first_offset": difference.first_offset,
        "last_offset": difference.last_offset,
        "partition": difference.place.map(|place| place.partition),
        "position": difference.place.map(|place| place.position),
        "part": difference.part,
    }})
}

fn summary_json(summary: &Summary) -> Json {
    json!({
        "events": summary.events,
        "damaged_events": summary.damaged_events,
        "changed_events": summary.changed_events,
        "hash_offset": summary.hash_offset,
        "head_hash": hex(&summary.head_hash),
        "compared_offset": summary.compared_offset,
        "missing_events": summary.missing_events,
        "doubled_messages": summary.doubled_messages,
        "altered_messages": summary.altered_messages,
        "foreign_messages": summary.foreign_messages,
    })
}

fn text(summary: &Summary) -> String {
    let mut text = format!("{} events read", grouped(summary.events));
    let mut wrong = wrong(summary).peekable();
    if wrong.peek().is_none() {
        text.push_str(", nothing wrong");
    }
    wrong.for_each(|wrong| text.push_str(&format!(", {wrong}")));
    if summary.compared_offset > 0 {
        text.push_str(&format!("\ncompared with the mirror below {}", grouped(summary.compared_offset)));
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
