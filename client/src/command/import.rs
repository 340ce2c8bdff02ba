//! `downlink import`: a file of events into the log, each of them once.

mod parse;

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::{Args, ValueEnum};
use downlink_client::append::{AppenderOptions, Totals};
use downlink_client::iss::recording::decompressed;
use downlink_client::v1::Event;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::sync::mpsc;

use super::output::{Printer, grouped};
use super::source_file::checksum;
use super::{Context, Format};
use parse::Lines;

/// Events that are parsed at once, and how many such pieces wait to be sent.
const CHUNK_EVENTS: usize = 1000;
const CHUNKS_AHEAD: usize = 8;

/// Appends the events of a file that `export` wrote, or of one like it.
///
/// The file is CSV with a header or JSON lines, plain or zstd; Parquet is not taken. Needed are `signal` and
/// `value`; `kind`, `event_time`, `quality`, `source` and `attributes` may be there; `offset`, `ingest_time`
/// and `trace_context` are read over. Without `kind` it is guessed, as by `put`.
///
/// Run again on the same file, known by its name and content, it goes on where it stopped: no event of it gets
/// into the log twice, whatever was killed meanwhile. Under another name it is another file, and so is one that
/// was exported from the very same log: its events are appended beside those that are there.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  downlink import day.csv
  downlink import day.jsonl.zst --bad-lines skip
  downlink --url http://other:50051 export --format jsonl | downlink import --format jsonl -")]
pub(super) struct Import {
    /// The file, or - for standard input, which cannot be gone on with.
    file: PathBuf,
    /// The format. By default what the file's name says.
    #[arg(long, value_enum)]
    format: Option<FileFormat>,
    /// What to do about lines that make no sense.
    #[arg(long, value_enum, default_value_t = BadLines::Fail)]
    bad_lines: BadLines,
    /// A number from 1 appends the whole file again, as new events.
    #[arg(long, value_name = "N", default_value_t = 0)]
    epoch: u64,
    /// For how long to try again when the server is gone.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    retry_seconds: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FileFormat {
    /// A table with a header.
    Csv,
    /// A JSON object a line.
    Jsonl,
}

/// What to do about lines that make no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum BadLines {
    /// Stop there; what came before is kept.
    Fail,
    /// Leave them out, and say how many.
    Skip,
}

/// What the reading thread has seen.
#[derive(Clone, Copy, Debug, Default)]
struct LinesRead {
    good: u64,
    bad: u64,
}

impl Import {
    pub(super) async fn run(&self, context: &Context) -> anyhow::Result<()> {
        let path = self.file.display().to_string();
        let format = self.format.or_else(|| format_of(&path)).with_context(|| {
            format!("{path} is neither .csv nor .jsonl by its name: give --format csv or --format jsonl")
        })?;
        let options = AppenderOptions {
            producer_epoch: self.epoch,
            retry_for: Duration::from_secs(self.retry_seconds),
            ..AppenderOptions::new(self.producer_id()?)
        };
        let input = self.open().with_context(|| path.clone())?;
        let lines = Lines::open(format, input).with_context(|| path.clone())?;
        let client = context.connect_to_retry_for(options.retry_for).await?;
        let mut appender = client.appender(options).await?;
        let resumed = appender.resume_point().durable_events;

        let (sender, mut chunks) = mpsc::channel::<Vec<Event>>(CHUNKS_AHEAD);
        let bad_lines = self.bad_lines;
        let reading = tokio::task::spawn_blocking(move || read_ahead(lines, resumed, bad_lines, &sender));
        let (start, bar) = (Instant::now(), progress()?);
        while let Some(events) = chunks.recv().await {
            bar.inc(events.len() as u64);
            for event in &events {
                appender.append(event).await?;
            }
        }
        let totals = appender.finish().await?;
        bar.finish_and_clear();
        let read = reading.await.context("the reading thread panicked")?.with_context(|| path.clone())?;
        ensure!(
            read.good >= resumed,
            "{path}: the log has {resumed} events of this file, which has only {}; give --epoch to append it anew",
            read.good
        );
        summarize(context.format, &path, totals, resumed, read, start.elapsed())
    }

    /// The same for the same contents, so that the log knows them again; standard input is always new.
    fn producer_id(&self) -> anyhow::Result<String> {
        if self.file.as_os_str() == "-" {
            return Ok(String::new());
        }
        let failed = || format!("cannot read {}", self.file.display());
        let file = File::open(&self.file).with_context(failed)?;
        ensure!(file.metadata()?.is_file(), "{} is not a file", self.file.display());
        let name = self.file.file_name().and_then(|name| name.to_str()).unwrap_or("file");
        Ok(format!("import/{:08x}/{name}", checksum(&file).with_context(failed)?))
    }

    fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        if self.file.as_os_str() == "-" {
            return decompressed(io::stdin());
        }
        decompressed(File::open(&self.file)?)
    }
}

/// The format that a file's name tells.
fn format_of(path: &str) -> Option<FileFormat> {
    let name = path.strip_suffix(".zst").unwrap_or(path);
    match name.rsplit_once('.')?.1 {
        "csv" => Some(FileFormat::Csv),
        "jsonl" | "ndjson" | "json" => Some(FileFormat::Jsonl),
        _ => None,
    }
}

/// Reads to the end, or until nobody takes the chunks any more. The first `resumed` events are in the log already.
fn read_ahead(
    mut lines: Lines,
    resumed: u64,
    bad_lines: BadLines,
    chunks: &mpsc::Sender<Vec<Event>>,
) -> anyhow::Result<LinesRead> {
    let (mut read, mut events) = (LinesRead::default(), Vec::with_capacity(CHUNK_EVENTS));
    let mut failure = None;
    while let Some(event) = lines.next()? {
        match event {
            Ok(event) => {
                read.good += 1;
                if read.good > resumed {
                    events.push(event);
                }
            }
            Err(error) if bad_lines == BadLines::Fail => {
                failure = Some(error);
                break;
            }
            Err(error) => {
                read.bad += 1;
                eprintln!("downlink: skipped: {error:#}");
            }
        }
        if events.len() == CHUNK_EVENTS
            && chunks.blocking_send(std::mem::replace(&mut events, Vec::with_capacity(CHUNK_EVENTS))).is_err()
        {
            return Ok(read);
        }
    }
    // Nobody there means that sending has failed, which says so itself.
    let _ = chunks.blocking_send(events);
    match failure {
        Some(error) => bail!("{error:#}; what came before it is in the log"),
        None => Ok(read),
    }
}

fn progress() -> anyhow::Result<ProgressBar> {
    if !io::stderr().is_terminal() {
        return Ok(ProgressBar::hidden());
    }
    let style = ProgressStyle::with_template("{spinner} {human_pos} events, {per_sec}  {elapsed_precise}")?;
    Ok(ProgressBar::new_spinner().with_style(style))
}

fn summarize(
    format: Format,
    path: &str,
    totals: Totals,
    resumed: u64,
    read: LinesRead,
    took: Duration,
) -> anyhow::Result<()> {
    let mut printer = Printer::new(format);
    match format {
        Format::Json => printer.json(&json!({
            "file": path,
            "events_sent": totals.durable_events,
            "events_resumed": resumed,
            "skipped_lines": read.bad,
            "seconds": took.as_secs_f64(),
            "last_offset": totals.last_offset,
        }))?,
        Format::Human => printer.text(&format!(
            "{} events sent in {:.1} s, {} were there already, {} lines skipped\n",
            grouped(totals.durable_events),
            took.as_secs_f64(),
            grouped(resumed),
            grouped(read.bad)
        ))?,
    }
    Ok(printer.flush()?)
}
