//! Hashes the log behind the writer, on a thread of its own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::links::Links;
use super::{Chain, Hashed};
use crate::error::Error;
use crate::event::Offset;
use crate::read::{self, Chunk};
use crate::shared::Shared;

/// How long commits are let gather before they are hashed together: so many small ones cost few wakes.
const GATHER: Duration = Duration::from_millis(20);
/// How long to wait after the log could not be read.
const RETRY: Duration = Duration::from_secs(10);

/// The hash of the log. It lags behind the head.
pub(crate) struct Follower {
    pub(crate) links: Links,
    state: Mutex<State>,
    changed: Condvar,
    /// Whether the thread waits for the head to move.
    is_asleep: AtomicBool,
}

/// A pass answers every request made before it began.
#[derive(Default)]
struct State {
    hashed: Option<Hashed>,
    requested: u64,
    finished: u64,
    has_ended: bool,
}

/// How far a pass has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reached {
    Head,
    /// What the next event was is not known any more, nor then the hash of it and all after it.
    Damage,
}

impl Follower {
    /// Nothing is hashed yet.
    pub(crate) fn new(links: Links) -> Self {
        Self { links, state: Mutex::default(), changed: Condvar::new(), is_asleep: AtomicBool::new(false) }
    }

    /// How far it is; `None` if it has only begun.
    pub(crate) fn hashed(&self) -> Option<Hashed> {
        self.state().hashed
    }

    /// The head has moved. Never waits.
    pub(crate) fn nudge(&self) {
        // The head was moved before: of this swap and the thread's, the later one sees what the earlier has left.
        if self.is_asleep.swap(false, Ordering::AcqRel) {
            let _state = self.state();
            self.changed.notify_all();
        }
    }

    /// Returns when everything below the present head is hashed that can be.
    pub(crate) fn wait(&self) {
        let mut state = self.state();
        state.requested += 1;
        let wanted = state.requested;
        self.changed.notify_all();
        while state.finished < wanted && !state.has_ended {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The log is closing.
    pub(crate) fn stop(&self) {
        let _state = self.state();
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works until the log is closed.
    pub(crate) fn run(&self, shared: &Shared, reserve_bytes: u64) {
        let _ended = Ended(self);
        let mut work = Work {
            shared,
            follower: self,
            reserve_bytes,
            chain: self.links.resume(shared.segments.oldest(), shared.head()),
        };
        let mut is_damaged = false;
        while !shared.is_closing() {
            let requested = self.state().requested;
            let mut pause = GATHER;
            if !is_damaged {
                match work.catch_up() {
                    Ok(reached) => is_damaged = reached == Reached::Damage,
                    Err(error) => {
                        tracing::warn!(%error, "the hash of the log is behind");
                        pause = RETRY;
                    }
                }
            }
            work.publish();
            let mut state = self.state();
            state.finished = requested;
            self.changed.notify_all();
            self.is_asleep.swap(true, Ordering::AcqRel);
            let is_quiet = |state: &State| state.requested == requested && !shared.is_closing();
            while is_quiet(&state) && (is_damaged || work.chain.next() >= shared.head()) {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            drop(self.changed.wait_timeout_while(state, pause, |state| is_quiet(state)));
        }
    }
}

/// Lets those who wait go, however the thread ends.
struct Ended<'a>(&'a Follower);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.state().has_ended = true;
        self.0.changed.notify_all();
    }
}

/// The thread at work.
struct Work<'a> {
    shared: &'a Shared,
    follower: &'a Follower,
    reserve_bytes: u64,
    chain: Chain,
}

impl Work<'_> {
    /// Hashes what is there.
    fn catch_up(&mut self) -> Result<Reached, Error> {
        while !self.shared.is_closing() {
            let next = self.chain.next();
            match read::read(self.shared, next, None)? {
                Chunk::Block(block) => self.take(&block),
                Chunk::Gap { .. } | Chunk::Skipped { .. } => {
                    tracing::error!(offset = %next, "damage: the log has no hash from here on");
                    return Ok(Reached::Damage);
                }
                Chunk::Head => break,
            }
        }
        Ok(Reached::Head)
    }

    fn take(&mut self, block: &crate::block::Block) {
        let mut is_complete = false;
        let (links, segments) = (&self.follower.links, &self.shared.segments);
        let reserve_bytes = self.reserve_bytes;
        self.chain.take(block, Offset::MAX, |link, digest| {
            is_complete = true;
            // One that is not kept is found out again.
            let has_room = segments.engine.free_bytes().is_ok_and(|free| free >= reserve_bytes);
            if has_room && let Err(error) = links.put(link, digest) {
                tracing::warn!(link, %error, "a link of the hash chain is not kept");
            }
        });
        if is_complete {
            self.publish();
        }
    }

    fn publish(&mut self) {
        let hashed = self.chain.hashed();
        self.follower.state().hashed = Some(hashed);
    }
}
