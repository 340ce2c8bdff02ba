//! From the source into the buffer: what is new and makes sense, and what is to be said of the session.

use std::pin::pin;
use std::time::{Duration, SystemTime};

use downlink_proto::v1::Event;
use prost_types::Timestamp;
use tokio::time::Instant;

use super::Options;
use super::buffer::Buffer;
use super::figures::Figures;
use super::known::{Known, Novelty};
use super::normalise::{Normal, Normaliser, is_good};
use super::rejects::Rejects;
use crate::event;
use crate::iss::clock::{StationClock, TIME_ITEM};
use crate::iss::contact::{Change, Contact, State, Tick};
use crate::iss::update::{SessionEvent, Source, Update};

/// Why nothing more comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The source has no more.
    Ended,
    /// It was told to stop.
    Stopped,
}

/// Takes updates in.
pub(super) struct Intake<'a> {
    buffer: &'a Buffer,
    figures: &'a Figures,
    normaliser: Normaliser,
    clock: StationClock,
    contact: Contact,
    known: Known,
    rejects: Rejects,
    state_signal: String,
    source: String,
}

impl<'a> Intake<'a> {
    pub(super) fn new(options: &Options, known: Known, buffer: &'a Buffer, figures: &'a Figures) -> Self {
        Self {
            buffer,
            figures,
            normaliser: Normaliser::new(&options.prefix, &options.source),
            clock: StationClock::default(),
            contact: Contact::default(),
            known,
            rejects: Rejects::default(),
            state_signal: options.state_signal(),
            source: options.source.clone(),
        }
    }

    /// Takes everything in until the source ends, or until it is told to stop.
    pub(super) async fn run(mut self, mut source: impl Source, stop: impl Future<Output = ()>) -> Ending {
        let mut stop = pin!(stop);
        loop {
            let deadline = self.contact.deadline();
            let event = tokio::select! {
                biased;
                () = &mut stop => return Ending::Stopped,
                event = source.next() => event,
                () = tokio::time::sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    let change = self.contact.silent();
                    self.say(change).await;
                    continue;
                }
            };
            match event {
                SessionEvent::Update(update) => self.update(&update).await,
                SessionEvent::Connected { source } => {
                    self.figures.connected();
                    let change = self.contact.connected(source, now(), Instant::now());
                    self.say(Some(change)).await;
                }
                SessionEvent::Recovered { source } => {
                    self.figures.connected();
                    for change in self.contact.recovered(source, now(), Instant::now()) {
                        self.say(Some(change)).await;
                    }
                }
                SessionEvent::Disconnected { reason } => {
                    tracing::warn!(reason, "the feed has no session");
                    let change = self.contact.disconnected(reason, now());
                    self.say(change).await;
                }
                SessionEvent::Ended => return Ending::Ended,
            }
        }
    }

    async fn update(&mut self, update: &Update) {
        self.figures.updated();
        let now = now();
        self.clock.observe(update);
        if &*update.item == TIME_ITEM {
            let tick = self.tick(update, &now);
            let change = tick.and_then(|tick| self.contact.ticked(tick, Instant::now()));
            self.say(change).await;
        }
        let normal = match self.normaliser.event(update, &self.clock, self.contact.repeats(), &now) {
            Ok(normal) => normal,
            Err(reject) => {
                self.figures.rejected();
                self.rejects.show(update, reject);
                return;
            }
        };
        match self.known.meet(&normal) {
            Novelty::Known => return self.figures.known(),
            Novelty::Late => self.figures.came_late(),
            Novelty::Next => {}
        }
        self.figures.newest(normal.event.event_time);
        self.put(normal).await;
    }

    /// What the station's clock says, if it says anything.
    fn tick(&self, update: &Update, now: &Timestamp) -> Option<Tick> {
        let time = self.clock.event_time(update.time_stamp.as_deref()?, now)?;
        let age = Duration::try_from_secs_f64((now.seconds - time.seconds) as f64).unwrap_or_default();
        let is_told = update.is_snapshot && self.clock.trusts(now);
        Some(Tick { is_good: is_good(update), time, repeated_age: is_told.then_some(age) })
    }

    /// Says in the log how the feed is now.
    async fn say(&mut self, change: Option<Change>) {
        let Some(Change { state, since, reason }) = change else { return };
        match state {
            State::Connected | State::Acquired | State::Lost | State::Stale => {
                tracing::info!(
                    state = state.name(),
                    since = crate::time::rfc3339(&since),
                    "the feed's signal"
                );
            }
            // It has been told with its reason.
            State::Disconnected => {}
        }
        let event = Event {
            event_time: Some(since),
            source: self.source.clone(),
            attributes: reason.into_iter().map(|reason| ("reason".to_owned(), reason)).collect(),
            ..event(self.state_signal.as_str(), state.name())
        };
        self.put(Normal { signal: self.state_signal.as_str().into(), event }).await;
    }

    async fn put(&self, normal: Normal) {
        self.buffer.push(normal, Instant::now()).await;
        self.figures.buffered(self.buffer.len());
    }
}

fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}
