//! Why a session of the mirror has ended, in a sentence that says what to do.

use crate::kafka;

/// Why a session cannot go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The topic is not read, or does not take an event.
    #[error(transparent)]
    Kafka(#[from] kafka::Error),
    /// The topic is another log's, or nobody's.
    #[error("topic {topic:?} cannot be the mirror of this log: {problem}")]
    Foreign {
        /// The topic.
        topic: String,
        /// What is in it.
        problem: String,
    },
    /// The topic has been deleted and created again, and nobody was told.
    #[error("the topic has lost what it had taken: has it been deleted and created again?")]
    MadeAnew,
    /// The log cannot be read, or does not take a checkpoint.
    #[error("the log: {0}")]
    Log(#[from] downlink_storage::Error),
}
