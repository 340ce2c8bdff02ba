//! The mirror: every event of the log to a Kafka topic, in order, once.
//!
//! The log is the outbox. A session finds out what the topic holds already, sends what it lacks, and ends at the first
//! failure; the next one begins as if the server had been started anew. So there is one way to recover, and every start takes it.

mod checkpoint;
mod compare;
mod failure;
mod progress;
mod registry;
mod sending;
mod session;
mod settings;
mod spans;
mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use downlink_storage::{Clock, Log, give_way};

use crate::config::Config;
use crate::kafka::sessions;
use crate::observability::Tracer;
use crate::shutdown::Tasks;
pub(crate) use compare::{Compared, Difference, Kind, Told, compare};
pub(crate) use status::Status;

/// Starts the mirror, if the settings ask for one. It ends when the tasks are to.
pub(crate) fn start(
    config: &Config,
    log: &Log,
    clock: &Arc<dyn Clock>,
    tasks: &Tasks,
    tracer: &Tracer,
) -> Option<Arc<Status>> {
    if config.mirror_bootstrap_servers.is_empty() {
        return None;
    }
    let status = Arc::new(Status::default());
    registry::start(config, &status, tasks);
    let known = (status.clone(), tracer.clone());
    let session = session::Session::new(config.clone(), log.clone(), clock.clone(), known, tasks.clone());
    let (watched, longest) = (tasks.clone(), Duration::from_millis(config.mirror_retry_ms_max));
    let niceness = config.background_niceness;
    tasks.thread("mirror", move || {
        // With it the threads of librdkafka, which it starts.
        give_way(niceness);
        sessions(
            &watched,
            longest,
            |works| session.run(works),
            |failure, delay| session.failed(failure, delay),
        );
    });
    Some(status)
}
