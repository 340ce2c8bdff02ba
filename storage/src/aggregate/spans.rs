//! Which times of an aggregate rollups can answer, and which only the blocks.

use std::collections::{BTreeSet, VecDeque};

use crate::aggregate::buckets::Buckets;
use crate::block::Summary;
use crate::event::Timestamp;
use crate::rollup::units::Times;
use crate::rollup::{BASE_NANOS, base_of};

/// A part of the range, so large that what is gathered for it fits in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// Nanoseconds since 1970, inclusive.
    pub(crate) from: i128,
    /// Exclusive.
    pub(crate) to: i128,
    pub(crate) is_first: bool,
    pub(crate) is_last: bool,
}

/// Times that have to be read from the blocks: all of the window, or some buckets of the rollups.
#[derive(Clone, Debug)]
pub(crate) struct Cut {
    window: Window,
    is_all: bool,
    bases: BTreeSet<i64>,
}

impl Window {
    /// The windows of a range, each of so many buckets or rollups for one signal at most.
    pub(crate) fn all(buckets: &Buckets, slots_max: i128) -> VecDeque<Self> {
        let (start, end) = (buckets.start(), buckets.end());
        // Where rollups are of use, no window cuts one.
        let (origin, unit) = if buckets.is_fine() { (start, buckets.step()) } else { (0, BASE_NANOS) };
        let length = unit * slots_max / 2;
        let mut windows = VecDeque::new();
        let mut from = start;
        while from < end {
            let to = (origin + ((from - origin).div_euclid(unit) * unit) + length).min(end);
            windows.push_back(Self { from, to, is_first: from == start, is_last: to == end });
            from = to;
        }
        windows
    }

    /// The beginning of the rollup that the window begins in: what lies between tells what holds when it begins.
    pub(crate) fn reach(&self) -> Timestamp {
        let from = if self.is_first { self.from.div_euclid(BASE_NANOS) * BASE_NANOS } else { self.from };
        time(from)
    }

    /// The last nanosecond.
    pub(crate) fn last(&self) -> Timestamp {
        time(self.to - 1)
    }

    /// From its reach to its last nanosecond.
    pub(crate) fn times(&self) -> Times {
        (self.reach(), self.last())
    }
}

impl Cut {
    /// The rollups that the edges of buckets cut.
    pub(crate) fn new(window: Window, buckets: &Buckets) -> Self {
        let mut cut = Self { window, is_all: buckets.is_fine(), bases: BTreeSet::new() };
        if !cut.is_all {
            for index in buckets.index(window.from)..=buckets.index(window.to - 1) {
                let (from, to) = buckets.bounds(index);
                let edges = [from, to].into_iter().filter(|edge| edge.rem_euclid(BASE_NANOS) != 0);
                cut.bases.extend(edges.map(|edge| base_of(time(edge))));
            }
        }
        cut
    }

    /// Whether a rollup has to be left to the blocks.
    pub(crate) fn has(&self, base: i64) -> bool {
        self.is_all || self.bases.contains(&base)
    }

    /// Whether no rollup is of use.
    pub(crate) fn is_all(&self) -> bool {
        self.is_all
    }

    /// Leaves a rollup to the blocks.
    pub(crate) fn insert(&mut self, base: i64) {
        self.bases.insert(base);
    }

    /// Whether an event of this time has to come from the blocks.
    pub(crate) fn wants(&self, time: Timestamp) -> bool {
        let (from, to) = self.window.times();
        time >= from && time <= to && self.has(base_of(time))
    }

    /// Whether a block with events of these times may have some.
    pub(crate) fn touches(&self, (first, last): Times) -> bool {
        let (from, to) = self.window.times();
        let (first, last) = (first.max(from), last.min(to));
        first <= last && (self.is_all || self.bases.range(base_of(first)..=base_of(last)).next().is_some())
    }
}

/// The event times of a block.
pub(crate) fn times_of(block: &Summary) -> Times {
    (block.event_time_min, block.event_time_max)
}

/// A moment; the last there is for a later one.
pub(crate) fn time(nanos: i128) -> Timestamp {
    let limit = if nanos < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_unix_nanos(nanos).unwrap_or(limit)
}
