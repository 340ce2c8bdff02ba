//! A rollup: what a run of events of one signal comes to, so that two of them joined are the rollup of both runs.
//!
//! Events come in the order of their event times, equal ones in the order of their offsets. Whatever does not depend on
//! that order is right however rollups are joined; what does ([`Held`]) is kept only where the order is known.

pub(crate) mod builder;
pub(crate) mod store;
mod sum;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod units;

use std::sync::Arc;

pub(crate) use sum::{Sum, Total};

use crate::event::{Offset, Timestamp, ValueRef};

/// Seconds of one bucket of the rollups that are kept: fine enough for a thousand points in a week, and coarse enough
/// to take a small part of what the events take.
pub(crate) const BASE_SECONDS: i64 = 600;
/// The same in nanoseconds.
pub(crate) const BASE_NANOS: i128 = BASE_SECONDS as i128 * 1_000_000_000;

/// Longer texts are kept as the place of their event.
const TEXT_BYTES_MAX: usize = 64;

/// The rollups of one signal, by the number of their bucket since 1970, ascending.
pub(crate) type Series = Vec<(i64, Rollup)>;

/// The bucket of a moment.
pub(crate) fn base_of(time: Timestamp) -> i64 {
    time.seconds().div_euclid(BASE_SECONDS)
}

/// A value as rollups keep it.
#[derive(Clone, Debug)]
pub(crate) enum Sample {
    Double(f64),
    Int(i64),
    Bool(bool),
    Text(Arc<str>),
    /// The value of the event here: too long to be kept twice.
    At(Offset),
}

/// A value, and when.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Point {
    pub(crate) time: Timestamp,
    pub(crate) sample: Sample,
}

/// The least or greatest number, and when it first was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Extreme {
    pub(crate) number: f64,
    pub(crate) time: Timestamp,
}

/// What follows from each value's holding until the next event, between the first event and the last.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Held {
    /// The sum of number times nanoseconds.
    pub(crate) integral: Sum,
    /// For how long there was a number, in nanoseconds: centuries do not fit into 64 bits.
    pub(crate) nanos: u128,
    /// How often a value was followed by another one.
    pub(crate) changes: u64,
}

/// At least one event of a signal.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rollup {
    pub(crate) count: u64,
    /// How many of them are numbers; NaN is none.
    pub(crate) numbers: u64,
    pub(crate) sum: Sum,
    pub(crate) min: Option<Extreme>,
    pub(crate) max: Option<Extreme>,
    pub(crate) first: Point,
    pub(crate) last: Point,
    /// `None`: the events were not joined in their order.
    pub(crate) held: Option<Held>,
}

impl Sample {
    /// The value of the event at `offset`.
    pub(crate) fn new(value: ValueRef<'_>, offset: Offset) -> Self {
        match value {
            ValueRef::Double(number) => Self::Double(number),
            ValueRef::Int(number) => Self::Int(number),
            ValueRef::Bool(truth) => Self::Bool(truth),
            ValueRef::String(text) if text.len() <= TEXT_BYTES_MAX => Self::Text(text.into()),
            ValueRef::String(_) | ValueRef::Bytes(_) => Self::At(offset),
        }
    }

    /// As a number, where it is one: NaN is none.
    pub(crate) fn number(&self) -> Option<f64> {
        match self {
            Self::Double(number) => (!number.is_nan()).then_some(*number),
            Self::Int(number) => Some(*number as f64),
            Self::Bool(truth) => Some(f64::from(u8::from(*truth))),
            Self::Text(_) | Self::At(_) => None,
        }
    }
}

/// Equal means the same kind and the same bits. A long value is taken for another one each time.
impl PartialEq for Sample {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Double(a), Self::Double(b)) => a.to_bits() == b.to_bits(),
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::At(a), Self::At(b)) => a == b,
            _ => false,
        }
    }
}

impl Held {
    /// `sample` holds for so long.
    pub(crate) fn hold(&mut self, sample: &Sample, nanos: u128) {
        if let Some(number) = sample.number()
            && nanos > 0
        {
            self.integral.join(Sum::of(number, nanos as f64));
            self.nanos += nanos;
        }
    }

    fn join(&mut self, later: Self) {
        self.integral.join(later.integral);
        self.nanos += later.nanos;
        self.changes += later.changes;
    }
}

impl Rollup {
    /// Of one event.
    pub(crate) fn of(time: Timestamp, sample: Sample) -> Self {
        let number = sample.number();
        let extreme = number.map(|number| Extreme { number, time });
        let first = Point { time, sample };
        Self {
            count: 1,
            numbers: u64::from(number.is_some()),
            sum: Sum::of(number.unwrap_or_default(), 1.0),
            min: extreme,
            max: extreme,
            last: first.clone(),
            first,
            held: Some(Held::default()),
        }
    }

    /// The mean of the numbers. Rounding does not take it beyond them.
    pub(crate) fn mean(&self) -> Option<f64> {
        let (least, greatest) = self.min.zip(self.max)?;
        Some(self.sum.over(self.numbers as f64).clamp(least.number, greatest.number))
    }

    /// Takes other events in, all with higher offsets.
    pub(crate) fn join(&mut self, other: Self) {
        self.count += other.count;
        self.numbers += other.numbers;
        self.sum.join(other.sum);
        self.min = nearer(self.min, other.min, |a, b| a < b);
        self.max = nearer(self.max, other.max, |a, b| a > b);
        self.held = if self.last.time <= other.first.time {
            bridge((self.held, &self.last), (other.held, &other.first))
        } else if other.last.time < self.first.time {
            bridge((other.held, &other.last), (self.held, &self.first))
        } else {
            None
        };
        if other.first.time < self.first.time {
            self.first = other.first;
        }
        if other.last.time >= self.last.time {
            self.last = other.last;
        }
    }
}

/// What holds from one run over the time between into the next.
fn bridge((before, last): (Option<Held>, &Point), (after, first): (Option<Held>, &Point)) -> Option<Held> {
    let (mut held, after) = before.zip(after)?;
    held.hold(&last.sample, nanos_between(last.time, first.time));
    held.changes += u64::from(last.sample != first.sample);
    held.join(after);
    Some(held)
}

/// The extreme that wins, or of two equal ones the earlier.
fn nearer(a: Option<Extreme>, b: Option<Extreme>, wins: impl Fn(f64, f64) -> bool) -> Option<Extreme> {
    match (a, b) {
        (Some(a), Some(b)) if wins(b.number, a.number) => Some(b),
        (Some(a), Some(b)) if wins(a.number, b.number) || a.time <= b.time => Some(a),
        (_, Some(b)) => Some(b),
        (a, None) => a,
    }
}

/// How long it is from one moment to another; 0 if that is not later.
pub(crate) fn nanos_between(from: Timestamp, to: Timestamp) -> u128 {
    (to.unix_nanos() - from.unix_nanos()).max(0).unsigned_abs()
}
