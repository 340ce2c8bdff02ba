//! What waits between the session and the log: a bounded queue that, when the log stays away, keeps the newest of each signal,
//! and every state of the feed as long as anything else can give way.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use downlink_proto::v1::Event;
use prost_types::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::normalise::Normal;
use crate::sync::lock;

/// An event on its way, and since when.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) event: Event,
    pub(super) since: Instant,
}

/// What was left out because newer events of the same signals had come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Merged {
    /// How many events.
    pub(super) count: u64,
    /// The earliest and the latest time of them.
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
}

impl Merged {
    /// Both together.
    pub(super) fn and(self, other: Self) -> Self {
        let order = |time: &Timestamp| (time.seconds, time.nanos);
        Self {
            count: self.count + other.count,
            first: std::cmp::min_by_key(self.first, other.first, order),
            last: std::cmp::max_by_key(self.last, other.last, order),
        }
    }
}

/// The queue, between one that puts in and one that takes out.
#[derive(Debug)]
pub(super) struct Buffer {
    state: Mutex<State>,
    /// The taker: there is something.
    filled: Notify,
    /// The putter: there is room.
    emptied: Notify,
    /// The signal whose events give way last: nothing repeats them.
    precious: Arc<str>,
    events_max: usize,
    /// How long the putter waits while nothing is taken, before events are merged.
    patience: Duration,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<(Arc<str>, Waiting)>,
    /// How many of each signal wait.
    counts: HashMap<Arc<str>, usize>,
    merged: Option<Merged>,
    full_since: Option<Instant>,
    is_closed: bool,
}

impl Buffer {
    pub(super) fn new(events_max: usize, patience: Duration, precious: &str) -> Self {
        let (filled, emptied) = (Notify::new(), Notify::new());
        let (precious, events_max) = (precious.into(), events_max.max(1));
        Self { state: Mutex::default(), filled, emptied, precious, events_max, patience }
    }

    /// Puts an event in. Waits for room, but not for long while none is made: then older events give way to newer ones.
    pub(super) async fn push(&self, normal: Normal, since: Instant) {
        let Normal { signal, event } = normal;
        let waiting = Waiting { event, since };
        while let Some(until) = self.wait_until() {
            // Either there is room now, or it is asked again how long it took.
            let _ = tokio::time::timeout_at(until, self.emptied.notified()).await;
        }
        let mut state = self.state();
        // Before room is made: it may be this event that makes an older one give way.
        *state.counts.entry(Arc::clone(&signal)).or_default() += 1;
        if state.events.len() >= self.events_max {
            state.make_room(&self.precious);
        }
        state.events.push_back((signal, waiting));
        drop(state);
        self.filled.notify_one();
    }

    /// The next event; waits for it. None when it is closed and empty.
    pub(super) async fn pop(&self) -> Option<Waiting> {
        loop {
            {
                let mut state = self.state();
                if let Some((signal, waiting)) = state.events.pop_front() {
                    state.forget(&signal);
                    state.full_since = None;
                    drop(state);
                    self.emptied.notify_one();
                    return Some(waiting);
                }
                if state.is_closed {
                    return None;
                }
            }
            self.filled.notified().await;
        }
    }

    /// Nothing more is put in.
    pub(super) fn close(&self) {
        self.state().is_closed = true;
        self.filled.notify_one();
    }

    /// How many events wait.
    pub(super) fn len(&self) -> usize {
        self.state().events.len()
    }

    /// What was merged since the last time.
    pub(super) fn take_merged(&self) -> Option<Merged> {
        self.state().merged.take()
    }

    /// Until when the putter should wait for room; none if there is some, or if it has waited enough.
    fn wait_until(&self) -> Option<Instant> {
        let mut state = self.state();
        if state.events.len() < self.events_max {
            return None;
        }
        let until = *state.full_since.get_or_insert_with(Instant::now) + self.patience;
        (until > Instant::now()).then_some(until)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    /// Leaves out the oldest event that a newer one of its signal follows, of another signal than the precious one if there is
    /// any; if there is none, the oldest.
    fn make_room(&mut self, precious: &str) {
        let mut followed = self
            .events
            .iter()
            .enumerate()
            .filter(|(_, (signal, _))| self.counts.get(signal).is_some_and(|count| *count > 1));
        let first = followed.next();
        let is_usual = |found: &(usize, &(Arc<str>, Waiting))| *found.1.0 != *precious;
        let usual = first.filter(is_usual).or_else(|| followed.find(is_usual));
        let place = usual.or(first).map_or(0, |(place, _)| place);
        let Some((signal, waiting)) = self.events.remove(place) else { return };
        self.forget(&signal);
        let time = waiting.event.event_time.unwrap_or_default();
        let left_out = Merged { count: 1, first: time, last: time };
        self.merged = Some(self.merged.map_or(left_out, |earlier| earlier.and(left_out)));
    }

    fn forget(&mut self, signal: &str) {
        if let Some(count) = self.counts.get_mut(signal) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(signal);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event;
    use proptest::prelude::*;

    fn normal(signal: &str, seconds: i64) -> Normal {
        let event_time = Some(Timestamp { seconds, nanos: 0 });
        Normal { signal: signal.into(), event: Event { event_time, ..event(signal, seconds) } }
    }

    async fn drain(buffer: &Buffer) -> Vec<(String, i64)> {
        buffer.close();
        let mut events = vec![];
        while let Some(Waiting { event, .. }) = buffer.pop().await {
            events.push((event.signal, event.event_time.unwrap().seconds));
        }
        events
    }

    #[tokio::test]
    async fn the_newest_of_each_signal_stays() {
        let buffer = Buffer::new(4, Duration::ZERO, "state");
        for (seconds, signal) in ["slow", "fast", "fast", "fast", "fast", "fast", "other"].iter().enumerate()
        {
            buffer.push(normal(signal, seconds as i64), Instant::now()).await;
        }
        let merged = buffer.take_merged().unwrap();
        assert_eq!((merged.count, merged.first.seconds, merged.last.seconds), (3, 1, 3));
        assert!(buffer.take_merged().is_none());
        let left =
            [("slow", 0), ("fast", 4), ("fast", 5), ("other", 6)].map(|(name, at)| (name.to_owned(), at));
        assert_eq!(drain(&buffer).await, left);
    }

    #[tokio::test]
    async fn states_stay_as_long_as_anything_else_can_give_way() {
        let buffer = Buffer::new(4, Duration::ZERO, "state");
        for (seconds, signal) in ["state", "fast", "state", "fast", "state"].iter().enumerate() {
            buffer.push(normal(signal, seconds as i64), Instant::now()).await;
        }
        assert_eq!(buffer.take_merged().unwrap().first.seconds, 1, "the older one of the fast signal");
        buffer.push(normal("state", 5), Instant::now()).await;
        assert_eq!(buffer.take_merged().unwrap().first.seconds, 0, "bounded all the same");
        let left = [("state", 2), ("fast", 3), ("state", 4), ("state", 5)];
        assert_eq!(drain(&buffer).await, left.map(|(name, at)| (name.to_owned(), at)));
    }

    #[tokio::test]
    async fn room_that_is_made_in_time_is_waited_for() {
        let buffer = Buffer::new(2, Duration::from_secs(3600), "state");
        let put = async {
            for seconds in 0..100 {
                buffer.push(normal("fast", seconds), Instant::now()).await;
            }
            buffer.close();
        };
        let take = async {
            let mut taken = 0;
            while let Some(waiting) = buffer.pop().await {
                assert_eq!(waiting.event.event_time.unwrap().seconds, taken, "in order");
                taken += 1;
            }
            taken
        };
        assert_eq!(futures::join!(put, take).1, 100);
        assert!(buffer.take_merged().is_none());
    }

    proptest! {
        /// Whatever comes: bounded, in order, complete but for what was counted, and the newest of each is there.
        #[test]
        fn nothing_is_lost_uncounted(signals in prop::collection::vec(0..6_u8, 0..200), events_max in 6..20_usize) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let (left, merged) = runtime.block_on(async {
                let buffer = Buffer::new(events_max, Duration::ZERO, "state");
                for (seconds, signal) in signals.iter().enumerate() {
                    buffer.push(normal(&signal.to_string(), seconds as i64), Instant::now()).await;
                    assert!(buffer.len() <= events_max);
                }
                let merged = buffer.take_merged().map_or(0, |merged| merged.count);
                (drain(&buffer).await, merged)
            });
            prop_assert_eq!(left.len() as u64 + merged, signals.len() as u64);
            prop_assert!(left.is_sorted_by_key(|(_, seconds)| *seconds));
            for signal in 0..6_u8 {
                let newest = signals.iter().rposition(|other| *other == signal);
                let kept = left.iter().rfind(|(name, _)| *name == signal.to_string());
                prop_assert_eq!(kept.map(|(_, seconds)| *seconds as usize), newest);
            }
        }
    }
}
