//! The grid of an aggregate: where its buckets begin and end.

use crate::event::Timestamp;
use crate::rollup::BASE_NANOS;

/// Steps below the buckets of the rollups that a chosen step may have, times a power of ten of nanoseconds below a
/// second.
const STEPS: [i128; 3] = [1, 2, 5];
const SECOND: i128 = 1_000_000_000;
/// From a second on, and below the buckets of the rollups.
const LONGER_STEPS: [i128; 10] = [
    SECOND,
    2 * SECOND,
    5 * SECOND,
    10 * SECOND,
    15 * SECOND,
    30 * SECOND,
    60 * SECOND,
    120 * SECOND,
    150 * SECOND,
    300 * SECOND,
];

/// Adjacent buckets of equal length, but for the first and the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buckets {
    start: i128,
    end: i128,
    /// Some bucket would begin here.
    origin: i128,
    step: i128,
}

impl Buckets {
    /// One from `start` to `end`; `None` if that is not later. The end is exclusive, here and below; but the last
    /// moment there is has none after it, and ends what it is in.
    #[must_use]
    pub fn one(start: Timestamp, end: Timestamp) -> Option<Self> {
        let after_last = i128::from(end == Timestamp::MAX);
        let (start, end) = (start.unix_nanos(), end.unix_nanos() + after_last);
        (start < end).then_some(Self { start, end, origin: start, step: end - start })
    }

    /// One every `step_nanos` from `start` on, the last cut at `end`; `None` if that is not later, or for a step of 0.
    #[must_use]
    pub fn every(start: Timestamp, end: Timestamp, step_nanos: u128) -> Option<Self> {
        let one = Self::one(start, end)?;
        let step = i128::try_from(step_nanos).ok().filter(|step| *step > 0)?;
        Some(Self { step: step.min(one.step), ..one })
    }

    /// At most so many, with a step that rollups fit; `None` if `end` is not later than `start`, or for no points.
    #[must_use]
    pub fn at_most(start: Timestamp, end: Timestamp, points: u32) -> Option<Self> {
        let one = Self::one(start, end)?;
        let points = i128::from(points);
        if points <= 1 {
            return (points == 1).then_some(one);
        }
        let fits = |step: i128| {
            let grid = Self { origin: 0, step, ..one };
            (grid.count() <= points).then_some(grid)
        };
        let fractions = (0..9).flat_map(|digits| STEPS.map(|step| step * 10_i128.pow(digits)));
        let small = fractions.chain(LONGER_STEPS).find_map(fits);
        let whole = one.step.div_euclid(points * BASE_NANOS).max(1);
        // With such a step, one bucket less than there may be covers the range: the ends may cut one more.
        let enough = (one.step + (points - 1) * BASE_NANOS - 1).div_euclid((points - 1) * BASE_NANOS);
        small.or_else(|| [whole, whole + 1, enough].into_iter().find_map(|bases| fits(bases * BASE_NANOS)))
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> i128 {
        self.index(self.end - 1) - self.index(self.start) + 1
    }

    pub(crate) fn start(&self) -> i128 {
        self.start
    }

    pub(crate) fn end(&self) -> i128 {
        self.end
    }

    /// Whether rollups cannot be of use: none lies within a bucket.
    pub(crate) fn is_fine(&self) -> bool {
        self.step < BASE_NANOS
    }

    /// How many buckets of the rollups it touches, if they are of use.
    pub(crate) fn bases(&self) -> i128 {
        if self.is_fine() { 0 } else { (self.end - self.start) / BASE_NANOS + 2 }
    }

    pub(crate) fn step(&self) -> i128 {
        self.step
    }

    /// The number of the bucket of a moment.
    pub(crate) fn index(&self, nanos: i128) -> i128 {
        (nanos - self.origin).div_euclid(self.step)
    }

    /// From, inclusive, to, exclusive.
    pub(crate) fn bounds(&self, index: i128) -> (i128, i128) {
        let from = self.origin + index * self.step;
        (from.max(self.start), (from + self.step).min(self.end))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(nanos: i64) -> Timestamp {
        Timestamp::from_unix_nanos(i128::from(nanos)).unwrap()
    }

    #[test]
    fn a_thousand_points_of_a_month_are_whole_rollups() {
        let day = 86_400_000_000_000;
        let month = Buckets::at_most(at(0), at(30 * day), 1_000).unwrap();
        assert_eq!((month.step / SECOND, month.count()), (3_000, 864));
        let hour = Buckets::at_most(at(0), at(day / 24), 1_000).unwrap();
        assert_eq!((hour.step / SECOND, hour.count()), (5, 720));
        assert_eq!(Buckets::at_most(at(5), at(9), 4).unwrap().step, 1);
        assert_eq!(Buckets::at_most(at(5), at(5), 4), None);
        assert_eq!(Buckets::at_most(at(5), at(6), 0), None);
        let one = Buckets::at_most(at(5), at(i64::MAX), 1).unwrap();
        assert_eq!(one.bounds(one.index(7)), (5, i128::from(i64::MAX)));
    }

    #[test]
    fn the_last_moment_there_is_lies_in_a_bucket() {
        let last = Timestamp::MAX.unix_nanos();
        let day = 86_400_000_000_000;
        let begin = Timestamp::from_unix_nanos(last + 1 - day).unwrap();
        for buckets in [
            Buckets::one(Timestamp::MAX, Timestamp::MAX),
            Buckets::one(begin, Timestamp::MAX),
            Buckets::every(begin, Timestamp::MAX, 3_600_000_000_000),
            Buckets::at_most(begin, Timestamp::MAX, 100),
        ] {
            let buckets = buckets.unwrap();
            let (from, to) = buckets.bounds(buckets.index(last));
            assert!(from <= last && to == last + 1, "{buckets:?}");
        }
    }

    proptest! {
        #[test]
        fn buckets_cover_the_range_once(
            start in -1_000_000_000_000_000_000_i64..1_000_000_000_000_000_000,
            length in 1_i64..1_000_000_000_000_000,
            points in 1_u32..500,
        ) {
            let (start, end) = (at(start), at(start + length));
            let chosen = Buckets::at_most(start, end, points).unwrap();
            prop_assert!(chosen.count() <= i128::from(points));
            for buckets in [chosen, Buckets::every(start, end, length as u128 / u128::from(points) + 1).unwrap()] {
                let first = buckets.index(start.unix_nanos());
                let mut next = start.unix_nanos();
                for index in first..first + buckets.count() {
                    let (from, to) = buckets.bounds(index);
                    prop_assert!(from == next && from < to);
                    prop_assert_eq!((buckets.index(from), buckets.index(to - 1)), (index, index));
                    next = to;
                }
                prop_assert_eq!(next, end.unix_nanos());
            }
        }
    }
}
