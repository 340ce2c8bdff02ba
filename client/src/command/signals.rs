//! `downlink signals`: what the log holds, and what it means.

use clap::{Args, Subcommand};
use downlink_client::time::rfc3339;
use downlink_client::v1::{ListSignalsRequest, Signal};

use super::define::Define;
use super::output::{Printer, grouped, value_cell};
use super::unmatched::warn_of_unmatched;
use super::value::ValueKind;
use super::{Context, Format, definition_json, event_json};

/// Lists the signals of the log, by name, with what is defined of them.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "Examples:
  downlink signals
  downlink signals 'iss/NODE3*' --output json
  downlink signals define --iss --prefix iss/")]
pub(super) struct Signals {
    #[command(subcommand)]
    action: Option<Action>,
    /// A name or glob: `*` stands for any text without '/', `**` for any text.
    #[arg(value_name = "GLOB", default_value = "", hide_default_value = true)]
    glob: String,
}

#[derive(Debug, Subcommand)]
enum Action {
    Define(Define),
}

impl Signals {
    pub(super) async fn run(&self, context: &Context) -> anyhow::Result<()> {
        match &self.action {
            Some(Action::Define(define)) => define.run(context).await,
            None => self.list(context).await,
        }
    }

    async fn list(&self, context: &Context) -> anyhow::Result<()> {
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
            printer.table(
                ["SIGNAL", "EVENTS", "KIND", "UNIT", "LAST EVENT TIME", "LAST VALUE", "DESCRIPTION"],
                &rows,
            )?;
        }
        printer.flush()?;
        if is_empty {
            warn_of_unmatched(&client, std::slice::from_ref(&self.glob)).await?;
        }
        Ok(())
    }
}

fn row(signal: &Signal) -> [String; 7] {
    let latest = signal.latest.clone().unwrap_or_default();
    let kind =
        latest.value.as_ref().and_then(|value| value.kind.as_ref()).map(|kind| ValueKind::of(kind).name());
    let title = match (&*signal.display_name, &*signal.description) {
        ("", description) => description,
        (title, _) => title,
    };
    [
        signal.name.clone(),
        grouped(signal.event_count),
        kind.or_else(|| definition_json::value_type(signal)).unwrap_or_default().to_owned(),
        signal.unit.clone(),
        latest.event_time.as_ref().map(rfc3339).unwrap_or_default(),
        value_cell(&latest),
        // One line: all of it is in the JSON.
        title.lines().next().unwrap_or_default().to_owned(),
    ]
}

fn json(signal: &Signal) -> serde_json::Value {
    let mut object = definition_json::to_json(signal);
    object.insert("signal_id".to_owned(), signal.signal_id.into());
    object.insert("event_count".to_owned(), signal.event_count.into());
    object.insert("latest".to_owned(), signal.latest.as_ref().map(event_json::to_json).into());
    object.into()
}
