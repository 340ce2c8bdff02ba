//! One signal of an aggregate: makes buckets of what comes in the order of time, rollups and events between them.

use std::collections::VecDeque;

use crate::aggregate::bucket::{Bucket, Extremum, StateRange};
use crate::aggregate::spans::time;
use crate::aggregate::{AggregateQuery, Holding};
use crate::error::Error;
use crate::event::{Offset, SignalId, Timestamp, Value};
use crate::read::{self, Chunk};
use crate::rollup::units::Times;
use crate::rollup::{Held, Point, Rollup, Sample, Series, base_of, nanos_between};
use crate::shared::Shared;

/// One signal.
pub(crate) struct Track {
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

impl Track {
    /// Of a signal; `next` is its first bucket.
    pub(crate) fn new(signal: SignalId, next: i128) -> Self {
        let (rollups, cells) = (VecDeque::new(), VecDeque::new());
        Self { signal, rollups, cells, newest: None, carried: None, next }
    }

    /// The rollups of a window, and what came before it.
    pub(crate) fn begin(&mut self, series: Series, before: Option<Point>) {
        self.rollups = series.into_iter().map(|(_, rollup)| rollup).collect();
        if let Some(before) = before {
            self.newest = Some(before.clone());
            self.carried = Some(before);
        }
    }

    /// An event that no rollup holds. `change_bytes` counts what is kept of changes, here and below.
    pub(crate) fn row(
        &mut self,
        query: &AggregateQuery,
        at: Timestamp,
        sample: Sample,
        change_bytes: &mut usize,
    ) {
        let is_earlier = |first: &mut Rollup| base_of(first.first.time) < base_of(at);
        while let Some(rollup) = self.rollups.pop_front_if(is_earlier) {
            self.take(query, rollup, change_bytes);
        }
        if at.unix_nanos() < query.buckets.start() {
            // It lies in the same rollup as the beginning.
            let point = Point { time: at, sample };
            self.newest = Some(point.clone());
            self.carried = Some(point);
        } else {
            self.take(query, Rollup::of(at, sample), change_bytes);
        }
    }

    /// No more events come in the window.
    pub(crate) fn end(&mut self, query: &AggregateQuery, change_bytes: &mut usize) {
        while let Some(rollup) = self.rollups.pop_front() {
            self.take(query, rollup, change_bytes);
        }
    }

    /// Takes in what comes next in time, and belongs to one bucket.
    fn take(&mut self, query: &AggregateQuery, rollup: Rollup, change_bytes: &mut usize) {
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
            cell.change(change, most, change_bytes);
        }
    }

    /// Whether the next bucket is whole: either nothing more comes, or what has come lies behind it, so that its last
    /// value is known not to be the newest of all.
    pub(crate) fn is_due(&self, query: &AggregateQuery, is_whole: bool) -> bool {
        let is_within = self.next <= query.buckets.index(query.buckets.end() - 1);
        is_within && (is_whole || self.cells.back().is_some_and(|cell| cell.index > self.next))
    }

    /// The times whose events the next bucket tells of.
    pub(crate) fn next_depends_on(&self, query: &AggregateQuery) -> Times {
        let (from, to) = query.buckets.bounds(self.next);
        let since = match (&self.carried, query.holding) {
            (_, Holding::Ignored) => time(from),
            (Some(carried), Holding::Mean | Holding::States(_)) => carried.time.min(time(from)),
            // Whatever is missing before it might hold in it.
            (None, Holding::Mean | Holding::States(_)) => Timestamp::MIN,
        };
        (since, time(to - 1))
    }

    /// The next bucket. `lookups` counts the values that had to be looked up.
    pub(crate) fn give(
        &mut self,
        query: &AggregateQuery,
        shared: &Shared,
        lookups: &mut usize,
        change_bytes: &mut usize,
    ) -> Result<Bucket, Error> {
        let (from, to) = query.buckets.bounds(self.next);
        let (start, end) = (time(from), time(to));
        let index = self.next;
        let cell = self.cells.pop_front_if(|cell| cell.index == index);
        self.next += 1;
        let until = if self.cells.is_empty() { end.min(query.now) } else { end };
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
            incomplete: false,
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
        if let Some(Cell { rollup, changes, .. }) = cell {
            *change_bytes -= changes.iter().map(Point::bytes).sum::<usize>();
            bucket.count = rollup.count;
            bucket.times = Some((rollup.first.time, rollup.last.time));
            bucket.min = rollup.min.map(Extremum::from);
            bucket.max = rollup.max.map(Extremum::from);
            bucket.mean = rollup.mean();
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
    fn change(&mut self, change: Point, most: usize, bytes: &mut usize) {
        // What held for no time at all is not a state.
        if let Some(gone) = self.changes.pop_if(|last| last.time == change.time) {
            *bytes -= gone.bytes();
        }
        let is_same = self.changes.last().is_some_and(|last| match (&last.sample, &change.sample) {
            (Sample::At(_), Sample::At(_)) => true,
            (last, next) => last == next,
        });
        // Every other one may be too long to be a state.
        if !is_same && self.changes.len() < 2 * most + 8 {
            *bytes += change.bytes();
            self.changes.push(change);
        }
    }
}

impl Point {
    /// About what it takes in memory.
    fn bytes(&self) -> usize {
        let text = if let Sample::Text(text) = &self.sample { text.len() } else { 0 };
        size_of::<Self>() + text
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
        held.hold(&carried.sample, nanos_between(start, first));
    }
    if let Some(Rollup { last, .. }) = rollup {
        held.hold(&last.sample, nanos_between(last.time, until));
    }
    (held.nanos > 0).then(|| held.integral.over(held.nanos as f64))
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
