//! Which events behind a checkpoint a topic holds already: a bit for each.

use downlink_storage::Offset;

const WORD_BITS: u64 = u64::BITS as u64;

/// A set of offsets from a first one on.
#[derive(Debug)]
pub(crate) struct HeldOffsets {
    first: Offset,
    end: Offset,
    words: Vec<u64>,
    count: u64,
}

impl HeldOffsets {
    /// None yet.
    pub(crate) const fn from(first: Offset) -> Self {
        Self { first, end: first, words: Vec::new(), count: 0 }
    }

    /// Adds an offset; `false` if it is in already. One before the first is always in.
    pub(crate) fn insert(&mut self, offset: Offset) -> bool {
        if offset < self.first {
            return true;
        }
        let (word, bit) = self.place(offset);
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let is_new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.count += u64::from(is_new);
        self.end = self.end.max(offset.plus(1));
        is_new
    }

    /// Whether it is in.
    pub(crate) fn contains(&self, offset: Offset) -> bool {
        let (word, bit) = self.place(offset);
        offset < self.first || self.words.get(word).is_some_and(|held| held & bit != 0)
    }

    /// The offset after the last; the first if there are none.
    pub(crate) const fn end(&self) -> Offset {
        self.end
    }

    /// How many there are from the first on.
    pub(crate) const fn len(&self) -> u64 {
        self.count
    }

    fn place(&self, offset: Offset) -> (usize, u64) {
        let index = offset.get().saturating_sub(self.first.get());
        (usize::try_from(index / WORD_BITS).expect("fits memory"), 1 << (index % WORD_BITS))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(first in 1..500_u64, offsets in prop::collection::vec(1..1000_u64, 0..100)) {
            let offset = |number| Offset::new(number).unwrap();
            let mut held = HeldOffsets::from(offset(first));
            let mut model = BTreeSet::new();
            for number in offsets {
                let is_new = number < first || model.insert(number);
                prop_assert_eq!(held.insert(offset(number)), is_new);
            }
            for number in 1..1100 {
                prop_assert_eq!(held.contains(offset(number)), number < first || model.contains(&number));
            }
            prop_assert_eq!(held.len(), model.len() as u64);
            prop_assert_eq!(held.end().get(), model.last().map_or(first, |last| last + 1));
        }
    }
}
