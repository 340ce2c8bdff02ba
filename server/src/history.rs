//! Reads of history give way: they take turns, on threads that get less of the CPU than all others where it is scarce.
//!
//! The scheduler knows best whether there is enough of it. What a niced thread is denied goes to those who append and
//! to live readers; what they leave it gets, and never nothing: with the default niceness about a tenth as much as
//! each thread it competes with.

use std::sync::Arc;

use downlink_storage::give_way;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// The threads that read history, and turns at them.
pub(crate) struct History {
    /// Never driven: what is wanted is its threads for what may block. Present until the last moment.
    threads: Option<Runtime>,
    turns: Arc<Semaphore>,
}

impl History {
    /// Of so many threads, each nicer by `niceness` than the rest of the server.
    ///
    /// # Errors
    /// If there can be no such threads.
    pub(crate) fn new(threads_max: usize, niceness: u8) -> std::io::Result<Self> {
        let threads = Builder::new_current_thread()
            .thread_name("history")
            .max_blocking_threads(threads_max)
            .on_thread_start(move || give_way(niceness))
            .build()?;
        Ok(Self { threads: Some(threads), turns: Arc::new(Semaphore::new(threads_max)) })
    }

    /// Begins `work` when it is its turn: first come, first served. The turn lasts as long as the work does, also when
    /// nobody waits for it any more.
    pub(crate) async fn begin<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let turn = self.turns.clone().acquire_owned().await.expect("the semaphore is never closed");
        let threads = self.threads.as_ref().expect("present until it is dropped");
        threads.spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        })
    }
}

impl Drop for History {
    /// Its last owner may be a task, which must not wait for threads.
    fn drop(&mut self) {
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use futures::FutureExt as _;

    use super::*;

    /// No test waits longer than this for a thread.
    const PATIENCE: Duration = Duration::from_secs(20);

    fn niceness() -> i32 {
        rustix::process::getpriority_process(None).unwrap()
    }

    #[tokio::test]
    #[cfg_attr(not(target_os = "linux"), ignore = "only Linux has nice threads")]
    async fn history_is_read_by_threads_that_are_nicer_than_others() {
        let before = niceness();
        for by in [0, 3, 10] {
            let history = History::new(2, by).unwrap();
            let found = history.begin(niceness).await.await.unwrap();
            assert_eq!(found, (before + i32::from(by)).min(19));
        }
        assert_eq!(niceness(), before, "whoever asks is as nice as ever");
    }

    #[tokio::test]
    async fn whoever_comes_first_is_next_and_those_who_give_up_hold_nobody_up() {
        let history = History::new(1, 10).unwrap();
        let (order, done) = channel();
        let (go_on, held) = channel::<()>();
        let say = |word: &'static str| {
            let order = order.clone();
            move || order.send(word).unwrap()
        };
        let first = say("first");
        let working = history
            .begin(move || {
                held.recv().unwrap();
                first();
            })
            .await;
        // Nobody waits for it any more, but it is at work.
        drop(working);
        let (mut impatient, mut second) =
            (Box::pin(history.begin(say("impatient"))), Box::pin(history.begin(say("second"))));
        let mut third = Box::pin(history.begin(say("third")));
        assert!((&mut impatient).now_or_never().is_none());
        assert!((&mut second).now_or_never().is_none() && (&mut third).now_or_never().is_none());
        drop(impatient);
        go_on.send(()).unwrap();
        let all = async {
            second.await.await.unwrap();
            third.await.await.unwrap();
        };
        tokio::time::timeout(PATIENCE, all).await.unwrap();
        assert_eq!(done.try_iter().collect::<Vec<_>>(), ["first", "second", "third"]);
    }

    #[tokio::test]
    async fn the_last_owner_may_be_a_task() {
        let history = History::new(1, 10).unwrap();
        history.begin(|| ()).await.await.unwrap();
        tokio::spawn(async move { drop(history) }).await.unwrap();
    }
}
