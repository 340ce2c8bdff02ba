//! The pace of a replay: when each event is due, told from the event times alone.

use std::time::Duration;

use downlink_storage::Timestamp;

use super::Way;

/// Events that are due within this time of each other may travel together.
pub(crate) const SLICE: Duration = Duration::from_millis(10);
/// Event times that go back further than this are not late events, but time that begins anew.
const LATE_MAX: i128 = 60 * 1_000_000_000;

/// When events are due that come in the order of a way through the log.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    speed: f64,
    gap_max: Duration,
    way: Way,
    /// The furthest event time so far.
    furthest: Option<Timestamp>,
    /// When the newest event was due, since the beginning.
    due: Duration,
}

impl Pace {
    /// `speed` times as fast as the original, which is above 0, with no silence longer than `gap_max`.
    pub(crate) const fn new(speed: f64, gap_max: Duration, way: Way) -> Self {
        Self { speed, gap_max, way, furthest: None, due: Duration::ZERO }
    }

    /// When the next event is due, since the beginning, if its event time is this.
    pub(crate) fn due(&self, time: Timestamp) -> Duration {
        let seconds = self.step(time).max(0) as f64 / 1e9 / self.speed;
        let wait = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        self.due.saturating_add(wait.min(self.gap_max))
    }

    /// The next event has this event time.
    pub(crate) fn pass(&mut self, time: Timestamp) {
        self.due = self.due(time);
        let step = self.step(time);
        let is_late = (-LATE_MAX..=0).contains(&step);
        if self.furthest.is_none() || !is_late {
            self.furthest = Some(time);
        }
    }

    /// How many nanoseconds `time` goes beyond the furthest so far; below 0 if it goes back.
    fn step(&self, time: Timestamp) -> i128 {
        let Some(furthest) = self.furthest else { return 0 };
        let step = time.unix_nanos() - furthest.unix_nanos();
        match self.way {
            Way::Forwards => step,
            Way::Backwards => -step,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn due_ms(pace: &mut Pace, seconds: &[i64]) -> Vec<u128> {
        let due = |&seconds: &i64| {
            let time = Timestamp::new(seconds, 0).unwrap();
            let due = pace.due(time);
            pace.pass(time);
            due.as_millis()
        };
        seconds.iter().map(due).collect()
    }

    #[test]
    fn events_are_due_by_their_distance_divided_by_the_speed() {
        let gap_max = Duration::from_secs(3_600);
        let times = [1_000, 1_001, 1_001, 1_005, 1_004, 1_005, 1_006];
        let expected = [0, 1_000, 1_000, 5_000, 5_000, 5_000, 6_000];
        assert_eq!(due_ms(&mut Pace::new(1.0, gap_max, Way::Forwards), &times), expected);
        let halved = expected.map(|due| due / 2);
        assert_eq!(due_ms(&mut Pace::new(2.0, gap_max, Way::Forwards), &times), halved);
        let back: Vec<_> = times.iter().rev().copied().collect();
        let due = due_ms(&mut Pace::new(1.0, gap_max, Way::Backwards), &back);
        assert_eq!(due, [0, 1_000, 2_000, 2_000, 5_000, 5_000, 6_000]);
    }

    #[test]
    fn silences_are_cut_and_time_that_begins_anew_costs_nothing() {
        let mut pace = Pace::new(1.0, Duration::from_secs(5), Way::Forwards);
        let times = [0, 1, 10_000, 10_001, 50, 52, 30, 53];
        assert_eq!(due_ms(&mut pace, &times), [0, 1_000, 6_000, 7_000, 7_000, 9_000, 9_000, 10_000]);
        let mut slow = Pace::new(f64::MIN_POSITIVE, Duration::from_secs(5), Way::Forwards);
        assert_eq!(due_ms(&mut slow, &[0, 1, 1, 2]), [0, 5_000, 5_000, 10_000]);
        let mut without_gaps = Pace::new(1.0, Duration::ZERO, Way::Forwards);
        assert_eq!(due_ms(&mut without_gaps, &[0, 1, 9]), [0, 0, 0]);
    }

    proptest! {
        #[test]
        fn nothing_is_due_before_what_comes_before_it_nor_later_than_a_gap(
            times in prop::collection::vec(-1_000_i64..1_000, 1..30),
            speed in prop_oneof![Just(f64::MAX), Just(f64::MIN_POSITIVE), 0.001..1_000.0],
        ) {
            let gap_max = Duration::from_secs(7);
            let due = due_ms(&mut Pace::new(speed, gap_max, Way::Forwards), &times);
            prop_assert!(due.is_sorted() && due.windows(2).all(|pair| pair[1] - pair[0] <= 7_000), "{due:?}");
        }
    }
}
