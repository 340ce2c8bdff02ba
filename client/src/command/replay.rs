//! Replays a recording: a thread reads and parses ahead, the appender sends, and a bar shows how far it is.

use std::fs::File;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use downlink_client::append::{AppenderOptions, Progress, Totals};
use downlink_client::iss::recording::{BadRow, Recording, Row, lines};
use downlink_client::iss::time::year_of_file_name;
use downlink_client::v1::{Event, Position, ReadRequest, Value, position::At, read_response::Frame};
use downlink_client::{Appender, Client, Encoding, Timestamp};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::output::{Printer, grouped};
use super::source_file::{checksum, rewound};
use super::{Context, Format};

const CHUNK_ROWS: usize = 1000;
const CHUNKS_AHEAD: usize = 8;
const BAD_ROWS_SHOWN: usize = 5;

/// Replays a recording of the public feed into the log.
///
/// The recording is CSV, plain or zstd, with the columns timestamp_hours, pui and value, wherever they stand. Run
/// again, it goes on where it stopped: no event gets into the log twice, whatever was killed meanwhile.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  downlink feed replay 2018-10-12_full_day.csv.zst --speed max --prefix iss/
  downlink feed replay urine_tank_2018-10-12.csv --year 2018 --speed 60")]
pub(super) struct Replay {
    /// The recording.
    file: PathBuf,
    /// How fast: a factor on the original pace, or max for as fast as possible.
    #[arg(long, value_name = "max|N", default_value = "1")]
    speed: Speed,
    /// What the signals' names begin with.
    #[arg(long, default_value = "")]
    prefix: String,
    /// The year of the recording. By default the one that the file's name begins with.
    #[arg(long, value_parser = clap::value_parser!(i32).range(1..=9998))]
    year: Option<i32>,
    /// A number from 1 replays the whole file again, as new events.
    #[arg(long, value_name = "N", default_value_t = 0)]
    epoch: u64,
    /// For how long to try again when the server is gone.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    retry_seconds: u64,
}

/// The pace of a replay.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Speed {
    /// As fast as possible.
    Max,
    /// So many times the original pace.
    Times(f64),
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self::Max);
        }
        let times = text.parse().ok().filter(|times: &f64| times.is_finite() && *times > 0.0);
        times.map(Self::Times).ok_or_else(|| "give 'max' or a number above 0".to_owned())
    }
}

/// Replays the recording that the arguments name.
pub(super) async fn run(replay: &Replay, context: &Context) -> anyhow::Result<()> {
    let name = replay.file.file_name().and_then(|name| name.to_str());
    let name = name.with_context(|| format!("{} is not a file's name", replay.file.display()))?;
    let path = replay.file.display().to_string();
    let file = File::open(&replay.file).with_context(|| path.clone())?;
    let checksum = checksum(&file).with_context(|| path.clone())?;
    ensure!(file.metadata()?.len() > 0, "{path} is empty");
    let Some(year) = replay.year.or_else(|| year_of_file_name(name)) else {
        bail!("{path} does not say its year: its name does not begin with one; give --year");
    };
    let bar = progress_bar(&file).with_context(|| path.clone())?;
    let recording = Recording::open(rewound(&file)?, year, &replay.prefix).with_context(|| path.clone())?;
    let source = format!("replay/{name}");
    let options = AppenderOptions {
        producer_epoch: replay.epoch,
        retry_for: Duration::from_secs(replay.retry_seconds),
        encoding: Encoding::Columns,
        ..AppenderOptions::new(format!("{source}/{checksum:08x}/{}", replay.prefix))
    };
    let client = context.connect_to_retry_for(options.retry_for).await?;
    let appender = client.appender(options).await?;
    let resumed = appender.resume_point().durable_events;

    let (sender, chunks) = mpsc::channel(CHUNKS_AHEAD);
    let reading = tokio::task::spawn_blocking(move || read_ahead(recording, resumed, &sender));
    let start = Instant::now();
    let sending = Sending { client, appender, bar: bar.clone(), speed: replay.speed, source };
    let totals = sending.run(chunks).await;
    // A reader that failed ends the chunks early: its error comes first.
    let read = reading.await.context("the reading thread panicked")?.with_context(|| path.clone())?;
    let totals = totals?;
    bar.finish_and_clear();
    ensure!(
        read.good >= resumed,
        "{path}: the log has {resumed} events of this recording, which has only {}; give --epoch to replay it anew",
        read.good
    );
    let summary = Summary { name, totals, resumed, read, seconds: start.elapsed().as_secs_f64() };
    summary.print(context.format)
}

/// How many of the recording's rows are on disk, on standard error; nowhere if that is not a terminal.
fn progress_bar(file: &File) -> anyhow::Result<ProgressBar> {
    if !std::io::stderr().is_terminal() {
        return Ok(ProgressBar::hidden());
    }
    let style = ProgressStyle::with_template("{bar:40} {percent:>3} %  {elapsed_precise}  {msg}")?;
    let rows = lines(rewound(file)?)?.saturating_sub(1);
    Ok(ProgressBar::new(rows).with_style(style))
}

/// What the reading thread hands over.
enum Chunk {
    /// The last of the rows that the log has already.
    Resumed(Row),
    /// Rows to send.
    Rows(Vec<Row>),
}

/// What the reading thread has seen.
#[derive(Debug, Default)]
struct RowsRead {
    good: u64,
    bad: u64,
    bad_shown: Vec<BadRow>,
}

/// Reads to the end, or until nobody takes the chunks any more.
fn read_ahead(
    mut recording: Recording,
    resumed: u64,
    chunks: &mpsc::Sender<Chunk>,
) -> anyhow::Result<RowsRead> {
    let (mut read, mut rows) = (RowsRead::default(), Vec::with_capacity(CHUNK_ROWS));
    while let Some(row) = recording.next_row()? {
        let row = match row {
            Ok(row) => row,
            Err(bad) => {
                read.bad += 1;
                if read.bad_shown.len() < BAD_ROWS_SHOWN {
                    read.bad_shown.push(bad);
                }
                continue;
            }
        };
        read.good += 1;
        let chunk = if read.good == resumed {
            Chunk::Resumed(row)
        } else if read.good > resumed {
            rows.push(row);
            if rows.len() < CHUNK_ROWS {
                continue;
            }
            Chunk::Rows(std::mem::replace(&mut rows, Vec::with_capacity(CHUNK_ROWS)))
        } else {
            continue;
        };
        if chunks.blocking_send(chunk).is_err() {
            return Ok(read);
        }
    }
    // Nobody there means that sending has failed, which says so itself.
    let _ = chunks.blocking_send(Chunk::Rows(rows));
    Ok(read)
}

struct Sending {
    client: Client,
    appender: Appender,
    bar: ProgressBar,
    speed: Speed,
    source: String,
}

impl Sending {
    async fn run(mut self, mut chunks: mpsc::Receiver<Chunk>) -> anyhow::Result<Totals> {
        let notices = announce_outages(self.appender.progress(), self.bar.clone());
        let start = Instant::now();
        let mut pace = None;
        let mut event = Event { source: self.source.clone(), ..Event::default() };
        let mut sent = 0;
        while let Some(chunk) = chunks.recv().await {
            let rows = match chunk {
                Chunk::Resumed(row) => {
                    self.check_resumed(&row).await?;
                    continue;
                }
                Chunk::Rows(rows) => rows,
            };
            sent += rows.len() as u64;
            for row in rows {
                if let Speed::Times(times) = self.speed {
                    pace.get_or_insert_with(|| Pace::new(&row.event_time, times)).wait(&row.event_time).await;
                }
                event.signal.clear();
                event.signal.push_str(&row.signal);
                event.event_time = Some(row.event_time);
                event.value = Some(Value { kind: Some(row.value) });
                self.appender.append(&event).await?;
            }
            let rate = sent as f64 / start.elapsed().as_secs_f64();
            self.bar.set_position(self.appender.resume_point().durable_events + self.durable_events());
            self.bar.set_message(format!("{} events, {}/s", grouped(sent), grouped(rate as u64)));
        }
        let totals = self.appender.finish().await?;
        notices.abort();
        Ok(totals)
    }

    fn durable_events(&self) -> u64 {
        self.appender.progress().borrow().totals.durable_events
    }

    /// Makes sure that the log's last event of this producer is the row that it should be: if batches were
    /// refused earlier, counting rows would go wrong.
    async fn check_resumed(&self, row: &Row) -> anyhow::Result<()> {
        let offset = self.appender.resume_point().last_offset;
        let place = |offset| Some(Position { at: Some(At::Offset(offset)) });
        let request = ReadRequest { start: place(offset), end: place(offset + 1), ..ReadRequest::default() };
        let mut replay = self.client.read(request).await?;
        while let Some(frame) = replay.next().await? {
            let Frame::Events(batch) = frame else { continue };
            for event in batch.events {
                let value = event.value.and_then(|value| value.kind);
                ensure!(
                    event.signal == *row.signal
                        && event.event_time == Some(row.event_time)
                        && value.as_ref() == Some(&row.value),
                    "the log's event {offset} is not the row of the recording where it should go on; \
                     give --epoch to replay it anew"
                );
            }
        }
        Ok(())
    }
}

/// The original pace, times a factor.
struct Pace {
    start: Instant,
    first: Timestamp,
    times: f64,
}

impl Pace {
    fn new(first: &Timestamp, times: f64) -> Self {
        Self { start: Instant::now(), first: *first, times }
    }

    async fn wait(&self, time: &Timestamp) {
        let seconds = (time.seconds - self.first.seconds) as f64;
        let nanos = f64::from(time.nanos - self.first.nanos);
        let delay = Duration::try_from_secs_f64((seconds + nanos / 1e9) / self.times).unwrap_or_default();
        let due = self.start + delay;
        // A late row, or one that is due now, is sent without a pause.
        if due > Instant::now() + Duration::from_millis(1) {
            tokio::time::sleep_until(due).await;
        }
    }
}

/// Says once when the connection is lost. The task "notices" ends with the appender.
fn announce_outages(mut progress: watch::Receiver<Progress>, bar: ProgressBar) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            let lost = progress.wait_for(|progress| progress.disconnected.is_some()).await;
            let Some(reason) = lost.ok().and_then(|progress| progress.disconnected.clone()) else { return };
            bar.suspend(|| eprintln!("downlink: {reason}; trying again by itself"));
            if progress.wait_for(|progress| progress.disconnected.is_none()).await.is_err() {
                return;
            }
        }
    })
}

struct Summary<'a> {
    name: &'a str,
    totals: Totals,
    resumed: u64,
    read: RowsRead,
    seconds: f64,
}

impl Summary<'_> {
    fn print(&self, format: Format) -> anyhow::Result<()> {
        let sent = self.totals.durable_events;
        let rate = sent as f64 / self.seconds;
        for bad in &self.read.bad_shown {
            eprintln!("downlink: skipped {bad}");
        }
        let mut printer = Printer::new(format);
        match format {
            Format::Json => printer.json(&json!({
                "file": self.name,
                "events_sent": sent,
                "events_resumed": self.resumed,
                "rejected_rows": self.read.bad,
                "already_complete": sent == 0,
                "seconds": self.seconds,
                "events_per_second": rate.round(),
                "reconnects": self.totals.reconnects,
                "last_offset": self.totals.last_offset,
            }))?,
            Format::Human if sent == 0 => {
                let resumed = grouped(self.resumed);
                printer.text(&format!("all {resumed} events of {} are in the log already\n", self.name))?;
            }
            Format::Human => printer.text(&format!(
                "{} events sent in {:.1} s ({}/s), {} were there already, {} rows skipped\n",
                grouped(sent),
                self.seconds,
                grouped(rate as u64),
                grouped(self.resumed),
                grouped(self.read.bad)
            ))?,
        }
        Ok(printer.flush()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_max_or_a_factor() {
        assert_eq!("max".parse(), Ok(Speed::Max));
        assert_eq!("0.5".parse(), Ok(Speed::Times(0.5)));
        for text in ["0", "-1", "inf", "nan", "fast"] {
            assert!(text.parse::<Speed>().is_err(), "{text}");
        }
    }
}
