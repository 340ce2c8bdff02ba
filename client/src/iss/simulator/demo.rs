//! The simulator as a source of the feed: each update when its time has come.

use std::time::{Duration, SystemTime};

use prost_types::Timestamp;
use tokio::time::{Instant, sleep_until};

use super::{Simulated, Simulator, milliseconds};
use crate::iss::update::{SessionEvent, Source};

/// A simulated station: at the pace of the real one, or at a multiple of that for as long as it is behind the present.
#[derive(Debug)]
pub struct Demo {
    seed: u64,
    simulator: Simulator,
    began: Instant,
    start: Timestamp,
    /// How far the start was behind the present, in milliseconds.
    behind_ms: i64,
    times: f64,
    is_connected: bool,
    /// Its time has not come yet.
    next: Option<Simulated>,
}

impl Demo {
    /// From now on, at the station's pace.
    pub fn new(seed: u64) -> Self {
        Self::since(seed, SystemTime::now().into(), 1.)
    }

    /// From this time on, so many times as fast until the present is reached; infinitely many is as fast as possible.
    pub fn since(seed: u64, start: Timestamp, times: f64) -> Self {
        Self {
            seed,
            simulator: Simulator::new(seed, start),
            began: Instant::now(),
            start,
            behind_ms: milliseconds(&SystemTime::now().into()) - milliseconds(&start),
            times,
            is_connected: false,
            next: None,
        }
    }

    /// When an update is due: never before its time.
    fn due(&self, simulated: &Simulated) -> Instant {
        let after_ms = milliseconds(&simulated.at) - milliseconds(&self.start);
        let wait_ms = (after_ms as f64 / self.times).max((after_ms - self.behind_ms) as f64);
        self.began + Duration::from_millis(wait_ms as u64)
    }
}

impl Source for Demo {
    async fn next(&mut self) -> SessionEvent {
        if !self.is_connected {
            self.is_connected = true;
            return SessionEvent::Connected { source: format!("demo: a simulation, seed {}", self.seed) };
        }
        let Some(next) = self.next.take().or_else(|| self.simulator.next()) else {
            return SessionEvent::Ended;
        };
        let due = self.due(&next);
        // Kept until it is due: nothing is lost if nobody waits for so long.
        self.next = Some(next);
        sleep_until(due).await;
        self.next.take().map_or(SessionEvent::Ended, |next| SessionEvent::Update(next.update))
    }
}
