//! `downlink signals`: what the log holds, and what it means.

use clap::{Args, Subcommand};
use downlink_client::time::rfc3339;
use downlink_client::v1::{ListSignalsRequest, Signal};

use super::define::Define;
use super::output::{Printer, grouped};
use super::pages::Pages;
use super::table::{Cell, Column};
use super::value::ValueKind;
use super::{Context, Format, definition_json, event_json, style, unmatched};

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
        let request = ListSignalsRequest { filter: self.glob.clone(), ..ListSignalsRequest::default() };
        let (mut pages, mut rows, mut is_empty) = (Pages::of(request), vec![], true);
        while let Some(page) = pages.next(&client).await? {
            is_empty &= page.is_empty();
            for signal in &page {
                match context.format {
                    Format::Human => rows.push(row(signal)),
                    Format::Json => printer.json(&json(signal))?,
                }
            }
        }
        if context.format == Format::Human && !rows.is_empty() {
            printer.table(&COLUMNS, &rows)?;
        }
        printer.flush()?;
        let globs = Some(self.glob.clone()).filter(|glob| !glob.is_empty());
        let globs = globs.as_slice();
        unmatched::account_for(&client, globs, is_empty.then_some("the log has no signals")).await
    }
}

const COLUMNS: [Column<'_>; 6] = [
    Column::Whole("SIGNAL"),
    Column::Whole("EVENTS"),
    Column::Whole("KIND"),
    Column::Text("UNIT"),
    Column::Time("LAST EVENT TIME"),
    Column::Text("DESCRIPTION"),
];

fn row(signal: &Signal) -> [Cell; 6] {
    let latest = signal.latest.as_ref();
    let kind = latest.and_then(|latest| latest.value.as_ref()?.kind.as_ref());
    let kind = kind.map(|kind| ValueKind::of(kind).name()).or_else(|| definition_json::value_type(signal));
    let title = match (&*signal.display_name, &*signal.description) {
        ("", description) => description,
        (title, _) => title,
    };
    let time = latest.and_then(|latest| latest.event_time.as_ref());
    [
        signal.name.as_str().into(),
        grouped(signal.event_count).into(),
        kind.unwrap_or_default().into(),
        signal.unit.as_str().into(),
        time.map_or_else(
            || Cell::new("defined, no events yet", style::DOUBTFUL),
            |time| rfc3339(time).into(),
        ),
        // One line: all of it is in the JSON.
        title.lines().next().unwrap_or_default().into(),
    ]
}

fn json(signal: &Signal) -> serde_json::Value {
    let mut object = definition_json::to_json(signal);
    object.insert("signal_id".to_owned(), signal.signal_id.into());
    object.insert("event_count".to_owned(), signal.event_count.into());
    object.insert("latest".to_owned(), signal.latest.as_ref().map(event_json::to_json).into());
    object.into()
}
