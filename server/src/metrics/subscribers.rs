//! Who subscribes: how many are where, and what they have been sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::page::Page;
use super::{EVENTS_DELIVERED, SUBSCRIBERS};

/// Where a subscriber is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Replaying,
    Live,
    Behind,
}

/// Whether what it is sent has just happened.
pub(crate) enum Standing {
    /// It has.
    Live,
    /// It has happened before.
    History,
}

const STATES: [&str; 3] = ["replaying", "live", "behind"];

/// All of them.
#[derive(Default)]
pub(crate) struct Subscribers {
    states: [AtomicU64; STATES.len()],
    sent_events: AtomicU64,
}

impl Subscribers {
    pub(super) fn tell(&self, page: &mut Page) {
        for (state, count) in STATES.iter().zip(&self.states) {
            page.number(&SUBSCRIBERS, &[state], count.load(Ordering::Relaxed));
        }
        page.number(&EVENTS_DELIVERED, &["subscribe"], self.sent_events.load(Ordering::Relaxed));
    }
}

/// One of them, until it is dropped.
pub(crate) struct Subscriber {
    all: Arc<Subscribers>,
    state: State,
    sent_events: u64,
}

impl Subscriber {
    /// One that begins.
    pub(crate) fn begin(all: &Arc<Subscribers>) -> Self {
        all.states[State::Replaying as usize].fetch_add(1, Ordering::Relaxed);
        Self { all: all.clone(), state: State::Replaying, sent_events: 0 }
    }

    /// It has been sent so many events in all, and is live, or not, or no longer.
    pub(crate) fn note(&mut self, sent_events: u64, standing: Standing) {
        let more = sent_events - std::mem::replace(&mut self.sent_events, sent_events);
        if more > 0 {
            self.all.sent_events.fetch_add(more, Ordering::Relaxed);
        }
        match standing {
            Standing::Live => self.enter(State::Live),
            Standing::History if self.state == State::Live => self.enter(State::Behind),
            Standing::History => {}
        }
    }

    fn enter(&mut self, state: State) {
        if self.state != state {
            self.all.states[state as usize].fetch_add(1, Ordering::Relaxed);
            self.all.states[self.state as usize].fetch_sub(1, Ordering::Relaxed);
            self.state = state;
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.all.states[self.state as usize].fetch_sub(1, Ordering::Relaxed);
    }
}
