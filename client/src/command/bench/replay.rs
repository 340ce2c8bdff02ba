//! `downlink bench replay`: how many events a second one reader gets.

use std::time::Instant;

use anyhow::{bail, ensure};
use clap::Args;
use downlink_client::Encoding;
use downlink_client::v1::{self, EventBatch, Filter, ReadRequest, read_response::Frame};
use serde_json::json;

use super::surroundings::Surroundings;
use super::{conditions, median, report};
use crate::command::encoding::EncodingWord;
use crate::command::output::{Printer, grouped};
use crate::command::{Context, Format};

/// Reads the whole log, or some of its signals, as fast as it comes, decoded into events or into arrays of them, and
/// prints events a second.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  downlink bench replay --encoding columns --runs 5 --output json
  downlink bench replay iss/NODE3000005 --runs 20")]
pub(in crate::command) struct Replay {
    /// Names or globs. Unset: all signals.
    #[arg(value_name = "SIGNAL")]
    signals: Vec<String>,
    /// How often to measure.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
    /// How the events travel.
    #[arg(long, value_enum, default_value_t = EncodingWord::Rows)]
    encoding: EncodingWord,
    /// Events in a message, at most; 0: as the server likes.
    #[arg(long, value_name = "N", default_value_t = 0)]
    batch: u32,
    #[command(flatten)]
    surroundings: Surroundings,
}

impl Replay {
    pub(in crate::command) async fn run(&self, context: &Context) -> anyhow::Result<()> {
        let client = context.connect().await?;
        let mut printer = Printer::new(context.format);
        let (mut rates, mut durations, mut events) = (vec![], vec![], 0_u64);
        let disk = self.surroundings.disk()?;
        let (usage, begun) = (self.surroundings.usage()?, Instant::now());
        for run in 1..=self.runs {
            let start = Instant::now();
            let before = std::mem::take(&mut events);
            let encoding = v1::Encoding::from(Encoding::from(self.encoding)).into();
            let filter = Some(Filter { signals: self.signals.clone(), ..Filter::default() });
            let request =
                ReadRequest { filter, encoding, max_batch_events: self.batch, ..ReadRequest::default() };
            let mut replay = client.read_raw(request).await?;
            while let Some(frame) = replay.next().await? {
                match frame {
                    Frame::Events(batch) => events += count(&batch),
                    Frame::Gap(gap) => {
                        bail!("events {} to {} are missing", gap.first_offset, gap.last_offset)
                    }
                    Frame::End(_) => break,
                }
            }
            ensure!(events > 0, "there is nothing to read");
            ensure!(
                run == 1 || events == before,
                "the log has grown from {before} to {events} events: does anybody append?"
            );
            let seconds = start.elapsed().as_secs_f64();
            let rate = events as f64 / seconds;
            durations.push(seconds * 1e3);
            if context.format == Format::Human {
                printer.text(&format!("run {run}: {} events/s\n", grouped(rate as u64)))?;
                printer.flush()?;
            }
            rates.push(rate);
        }
        let server = self.surroundings.used_since(usage, begun.elapsed().as_secs_f64())?;
        let info = client.info().await?;
        let report = json!({
            "bench": "replay",
            "events_per_second": median(rates.clone()).round(),
            "runs_events_per_second": rates.iter().map(|rate| rate.round()).collect::<Vec<_>>(),
            "replay_ms": median(durations),
            "fdatasync_4k_ms": disk,
            "bytes_on_disk_per_event": info.bytes_on_disk as f64 / info.head_offset.saturating_sub(1).max(1) as f64,
            "server": server,
            "conditions": {
                "machine": conditions::machine(),
                "signals": self.signals,
                "events_per_run": events,
                "encoding": self.encoding.as_str(),
                "batch_events": self.batch,
                "readers": 1,
                "server_version": info.server_version,
                "server_url": client.url(),
            },
        });
        report::print(&mut printer, context.format, &report)
    }
}

/// How many events there are in a message.
pub(super) fn count(batch: &EventBatch) -> u64 {
    let in_columns = batch.columns.as_ref().map_or(0, |columns| columns.signal_indexes.len());
    (batch.events.len() + in_columns) as u64
}
