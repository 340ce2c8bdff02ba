//! The mirror beside a load: how long events wait for it, and how many it keeps of its own in the log.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use downlink_client::Client;
use downlink_client::v1::{Filter, Position, ReadRequest, position, read_response::Frame};
use hdrhistogram::Histogram;
use serde_json::{Value as Json, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::conditions;
use super::replay::count;

/// How often the server is asked how far its mirror is.
const POLL: Duration = Duration::from_millis(2);
/// How long the mirror may stand still.
const PATIENCE: Duration = Duration::from_secs(60);
/// The signal of the mirror's own checkpoints.
const CHECKPOINTS: &str = "_consumer/_mirror";

/// A mirror, watched or not.
pub(super) struct Mirror(Option<Watched>);

struct Watched {
    client: Client,
    since: Instant,
    watch: JoinHandle<anyhow::Result<Histogram<u64>>>,
    end: oneshot::Sender<u64>,
}

impl Mirror {
    /// One that nobody asks about.
    pub(super) const fn unwatched() -> Self {
        Self(None)
    }

    /// Watches the mirror of a server from now on.
    pub(super) async fn watch(client: &Client) -> anyhow::Result<Self> {
        ensure!(
            client.info().await?.mirrored_offset > 0,
            "the server has no mirror, or it has not reached its brokers yet"
        );
        let (end, ended) = oneshot::channel();
        let watch = tokio::spawn(watch(client.clone(), ended));
        Ok(Self(Some(Watched { client: client.clone(), since: Instant::now(), watch, end })))
    }

    /// Waits until it has everything in this part of the log.
    pub(super) async fn caught_up(self, offsets: Range<u64>) -> anyhow::Result<Mirrored> {
        let Some(Watched { client, since, watch, end }) = self.0 else { return Ok(Mirrored(None)) };
        // Nobody listens if the watch has failed: then it says why.
        let _ = end.send(offsets.end);
        let lag = watch.await??;
        let events_per_second = (offsets.end - offsets.start) as f64 / since.elapsed().as_secs_f64();
        let own_events = checkpoints(&client, offsets).await?;
        Ok(Mirrored(Some(Found { lag, events_per_second, own_events })))
    }
}

/// What was found of a mirror, if it was watched.
pub(super) struct Mirrored(Option<Found>);

struct Found {
    /// How long the oldest event that it lacked had been in the log, each time that was looked at.
    lag: Histogram<u64>,
    events_per_second: f64,
    own_events: u64,
}

impl Mirrored {
    /// How many events of its own it has added to the log.
    pub(super) fn own_events(&self) -> u64 {
        self.0.as_ref().map_or(0, |found| found.own_events)
    }

    /// How fast it was, from the first event to its last.
    pub(super) fn report(&self) -> Option<Json> {
        let found = self.0.as_ref()?;
        let events_per_second = found.events_per_second.round();
        Some(json!({"events_per_second": events_per_second, "lag_ms": conditions::percentiles(&found.lag)}))
    }
}

async fn watch(client: Client, mut ended: oneshot::Receiver<u64>) -> anyhow::Result<Histogram<u64>> {
    let (mut times, mut lag, mut end) = (conditions::times()?, Lag::default(), None);
    let (mut mirrored, mut moved_at) = (0, Instant::now());
    loop {
        let (info, now) = (client.info().await?, Instant::now());
        times.saturating_record(lag.at(now, info.head_offset, info.mirrored_offset).as_micros() as u64);
        end = end.or_else(|| ended.try_recv().ok());
        if end.is_some_and(|end| info.mirrored_offset >= end) {
            return Ok(times);
        }
        if info.mirrored_offset > mirrored || lag.is_none() {
            (mirrored, moved_at) = (info.mirrored_offset, now);
        }
        if moved_at.elapsed() > PATIENCE {
            bail!("the mirror stands still at offset {mirrored}: {}", info.mirror_problem);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Which heads were seen that the mirror has not come to, and when each was first.
#[derive(Default)]
struct Lag(VecDeque<(Instant, u64)>);

impl Lag {
    /// How long the mirror has been behind the log.
    fn at(&mut self, now: Instant, head: u64, mirrored: u64) -> Duration {
        if self.0.back().is_none_or(|(_, seen)| *seen < head) {
            self.0.push_back((now, head));
        }
        while self.0.front().is_some_and(|(_, seen)| *seen <= mirrored) {
            self.0.pop_front();
        }
        self.0.front().map_or(Duration::ZERO, |(since, _)| now.duration_since(*since))
    }

    fn is_none(&self) -> bool {
        self.0.is_empty()
    }
}

/// How many checkpoints the mirror has kept in this part of the log.
async fn checkpoints(client: &Client, offsets: Range<u64>) -> anyhow::Result<u64> {
    let at = |offset| Some(Position { at: Some(position::At::Offset(offset)) });
    let filter = Some(Filter { signals: vec![CHECKPOINTS.to_owned()], ..Filter::default() });
    let request =
        ReadRequest { start: at(offsets.start), end: at(offsets.end), filter, ..ReadRequest::default() };
    let (mut replay, mut found) = (client.read(request).await?, 0);
    while let Some(frame) = replay.next().await.context("the mirror's checkpoints")? {
        match frame {
            Frame::Events(batch) => found += count(&batch),
            Frame::Gap(_) | Frame::End(_) => {}
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_is_as_old_as_the_oldest_head_that_was_not_reached() {
        let (mut lag, zero) = (Lag::default(), Instant::now());
        let mut at =
            |ms, head, mirrored| lag.at(zero + Duration::from_millis(ms), head, mirrored).as_millis();
        assert_eq!(at(0, 5, 5), 0);
        assert_eq!(at(10, 8, 5), 0, "seen just now");
        assert_eq!(at(30, 9, 7), 20);
        assert_eq!(at(50, 9, 8), 20, "what was seen at 30");
        assert_eq!(at(60, 9, 9), 0);
    }
}
