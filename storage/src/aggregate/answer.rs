//! Makes buckets of what comes in the order of time, signal by signal, and gives them away.

use std::ops::Range;
use std::sync::Arc;

use crate::aggregate::AggregateQuery;
use crate::aggregate::bucket::Bucket;
use crate::aggregate::gather::Gather;
use crate::aggregate::track::Track;
use crate::error::Error;
use crate::event::{SignalId, Timestamp};
use crate::rollup::Sample;
use crate::rollup::units::Times;
use crate::shared::Shared;

/// Buckets given away at once, the states in them, and the long values looked up for them.
const BUCKETS_AT_ONCE: usize = 1_000;
const STATES_AT_ONCE: usize = 4_000;
const LOOKUPS_AT_ONCE: usize = 8;
/// Bytes of what values change to, over all signals of a group, from which on no more is taken in.
const CHANGE_BYTES_MAX: usize = 4 << 20;

/// A group of signals on its way.
pub(crate) struct Answer {
    query: Arc<AggregateQuery>,
    signals: Range<usize>,
    tracks: Vec<Track>,
    /// Nothing more comes.
    is_whole: bool,
    /// No window follows.
    is_last: bool,
    incomplete: Vec<Times>,
    /// The same, of the window under way.
    incomplete_now: Vec<Times>,
    /// Of what values change to, in buckets that are not given away yet.
    change_bytes: usize,
    /// The signal whose buckets are given away at present.
    giving: usize,
}

impl Answer {
    pub(crate) fn new(query: Arc<AggregateQuery>, signals: Range<usize>) -> Self {
        let next = query.buckets.index(query.buckets.start());
        let tracks = query.signals[signals.clone()].iter().map(|signal| Track::new(*signal, next)).collect();
        Self {
            query,
            signals,
            tracks,
            is_whole: false,
            is_last: false,
            incomplete: Vec::new(),
            incomplete_now: Vec::new(),
            change_bytes: 0,
            giving: 0,
        }
    }

    pub(crate) fn signals(&self) -> &[SignalId] {
        &self.query.signals[self.signals.clone()]
    }

    /// Their places in the query.
    pub(crate) fn places(&self) -> Range<usize> {
        self.signals.clone()
    }

    /// A window begins: its rollups are known.
    pub(crate) fn begin(&mut self, gather: &mut Gather) {
        self.incomplete.extend(gather.incomplete());
        self.is_last = gather.window().is_last;
        for (track, (series, before)) in self.tracks.iter_mut().zip(gather.take()) {
            track.begin(series, before);
        }
    }

    /// An event that no rollup holds.
    pub(crate) fn row(&mut self, slot: usize, at: Timestamp, sample: Sample) {
        self.tracks[slot].row(&self.query, at, sample, &mut self.change_bytes);
    }

    /// Whether buckets have to go before more of the window comes.
    pub(crate) fn is_full(&self) -> bool {
        self.change_bytes > CHANGE_BYTES_MAX
    }

    /// The buckets that are whole already may go; more of the window comes behind them.
    pub(crate) fn pause(&mut self, incomplete: Vec<Times>) {
        self.incomplete_now = incomplete;
        self.giving = 0;
    }

    /// A window is over.
    pub(crate) fn end(&mut self, incomplete: Vec<Times>) {
        self.pause(Vec::new());
        self.incomplete.extend(incomplete);
        self.is_whole = self.is_last;
        for track in &mut self.tracks {
            track.end(&self.query, &mut self.change_bytes);
        }
    }

    /// Buckets that nothing more comes to; empty when there are none.
    pub(crate) fn take(&mut self, shared: &Shared) -> Result<Vec<Bucket>, Error> {
        let (mut buckets, mut states, mut lookups) = (Vec::new(), 0, 0);
        while let Some(track) = self.tracks.get_mut(self.giving) {
            while track.is_due(&self.query, self.is_whole) {
                if buckets.len() >= BUCKETS_AT_ONCE || states >= STATES_AT_ONCE || lookups >= LOOKUPS_AT_ONCE
                {
                    return Ok(buckets);
                }
                let (from, last) = track.next_depends_on(&self.query);
                let mut missing = self.incomplete.iter().chain(&self.incomplete_now);
                let is_incomplete = missing.any(|(first, until)| *first <= last && from <= *until);
                let mut bucket = track.give(&self.query, shared, &mut lookups, &mut self.change_bytes)?;
                bucket.incomplete |= is_incomplete;
                states += bucket.states.len();
                buckets.push(bucket);
            }
            self.giving += 1;
        }
        Ok(buckets)
    }
}
