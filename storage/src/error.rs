//! What the log refuses, and what can be done about it.

use std::path::PathBuf;

use uuid::Uuid;

use crate::engine;
use crate::event::Offset;

/// Why the log did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Another process has the directory open.
    #[error("{} is in use by another server{}", .dir.display(), .pid.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    Locked {
        /// The directory.
        dir: PathBuf,
        /// The holder, where it is known.
        pid: Option<u32>,
    },
    /// The log was written by a newer version.
    #[error("the log has format version {found}, this version knows {supported}: use the newer server")]
    NewerFormat {
        /// The version of the log.
        found: u8,
        /// The newest version known here.
        supported: u8,
    },
    /// The directory cannot be a log, or is damaged beyond reading.
    #[error("the log is damaged: {0}")]
    Damaged(String),
    /// No room on the disk for another commit. Appends succeed again when there is.
    #[error("the disk is full: {free_bytes} bytes free, {reserve_bytes} are kept in reserve")]
    DiskFull {
        /// What is free.
        free_bytes: u64,
        /// What has to stay free.
        reserve_bytes: u64,
    },
    /// The disk has failed: final until the log is opened again.
    #[error("the log is read-only: {0}")]
    ReadOnly(String),
    /// A newer epoch, or a newer session of the same epoch, has taken the producer over.
    #[error("producer {producer:?} epoch {epoch} is fenced by {by}")]
    ProducerFenced {
        /// The producer.
        producer: String,
        /// The epoch that is fenced.
        epoch: u64,
        /// What fences it, for people.
        by: String,
    },
    /// Batches are missing before this one.
    #[error("producer {producer:?} sent sequence {found}, expected {expected}")]
    SequenceGap {
        /// The producer.
        producer: String,
        /// The sequence that must come next.
        expected: u64,
        /// The sequence that came.
        found: u64,
    },
    /// The head is not where the caller thought.
    #[error("the head is {head}, not {expected}")]
    HeadMismatch {
        /// Where the caller thought.
        expected: Offset,
        /// Where it is.
        head: Offset,
    },
    /// A bound of the log is reached.
    #[error("the log holds {bound} {what}, the most it is configured for")]
    Quota {
        /// Of what there are too many.
        what: &'static str,
        /// How many are allowed.
        bound: u64,
    },
    /// More events in one batch than the log takes.
    #[error("{events} events in one batch, the most is {events_max}")]
    TooLarge {
        /// How many.
        events: usize,
        /// How many are allowed.
        events_max: usize,
    },
    /// Too many appends are waiting. Try again in a moment.
    #[error("{waiting} appends are waiting already")]
    Overloaded {
        /// How many.
        waiting: u64,
    },
    /// What is to be copied into the log is not from it.
    #[error("this is not a copy of the log's events: {0}")]
    NotACopy(String),
    /// The directory holds another log than it should.
    #[error("the directory holds log {found}, not {wanted}")]
    AnotherLog {
        /// The log that is there.
        found: Uuid,
        /// The log that should be.
        wanted: Uuid,
    },
    /// The log is being closed.
    #[error("the log is closed")]
    Closed,
    /// Retention has removed this offset.
    #[error("offset {offset} is no longer kept: the oldest is {oldest}")]
    Truncated {
        /// The offset asked for.
        offset: Offset,
        /// The oldest kept.
        oldest: Offset,
    },
    /// The log has not got there yet.
    #[error("offset {offset} is beyond the head {head}")]
    BeyondHead {
        /// The offset asked for.
        offset: Offset,
        /// The offset the next event will get.
        head: Offset,
    },
    /// The system below said something else.
    #[error("storage failed: {0}")]
    Engine(String),
}

/// Damage stays damage: a reader passes it over. Anything else may be gone the next time.
impl From<engine::Error> for Error {
    fn from(error: engine::Error) -> Self {
        match error {
            engine::Error::Damaged(what) => Self::Damaged(what),
            engine::Error::NoSpace(_) | engine::Error::Io(_) => Self::Engine(error.to_string()),
        }
    }
}
