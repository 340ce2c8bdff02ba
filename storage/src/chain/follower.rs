//! Hashes the log behind the writer, on a thread of its own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::links::Links;
use super::{Chain, Hashed};
use crate::error::Error;
use crate::event::Offset;
use crate::passes::Passes;
use crate::read::{self, Chunk};
use crate::shared::Shared;

/// How long commits are let gather after a pass before they are hashed together: so many small ones cost few wakes.
const GATHER: Duration = Duration::from_millis(20);
/// How long to wait after the log could not be read.
const RETRY: Duration = Duration::from_secs(10);

/// The hash of the log. It lags behind the head.
pub(crate) struct Follower {
    pub(crate) links: Links,
    pub(crate) passes: Passes,
    hashed: Mutex<Option<Hashed>>,
    /// Whether the thread waits for the head to move.
    is_asleep: AtomicBool,
}

/// How far a pass has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reached {
    Head,
    /// What the next event was is not known any more, nor then the hash of it and all after it.
    Damage,
}

/// What comes after a pass.
struct Pause {
    /// How long it is, even if there is something new.
    length: Duration,
    /// The offset that it goes on with; `None`: it does not.
    next: Option<Offset>,
}

impl Follower {
    /// Nothing is hashed yet.
    pub(crate) fn new(links: Links) -> Self {
        Self { links, passes: Passes::default(), hashed: Mutex::default(), is_asleep: AtomicBool::new(false) }
    }

    /// How far it is; `None` if it has only begun.
    pub(crate) fn hashed(&self) -> Option<Hashed> {
        *self.hashed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The head has moved. Never waits.
    pub(crate) fn nudge(&self) {
        // The head was moved before: of this swap and the thread's, the later one sees what the earlier has left.
        if self.is_asleep.swap(false, Ordering::AcqRel) {
            self.passes.wake();
        }
    }

    /// Works until the log is closed.
    pub(crate) fn run(&self, shared: &Shared, reserve_bytes: u64) {
        let begin = || Work {
            shared,
            follower: self,
            reserve_bytes,
            chain: self.links.resume(shared.segments.oldest(), shared.head()),
            is_damaged: false,
        };
        self.passes.work_and_rest(
            || shared.is_closing(),
            begin,
            Work::pass,
            |requested, pause| {
                self.passes.rest(requested, Some(pause.length), || shared.is_closing());
                self.passes.rest(requested, None, || {
                    self.is_asleep.swap(true, Ordering::AcqRel);
                    shared.is_closing() || pause.next.is_some_and(|next| next < shared.head())
                });
                self.is_asleep.store(false, Ordering::Relaxed);
            },
        );
    }
}

/// The thread at work.
struct Work<'a> {
    shared: &'a Shared,
    follower: &'a Follower,
    reserve_bytes: u64,
    chain: Chain,
    is_damaged: bool,
}

impl Work<'_> {
    fn pass(&mut self) -> Pause {
        let mut length = GATHER;
        if !self.is_damaged {
            match self.catch_up() {
                Ok(reached) => self.is_damaged = reached == Reached::Damage,
                Err(error) => {
                    tracing::warn!(%error, "the hash of the log is behind");
                    length = RETRY;
                }
            }
        }
        self.publish();
        Pause { length, next: (!self.is_damaged).then(|| self.chain.next()) }
    }

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
        *self.follower.hashed.lock().unwrap_or_else(PoisonError::into_inner) = Some(hashed);
    }
}
