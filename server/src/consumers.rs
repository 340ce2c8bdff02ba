//! Consumers: where each has got to is an event on `_consumer/<name>`, as durable as the events it counts.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use downlink_storage::{
    Error, Event, Latest, Log, Offset, Quality, SYSTEM_PREFIX, SignalInfo, Timestamp, Value,
};
use tokio::sync::{Mutex, OwnedMutexGuard};

/// What the signals of consumers begin with.
const PREFIX: &str = "_consumer/";
/// The longest name of a consumer.
const NAME_BYTES_MAX: usize = 200;
/// Consumers whose names fall together take turns; so many of them do not.
const TURNS: usize = 1024;
/// What is kept in place of an offset when a consumer is deleted.
const DELETED: i64 = 0;

/// Where a consumer has got to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// The first offset it has not dealt with.
    pub(crate) next_offset: Offset,
    /// The offset of the event that says so: another one with every commit.
    pub(crate) kept_at: Offset,
    /// When it was committed.
    pub(crate) time: Timestamp,
}

impl Checkpoint {
    /// What an event on a consumer's signal says; `None` if it says that there is none any more.
    fn of(latest: &Latest) -> Option<Self> {
        let Value::Int(number) = latest.event.value else { return None };
        let next_offset = Offset::new(u64::try_from(number).ok()?)?;
        Some(Self { next_offset, kept_at: latest.offset, time: latest.event.event_time })
    }
}

/// What is wrong with a name, if anything is.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("must not be empty".to_owned());
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(format!("has {} bytes, the most is {NAME_BYTES_MAX}", name.len()));
    }
    if name.chars().any(char::is_control) {
        return Err("must not have control characters".to_owned());
    }
    if name.starts_with(SYSTEM_PREFIX) {
        return Err(format!("must not begin with {SYSTEM_PREFIX:?}"));
    }
    Ok(())
}

/// Where the consumer of this name has got to; `None` if there is none.
///
/// # Errors
/// The log's.
pub(crate) fn find(log: &Log, name: &str) -> Result<Option<Checkpoint>, Error> {
    // So small an event is always in memory.
    Ok(log.with_latest(&format!("{PREFIX}{name}"), Checkpoint::of)?.flatten())
}

/// The consumers that come after `after`, by name; at most so many.
///
/// # Errors
/// The log's.
pub(crate) fn list(
    log: &Log,
    after: Option<&str>,
    consumers_max: usize,
) -> Result<Vec<(String, Checkpoint)>, Error> {
    let after = after.map(|after| format!("{PREFIX}{after}"));
    let consumer = |signal: SignalInfo| {
        let name = signal.name.strip_prefix(PREFIX)?;
        // Those that were deleted are passed over.
        Some((name.to_owned(), Checkpoint::of(&signal.latest?)?))
    };
    let signals = log.signals_under(PREFIX, after.as_deref(), |_| true);
    signals.filter_map(|signal| signal.map(consumer).transpose()).take(consumers_max).collect()
}

/// The event that says where a consumer has got to; without an offset, that there is none of that name.
pub(crate) fn event(
    name: &str,
    next_offset: Option<Offset>,
    time: Timestamp,
    trace_context: Vec<u8>,
) -> Event {
    let number = next_offset.map_or(DELETED, |offset| i64::try_from(offset.get()).unwrap_or(i64::MAX));
    Event {
        signal: format!("{PREFIX}{name}"),
        event_time: time,
        value: Value::Int(number),
        quality: Quality::Good,
        source: String::new(),
        attributes: BTreeMap::new(),
        trace_context,
    }
}

/// How far a consumer is behind the newest event that is not the system's own. Measured to that one, checkpoints
/// do not make those late who have read everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lag {
    /// In offsets.
    pub(crate) events: u64,
    /// In ingest time.
    pub(crate) time: Duration,
}

/// The lag of who goes on at `next`, if it can be told without the disk.
pub(crate) fn lag_in_memory(log: &Log, next: Offset) -> Option<Lag> {
    let Some((newest, newest_time)) = log.newest_telemetry().filter(|(newest, _)| *newest >= next) else {
        return Some(Lag::default());
    };
    let block = log.read_cached(next)?;
    let row = usize::try_from(next.since(block.first_offset())).ok()?;
    Some(Lag::between((next, block.event(row).ingest_time), (newest, newest_time)))
}

/// The lag of who goes on at `next`. Blocks on the disk.
pub(crate) fn lag(log: &Log, next: Offset) -> Result<Lag, Error> {
    let Some((newest, newest_time)) = log.newest_telemetry().filter(|(newest, _)| *newest >= next) else {
        return Ok(Lag::default());
    };
    let time = log.ingest_time(next)?.unwrap_or(newest_time);
    Ok(Lag::between((next, time), (newest, newest_time)))
}

impl Lag {
    fn between(next: (Offset, Timestamp), newest: (Offset, Timestamp)) -> Self {
        let nanos = newest.1.unix_nanos().saturating_sub(next.1.unix_nanos()).max(0);
        let time = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        Self { events: newest.0.plus(1).since(next.0), time }
    }
}

/// The commits of one consumer take turns, so that what one of them has checked still holds when it is appended.
pub(crate) struct Turns {
    turns: Vec<Arc<Mutex<()>>>,
    hasher: RandomState,
}

/// A consumer's turn: kept until the log has settled what was made of it, whatever becomes of the caller.
pub(crate) type Turn = OwnedMutexGuard<()>;

impl Turns {
    /// Nobody's turn.
    pub(crate) fn new() -> Self {
        let turns = (0..TURNS).map(|_| Arc::default()).collect();
        Self { turns, hasher: RandomState::new() }
    }

    /// Waits for the consumer's turn.
    pub(crate) async fn take(&self, name: &str) -> Turn {
        let hash = self.hasher.hash_one(name);
        let index = usize::try_from(hash % TURNS as u64).expect("below the number of turns");
        self.turns[index].clone().lock_owned().await
    }
}
