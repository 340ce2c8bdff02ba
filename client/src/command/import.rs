//! `downlink import`: a file of events into the log, each of them once.

mod parse;

use std::fs::File;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use clap::{Args, ValueEnum};
use downlink_client::append::AppenderOptions;
use downlink_client::iss::recording::decompressed;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::mpsc;

use super::Context;
use super::file_transfer::{CHUNKS_AHEAD, Chunk, Summary, read_ahead};
use super::source_file::checksum;
use parse::Events;

/// Appends the events of a file that `export` wrote, or of one like it.
///
/// The file is CSV with a header or JSON lines, plain or zstd, or Parquet. Needed are `signal` and `value` (in Parquet the
/// columns of the kinds, such as `double_value`); `kind`, `event_time`, `quality`, `source`, `attributes` and
/// `trace_context` may be there; `offset` and `ingest_time` are read over. Without `kind` it is guessed, as by `put`.
///
/// Run again on the same file, known by its name and content, it goes on where it stopped: no event of it gets
/// into the log twice, whatever was killed meanwhile. Under another name it is another file, and so is one that
/// was exported from the very same log: its events are appended beside those that are there.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  downlink import day.csv
  downlink import day.jsonl.zst --bad-lines skip
  downlink import day.parquet
  downlink --url http://other:50051 export --format jsonl | downlink import --format jsonl -")]
pub(super) struct Import {
    /// The file, or - for standard input, which cannot be gone on with.
    file: PathBuf,
    /// The format. By default what the file's name says.
    #[arg(long, value_enum)]
    format: Option<FileFormat>,
    /// What to do about lines, or rows, that make no sense.
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
    /// Apache Parquet.
    Parquet,
}

/// What to do about lines that make no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum BadLines {
    /// Stop there; what came before is kept.
    Fail,
    /// Leave them out, and say how many.
    Skip,
}

impl Import {
    pub(super) async fn run(&self, context: &Context) -> anyhow::Result<()> {
        let path = self.file.display().to_string();
        let format = self.format.or_else(|| format_of(&path)).with_context(|| {
            format!("{path} is neither .csv, .jsonl nor .parquet by its name: give --format")
        })?;
        let options = AppenderOptions {
            producer_epoch: self.epoch,
            retry_for: Duration::from_secs(self.retry_seconds),
            ..AppenderOptions::new(self.producer_id()?)
        };
        let mut events = self.events(format).with_context(|| path.clone())?;
        let client = context.connect_to_retry_for(options.retry_for).await?;
        let mut appender = client.appender(options).await?;
        let resumed = appender.resume_point().durable_events;

        let (sender, mut chunks) = mpsc::channel(CHUNKS_AHEAD);
        let bad_lines = self.bad_lines;
        let on_bad = move |error: anyhow::Error| match bad_lines {
            BadLines::Fail => Err(anyhow!("{error:#}; what came before it is in the log")),
            BadLines::Skip => {
                eprintln!("downlink: skipped: {error:#}");
                Ok(())
            }
        };
        let reading =
            tokio::task::spawn_blocking(move || read_ahead(|| events.next(), resumed, on_bad, &sender));
        let (start, bar) = (Instant::now(), progress()?);
        while let Some(chunk) = chunks.recv().await {
            let Chunk::Next(events) = chunk else { continue };
            bar.inc(events.len() as u64);
            for event in &events {
                appender.append(event).await?;
            }
        }
        let totals = appender.finish().await?;
        bar.finish_and_clear();
        let seen = reading.await.context("the reading thread panicked")?.with_context(|| path.clone())?;
        Summary { file: path, totals, resumed, seen, took: start.elapsed() }.print(context.format)
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

    fn events(&self, format: FileFormat) -> anyhow::Result<Events> {
        let is_standard_input = self.file.as_os_str() == "-";
        let input = || match is_standard_input {
            true => decompressed(io::stdin()),
            false => decompressed(File::open(&self.file)?),
        };
        match format {
            FileFormat::Csv => Events::csv(input()?),
            FileFormat::Jsonl => Ok(Events::jsonl(input()?)),
            FileFormat::Parquet => {
                ensure!(
                    !is_standard_input,
                    "Parquet is read from its end, which a pipe has not: give a file"
                );
                Events::parquet(File::open(&self.file)?)
            }
        }
    }
}

/// The format that a file's name tells.
fn format_of(path: &str) -> Option<FileFormat> {
    let name = path.strip_suffix(".zst").unwrap_or(path);
    match name.rsplit_once('.')?.1 {
        "csv" => Some(FileFormat::Csv),
        "jsonl" | "ndjson" | "json" => Some(FileFormat::Jsonl),
        "parquet" => Some(FileFormat::Parquet),
        _ => None,
    }
}

fn progress() -> anyhow::Result<ProgressBar> {
    if !io::stderr().is_terminal() {
        return Ok(ProgressBar::hidden());
    }
    let style = ProgressStyle::with_template("{spinner} {human_pos} events, {per_sec}  {elapsed_precise}")?;
    Ok(ProgressBar::new_spinner().with_style(style))
}
