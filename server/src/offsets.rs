//! Sets of offsets that take little memory as long as most offsets are in, or most are not.

use std::collections::BTreeMap;
use std::ops::Range;

use downlink_storage::Offset;

/// Offsets that are in or not as a whole, or have a bit each.
const CHUNK: u64 = 4096;
const WORDS: usize = (CHUNK / u64::BITS as u64) as usize;

/// Chunks with bits in a set, of about half a KiB: together 32 MiB, for more than 200,000,000 offsets.
pub(crate) const SCATTERED_MAX: usize = 1 << 16;

type Bits = [u64; WORDS];

/// A set of offsets.
#[derive(Debug)]
pub(crate) struct Offsets {
    /// Chunks that are in as a whole: ends of runs of them by their beginnings; no two runs touch.
    whole: BTreeMap<u64, u64>,
    /// Chunks of which a part is in.
    scattered: BTreeMap<u64, Box<Bits>>,
    scattered_max: usize,
}

impl Offsets {
    /// None yet. With more chunks than this of which only a part is in it is too large, and who adds has to act on that.
    pub(crate) const fn new(scattered_max: usize) -> Self {
        Self { whole: BTreeMap::new(), scattered: BTreeMap::new(), scattered_max }
    }

    /// Adds an offset; `false` if it is in already.
    pub(crate) fn insert(&mut self, offset: Offset) -> bool {
        self.insert_index(index(offset))
    }

    /// Adds adjacent offsets.
    pub(crate) fn insert_all(&mut self, offsets: Range<Offset>) {
        let Range { start: mut at, end } = index(offsets.start)..index(offsets.end);
        while at < end {
            let chunks = at / CHUNK..end / CHUNK;
            if at.is_multiple_of(CHUNK) && !chunks.is_empty() {
                at = chunks.end * CHUNK;
                self.insert_chunks(chunks);
            } else {
                self.insert_index(at);
                at += 1;
            }
        }
    }

    /// Whether an offset is in.
    pub(crate) fn contains(&self, offset: Offset) -> bool {
        let (chunk, word, bit) = place(index(offset));
        self.is_whole(chunk) || self.scattered.get(&chunk).is_some_and(|bits| bits[word] & bit != 0)
    }

    /// How many are in.
    pub(crate) fn len(&self) -> u64 {
        self.runs(0).map(|run| run.end - run.start).sum()
    }

    /// The offset after the last; the first of all if there are none.
    pub(crate) fn end(&self) -> Offset {
        let whole = self.whole.last_key_value().map_or(0, |(_, end)| end.saturating_mul(CHUNK));
        let last = self.scattered.last_key_value().and_then(|(chunk, bits)| runs_of(*chunk, bits).last());
        offset(last.map_or(whole, |last| last.end.max(whole)))
    }

    /// Whether there are more chunks than there may be of which only a part is in.
    pub(crate) fn is_too_large(&self) -> bool {
        self.scattered.len() > self.scattered_max
    }

    /// If it is too large: gives up what is not in of the first chunk of which a part is. That counts as in from now on.
    pub(crate) fn give_up(&mut self) -> Vec<Range<Offset>> {
        let Some((&chunk, _)) = self.scattered.first_key_value().filter(|_| self.is_too_large()) else {
            return Vec::new();
        };
        let holes = self.holes(offset(chunk * CHUNK)..offset((chunk + 1).saturating_mul(CHUNK))).collect();
        self.insert_chunks(chunk..chunk + 1);
        holes
    }

    /// What is not in of a range.
    pub(crate) fn holes(&self, range: Range<Offset>) -> impl Iterator<Item = Range<Offset>> {
        let Range { start: mut from, end: until } = index(range.start)..index(range.end);
        let inside = self.runs(from).take_while(move |run| run.start < until);
        inside.chain(std::iter::once(until..until)).filter_map(move |run| {
            let hole = from..run.start.max(from);
            from = run.end.max(from);
            (!hole.is_empty()).then(|| offset(hole.start)..offset(hole.end))
        })
    }

    fn insert_index(&mut self, index: u64) -> bool {
        let (chunk, word, bit) = place(index);
        if self.is_whole(chunk) {
            return false;
        }
        let bits = self.scattered.entry(chunk).or_insert_with(|| Box::new([0; WORDS]));
        let is_new = bits[word] & bit == 0;
        bits[word] |= bit;
        if bits[word] == u64::MAX && bits.iter().all(|word| *word == u64::MAX) {
            self.insert_chunks(chunk..chunk + 1);
        }
        is_new
    }

    fn insert_chunks(&mut self, chunks: Range<u64>) {
        let Range { start: mut first, mut end } = chunks;
        let inside: Vec<_> = self.scattered.range(first..end).map(|(chunk, _)| *chunk).collect();
        for chunk in inside {
            self.scattered.remove(&chunk);
        }
        // Runs that it touches become one with it.
        while let Some((&start, &until)) = self.whole.range(..=end).next_back().filter(|run| *run.1 >= first)
        {
            self.whole.remove(&start);
            (first, end) = (first.min(start), end.max(until));
        }
        self.whole.insert(first, end);
    }

    fn is_whole(&self, chunk: u64) -> bool {
        self.whole.range(..=chunk).next_back().is_some_and(|(_, end)| *end > chunk)
    }

    /// What is in, in order, from the chunk of an index on or a little before; two may touch.
    fn runs(&self, from: u64) -> impl Iterator<Item = Range<u64>> {
        let chunk = from / CHUNK;
        let first = self.whole.range(..=chunk).next_back().map_or(chunk, |(first, _)| *first);
        let whole = self.whole.range(first..).map(|(first, end)| first * CHUNK..end.saturating_mul(CHUNK));
        let scattered = self.scattered.range(chunk..).flat_map(|(chunk, bits)| runs_of(*chunk, bits));
        let (mut whole, mut scattered) = (whole.peekable(), scattered.peekable());
        std::iter::from_fn(move || match (whole.peek(), scattered.peek()) {
            (Some(of_whole), Some(other)) if other.start < of_whole.start => scattered.next(),
            (Some(_), _) => whole.next(),
            (None, _) => scattered.next(),
        })
    }
}

/// Offsets are counted from 1, chunks from 0.
const fn index(offset: Offset) -> u64 {
    offset.get() - 1
}

fn offset(index: u64) -> Offset {
    Offset::FIRST.plus(index)
}

/// The chunk of an index, and the word and the bit in it.
const fn place(index: u64) -> (u64, usize, u64) {
    let bit = index % CHUNK;
    (index / CHUNK, (bit / u64::BITS as u64) as usize, 1 << (bit % u64::BITS as u64))
}

/// What is in of a chunk.
fn runs_of(chunk: u64, bits: &Bits) -> impl Iterator<Item = Range<u64>> {
    let is_in = |index: u64| {
        let (_, word, bit) = place(index);
        bits[word] & bit != 0
    };
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = (at..CHUNK).find(|index| is_in(*index))?;
        at = (start..CHUNK).find(|index| !is_in(*index)).unwrap_or(CHUNK);
        Some(chunk * CHUNK + start..chunk * CHUNK + at)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn at(number: u64) -> Offset {
        Offset::new(number).unwrap()
    }

    /// Numbers around the borders of chunks.
    fn numbers() -> impl Strategy<Value = u64> {
        (0..4_u64, 0..40_u64).prop_map(|(chunk, near)| (chunk * CHUNK + near).saturating_sub(20).max(1))
    }

    proptest! {
        #[test]
        fn it_is_a_set(
            ranges in prop::collection::vec((numbers(), prop_oneof![0..4_u64, 0..3 * CHUNK]), 0..20),
            singles in prop::collection::vec(numbers(), 0..60),
            wanted in (numbers(), 0..3 * CHUNK),
        ) {
            let (mut offsets, mut model) = (Offsets::new(SCATTERED_MAX), BTreeSet::new());
            for (first, length) in ranges {
                offsets.insert_all(at(first)..at(first + length));
                model.extend(first..first + length);
            }
            for number in singles {
                prop_assert_eq!(offsets.insert(at(number)), model.insert(number));
            }
            prop_assert!(offsets.give_up().is_empty());
            prop_assert_eq!(offsets.len(), model.len() as u64);
            prop_assert_eq!(offsets.end().get(), model.last().map_or(1, |last| last + 1));
            let wanted = wanted.0..wanted.0 + wanted.1;
            let holes: Vec<u64> =
                offsets.holes(at(wanted.start)..at(wanted.end)).flat_map(|hole| hole.start.get()..hole.end.get()).collect();
            prop_assert!(wanted.clone().filter(|number| !model.contains(number)).eq(holes));
            for number in wanted {
                prop_assert_eq!(offsets.contains(at(number)), model.contains(&number));
            }
        }
    }

    #[test]
    fn one_offset_far_away_takes_next_to_nothing_and_the_last_one_is_an_offset_too() {
        let mut offsets = Offsets::new(SCATTERED_MAX);
        for number in [u64::MAX - 1, 5] {
            assert!(offsets.insert(at(number)) && offsets.contains(at(number)));
        }
        assert_eq!((offsets.scattered.len(), offsets.len(), offsets.end()), (2, 2, Offset::MAX));
        assert_eq!(offsets.holes(at(1)..at(9)).collect::<Vec<_>>(), [at(1)..at(5), at(6)..at(9)]);
    }

    #[test]
    fn what_is_too_large_gives_up_its_first_holes() {
        let mut offsets = Offsets::new(1);
        offsets.insert(at(1));
        offsets.insert(at(5));
        assert!(!offsets.is_too_large() && offsets.give_up().is_empty());
        offsets.insert(at(CHUNK + 1));
        assert!(offsets.is_too_large());
        assert_eq!(offsets.give_up(), [at(2)..at(5), at(6)..at(CHUNK + 1)]);
        assert!(!offsets.is_too_large() && offsets.contains(at(2)) && !offsets.contains(at(CHUNK + 2)));
    }
}
