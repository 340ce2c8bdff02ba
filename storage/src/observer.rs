//! What the log tells of its own work, for whoever measures or traces it: plain data, when the work is done.

use std::time::{Duration, SystemTime};

use crate::api::{Note, Totals};
use crate::block::Block;
use crate::error::Error;
use crate::event::Offset;

/// Somebody who wants to know. Called on the log's own threads, which wait for it: it must be quick, and must not block.
pub trait Observer: Send + Sync {
    /// A commit is durable and published, or has failed. Its appends have not been answered yet.
    fn committed(&self, report: &CommitReport<'_>);

    /// A segment has been sealed, or not.
    fn sealed(&self, report: &SealReport<'_>);
}

/// One commit.
#[derive(Clone, Copy, Debug)]
pub struct CommitReport<'a> {
    /// What was committed: its offsets, and its events with the trace contexts that came with them.
    pub block: &'a Block,
    /// How many appends it settles.
    pub appends: u64,
    /// What those that brought events have noted.
    pub notes: &'a [Note],
    /// What is stored.
    pub stored_bytes: u64,
    /// When its first append was taken up. The parts follow each other from here on.
    pub begun: SystemTime,
    /// How long each part took; nothing for those after a failure.
    pub parts: CommitParts,
    /// Why it failed, if it did.
    pub error: Option<&'a Error>,
}

/// How long each part of a commit took, in their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommitParts {
    /// Taking up what waits.
    pub gather: Duration,
    /// Making a value of it.
    pub encode: Duration,
    /// Handing that to the store.
    pub store: Duration,
    /// Making it durable.
    pub sync: Duration,
    /// Showing it to readers.
    pub publish: Duration,
}

impl CommitParts {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.gather + self.encode + self.store + self.sync + self.publish
    }
}

/// One attempt to seal a segment.
#[derive(Clone, Copy, Debug)]
pub struct SealReport<'a> {
    /// Where the segment begins.
    pub first: Offset,
    /// How many events it has.
    pub events: u64,
    /// When it was begun.
    pub begun: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// What became of it.
    pub outcome: SealOutcome<'a>,
}

/// What became of an attempt to seal a segment.
#[derive(Clone, Copy, Debug)]
pub enum SealOutcome<'a> {
    /// It is sealed.
    Sealed,
    /// It is tried again.
    Postponed(&'a str),
    /// It stays as it is, for as long as the log is open.
    LeftAlone(&'a Error),
}

/// How the log was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// When that began.
    pub begun: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// Events that were gone through again, because no snapshot held them.
    pub replayed_events: u64,
    /// What had become of all events received before.
    pub totals: Totals,
}
