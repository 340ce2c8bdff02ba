//! Aggregates for callers: which signals and which times, and a piece of work at a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use downlink_storage::{Aggregation, Error, Log, SignalId, Step, Timestamp};

use super::filter::Names;

/// About how long one piece of work takes.
const PIECE_TIME: Duration = Duration::from_millis(20);

/// A signal wanted.
pub(crate) type Wanted = (SignalId, Arc<str>);

/// Why the signals cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// The log has never seen this one.
    Unknown(String),
    /// There are more.
    TooMany,
}

/// The signals of these names, by name; at most so many.
///
/// # Errors
/// If one that is named exactly is unknown, or if there are more.
pub(crate) fn signals(log: &Log, names: &Names, signals_max: usize) -> Result<Vec<Wanted>, Unfit> {
    if let Some(name) = names.exact().iter().find(|name| !log.knows(name)) {
        return Err(Unfit::Unknown(name.clone()));
    }
    let found = log.names().filter(|(name, _)| names.wants(name)).map(|(name, id)| (id, name));
    let found: Vec<_> = found.take(signals_max.saturating_add(1)).collect();
    if found.len() > signals_max { Err(Unfit::TooMany) } else { Ok(found) }
}

/// Works on until there are buckets, or for a while. Blocks on the disk.
///
/// # Errors
/// The log's.
pub(crate) fn work(aggregation: &mut Aggregation) -> Result<Step, Error> {
    let started = Instant::now();
    loop {
        match aggregation.step()? {
            Step::Working if started.elapsed() < PIECE_TIME => {}
            step @ (Step::Working | Step::Buckets(_) | Step::Done) => return Ok(step),
        }
    }
}

/// From when to when events of the signals are, as far as `steps` have found any.
pub(crate) fn widen(times: &mut Option<(Timestamp, Timestamp)>, buckets: &[downlink_storage::Bucket]) {
    for (first, last) in buckets.iter().filter_map(|bucket| bucket.times) {
        *times = Some(match *times {
            Some((from, to)) => (from.min(first), to.max(last)),
            None => (first, last),
        });
    }
}
