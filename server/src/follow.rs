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
    /// Give the newest event of each signal below [`Follow::next_offset`], and report with `begun`.
    Begin,
    /// Read on from [`Follow::next_offset`], up to the head, and report with `passed` or `missing`.
    Read,
    /// Give only the newest event of each signal from [`Follow::next_offset`] to the head, and report with
    /// `conflated`.
    Conflate,
    /// Let the subscriber go: it is too slow.
    Disconnect,
    /// Wait for the head to move, the heartbeat or the drain.
    Wait,
    /// Nothing more.
    End,
}

/// What becomes of a subscriber that was live and has fallen behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WhenSlow {
    /// It is told, and gets everything.
    CatchUp,
    /// It gets the newest event of each signal, and goes on live.
    Conflate,
    /// It is let go.
    Disconnect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Opening,
    Beginning,
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
    when_slow: WhenSlow,
    begins_with_newest: bool,
    /// Events looked at, and those of them that went to the subscriber or were dropped for newer ones.
    looked_at_events: u64,
    sent_events: u64,
    conflated_events: u64,
    /// Found, but not told yet.
    gap: Option<(Offset, Missing)>,
    heartbeat_is_due: bool,
    is_draining: bool,
}

impl Follow {
    /// A subscriber that begins at `start` and counts as fallen behind when it lags by more than
    /// `behind_events_max`, once it has been live.
    #[must_use]
    pub(crate) const fn new(start: Offset, behind_events_max: u64, when_slow: WhenSlow) -> Self {
        Self {
            phase: Phase::Opening,
            next: start,
            behind_events_max,
            when_slow,
            begins_with_newest: false,
            looked_at_events: 0,
            sent_events: 0,
            conflated_events: 0,
            gap: None,
            heartbeat_is_due: false,
            is_draining: false,
        }
    }

    /// One that gets the newest event of each signal first.
    #[must_use]
    pub(crate) const fn beginning_with_newest(self) -> Self {
        Self { begins_with_newest: true, ..self }
    }

    /// The first offset that is not dealt with yet.
    #[must_use]
    pub(crate) const fn next_offset(&self) -> Offset {
        self.next
    }

    /// Whether what is read now has just happened.
    #[must_use]
    pub(crate) fn is_live(&self) -> bool {
        self.phase == Phase::Live
    }

    /// Whether the subscriber is let go once it is too slow.
    #[must_use]
    pub(crate) fn disconnects(&self) -> bool {
        self.when_slow == WhenSlow::Disconnect
    }

    /// Whether the subscriber is to be let go, as the log ends at `head`.
    #[must_use]
    pub(crate) fn is_too_slow(&self, head: Offset) -> bool {
        self.is_live() && self.disconnects() && head.since(self.next) > self.behind_events_max
    }

    /// What to do now that the log ends at `head`.
    pub(crate) fn step(&mut self, head: Offset) -> Step {
        if self.phase == Phase::Opening {
            self.phase = if self.begins_with_newest { Phase::Beginning } else { Phase::History };
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
            let suppressed_events = self.looked_at_events - self.sent_events - self.conflated_events;
            return Step::Tell(Notice::Heartbeat { suppressed_events });
        }
        let behind = head.since(self.next);
        match self.phase {
            Phase::Beginning => Step::Begin,
            Phase::History if behind == 0 => {
                self.phase = Phase::Live;
                Step::Tell(Notice::CaughtUp)
            }
            Phase::Live if behind == 0 => Step::Wait,
            Phase::Live if behind > self.behind_events_max => match self.when_slow {
                WhenSlow::CatchUp => {
                    self.phase = Phase::History;
                    Step::Tell(Notice::FellBehind { events: behind })
                }
                WhenSlow::Conflate => Step::Conflate,
                WhenSlow::Disconnect => Step::Disconnect,
            },
            Phase::Opening | Phase::History | Phase::Live | Phase::Ended => Step::Read,
        }
    }

    /// The subscriber has got, or will not get, the newest event of each signal first.
    pub(crate) fn begun(&mut self) {
        assert_eq!(self.phase, Phase::Beginning, "only who begins has begun");
        self.phase = Phase::History;
    }

    /// Everything from `next_offset` to `end` has been dealt with; in all, `sent_events` of what was looked at went
    /// to the subscriber.
    ///
    /// # Panics
    /// If `end` goes back, or if there were more events than offsets.
    pub(crate) fn passed(&mut self, sent_events: u64, end: Offset) {
        assert!(end >= self.next && sent_events >= self.sent_events, "never back");
        self.looked_at_events += end.since(self.next);
        self.sent_events = sent_events;
        self.next = end;
        let accounted = self.sent_events + self.conflated_events;
        assert!(accounted <= self.looked_at_events, "{accounted} events of {}", self.looked_at_events);
    }

    /// The same after [`Step::Conflate`]: `conflated_events` were dropped in favour of newer ones.
    ///
    /// # Panics
    /// As [`Self::passed`].
    pub(crate) fn conflated(&mut self, sent_events: u64, conflated_events: u64, end: Offset) {
        self.conflated_events += conflated_events;
        self.passed(sent_events, end);
    }

    /// The offsets from `first` to `end` cannot be delivered; what is before them has no event that matches.
    ///
    /// # Panics
    /// If it does not lie ahead.
    pub(crate) fn missing(&mut self, first: Offset, end: Offset, reason: Missing) {
        let first = first.max(self.next);
        assert!(end > first, "the gap from {first} to {end} is empty");
        self.passed(self.sent_events, first);
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
