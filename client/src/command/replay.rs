//! Replays a recording: a thread reads and parses ahead, the appender sends, and a bar shows how far it is.

use std::fs::File;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use downlink_client::append::{AppenderOptions, Progress, Totals};
use downlink_client::iss::recording::{BadRow, Recording, Row, lines};
use downlink_client::iss::time::year_of_file_name;
use downlink_client::v1::{Event, Position, ReadRequest, Value, position::At, read_response::Frame};
use downlink_client::{Appender, Client, Encoding, Timestamp};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Context;
use super::file_transfer::{CHUNKS_AHEAD, Chunk, Summary, read_ahead};
use super::output::grouped;
use super::source_file::{checksum, rewound};
use super::speed::Speed;

/// Rows that make no sense are named up to so many, and counted.
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
    let mut recording =
        Recording::open(rewound(&file)?, year, &replay.prefix).with_context(|| path.clone())?;
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
    let mut shown = 0;
    let on_bad = move |bad: BadRow| {
        shown += 1;
        if shown <= BAD_ROWS_SHOWN {
            eprintln!("downlink: skipped {bad}");
        }
        Ok(())
    };
    let reading = tokio::task::spawn_blocking(move || {
        read_ahead(|| Ok(recording.next_row()?), resumed, on_bad, &sender)
    });
    let start = Instant::now();
    let sending = Sending { client, appender, bar: bar.clone(), speed: replay.speed, source };
    let totals = sending.run(chunks).await;
    // A reader that failed ends the chunks early: its error comes first.
    let seen = reading.await.context("the reading thread panicked")?.with_context(|| path.clone())?;
    let totals = totals?;
    bar.finish_and_clear();
    Summary { file: path, totals, resumed, seen, took: start.elapsed() }.print(context.format)
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

struct Sending {
    client: Client,
    appender: Appender,
    bar: ProgressBar,
    speed: Speed,
    source: String,
}

impl Sending {
    async fn run(mut self, mut chunks: mpsc::Receiver<Chunk<Row>>) -> anyhow::Result<Totals> {
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
                Chunk::Next(rows) => rows,
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
