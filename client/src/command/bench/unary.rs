//! `downlink bench unary`: single events, each acknowledged by itself, from many clients at once.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use downlink_client::append::{AppendStream, BatchBuilder};
use downlink_client::v1::append_stream_request::Open;
use downlink_client::v1::append_stream_response::Message;
use downlink_client::v1::{AppendRequest, Event};
use downlink_client::{Client, event};
use hdrhistogram::Histogram;
use serde_json::json;
use tokio::task::JoinSet;

use super::pace::Turns;
use super::surroundings::Surroundings;
use super::{conditions, report};
use crate::command::Context;
use crate::command::output::Printer;

/// Appends single events from many clients, each waiting for its acknowledgement, and prints how long that took.
///
/// With `--rate` events are due at that pace, and an acknowledgement is measured from when its event was due, not
/// from when it could be sent: what waits behind a slow one counts as slow too. Without, each client sends the next
/// event as soon as the one before is acknowledged. Acknowledged means on disk. The events stay in the log.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  downlink bench unary --clients 64
  downlink bench unary --clients 64 --connections 4
  downlink bench unary --clients 64 --streams --rate 20000 --disk-dir data")]
pub(in crate::command) struct Unary {
    /// Clients at once, each with one event in flight.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    clients: u32,
    /// Connections that the clients share, as those of one program do. Unset: each has one of its own.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: Option<u32>,
    /// An append stream for each client instead of a call for each event.
    #[arg(long)]
    streams: bool,
    /// Events a second over all clients. Unset: as many as are acknowledged.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    rate: Option<u32>,
    /// How long to measure.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,
    #[command(flatten)]
    surroundings: Surroundings,
}

impl Unary {
    pub(in crate::command) async fn run(&self, context: &Context) -> anyhow::Result<()> {
        let client = context.connect().await?;
        let connections = self.connections.unwrap_or(self.clients).min(self.clients);
        let mut shared = vec![];
        for _ in 0..connections {
            shared.push(context.connect().await?);
        }
        let mut workers = vec![];
        for (number, client) in (0..self.clients).zip(shared.iter().cycle()) {
            workers.push(Worker::begin(client.clone(), self.streams, number).await?);
        }
        let disk = self.surroundings.disk()?;
        let (before, usage) = (client.info().await?, self.surroundings.usage()?);
        let start = Instant::now();
        let lasting = Duration::from_secs(u64::from(self.seconds));
        let turns = Turns::deal(workers.len(), self.rate.map(f64::from), lasting);
        let mut running = JoinSet::new();
        for (worker, turns) in workers.into_iter().zip(turns) {
            running.spawn(worker.run(turns));
        }
        let mut times = conditions::times()?;
        while let Some(worker) = running.join_next().await {
            times.add(worker??)?;
        }
        let seconds = start.elapsed().as_secs_f64();
        let server = self.surroundings.used_since(usage, seconds)?;
        let after = client.info().await?;
        let (events, moved) = (times.len(), after.head_offset - before.head_offset);
        ensure!(
            moved == events,
            "{events} events were acknowledged, but the log's head moved by {moved}: does anybody else append?"
        );
        let commits = after.commits.saturating_sub(before.commits).max(1);
        let disk_at_pace = self.surroundings.disk_at_pace(commits, seconds)?;
        let report = json!({
            "bench": "unary",
            "events_per_second": (times.len() as f64 / seconds).round(),
            "acknowledgement_ms": conditions::percentiles(&times),
            "fdatasync_4k_ms": disk,
            "fdatasync_4k_at_its_pace_ms": disk_at_pace,
            "events_per_sync": events as f64 / commits as f64,
            "bytes_on_disk_per_event": (after.bytes_on_disk as f64 - before.bytes_on_disk as f64) / events.max(1) as f64,
            "server": server,
            "conditions": {
                "machine": conditions::machine(),
                "clients": self.clients,
                "connections": connections,
                "kind": if self.streams { "append streams, one event in flight each" } else { "unary calls" },
                "rate_per_second": self.rate,
                "measured_from": if self.rate.is_some() { "when the event was due" } else { "when it was sent" },
                "seconds": self.seconds,
                "sync": conditions::SYNC,
                "server_version": after.server_version,
                "server_url": client.url(),
            },
        });
        report::print(&mut Printer::new(context.format), context.format, &report)
    }
}

/// One client.
struct Worker {
    client: Client,
    stream: Option<AppendStream>,
    event: Event,
}

impl Worker {
    async fn begin(client: Client, is_stream: bool, number: u32) -> anyhow::Result<Self> {
        let open = Open { producer_id: format!("bench/{}", uuid::Uuid::new_v4()), ..Open::default() };
        let stream = if is_stream { Some(AppendStream::open(&client, open, 1).await?.0) } else { None };
        let event = Event { source: "bench".to_owned(), ..event(format!("bench/{number}"), 0.0) };
        Ok(Self { client, stream, event })
    }

    /// Takes its turns: how long each acknowledgement took.
    async fn run(mut self, mut turns: Turns) -> anyhow::Result<Histogram<u64>> {
        let (mut times, mut builder) = (conditions::times()?, BatchBuilder::default());
        let mut sequence = 0;
        while let Some(due) = turns.next().await {
            sequence += 1;
            self.event.value = event("", sequence as f64).value;
            match &mut self.stream {
                Some(stream) => {
                    builder.push(&self.event);
                    stream.try_send(sequence, builder.take());
                    match stream.next().await?.context("the server ended the stream")? {
                        Message::Ack(ack) if ack.through_sequence == sequence => {}
                        other @ (Message::Ack(_)
                        | Message::Reject(_)
                        | Message::Opened(_)
                        | Message::Draining(_)) => {
                            bail!("not the acknowledgement of batch {sequence}: {other:?}")
                        }
                    }
                }
                None => {
                    let events = vec![self.event.clone()];
                    self.client.append(AppendRequest { events, ..AppendRequest::default() }).await?;
                }
            }
            times.saturating_record(due.elapsed().as_micros() as u64);
        }
        Ok(times)
    }
}
