//! `downlink bench ingest`: how many events a second get to disk over one stream.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use downlink_client::Client;
use downlink_client::append::{AppendStream, BatchBuilder};
use downlink_client::v1::append_stream_request::Open;
use downlink_client::v1::append_stream_response::Message;
use hdrhistogram::Histogram;
use serde_json::json;

use super::load::Load;
use super::mirror::Mirror;
use super::pace::Turns;
use super::readers::Readers;
use super::surroundings::Surroundings;
use super::{conditions, median, report};
use crate::command::encoding::EncodingWord;
use crate::command::length::parse_length;
use crate::command::output::{Printer, grouped};
use crate::command::{Context, Format};

/// Longer than any run.
const FOR_EVER: Duration = Duration::from_secs(86_400 * 365);

/// Appends telemetry over one stream, and prints events a second.
///
/// As fast as it is acknowledged; with --rate batches are due at that pace, and an acknowledgement is measured from when
/// its batch was due, so what waits behind a slow one counts as slow too. The telemetry is in memory before the clock
/// starts; encoding it is timed. Acknowledged means on disk; the head of the log must have moved by as many events, so
/// nobody else may append meanwhile. Each run is a new producer: its events stay in the log.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  downlink bench ingest --file 2018-10-12_full_day.csv.zst
  downlink bench ingest --file 2018-10-12_full_day.csv.zst --runs 30 --shift 1d
  downlink bench ingest --encoding columns --disk-dir data
  downlink bench ingest --rate 500000
  downlink bench ingest --readers 10
  downlink bench ingest --mirror
  downlink bench ingest --events 1000000 --signals 150 --output json")]
pub(in crate::command) struct Ingest {
    /// A recording to send, as `feed replay` takes it. Made-up telemetry by default.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["events", "signals"])]
    file: Option<PathBuf>,
    /// How many events to make up.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = at_least_one())]
    events: u64,
    /// Of how many signals.
    #[arg(long, value_name = "N", default_value_t = 147, value_parser = at_least_one())]
    signals: u64,
    /// Events in a batch.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = at_least_one())]
    batch: u64,
    /// Batches in flight.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = at_least_one())]
    window: u64,
    /// How the events travel.
    #[arg(long, value_enum, default_value_t = EncodingWord::Rows)]
    encoding: EncodingWord,
    /// How often to measure.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = at_least_one())]
    runs: u64,
    /// How much later the events of each run are than those of the run before: `1d` makes a month of a day.
    #[arg(long, value_name = "LENGTH", value_parser = parse_length, default_value = "0s")]
    shift: Duration,
    /// Events a second. Unset: as many as are acknowledged.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    rate: Option<u32>,
    /// Readers that replay the log from its start meanwhile, each with a connection of its own.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=1_000))]
    readers: u32,
    /// Also measure how far the server's mirror lags behind, and wait until it has everything.
    #[arg(long)]
    mirror: bool,
    #[command(flatten)]
    surroundings: Surroundings,
}

fn at_least_one() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(1..=1_000_000_000)
}

impl Ingest {
    pub(in crate::command) async fn run(&self, context: &Context) -> anyhow::Result<()> {
        let client = context.connect().await?;
        let mut load = match &self.file {
            Some(path) => Load::of_file(path)?,
            None => Load::synthetic(self.events as usize, self.signals as usize),
        };
        ensure!(load.events() > 0, "there is nothing to send");
        let disk = self.surroundings.disk()?;
        let readers = Readers::start(&context.url, self.readers).await?;
        let mirror = if self.mirror { Mirror::watch(&client).await? } else { Mirror::unwatched() };
        let (before, usage, start) = (client.info().await?, self.surroundings.usage()?, Instant::now());
        let mut ack_times = conditions::times()?;
        let mut printer = Printer::new(context.format);
        let mut rates = vec![];
        for run in 1..=self.runs {
            ensure!(run == 1 || load.shift(self.shift), "--shift leads beyond the year 9999");
            let rate = self.send(&client, &mut load, &mut ack_times).await?;
            if context.format == Format::Human {
                printer.text(&format!("run {run}: {} events/s\n", grouped(rate as u64)))?;
                printer.flush()?;
            }
            rates.push(rate);
        }
        let seconds = start.elapsed().as_secs_f64();
        let server = self.surroundings.used_since(usage, seconds)?;
        let replayed = readers.stop().await?;
        let after = client.info().await?;
        let mirrored = mirror.caught_up(before.head_offset..after.head_offset).await?;
        let events = load.events() as u64 * self.runs;
        let moved = after.head_offset - before.head_offset - mirrored.own_events();
        ensure!(
            moved == events,
            "{events} events were acknowledged, but the log's head moved by {moved}: does anybody else append?"
        );
        let per_event = |before: u64, after: u64| (after as f64 - before as f64) / events as f64;
        let report = json!({
            "bench": "ingest",
            "events_per_second": median(rates.clone()).round(),
            "runs_events_per_second": rates.iter().map(|rate| rate.round()).collect::<Vec<_>>(),
            "acknowledged_events": events,
            "readers_events_per_second": (replayed as f64 / seconds).round(),
            "mirror": mirrored.report(),
            "acknowledgement_ms": conditions::percentiles(&ack_times),
            "fdatasync_4k_ms": disk,
            "bytes_on_disk_per_event": per_event(before.bytes_on_disk, after.bytes_on_disk),
            "payload_bytes_per_event": per_event(before.payload_bytes, after.payload_bytes),
            "server": server,
            "conditions": {
                "machine": conditions::machine(),
                "load": self.file.as_ref().map_or("made up".to_owned(), |path| path.display().to_string()),
                "events_per_run": load.events(),
                "shift_per_run": humantime::format_duration(self.shift).to_string(),
                "signals": load.signals(),
                "encoding": self.encoding.as_str(),
                "batch_events": self.batch,
                "window_batches": self.window,
                "streams": 1,
                "readers": self.readers,
                "rate_per_second": self.rate,
                "measured_from": if self.rate.is_some() { "when the batch was due" } else { "when it was sent" },
                "sync": conditions::SYNC,
                "server_version": after.server_version,
                "server_url": client.url(),
            },
        });
        report::print(&mut printer, context.format, &report)
    }

    /// Sends everything once. Gives events a second, from the first batch to the last acknowledgement.
    async fn send(
        &self,
        client: &Client,
        load: &mut Load,
        times: &mut Histogram<u64>,
    ) -> anyhow::Result<f64> {
        let producer_id = format!("bench/{}", uuid::Uuid::new_v4());
        let open = Open { producer_id, ..Open::default() };
        let (mut stream, opened) = AppendStream::open(client, open, self.window as usize).await?;
        let batch_events = (self.batch as usize).min(match opened.max_batch_events {
            0 => usize::MAX,
            limit => limit as usize,
        });
        let mut turns = self.turns(load.events(), batch_events);
        let (mut builder, mut in_flight) = (BatchBuilder::default(), VecDeque::new());
        let (mut next, mut sequence, mut settled, mut acknowledged) = (0, 0, 0, 0);
        let start = Instant::now();
        while next < load.events() || !in_flight.is_empty() {
            tokio::select! {
                biased;
                due = turns.next(), if next < load.events() && in_flight.len() < self.window as usize => {
                    let batch = match self.encoding {
                        EncodingWord::Rows => load.encode(next, batch_events, &mut builder),
                        EncodingWord::Columns => load.columns(next, batch_events),
                    };
                    next += batch.len();
                    sequence += 1;
                    in_flight.push_back((due.context("a batch without a turn")?, batch.len()));
                    // False if the stream has ended: its last answer says why.
                    stream.try_send(sequence, batch);
                }
                answer = stream.next(), if !in_flight.is_empty() => {
                    let through = acknowledgement(answer?)?;
                    let now = Instant::now();
                    while settled < through {
                        settled += 1;
                        let (due, events) = in_flight.pop_front().context("an acknowledgement of nothing")?;
                        times.saturating_record(now.duration_since(due).as_micros() as u64);
                        acknowledged += events;
                    }
                }
            }
        }
        ensure!(acknowledged == load.events(), "{acknowledged} of {} events acknowledged", load.events());
        Ok(load.events() as f64 / start.elapsed().as_secs_f64())
    }

    /// When each batch is due.
    fn turns(&self, events: usize, batch_events: usize) -> Turns {
        let batches = events.div_ceil(batch_events) as f64;
        let rate = self.rate.map(|rate| f64::from(rate) / batch_events as f64);
        // A turn too many is not taken.
        let lasting = rate.map_or(FOR_EVER, |rate| Duration::from_secs_f64((batches + 1.0) / rate));
        Turns::deal(1, rate, lasting).remove(0)
    }
}

/// Up to which sequence everything is on disk, if that is what the server says.
fn acknowledgement(answer: Option<Message>) -> anyhow::Result<u64> {
    match answer.context("the server ended the stream in the middle")? {
        Message::Ack(ack) => {
            ensure!(!ack.duplicate, "batch {} was in the log already", ack.through_sequence);
            Ok(ack.through_sequence)
        }
        Message::Reject(reject) => {
            bail!("a batch was refused: {}", reject.problem.unwrap_or_default().message)
        }
        Message::Opened(_) | Message::Draining(_) => bail!("the server is about to stop"),
    }
}
