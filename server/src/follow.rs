//! Replay, caught up, live, fell behind, replay: what a subscriber is told and when. A state machine without I/O.

use downlink_storage::Offset;

/// Why offsets are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Retention has removed them.
    Retention,
    /// They are damaged on disk.
    Damage,
}

/// What a subscriber is told, beside events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// The subscription stands. The first.
    Started,
    /// Everything below the head has been delivered.
    CaughtUp,
    /// The reader is slower than the log grows.
    FellBehind {
        /// By how many events.
        events: u64,
    },
    /// Nothing has happened for a while.
    Heartbeat {
        /// Events passed over so far because they are not wanted.
        suppressed_events: u64,
    },
    /// Offsets that cannot be delivered.
    Gap {
        /// The first of them.
        first: Offset,
        /// The offset after the last of them.
        end: Offset,
        /// Why.
        reason: Missing,
    },
    /// The server is about to stop. The last.
    Draining,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Tell the subscriber.
    Tell(Notice),
    /// Read on from [`Follow::next_offset`], up to the head, and report with `delivered` or `missing`.
    Read,
    /// Wait for the head to move, the heartbeat or the drain.
    Wait,
    /// Nothing more.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Opening,
    History,
    Live,
    Ended,
}

/// Where one subscriber is.
#[derive(Debug)]
pub(crate) struct Follow {
    phase: Phase,
    next: Offset,
    behind_events_max: u64,
    suppressed_events: u64,
    /// Found, but not told yet.
    gap: Option<(Offset, Missing)>,
    heartbeat_is_due: bool,
    is_draining: bool,
}

impl Follow {
    /// A subscriber that begins at `start` and counts as fallen behind when it lags by more than
    /// `behind_events_max`.
    #[must_use]
    pub(crate) const fn new(start: Offset, behind_events_max: u64) -> Self {
        Self {
            phase: Phase::Opening,
            next: start,
            behind_events_max,
            suppressed_events: 0,
            gap: None,
            heartbeat_is_due: false,
            is_draining: false,
        }
    }

    /// Where to resume after what has been told and delivered so far.
    #[must_use]
    pub(crate) const fn next_offset(&self) -> Offset {
        self.next
    }

    /// What to do now that the log ends at `head`.
    pub(crate) fn step(&mut self, head: Offset) -> Step {
        if self.phase == Phase::Opening {
            self.phase = Phase::History;
            return Step::Tell(Notice::Started);
        }
        if self.phase == Phase::Ended {
            return Step::End;
        }
        if let Some((end, reason)) = self.gap.take() {
            let first = std::mem::replace(&mut self.next, end);
            return Step::Tell(Notice::Gap { first, end, reason });
        }
        if self.is_draining {
            self.phase = Phase::Ended;
            return Step::Tell(Notice::Draining);
        }
        if std::mem::take(&mut self.heartbeat_is_due) {
            return Step::Tell(Notice::Heartbeat { suppressed_events: self.suppressed_events });
        }
        let behind = head.since(self.next);
        match self.phase {
            Phase::History if behind == 0 => {
                self.phase = Phase::Live;
                Step::Tell(Notice::CaughtUp)
            }
            Phase::Live if behind == 0 => Step::Wait,
            Phase::Live if behind > self.behind_events_max => {
                self.phase = Phase::History;
                Step::Tell(Notice::FellBehind { events: behind })
            }
            Phase::Opening | Phase::History | Phase::Live | Phase::Ended => Step::Read,
        }
    }

    /// Everything from `next_offset` to `end` has been dealt with: `matched` events of it go to the subscriber.
    ///
    /// # Panics
    /// If `end` goes back, or if there were more events than offsets.
    pub(crate) fn delivered(&mut self, matched: u64, end: Offset) {
        let passed = end.since(self.next);
        assert!(end >= self.next && matched <= passed, "{matched} events from {} to {end}", self.next);
        self.suppressed_events += passed - matched;
        self.next = end;
    }

    /// The offsets from `first` to `end` cannot be delivered; what is before them has no event that matches.
    ///
    /// # Panics
    /// If it does not lie ahead.
    pub(crate) fn missing(&mut self, first: Offset, end: Offset, reason: Missing) {
        let first = first.max(self.next);
        assert!(end > first, "the gap from {first} to {end} is empty");
        self.delivered(0, first);
        self.gap = Some((end, reason));
    }

    /// Nothing has been told for as long as the subscriber wants to wait.
    pub(crate) const fn heartbeat(&mut self) {
        self.heartbeat_is_due = true;
    }

    /// The server is about to stop.
    pub(crate) const fn drain(&mut self) {
        self.is_draining = true;
    }
}

#[cfg(test)]
mod tests;
