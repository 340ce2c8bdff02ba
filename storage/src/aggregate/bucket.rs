//! What an aggregate says of a signal over a step of time.

use crate::event::{SignalId, Timestamp, Value};
use crate::rollup::Extreme;

/// A signal over a step of time.
#[derive(Clone, Debug, PartialEq)]
pub struct Bucket {
    /// The signal.
    pub signal: SignalId,
    /// From, inclusive.
    pub start: Timestamp,
    /// To, exclusive; the last moment there is belongs to what it ends.
    pub end: Timestamp,
    /// How many events.
    pub count: u64,
    /// The least number.
    pub min: Option<Extremum>,
    /// The greatest number.
    pub max: Option<Extremum>,
    /// The mean of the numbers.
    pub mean: Option<f64>,
    /// The first value.
    pub first: Option<Value>,
    /// The last value.
    pub last: Option<Value>,
    /// When the first event was, and the last.
    pub times: Option<(Timestamp, Timestamp)>,
    /// The mean of the numbers, each weighted by how long it held.
    pub time_weighted_mean: Option<f64>,
    /// Runs of equal values.
    pub states: Vec<StateRange>,
    /// There are more runs.
    pub states_left_out: bool,
    /// Events that would count may be missing from the log.
    pub incomplete: bool,
}

/// The least or the greatest number, and when it first was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extremum {
    /// The number.
    pub number: f64,
    /// When.
    pub time: Timestamp,
}

/// A value that held for a while.
#[derive(Clone, Debug, PartialEq)]
pub struct StateRange {
    /// The value.
    pub value: Value,
    /// From, inclusive.
    pub start: Timestamp,
    /// To, exclusive.
    pub end: Timestamp,
}

impl From<Extreme> for Extremum {
    fn from(Extreme { number, time }: Extreme) -> Self {
        Self { number, time }
    }
}
