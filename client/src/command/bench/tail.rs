//! `downlink bench tail`: how long after an event was due its subscribers have it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use downlink_client::append::{AppendStream, BatchBuilder};
use downlink_client::v1::append_stream_request::Open;
use downlink_client::v1::append_stream_response::Message;
use downlink_client::v1::value::Kind;
use downlink_client::v1::{Event, Filter, SubscribeRequest, Value, subscribe_response::Frame};
use downlink_client::{Client, event};
use futures::StreamExt;
use hdrhistogram::Histogram;
use serde_json::json;
use tokio::task::JoinSet;

use super::pace::Turns;
use super::surroundings::Surroundings;
use super::{conditions, report};
use crate::command::Context;
use crate::command::output::Printer;

/// Batches sent and not yet acknowledged.
const WINDOW: usize = 256;
/// How long subscribers may take for what is left when the last event has been sent.
const PATIENCE: Duration = Duration::from_secs(30);

/// Appends events at a pace while subscribers follow, and prints how long each event took to arrive.
///
/// Measured from when an event was due to when its subscriber has it, decoded: sending, the disk's sync and delivery
/// are all in it. Every subscriber must get every event once, in order. The events stay in the log.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  downlink bench tail
  downlink bench tail --subscribers 100 --rate 5000 --batch 25 --disk-dir data")]
pub(in crate::command) struct Tail {
    /// Subscribers, each with a connection of its own.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    subscribers: u32,
    /// Events a second.
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    rate: u32,
    /// Events in a batch.
    #[arg(long, value_name = "N", default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    batch: u32,
    /// How long to measure.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,
    #[command(flatten)]
    surroundings: Surroundings,
}

impl Tail {
    pub(in crate::command) async fn run(&self, context: &Context) -> anyhow::Result<()> {
        let client = context.connect().await?;
        let disk = self.surroundings.disk()?;
        let batches = self.rate / self.batch * self.seconds;
        if batches == 0 {
            bail!("--rate, --batch and --seconds make no batch");
        }
        let signal = format!("bench/tail/{}", uuid::Uuid::new_v4());
        let zero = Instant::now();
        let mut followers = JoinSet::new();
        for _ in 0..self.subscribers {
            let client = context.connect().await?;
            let follower = Follower::begin(client, &signal, zero, u64::from(batches * self.batch)).await?;
            followers.spawn(follower.run());
        }
        let (before, usage) = (client.info().await?, self.surroundings.usage()?);
        let start = Instant::now();
        let rate = f64::from(self.rate) / f64::from(self.batch);
        let turns = Turns::deal(1, Some(rate), Duration::from_secs(u64::from(self.seconds))).remove(0);
        let ack_times = self.produce(&client, turns, &signal, zero).await?;
        let mut times = conditions::times()?;
        while let Some(follower) = tokio::time::timeout(PATIENCE, followers.join_next())
            .await
            .context("a subscriber lacks events")?
        {
            times.add(follower??)?;
        }
        let seconds = start.elapsed().as_secs_f64();
        let server = self.surroundings.used_since(usage, seconds)?;
        let after = client.info().await?;
        let (sent, moved) = (u64::from(batches * self.batch), after.head_offset - before.head_offset);
        ensure!(
            moved == sent,
            "{sent} events were acknowledged, but the log's head moved by {moved}: does anybody else append?"
        );
        let disk_at_pace =
            self.surroundings.disk_at_pace(after.commits.saturating_sub(before.commits), seconds)?;
        let report = json!({
            "bench": "tail",
            "delivery_ms": conditions::percentiles(&times),
            "acknowledgement_ms": conditions::percentiles(&ack_times),
            "fdatasync_4k_at_its_pace_ms": disk_at_pace,
            "fdatasync_4k_ms": disk,
            "delivered_events": times.len(),
            "bytes_on_disk_per_event": (after.bytes_on_disk as f64 - before.bytes_on_disk as f64) / sent as f64,
            "server": server,
            "conditions": {
                "machine": conditions::machine(),
                "subscribers": self.subscribers,
                "rate_per_second": self.rate,
                "batch_events": self.batch,
                "measured_from": "when the event was due",
                "seconds": self.seconds,
                "sync": conditions::SYNC,
                "server_version": after.server_version,
                "server_url": client.url(),
            },
        });
        report::print(&mut Printer::new(context.format), context.format, &report)
    }

    /// Appends a batch at each turn: how long the acknowledgements took.
    async fn produce(
        &self,
        client: &Client,
        mut turns: Turns,
        signal: &str,
        zero: Instant,
    ) -> anyhow::Result<Histogram<u64>> {
        let open = Open { producer_id: signal.to_owned(), ..Open::default() };
        let (mut stream, _) = AppendStream::open(client, open, WINDOW).await?;
        let (mut times, mut builder) = (conditions::times()?, BatchBuilder::default());
        let (mut sent, mut settled, mut due_times, mut is_over) = (0, 0, vec![], false);
        while !is_over || settled < sent {
            tokio::select! {
                turn = turns.next(), if !is_over && sent - settled < WINDOW as u64 => match turn {
                    Some(due) => {
                        let nanos = due.duration_since(zero).as_nanos() as i64;
                        let value = Some(Value { kind: Some(Kind::IntValue(nanos)) });
                        let event = Event { value, ..event(signal, 0.0) };
                        (0..self.batch).for_each(|_| builder.push(&event));
                        sent += 1;
                        due_times.push(due);
                        if !stream.try_send(sent, builder.take()) {
                            bail!("the server ended the stream");
                        }
                    }
                    None => is_over = true,
                },
                answer = stream.next() => match answer?.context("the server ended the stream")? {
                    Message::Ack(ack) => {
                        for due in &due_times[settled as usize..ack.through_sequence as usize] {
                            times.saturating_record(due.elapsed().as_micros() as u64);
                        }
                        settled = ack.through_sequence;
                    }
                    other @ (Message::Reject(_) | Message::Opened(_) | Message::Draining(_)) => {
                        bail!("not an acknowledgement: {other:?}")
                    }
                },
            }
        }
        Ok(times)
    }
}

/// One subscriber.
struct Follower {
    subscription: downlink_client::Subscription,
    zero: Instant,
    events: u64,
}

impl Follower {
    /// Subscribes to `signal` from now on; it will get so many events.
    async fn begin(client: Client, signal: &str, zero: Instant, events: u64) -> anyhow::Result<Self> {
        let filter = Some(Filter { signals: vec![signal.to_owned()], ..Filter::default() });
        let mut subscription =
            client.subscribe(SubscribeRequest { filter, ..SubscribeRequest::default() }).await?;
        let first = subscription.next().await.context("the subscription ended")??;
        ensure!(matches!(first.frame, Frame::Started(_)), "not the first frame: {first:?}");
        Ok(Self { subscription, zero, events })
    }

    /// Follows until it has everything: how long each event took.
    async fn run(mut self) -> anyhow::Result<Histogram<u64>> {
        let (mut times, mut last_offset) = (conditions::times()?, 0);
        while times.len() < self.events {
            let delivery = self.subscription.next().await.context("the subscription ended")??;
            let Frame::Events(batch) = delivery.frame else { continue };
            let now = self.zero.elapsed().as_nanos() as u64;
            for event in batch.events {
                ensure!(event.offset > last_offset, "offset {} after {last_offset}", event.offset);
                last_offset = event.offset;
                let Some(Kind::IntValue(due)) = event.value.and_then(|value| value.kind) else {
                    bail!("an event of somebody else");
                };
                times.saturating_record(now.saturating_sub(due.unsigned_abs()) / 1000);
            }
        }
        Ok(times)
    }
}
