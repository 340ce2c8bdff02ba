//! What has been sent, what the topic has acknowledged, and from where a later session may go on. Without I/O.

use std::collections::VecDeque;

use downlink_storage::Offset;

/// From where a later session goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Checkpoint {
    /// The topic holds every event below this.
    pub(super) next_offset: Offset,
    /// For each partition, the position at or behind which it holds everything else.
    pub(super) positions: Vec<i64>,
}

/// Where a session is.
#[derive(Debug)]
pub(super) struct Progress {
    /// Everything below is in the topic.
    frontier: Offset,
    /// For each offset from the frontier on that has been dealt with, whether it is in the topic.
    settled: VecDeque<bool>,
    /// How many of these are not.
    outstanding: usize,
    /// Where each partition ends, as far as is known.
    positions: Vec<i64>,
    /// The offset after the last that is in the topic.
    reached: Offset,
    /// The next checkpoint, once the frontier has come to it.
    next: Checkpoint,
}

impl Progress {
    /// Begins at `start`, with a topic whose partitions end at `positions` and hold nothing from `held_end` on. What they hold
    /// below that lies before their ends, so no checkpoint with these can be made before the frontier is there.
    pub(super) fn new(start: Offset, held_end: Offset, positions: Vec<i64>) -> Self {
        let reached = start.max(held_end);
        Self {
            frontier: start,
            settled: VecDeque::new(),
            outstanding: 0,
            reached,
            next: Checkpoint { next_offset: reached, positions: positions.clone() },
            positions,
        }
    }

    /// Everything below this is in the topic.
    pub(super) const fn frontier(&self) -> Offset {
        self.frontier
    }

    /// The offset to go on at.
    pub(super) fn next_offset(&self) -> Offset {
        self.frontier.plus(self.settled.len() as u64)
    }

    /// How many events are remembered beyond the frontier.
    pub(super) fn ahead(&self) -> usize {
        self.settled.len()
    }

    /// Events on their way.
    pub(super) const fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// The event at [`Self::next_offset`] is on its way.
    pub(super) fn sent(&mut self) {
        self.settled.push_back(false);
        self.outstanding += 1;
    }

    /// The topic holds the event at [`Self::next_offset`] already, or nobody does.
    pub(super) fn skipped(&mut self) {
        self.settled.push_back(true);
        self.advance();
    }

    /// Whether the topic cannot have put anything here, because it has had something there, or further on, before. What it does
    /// not tell is below 0.
    pub(super) fn is_taken(&self, partition: usize, position: i64) -> bool {
        self.positions.get(partition).is_some_and(|end| (0..*end).contains(&position))
    }

    /// The topic has taken the event at `offset`.
    ///
    /// # Panics
    /// If it was not on its way.
    pub(super) fn acknowledged(&mut self, offset: Offset, partition: usize, position: i64) {
        let index = usize::try_from(offset.since(self.frontier)).expect("fits what is on its way");
        let settled = self.settled.get_mut(index).expect("only what was sent is acknowledged");
        assert!(!std::mem::replace(settled, true), "{offset} is acknowledged twice");
        self.outstanding -= 1;
        if partition >= self.positions.len() {
            // A partition that was added while we were at work, and was empty then.
            self.positions.resize(partition + 1, 0);
        }
        self.positions[partition] = self.positions[partition].max(position + 1);
        self.reached = self.reached.max(offset.plus(1));
        self.advance();
    }

    fn advance(&mut self) {
        while self.settled.front() == Some(&true) {
            self.settled.pop_front();
            self.frontier = self.frontier.plus(1);
        }
        self.reached = self.reached.max(self.frontier);
    }

    /// The next checkpoint, if it is further on than `last`. What the topic acknowledges from now on is behind the positions
    /// that the one after it will have.
    pub(super) fn checkpoint(&mut self, last: Offset) -> Option<Checkpoint> {
        if self.next.next_offset > self.frontier {
            return None;
        }
        let following = Checkpoint { next_offset: self.reached, positions: self.positions.clone() };
        let ready = std::mem::replace(&mut self.next, following);
        // With nothing on its way, the one that follows holds at once.
        let newest = if self.outstanding == 0 { self.next.clone() } else { ready };
        (newest.next_offset > last).then_some(newest)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// What happens to a session, with numbers that choose among what is possible.
    #[derive(Clone, Copy, Debug)]
    enum Event {
        Send(usize),
        Skip,
        Acknowledge(usize),
        Checkpoint,
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let event = prop_oneof![
            4 => (0..3_usize).prop_map(Event::Send),
            1 => Just(Event::Skip),
            4 => (0..3_usize).prop_map(Event::Acknowledge),
            1 => Just(Event::Checkpoint),
        ];
        prop::collection::vec(event, 0..200)
    }

    proptest! {
        /// Partitions hold some of the first events from earlier sessions, and take what is sent in its order, each at its own
        /// speed. Wherever the session ends, a checkpoint leads to everything that the topic lacks and to everything that it
        /// holds beyond.
        #[test]
        fn a_checkpoint_misses_nothing(
            earlier in prop::collection::vec(prop::option::of(0..3_usize), 0..40),
            events in events(),
        ) {
            let start = Offset::new(5).unwrap();
            let mut topic: [Vec<Offset>; 3] = Default::default();
            let mut held = BTreeMap::new();
            for (index, partition) in (0..).zip(&earlier) {
                let Some(partition) = *partition else { continue };
                held.insert(start.plus(index), Some((partition, topic[partition].len() as i64)));
                topic[partition].push(start.plus(index));
            }
            let held_end = held.keys().last().map_or(start, |last| last.plus(1));
            let ends = topic.iter().map(|messages| messages.len() as i64).collect();
            let mut progress = Progress::new(start, held_end, ends);
            let mut waiting: [VecDeque<Offset>; 3] = Default::default();
            let mut last = start;
            for event in events {
                while held.contains_key(&progress.next_offset()) {
                    progress.skipped();
                }
                match event {
                    Event::Send(partition) => {
                        waiting[partition].push_back(progress.next_offset());
                        progress.sent();
                    }
                    Event::Skip => {
                        held.insert(progress.next_offset(), None);
                        progress.skipped();
                    }
                    Event::Acknowledge(partition) => {
                        let Some(offset) = waiting[partition].pop_front() else { continue };
                        topic[partition].push(offset);
                        let position = topic[partition].len() - 1;
                        prop_assert!(!progress.is_taken(partition, position as i64));
                        held.insert(offset, Some((partition, position as i64)));
                        progress.acknowledged(offset, partition, position as i64);
                    }
                    Event::Checkpoint => {
                        let Some(checkpoint) = progress.checkpoint(last) else { continue };
                        prop_assert!(checkpoint.next_offset > last);
                        last = checkpoint.next_offset;
                        for number in start.get()..last.get() {
                            prop_assert!(held.contains_key(&Offset::new(number).unwrap()), "{number} is lacking");
                        }
                        for (offset, place) in held.range(last..) {
                            let Some((partition, position)) = place else { continue };
                            prop_assert!(*position >= checkpoint.positions[*partition], "{offset} is not seen again");
                        }
                    }
                }
                prop_assert_eq!(progress.outstanding(), waiting.iter().map(VecDeque::len).sum::<usize>());
            }
            // Once all is sent and acknowledged, a checkpoint is at the end.
            while progress.next_offset() < held_end {
                if held.contains_key(&progress.next_offset()) {
                    progress.skipped();
                } else {
                    waiting[0].push_back(progress.next_offset());
                    progress.sent();
                }
            }
            for (partition, waiting) in waiting.into_iter().enumerate() {
                for offset in waiting {
                    topic[partition].push(offset);
                    progress.acknowledged(offset, partition, topic[partition].len() as i64 - 1);
                }
            }
            prop_assert_eq!(progress.frontier(), progress.next_offset());
            let end = progress.next_offset();
            if let Some(checkpoint) = progress.checkpoint(last) {
                last = checkpoint.next_offset;
            }
            let last = progress.checkpoint(last).map_or(last, |checkpoint| checkpoint.next_offset);
            prop_assert_eq!(last, end);
        }
    }
}
