//! Makes buckets of what comes in the order of time: rollups, and events between them.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use crate::aggregate::gather::Gather;
use crate::aggregate::spans::{Window, time};
use crate::aggregate::{AggregateQuery, Holding};
use crate::error::Error;
use crate::event::{Offset, SignalId, Timestamp, Value};
use crate::read::{self, Chunk};
use crate::rollup::units::Times;
use crate::rollup::{Extreme, Held, Point, Rollup, Sample, base_of};
use crate::shared::Shared;

/// Buckets given away at once, the states in them, and the long values looked up for them.
const BUCKETS_AT_ONCE: usize = 1_000;
const STATES_AT_ONCE: usize = 4_000;
const LOOKUPS_AT_ONCE: usize = 8;

/// A signal over a step of time.
#[derive(Clone, Debug, PartialEq)]
pub struct Bucket {
    /// The signal.
    pub signal: SignalId,
    /// From, inclusive.
    pub start: Timestamp,
    /// To, exclusive.
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

/// A group of signals on its way.
pub(crate) struct Answer {
    query: Arc<AggregateQuery>,
    signals: Range<usize>,
    tracks: Vec<Track>,
    window: Option<Window>,
    incomplete: Vec<Times>,
    /// The signal whose buckets are given away at present.
    giving: usize,
}

/// One signal.
struct Track {
    signal: SignalId,
    /// Rollups whose turn has not come.
    rollups: VecDeque<Rollup>,
    /// What has come, for buckets that are not given away yet and have events.
    cells: VecDeque<Cell>,
    /// The newest value that has come.
    newest: Option<Point>,
    /// The newest value before the bucket that is next.
    carried: Option<Point>,
    /// The bucket that is next.
    next: i128,
}

/// A bucket with events.
struct Cell {
    index: i128,
    rollup: Rollup,
    /// Values that differ from the ones before, and when they came.
    changes: Vec<Point>,
}

impl Answer {
    pub(crate) fn new(query: Arc<AggregateQuery>, signals: Range<usize>) -> Self {
        let next = query.buckets.index(query.buckets.start());
        let track = |signal: &SignalId| Track {
            signal: *signal,
            rollups: VecDeque::new(),
            cells: VecDeque::new(),
            newest: None,
            carried: None,
            next,
        };
        let tracks = query.signals[signals.clone()].iter().map(track).collect();
        Self { query, signals, tracks, window: None, incomplete: Vec::new(), giving: 0 }
    }

    pub(crate) fn signals(&self) -> &[SignalId] {
        &self.query.signals[self.signals.clone()]
    }

    /// A window begins: its rollups are known.
    pub(crate) fn begin(&mut self, gather: &mut Gather) {
        self.incomplete.extend(gather.incomplete());
        self.window = Some(gather.window());
        for (track, (series, before)) in self.tracks.iter_mut().zip(gather.take()) {
            track.rollups = series.into_iter().map(|(_, rollup)| rollup).collect();
            if let Some(before) = before {
                track.newest = Some(before.clone());
                track.carried = Some(before);
            }
        }
    }

    /// An event that no rollup holds.
    pub(crate) fn row(&mut self, slot: usize, at: Timestamp, sample: Sample) {
        let track = &mut self.tracks[slot];
        while let Some(rollup) = track.rollups.pop_front_if(|first| base_of(first.first.time) < base_of(at)) {
            track.take(&self.query, rollup);
        }
        if at.unix_nanos() < self.query.buckets.start() {
            // It lies in the same rollup as the beginning.
            let point = Point { time: at, sample };
            track.newest = Some(point.clone());
            track.carried = Some(point);
        } else {
            track.take(&self.query, Rollup::of(at, sample));
        }
    }

    /// A window is over.
    pub(crate) fn end(&mut self, incomplete: Vec<Times>) {
        self.incomplete.extend(incomplete);
        self.incomplete.sort_unstable();
        for track in &mut self.tracks {
            while let Some(rollup) = track.rollups.pop_front() {
                track.take(&self.query, rollup);
            }
        }
        self.giving = 0;
    }

    /// Buckets that nothing more comes to; empty when there are none.
    pub(crate) fn take(&mut self, shared: &Shared) -> Result<Vec<Bucket>, Error> {
        let Some(window) = self.window else { return Ok(Vec::new()) };
        let (mut buckets, mut states, mut lookups) = (Vec::new(), 0, 0);
        while let Some(track) = self.tracks.get_mut(self.giving) {
            while track.is_due(&self.query, window) {
                if buckets.len() >= BUCKETS_AT_ONCE || states >= STATES_AT_ONCE || lookups >= LOOKUPS_AT_ONCE
                {
                    return Ok(buckets);
                }
                let bucket = track.give(&self.query, &self.incomplete, shared, &mut lookups)?;
                states += bucket.states.len();
                buckets.push(bucket);
            }
            self.giving += 1;
        }
        Ok(buckets)
    }
}

impl Track {
    /// Takes in what comes next in time, and belongs to one bucket.
    fn take(&mut self, query: &AggregateQuery, rollup: Rollup) {
        let index = query.buckets.index(rollup.first.time.unix_nanos());
        let is_new = self.newest.as_ref().is_none_or(|newest| newest.sample != rollup.first.sample);
        let change = is_new.then(|| rollup.first.clone());
        self.newest = Some(rollup.last.clone());
        match self.cells.back_mut() {
            Some(cell) if cell.index == index => cell.rollup.join(rollup),
            Some(_) | None => {
                self.cells.push_back(Cell { index, rollup, changes: Vec::new() });
            }
        }
        if let (Some(change), Holding::States(most), Some(cell)) =
            (change, query.holding, self.cells.back_mut())
        {
            cell.change(change, most);
        }
    }

    /// Whether the next bucket is whole: it lies within what has been looked at, and whether its last value is the
    /// newest of all is known.
    fn is_due(&self, query: &AggregateQuery, window: Window) -> bool {
        let is_within = self.next <= query.buckets.index(query.buckets.end() - 1);
        is_within && (window.is_last || self.cells.back().is_some_and(|cell| cell.index > self.next))
    }

    fn give(
        &mut self,
        query: &AggregateQuery,
        incomplete: &[Times],
        shared: &Shared,
        lookups: &mut usize,
    ) -> Result<Bucket, Error> {
        let (from, to) = query.buckets.bounds(self.next);
        let (start, end) = (time(from), time(to));
        let index = self.next;
        let cell = self.cells.pop_front_if(|cell| cell.index == index);
        self.next += 1;
        let until = if self.cells.is_empty() { end.min(query.now) } else { end };
        let since = match (&self.carried, query.holding) {
            (Some(carried), Holding::Mean | Holding::States(_)) => carried.time.min(start),
            (_, _) => start,
        };
        let mut bucket = Bucket {
            signal: self.signal,
            start,
            end,
            count: 0,
            min: None,
            max: None,
            mean: None,
            first: None,
            last: None,
            times: None,
            time_weighted_mean: None,
            states: Vec::new(),
            states_left_out: false,
            incomplete: incomplete.iter().any(|(first, last)| *first < end && since <= *last),
        };
        if query.holding != Holding::Ignored {
            let rollup = cell.as_ref().map(|cell| &cell.rollup);
            bucket.time_weighted_mean = weighted_mean(self.carried.as_ref(), rollup, start, until);
        }
        if let Holding::States(most) = query.holding {
            let changes = cell.as_ref().map_or(&[][..], |cell| &cell.changes);
            // Up to the last event a value held in any case.
            let until = cell.as_ref().map_or(until, |cell| until.max(cell.rollup.last.time));
            bucket.states = states(self.carried.as_ref(), changes, start, until);
            bucket.states_left_out = bucket.states.len() > most;
            bucket.states.truncate(most);
        }
        if let Some(Cell { rollup, .. }) = cell {
            bucket.count = rollup.count;
            bucket.times = Some((rollup.first.time, rollup.last.time));
            bucket.min = rollup.min.map(Extremum::from);
            bucket.max = rollup.max.map(Extremum::from);
            bucket.mean = (rollup.numbers > 0).then(|| rollup.sum.total() / rollup.numbers as f64);
            for (value, sample) in
                [(&mut bucket.first, &rollup.first.sample), (&mut bucket.last, &rollup.last.sample)]
            {
                *value = sample.value();
                if let Sample::At(offset) = sample {
                    *lookups += 1;
                    *value = value_at(shared, *offset)?;
                    bucket.incomplete |= value.is_none();
                }
            }
            self.carried = Some(rollup.last);
        }
        Ok(bucket)
    }
}

impl Cell {
    /// Another value: enough of them are kept to tell `most` states, and that there are more.
    fn change(&mut self, change: Point, most: usize) {
        // What held for no time at all is not a state.
        self.changes.pop_if(|last| last.time == change.time);
        let is_same = self.changes.last().is_some_and(|last| match (&last.sample, &change.sample) {
            (Sample::At(_), Sample::At(_)) => true,
            (last, next) => last == next,
        });
        // Every other one may be too long to be a state.
        if !is_same && self.changes.len() < 2 * most + 8 {
            self.changes.push(change);
        }
    }
}

impl Sample {
    /// The value, unless it is kept elsewhere.
    fn value(&self) -> Option<Value> {
        match self {
            Self::Double(number) => Some(Value::Double(*number)),
            Self::Int(number) => Some(Value::Int(*number)),
            Self::Bool(truth) => Some(Value::Bool(*truth)),
            Self::Text(text) => Some(Value::String(text.to_string())),
            Self::At(_) => None,
        }
    }
}

impl From<Extreme> for Extremum {
    fn from(Extreme { number, time }: Extreme) -> Self {
        Self { number, time }
    }
}

/// The mean of what holds from `start` to `until`.
fn weighted_mean(
    carried: Option<&Point>,
    rollup: Option<&Rollup>,
    start: Timestamp,
    until: Timestamp,
) -> Option<f64> {
    let mut held = rollup.map_or(Some(Held::default()), |rollup| rollup.held)?;
    let first = rollup.map_or(until, |rollup| rollup.first.time);
    if let Some(carried) = carried {
        held.hold(&carried.sample, crate::rollup::nanos_between(start, first));
    }
    if let Some(Rollup { last, .. }) = rollup {
        held.hold(&last.sample, crate::rollup::nanos_between(last.time, until));
    }
    (held.nanos > 0).then(|| held.integral.total() / held.nanos as f64)
}

/// The runs of equal values from `start` to `until`. What is too long to be a state ends the one before.
fn states(carried: Option<&Point>, changes: &[Point], start: Timestamp, until: Timestamp) -> Vec<StateRange> {
    let carried = carried.map(|point| (start, &point.sample));
    let mut points =
        carried.into_iter().chain(changes.iter().map(|point| (point.time, &point.sample))).peekable();
    let mut states: Vec<StateRange> = Vec::new();
    while let Some((from, sample)) = points.next() {
        let to = points.peek().map_or(until.max(from), |(next, _)| *next);
        let Some(value) = sample.value().filter(|_| from < to) else { continue };
        match states.last_mut() {
            // What lay between held for no time.
            Some(last) if last.end == from && last.value == value => last.end = to,
            Some(_) | None => states.push(StateRange { value, start: from, end: to }),
        }
    }
    states
}

/// The value of the event at `offset`, unless it is lost.
fn value_at(shared: &Shared, offset: Offset) -> Result<Option<Value>, Error> {
    match read::read(shared, offset, None)? {
        Chunk::Block(block) => {
            let row = offset.since(block.first_offset()) as usize;
            Ok((row < block.len()).then(|| block.columns.value(row).to_value()))
        }
        Chunk::Gap { .. } | Chunk::Skipped { .. } | Chunk::Head => Ok(None),
    }
}
