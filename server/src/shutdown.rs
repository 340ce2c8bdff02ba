//! How the server stops: signals, the tasks that have to end, and what a task's panic means.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

/// Tells producers and subscribers when to come back.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Completes at the first SIGTERM or SIGINT.
///
/// # Errors
/// If the handlers cannot be installed.
pub fn signals() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal = name, "stopping");
    })
}

/// What should have been done has panicked instead.
#[derive(Debug)]
pub struct Panicked;

/// The tasks of one server. A clone is a handle on the same ones.
///
/// Every task ends by itself soon after [`Tasks::draining`] completes. A task that panics is logged by its name
/// and stops the whole server: it was a defect, and what it leaves behind is not known.
#[derive(Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    drain: CancellationToken,
    failed: CancellationToken,
}

impl Tasks {
    /// Runs `future` under a name, in the trace of who begins it.
    pub fn spawn(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        let failed = self.failed.clone();
        let task = async move {
            if AssertUnwindSafe(future).catch_unwind().await.is_err() {
                tracing::error!(task = name, "a task has panicked: the server stops");
                failed.cancel();
            }
        };
        self.tracker.spawn(task.in_current_span());
    }

    /// Runs what may block on a thread for that, under a name.
    ///
    /// # Errors
    /// If it has panicked, which also stops the server.
    pub async fn blocking<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Panicked> {
        let lines = tracing::Span::current();
        self.outcome(name, tokio::task::spawn_blocking(move || lines.in_scope(work))).await
    }

    /// Waits for what a thread does, under a name.
    ///
    /// # Errors
    /// If it has panicked, which also stops the server.
    pub async fn outcome<T>(&self, name: &'static str, thread: JoinHandle<T>) -> Result<T, Panicked> {
        thread.await.map_err(|error| {
            // Otherwise the runtime has ended, and everybody with it.
            if error.is_panic() {
                tracing::error!(thread = name, "a thread has panicked: the server stops");
                self.failed.cancel();
            }
            Panicked
        })
    }

    /// Runs what works until the server stops on a thread of its own, under a name.
    pub fn thread(&self, name: &'static str, work: impl FnOnce() + Send + 'static) {
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let failed = self.failed.clone();
        let body = move || {
            let _ending = end;
            if std::panic::catch_unwind(AssertUnwindSafe(work)).is_err() {
                tracing::error!(thread = name, "a thread has panicked: the server stops");
                failed.cancel();
            }
        };
        if let Err(error) = std::thread::Builder::new().name(name.to_owned()).spawn(body) {
            tracing::error!(thread = name, %error, "a thread cannot be started: the server stops");
            self.failed.cancel();
        }
        self.tracker.spawn(async { drop(ended.await) });
    }

    /// Asks every task to end.
    pub fn drain(&self) {
        self.drain.cancel();
    }

    /// Completes when the tasks are to end.
    pub async fn draining(&self) {
        self.drain.cancelled().await;
    }

    /// Whether the tasks are to end.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.drain.is_cancelled()
    }

    /// Completes when a task has panicked.
    pub async fn failed(&self) {
        self.failed.cancelled().await;
    }

    /// Whether a task has panicked.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.failed.is_cancelled()
    }

    /// Completes when every task has ended.
    pub async fn ended(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_in_a_task_stops_the_server() {
        let tasks = Tasks::default();
        tasks.spawn("fine", async {});
        tasks.spawn("broken", async { panic!("on purpose") });
        tasks.failed().await;
        tasks.ended().await;
        assert!(tasks.has_failed());
    }
}
