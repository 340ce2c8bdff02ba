//! `downlink bench ingest`: how many events a second get to disk over one stream.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use downlink_client::Client;
use downlink_client::append::{AppendStream, BatchBuilder};
use downlink_client::v1::append_stream_request::Open;
use downlink_client::v1::append_stream_response::Message;
use hdrhistogram::Histogram;
use serde_json::{Value as Json, json};

use super::load::Load;
use super::{conditions, median};
use crate::command::encoding::EncodingWord;
use crate::command::output::{Printer, grouped};
use crate::command::{Context, Format};

/// Appends telemetry over one stream, as fast as it is acknowledged, and prints events a second.
///
/// The telemetry is in memory before the clock starts; encoding it is timed. Acknowledged means on disk. Each run is
/// a new producer: its events stay in the log.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  downlink bench ingest --file 2018-10-12_full_day.csv.zst
  downlink bench ingest --encoding columns
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
    /// Where to measure the disk's fdatasync: give a directory on the server's disk.
    #[arg(long, value_name = "DIR")]
    disk_dir: Option<PathBuf>,
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
        let disk_dir = self.disk_dir.clone().unwrap_or_else(std::env::temp_dir);
        let sync_times = conditions::sync_times(&disk_dir)?;
        let before = client.info().await?;
        let mut ack_times = conditions::times()?;
        let mut printer = Printer::new(context.format);
        let mut rates = vec![];
        for run in 1..=self.runs {
            let rate = self.send(&client, &mut load, &mut ack_times).await?;
            if context.format == Format::Human {
                printer.text(&format!("run {run}: {} events/s\n", grouped(rate as u64)))?;
                printer.flush()?;
            }
            rates.push(rate);
        }
        let after = client.info().await?;
        let events = (load.events() as u64 * self.runs) as f64;
        let per_event = |before: u64, after: u64| (after as f64 - before as f64) / events;
        let report = json!({
            "bench": "ingest",
            "events_per_second": median(rates.clone()).round(),
            "runs_events_per_second": rates.iter().map(|rate| rate.round()).collect::<Vec<_>>(),
            "acknowledgement_ms": conditions::percentiles(&ack_times),
            "fdatasync_4k_ms": conditions::percentiles(&sync_times),
            "bytes_on_disk_per_event": per_event(before.bytes_on_disk, after.bytes_on_disk),
            "payload_bytes_per_event": per_event(before.payload_bytes, after.payload_bytes),
            "conditions": {
                "machine": conditions::machine(),
                "load": self.file.as_ref().map_or("made up".to_owned(), |path| path.display().to_string()),
                "events_per_run": load.events(),
                "signals": load.signals(),
                "encoding": self.encoding.as_str(),
                "batch_events": self.batch,
                "window_batches": self.window,
                "streams": 1,
                "sync": "fdatasync of every group commit before its acknowledgement",
                "fdatasync_measured_in": disk_dir.display().to_string(),
                "server_version": after.server_version,
                "server_url": client.url(),
            },
        });
        match context.format {
            Format::Human => printer.text(&text(&report))?,
            Format::Json => printer.json(&report)?,
        }
        Ok(printer.flush()?)
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
        let (mut builder, mut sent_at) = (BatchBuilder::default(), VecDeque::new());
        let (mut next, mut sequence, mut settled) = (0, 0, 0);
        let start = Instant::now();
        while next < load.events() || !sent_at.is_empty() {
            while next < load.events() && sent_at.len() < self.window as usize {
                let batch = match self.encoding {
                    EncodingWord::Rows => load.encode(next, batch_events, &mut builder),
                    EncodingWord::Columns => load.columns(next, batch_events),
                };
                next += batch.len();
                sequence += 1;
                sent_at.push_back(Instant::now());
                if !stream.try_send(sequence, batch) {
                    // The stream has ended: its last answer says why.
                    break;
                }
            }
            match stream.next().await?.context("the server ended the stream in the middle")? {
                Message::Ack(ack) => {
                    let now = Instant::now();
                    while settled < ack.through_sequence {
                        settled += 1;
                        let sent = sent_at.pop_front().context("an acknowledgement of nothing")?;
                        times.saturating_record(now.duration_since(sent).as_micros() as u64);
                    }
                }
                Message::Reject(reject) => {
                    bail!("a batch was refused: {}", reject.problem.unwrap_or_default().message)
                }
                Message::Opened(_) | Message::Draining(_) => bail!("the server is about to stop"),
            }
        }
        Ok(load.events() as f64 / start.elapsed().as_secs_f64())
    }
}

fn text(report: &Json) -> String {
    let number = |pointer: &str| report.pointer(pointer).and_then(Json::as_f64).unwrap_or_default();
    let times = |name: &str| {
        let at = |quantile: &str| number(&format!("/{name}/{quantile}"));
        format!("p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms", at("p50"), at("p99"), at("max"))
    };
    let condition = |name: &str| match report.pointer(&format!("/conditions/{name}")) {
        Some(Json::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    format!(
        "median           {} events/s\n\
         acknowledgement  {}\n\
         fdatasync 4 KiB  {}  ({})\n\
         on disk          {:.2} bytes/event, {:.2} of them payload\n\
         machine          {}, {} cores, Linux {}\n\
         conditions       {} events of {} signals a run, {} of {}, {} in flight, one stream, fdatasync before \
         acknowledgement, server {}\n",
        grouped(number("/events_per_second") as u64),
        times("acknowledgement_ms"),
        times("fdatasync_4k_ms"),
        condition("fdatasync_measured_in"),
        number("/bytes_on_disk_per_event"),
        number("/payload_bytes_per_event"),
        condition("machine/cpu"),
        condition("machine/cores"),
        condition("machine/kernel"),
        condition("events_per_run"),
        condition("signals"),
        condition("encoding"),
        condition("batch_events"),
        condition("window_batches"),
        condition("server_version"),
    )
}
