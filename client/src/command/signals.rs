//! `downlink signals`: what the log holds.

use clap::Args;
use downlink_client::time::rfc3339;
use downlink_client::v1::{ListSignalsRequest, Signal};
use serde_json::json;

use super::output::{Printer, grouped, value_cell};
use super::unmatched::warn_of_unmatched;
use super::value::ValueKind;
use super::{Context, Format, event_json};

/// Lists the signals of the log, by name.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  downlink signals
  downlink signals 'iss/NODE3*' --output json")]
pub(super) struct Signals {
    /// A name or glob: `*` stands for any text without '/', `**` for any text.
    #[arg(value_name = "GLOB", default_value = "", hide_default_value = true)]
    glob: String,
}

impl Signals {
    pub(super) async fn run(&self, context: &Context) -> anyhow::Result<()> {
        let client = context.connect().await?;
        let mut printer = Printer::new(context.format);
        let mut request = ListSignalsRequest { filter: self.glob.clone(), ..ListSignalsRequest::default() };
        let (mut rows, mut is_empty) = (vec![], true);
        loop {
            let page = client.signals(request.clone()).await?;
            is_empty &= page.signals.is_empty();
            for signal in &page.signals {
                match context.format {
                    Format::Human => rows.push(row(signal)),
                    Format::Json => printer.json(&json(signal))?,
                }
            }
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                break;
            }
        }
        if context.format == Format::Human && !rows.is_empty() {
            printer.table(["SIGNAL", "EVENTS", "KIND", "LAST EVENT TIME", "LAST VALUE"], &rows)?;
        }
        printer.flush()?;
        if is_empty {
            warn_of_unmatched(&client, std::slice::from_ref(&self.glob)).await?;
        }
        Ok(())
    }
}

fn row(signal: &Signal) -> [String; 5] {
    let latest = signal.latest.clone().unwrap_or_default();
    let kind = latest.value.as_ref().and_then(|value| value.kind.as_ref());
    [
        signal.name.clone(),
        grouped(signal.event_count),
        kind.map(|kind| ValueKind::of(kind).name()).unwrap_or_default().to_owned(),
        latest.event_time.as_ref().map(rfc3339).unwrap_or_default(),
        value_cell(&latest),
    ]
}

fn json(signal: &Signal) -> serde_json::Value {
    json!({
        "name": signal.name,
        "signal_id": signal.signal_id,
        "event_count": signal.event_count,
        "display_name": signal.display_name,
        "description": signal.description,
        "unit": signal.unit,
        "latest": signal.latest.as_ref().map(event_json::to_json),
    })
}
