//! Why a session of the mirror has ended, in a sentence that says what to do.

/// Why a session cannot go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The client cannot be made: a setting of it is wrong.
    #[error("the Kafka client cannot be made, see mirror_client_file and DOWNLINK_MIRROR_CLIENT_*: {0}")]
    Client(String),
    /// The brokers do not answer, or refuse.
    #[error("{what}: {error}")]
    Broker {
        /// What was tried.
        what: String,
        /// What was the answer.
        error: String,
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
    /// The topic is another log's, or nobody's.
    #[error("topic {topic:?} cannot be the mirror of this log: {problem}")]
    Foreign {
        /// The topic.
        topic: String,
        /// What is in it.
        problem: String,
    },
    /// The log cannot be read, or does not take a checkpoint.
    #[error("the log: {0}")]
    Log(#[from] downlink_storage::Error),
}
