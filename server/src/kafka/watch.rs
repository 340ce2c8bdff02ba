//! Where a topic ends, asked again and again on a thread of its own: brokers may take long to answer.

use std::panic::resume_unwind;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::{Ends, Error};
use crate::sync::{News, lock};

type Answer = Result<Vec<Ends>, Error>;

/// The ends of a topic as they are told from time to time. When it is dropped its thread ends as soon as the brokers have
/// answered the question that is under way.
pub(crate) struct Watch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    answer: Mutex<Option<Answer>>,
    is_over: Mutex<bool>,
    end: News,
}

impl Watch {
    /// Asks by `ends` at intervals of `every`, and calls `wake` at each answer.
    pub(crate) fn start(
        ends: impl Fn() -> Answer + Send + 'static,
        every: Duration,
        wake: impl Fn() + Send + 'static,
    ) -> std::io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let asked = shared.clone();
        let ask = move || {
            loop {
                asked.end.wait(every);
                if *lock(&asked.is_over) {
                    break;
                }
                *lock(&asked.answer) = Some(ends());
                wake();
            }
        };
        let thread = thread::Builder::new().name("topic-ends".to_owned()).spawn(ask)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// What has been told since it was asked for last.
    ///
    /// # Panics
    /// If the thread that asks has: whoever relies on it would hear nothing any more, and not know.
    pub(crate) fn news(&mut self) -> Option<Answer> {
        if let Some(thread) = self.thread.take_if(|thread| thread.is_finished())
            && let Err(panic) = thread.join()
        {
            resume_unwind(panic);
        }
        lock(&self.shared.answer).take()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        *lock(&self.shared.is_over) = true;
        self.shared.end.come();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn what_is_told_is_heard() {
        let (wake, woken) = mpsc::channel();
        let mut watch = Watch::start(
            || Ok(Vec::new()),
            Duration::from_millis(1),
            move || wake.send(()).unwrap_or_default(),
        )
        .unwrap();
        woken.recv().unwrap();
        assert!(matches!(watch.news(), Some(Ok(ends)) if ends.is_empty()));
    }

    #[test]
    #[should_panic(expected = "a defect")]
    fn a_thread_that_has_panicked_is_not_waited_for_in_vain() {
        let mut watch = Watch::start(|| panic!("a defect"), Duration::from_millis(1), || {}).unwrap();
        loop {
            watch.news();
            thread::yield_now();
        }
    }
}
