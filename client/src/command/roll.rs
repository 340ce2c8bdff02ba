//! `downlink roll`: closes the newest segment.

use clap::Args;
use downlink_client::v1::RollSegmentRequest;
use serde_json::json;

use super::output::Printer;
use super::{Context, Format};

/// Closes the newest segment of the log, so that it is sealed (rewritten compactly) in the background.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  downlink roll --wait")]
pub(super) struct Roll {
    /// Wait until every closed segment is sealed.
    #[arg(long)]
    wait: bool,
}

impl Roll {
    pub(super) async fn run(&self, context: &Context) -> anyhow::Result<()> {
        let request = RollSegmentRequest { wait_until_sealed: self.wait };
        let first_offset = context.connect().await?.roll(request).await?.first_offset;
        let mut printer = Printer::new(context.format);
        match context.format {
            Format::Human => {
                printer.text(&format!("the newest segment begins at offset {first_offset}\n"))?
            }
            Format::Json => printer.json(&json!({"first_offset": first_offset}))?,
        }
        Ok(printer.flush()?)
    }
}
