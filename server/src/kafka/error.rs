//! What goes wrong with a topic, in a sentence that says what to do.

use super::STALL;

/// Why a topic is not read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The client cannot be made: a setting of it is wrong.
    #[error("the Kafka client cannot be made, see {settings}: {error}")]
    Client {
        /// Where its settings come from.
        settings: &'static str,
        /// What is wrong.
        error: String,
    },
    /// The brokers do not answer, or refuse.
    #[error("{what}: {error}")]
    Broker {
        /// What was tried.
        what: String,
        /// What was the answer.
        error: String,
    },
    /// What is there does not come.
    #[error(
        "topic {topic:?} gives nothing of what it has, since {} s: are its brokers well?{reason}",
        STALL.as_secs()
    )]
    Stalled {
        /// The topic.
        topic: String,
        /// What librdkafka says of it.
        reason: String,
    },
    /// An event was refused.
    #[error("event {offset} is refused by topic {topic:?}: {error}{hint}")]
    Refused {
        /// Which event.
        offset: u64,
        /// By which topic.
        topic: String,
        /// Why.
        error: String,
        /// What to do about it.
        hint: &'static str,
    },
}

/// A reason, to be put behind what it is the reason of.
pub(super) fn because(reason: Option<String>) -> String {
    reason.map(|reason| format!(" ({reason})")).unwrap_or_default()
}
