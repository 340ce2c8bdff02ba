//! Which events of a range have been met, as runs of adjacent offsets: few, as long as they come about in their order.

use std::collections::BTreeMap;
use std::ops::Range;

use downlink_storage::Offset;

/// A set of offsets in bounded memory.
#[derive(Debug)]
pub(crate) struct Runs {
    /// Ends by beginnings; no two touch.
    runs: BTreeMap<Offset, Offset>,
    runs_max: usize,
}

impl Runs {
    /// None yet; at most so many runs are told apart.
    pub(crate) const fn new(runs_max: usize) -> Self {
        Self { runs: BTreeMap::new(), runs_max }
    }

    /// Adds an offset; `false` if it is in already.
    pub(crate) fn insert(&mut self, offset: Offset) -> bool {
        let before = self.runs.range(..=offset).next_back().map(|(first, end)| (*first, *end));
        if before.is_some_and(|(_, end)| end > offset) {
            return false;
        }
        self.join(before, offset..offset.plus(1));
        true
    }

    /// Adds offsets that come after all others.
    pub(crate) fn push(&mut self, offsets: Range<Offset>) {
        let before = self.runs.last_key_value().map(|(first, end)| (*first, *end));
        assert!(before.is_none_or(|(_, end)| end <= offsets.start), "they come in their order");
        self.join(before, offsets);
    }

    fn join(&mut self, before: Option<(Offset, Offset)>, offsets: Range<Offset>) {
        let first = before.filter(|(_, end)| *end == offsets.start).map_or(offsets.start, |(first, _)| first);
        let end = self.runs.remove(&offsets.end).unwrap_or(offsets.end);
        self.runs.insert(first, end);
    }

    /// Whether an offset is in.
    pub(crate) fn contains(&self, offset: Offset) -> bool {
        self.runs.range(..=offset).next_back().is_some_and(|(_, end)| *end > offset)
    }

    /// While there are too many runs: gives up the first hole between two of them, which counts as filled from now on.
    pub(crate) fn give_up(&mut self) -> Option<Range<Offset>> {
        if self.runs.len() <= self.runs_max {
            return None;
        }
        let (first, hole) = self.runs.pop_first()?;
        let (next, end) = self.runs.pop_first()?;
        self.runs.insert(first, end);
        Some(hole..next)
    }

    /// What is not in of a range.
    pub(crate) fn holes(&self, range: Range<Offset>) -> impl Iterator<Item = Range<Offset>> {
        let Range { start, end: until } = range;
        let inside = self.runs.range(..until).filter(move |(_, end)| **end > start);
        let ends = inside.map(|(first, end)| (*first, *end)).chain([(until, until)]);
        let mut from = start;
        ends.filter_map(move |(first, end)| {
            let hole = from..first.max(from);
            from = end.max(from);
            (hole.start < hole.end).then_some(hole)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn at(number: u64) -> Offset {
        Offset::new(number).unwrap()
    }

    proptest! {
        #[test]
        fn it_is_a_set(offsets in prop::collection::vec(1..60_u64, 0..60), first in 1..30_u64, length in 0..40_u64) {
            let (mut runs, mut model) = (Runs::new(1_000), BTreeSet::new());
            for number in offsets {
                prop_assert_eq!(runs.insert(at(number)), model.insert(number));
            }
            prop_assert!(runs.give_up().is_none());
            let range = first..first + length;
            let holes: Vec<u64> =
                runs.holes(at(range.start)..at(range.end)).flat_map(|hole| hole.start.get()..hole.end.get()).collect();
            prop_assert!(range.clone().filter(|number| !model.contains(number)).eq(holes));
            for number in range {
                prop_assert_eq!(runs.contains(at(number)), model.contains(&number));
            }
        }
    }

    #[test]
    fn with_too_many_runs_the_first_hole_is_given_up() {
        let mut runs = Runs::new(2);
        runs.push(at(1)..at(3));
        runs.push(at(3)..at(4));
        runs.push(at(6)..at(7));
        assert!(runs.give_up().is_none());
        assert!(runs.insert(at(9)));
        assert_eq!(runs.give_up(), Some(at(4)..at(6)));
        assert!(runs.give_up().is_none());
        assert!(!runs.insert(at(5)) && runs.contains(at(1)) && !runs.contains(at(7)));
        assert_eq!(runs.holes(at(1)..at(12)).collect::<Vec<_>>(), [at(7)..at(9), at(10)..at(12)]);
    }
}
