//! `downlink lookup`: the offset of a place.

use clap::Args;
use downlink_client::time::rfc3339;
use serde_json::json;

use super::output::Printer;
use super::position::Place;
use super::{Context, Format};

/// Prints the offset of a place in the log, and the event time of the event there.
///
/// A time stands for the first event in the log that happened then or later; 'ingest:' and a time for the
/// first that came in then or later. The head, which has no event yet, is printed without a time.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  downlink lookup 2018-10-12T11:42:00Z
  downlink lookup '2 hours ago'
  downlink lookup consumer:archive --output json")]
pub(super) struct Lookup {
    /// An offset, oldest, head, 'last 100', '2 hours ago', a time (RFC 3339), ingest:TIME, consumer:NAME.
    #[arg(value_name = "PLACE")]
    place: Place,
}

impl Lookup {
    pub(super) async fn run(&self, context: &Context) -> anyhow::Result<()> {
        let found = context.connect().await?.lookup(self.place.clone().into()).await?;
        let time = found.event_time.as_ref().map(rfc3339);
        let mut printer = Printer::new(context.format);
        match context.format {
            Format::Human => {
                let time = time.map(|time| format!("  {time}")).unwrap_or_default();
                printer.text(&format!("{}{time}\n", found.offset))?;
            }
            Format::Json => printer.json(&json!({ "offset": found.offset, "event_time": time }))?,
        }
        Ok(printer.flush()?)
    }
}
