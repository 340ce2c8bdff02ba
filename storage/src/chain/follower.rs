//! Hashes the log behind the writer, on a thread of its own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

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
    thread: OnceLock<Thread>,
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
        Self {
            links,
            state: Mutex::default(),
            changed: Condvar::new(),
            is_asleep: AtomicBool::new(false),
            thread: OnceLock::new(),
        }
    }

    /// How far it is; `None` if it has only begun.
    pub(crate) fn hashed(&self) -> Option<Hashed> {
        self.state().hashed
    }

    /// The head has moved. Never waits.
    pub(crate) fn nudge(&self) {
        // The head was moved before: of this swap and the thread's, the later one sees what the earlier has left.
        if self.is_asleep.swap(false, Ordering::AcqRel) {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// Returns when everything below the present head is hashed that can be.
    pub(crate) fn wait(&self) {
        let mut state = self.state();
        state.requested += 1;
        let wanted = state.requested;
        self.wake();
        while state.finished < wanted && !state.has_ended {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The log is closing.
    pub(crate) fn stop(&self) {
        self.wake();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works until the log is closed.
    pub(crate) fn run(&self, shared: &Shared, reserve_bytes: u64) {
        let _ended = Ended(self);
        let _ = self.thread.set(thread::current());
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
            self.state().finished = requested;
            self.changed.notify_all();
            let next = (!is_damaged).then(|| work.chain.next());
            self.rest(shared, requested, next, pause);
        }
    }

    /// Waits until there is something at `next`, then for a while, or until somebody waits for more than was `requested`.
    fn rest(&self, shared: &Shared, requested: u64, next: Option<Offset>, pause: Duration) {
        let is_quiet = || !shared.is_closing() && self.state().requested == requested;
        loop {
            self.is_asleep.swap(true, Ordering::AcqRel);
            if !is_quiet() || next.is_some_and(|next| next < shared.head()) {
                break;
            }
            thread::park();
        }
        self.is_asleep.store(false, Ordering::Relaxed);
        let begun = Instant::now();
        while is_quiet() && begun.elapsed() < pause {
            thread::park_timeout(pause.saturating_sub(begun.elapsed()));
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
