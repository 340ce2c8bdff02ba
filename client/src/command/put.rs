//! `downlink put`: appends one event, or a stream of them from standard input.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _};
use downlink_client::v1::{Event, Quality};
use downlink_client::{Client, event};
use serde_json::json;
use tokio::sync::mpsc;

use super::moment::Moment;
use super::output::Printer;
use super::trace::Trace;
use super::value::{self, QualityWord, ValueKind};
use super::{Context, Format, event_json};

const BATCH_EVENTS_MAX: usize = 500;
const BATCH_BYTES_MAX: usize = 256 << 10;

/// Appends an event, and prints its offset once it is on disk.
///
/// What kind of value it is, is guessed unless --kind says so: an integer if it is one that fits 64 bits, else a
/// double, else true or false, else text.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  downlink put tank/level 12.5
  downlink put tank/valve open --time 2018-10-12T11:42:08Z --attribute operator=ann
  downlink put tank/level -- -3
  downlink read --output json | downlink --url http://other:50051 put -

From standard input (put -): a JSON object a line, as `read --output json` prints them. Needed are \"signal\" and
\"value\"; \"kind\", \"event_time\", \"quality\", \"source\", \"attributes\" may be there. Prints an offset a line.")]
pub(super) struct Put {
    /// The signal's name, or - for JSON lines from standard input.
    signal: String,
    /// The value.
    #[arg(allow_negative_numbers = true)]
    value: Option<String>,
    /// The kind of the value.
    #[arg(long, value_enum)]
    kind: Option<ValueKind>,
    /// When it happened: RFC 3339, or such as '2 hours ago'. The server's present by default.
    #[arg(long, value_name = "TIME")]
    time: Option<Moment>,
    /// How far the value can be trusted.
    #[arg(long, value_enum, default_value_t = QualityWord::Good)]
    quality: QualityWord,
    /// Where it comes from.
    #[arg(long, default_value = "")]
    source: String,
    /// Something to go with it, never indexed. Can be given several times.
    #[arg(long, value_name = "KEY=VALUE", value_parser = attribute)]
    attribute: Vec<(String, String)>,
    /// For how long to try again when the server cannot be reached or is busy.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    retry_seconds: u64,
    /// Begin a trace, and print its id: Jaeger shows what the server did by that. The command's own span goes where
    /// OTEL_EXPORTER_OTLP_ENDPOINT says.
    #[arg(long)]
    trace: bool,
}

fn attribute(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as key=value")?;
    Ok((key.to_owned(), value.to_owned()))
}

impl Put {
    pub(super) async fn run(&self, context: &Context) -> anyhow::Result<()> {
        if (self.signal == "-") == self.value.is_some() {
            let usage = "give a signal and a value, or a lone '-' for JSON lines from standard input";
            super::Arguments::command().error(ErrorKind::MissingRequiredArgument, usage).exit();
        }
        let trace = self.trace.then(|| Trace::begin("downlink put")).transpose()?;
        let work = self.append(context, trace.as_ref().map(Trace::id));
        // The trace's context belongs to the work alone.
        match trace {
            Some(trace) => trace.run(work).await,
            None => work.await,
        }
    }

    async fn append(&self, context: &Context, trace_id: Option<String>) -> anyhow::Result<()> {
        let client = context.connect_to_retry_for(Duration::from_secs(self.retry_seconds)).await?;
        let printer = Printer::new(context.format);
        let mut appends = Appends { client, printer, format: context.format, trace_id };
        match &self.value {
            Some(value) => {
                appends.append(vec![self.event(value)?]).await?;
                Ok(appends.printer.flush()?)
            }
            None => appends.lines().await,
        }
    }

    fn event(&self, value: &str) -> anyhow::Result<Event> {
        let kind = match self.kind {
            Some(kind) => kind.parse(value)?,
            None => value::guess(value),
        };
        Ok(Event {
            event_time: self.time.map(|Moment(time)| time),
            quality: Quality::from(self.quality).into(),
            source: self.source.clone(),
            attributes: self.attribute.iter().cloned().collect::<BTreeMap<_, _>>(),
            ..event(self.signal.as_str(), kind)
        })
    }
}

/// Appends events, and prints what became of them.
struct Appends {
    client: Client,
    printer: Printer,
    format: Format,
    /// What to print beside each offset.
    trace_id: Option<String>,
}

impl Appends {
    /// Appends what comes in, in batches of what has come so far: nothing waits for company.
    async fn lines(mut self) -> anyhow::Result<()> {
        let (sender, mut lines) = mpsc::channel(BATCH_EVENTS_MAX);
        // The thread "lines" ends with the input, or with the process.
        std::thread::Builder::new().name("lines".to_owned()).spawn(move || {
            // Nobody there means that appending has failed, which says so itself.
            std::io::stdin().lines().try_for_each(|line| sender.blocking_send(line).ok())
        })?;
        let (mut number, mut batch, mut batch_bytes) = (0_u64, Vec::new(), 0);
        while let Some(line) = lines.recv().await {
            let line = line.context("cannot read standard input")?;
            number += 1;
            if !line.trim().is_empty() {
                let parsed = event_json::from_json(&line).with_context(|| format!("line {number}"));
                match parsed {
                    Ok(event) => batch.push(event),
                    Err(error) => {
                        self.append(batch).await?;
                        self.printer.flush()?;
                        return Err(error);
                    }
                }
                batch_bytes += line.len();
            }
            if batch.len() >= BATCH_EVENTS_MAX || batch_bytes >= BATCH_BYTES_MAX || lines.is_empty() {
                self.append(std::mem::take(&mut batch)).await?;
                self.printer.flush()?;
                batch_bytes = 0;
            }
        }
        Ok(())
    }

    async fn append(&mut self, events: Vec<Event>) -> anyhow::Result<()> {
        if events.is_empty() {
            return Ok(());
        }
        let answer = self.client.append_events(events).await?;
        for offset in answer.first_offset..=answer.last_offset {
            match (self.format, &self.trace_id) {
                (Format::Human, None) => self.printer.text(&format!("offset {offset}\n"))?,
                (Format::Human, Some(id)) => self.printer.text(&format!("offset {offset}  trace {id}\n"))?,
                (Format::Json, None) => self.printer.json(&json!({"offset": offset}))?,
                (Format::Json, Some(id)) => self.printer.json(&json!({"offset": offset, "trace_id": id}))?,
            }
        }
        Ok(())
    }
}
