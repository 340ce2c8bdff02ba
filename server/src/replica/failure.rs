//! Why what the topic holds cannot be taken for the log, in a sentence that says what to do.

use super::merge::Missing;
use crate::kafka::{self, Place};

/// Why a session cannot go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The topic is not read.
    #[error(transparent)]
    Kafka(#[from] kafka::Error),
    /// Nobody asks where the topic ends.
    #[error("a thread cannot be started: {0}")]
    Thread(std::io::Error),
    /// There is nothing to read.
    #[error("topic {topic:?} {problem}: is this the topic of a mirror?")]
    Nothing {
        /// The topic.
        topic: String,
        /// What there is not.
        problem: &'static str,
    },
    /// What is there is not from this log.
    #[error("topic {topic:?} is not the mirror of log {log_id}: {place} {problem}")]
    Foreign {
        /// The topic.
        topic: String,
        /// The log.
        log_id: String,
        /// Where it is.
        place: Place,
        /// What is there.
        problem: String,
    },
    /// The topic says two things.
    #[error(
        "topic {topic:?} has another event {offset} at {place} than {other}: one of the two is not from this log"
    )]
    Contradiction {
        /// The topic.
        topic: String,
        /// Which event.
        offset: u64,
        /// Where one of them is.
        place: Place,
        /// Where the other is.
        other: String,
    },
    /// Events are not in the topic.
    #[error("topic {topic:?} lacks {}{hint}", .missing.name())]
    Missing {
        /// The topic.
        topic: String,
        /// Which they are.
        missing: Missing,
        /// What to do about it.
        hint: String,
    },
    /// The log cannot be read, or does not take what comes.
    #[error(transparent)]
    Log(#[from] downlink_storage::Error),
}

impl Missing {
    /// As people say it.
    pub(super) fn name(&self) -> String {
        match self.end.since(self.first) {
            1 => format!("event {}", self.first),
            events => format!("the {events} events from {} to {}", self.first, self.end.minus(1)),
        }
    }
}
