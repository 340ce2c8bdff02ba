//! What the log has of each signal already: sources repeat themselves after every new session.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use downlink_proto::v1::{Event, value::Kind};
use prost_types::Timestamp;

use super::normalise::{Normal, kind};

/// How many events of a signal are remembered beside the newest time: more than a source repeats.
const EVENTS_PER_SIGNAL: usize = 64;

/// The newest events by signal.
#[derive(Debug, Default)]
pub(super) struct Known {
    signals: HashMap<Arc<str>, Signal>,
}

#[derive(Debug, Default)]
struct Signal {
    newest: (i64, i32),
    events: VecDeque<((i64, i32), Kind)>,
}

/// What an event is beside those that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Novelty {
    /// Newer than all.
    Next,
    /// New, but of an earlier time.
    Late,
    /// There already: the same signal, time and value.
    Known,
}

impl Known {
    /// Takes an event of the log in.
    pub(super) fn learn(&mut self, event: Event) {
        let signal: Arc<str> = event.signal.as_str().into();
        self.meet(&Normal { signal, event });
    }

    /// Says what an event is, and knows it from now on.
    pub(super) fn meet(&mut self, normal: &Normal) -> Novelty {
        let (Some(time), Some(kind)) = (order(normal.event.event_time), kind(&normal.event)) else {
            return Novelty::Next;
        };
        let signal = self.signals.entry(Arc::clone(&normal.signal)).or_default();
        let is_first = signal.events.is_empty();
        let is_known = || signal.events.iter().rev().any(|known| known.0 == time && same(&known.1, kind));
        let novelty = match time {
            _ if is_first => Novelty::Next,
            // Nothing so new is known.
            time if time > signal.newest => Novelty::Next,
            _ if is_known() => return Novelty::Known,
            // The same time with another value comes after, not late.
            time if time == signal.newest => Novelty::Next,
            _ => Novelty::Late,
        };
        if is_first || time > signal.newest {
            signal.newest = time;
        }
        if signal.events.len() == EVENTS_PER_SIGNAL {
            signal.events.pop_front();
        }
        signal.events.push_back((time, kind.clone()));
        novelty
    }
}

fn order(time: Option<Timestamp>) -> Option<(i64, i32)> {
    time.map(|time| (time.seconds, time.nanos))
}

/// Bit for bit.
fn same(one: &Kind, other: &Kind) -> bool {
    match (one, other) {
        (Kind::DoubleValue(one), Kind::DoubleValue(other)) => one.to_bits() == other.to_bits(),
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event;

    fn meet(known: &mut Known, seconds: i64, value: f64) -> Novelty {
        let event_time = Some(Timestamp { seconds, nanos: 0 });
        let event = Event { event_time, ..event("tank", value) };
        known.meet(&Normal { signal: "tank".into(), event })
    }

    #[test]
    fn identity_is_signal_time_and_value() {
        let mut known = Known::default();
        assert_eq!(meet(&mut known, 10, 1.0), Novelty::Next);
        assert_eq!(meet(&mut known, 10, 1.0), Novelty::Known);
        assert_eq!(meet(&mut known, 10, 2.0), Novelty::Next, "another value at the same time");
        assert_eq!(meet(&mut known, 11, 2.0), Novelty::Next, "the same value at another time");
        assert_eq!(meet(&mut known, 9, 2.0), Novelty::Late);
        assert_eq!(meet(&mut known, 9, 2.0), Novelty::Known);
        assert_eq!(meet(&mut known, 10, 1.0), Novelty::Known);
        assert_eq!(meet(&mut known, 11, -0.0), Novelty::Next);
        assert_eq!(meet(&mut known, 11, 0.0), Novelty::Next, "bit for bit");
    }

    #[test]
    fn what_the_log_has_is_known_after_a_restart() {
        let mut known = Known::default();
        known.learn(Event { event_time: Some(Timestamp { seconds: 9, nanos: 0 }), ..event("tank", 5.0) });
        assert_eq!(meet(&mut known, 9, 5.0), Novelty::Known);
        assert_eq!(meet(&mut known, 10, 5.0), Novelty::Next);
    }

    #[test]
    fn memory_is_bounded() {
        let mut known = Known::default();
        for seconds in 0..10_000 {
            assert_eq!(meet(&mut known, seconds, 1.0), Novelty::Next);
        }
        assert_eq!(known.signals["tank"].events.len(), EVENTS_PER_SIGNAL);
    }
}
