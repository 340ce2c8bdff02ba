//! Where a topic ends, asked again and again on a thread of its own: brokers may take long to answer.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::{Ends, Error, Topic};
use crate::sync::{News, lock};

type Answer = Result<Vec<Ends>, Error>;

/// The ends of a topic as they are told from time to time. When it is dropped its thread ends as soon as the brokers have
/// answered the question that is under way.
pub(crate) struct Watch {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    answer: Mutex<Option<Answer>>,
    is_over: Mutex<bool>,
    end: News,
}

impl Watch {
    /// Asks at intervals of `every`, and calls `wake` at each answer.
    pub(crate) fn start(
        topic: Topic,
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
                *lock(&asked.answer) = Some(topic.ends());
                wake();
            }
        };
        thread::Builder::new().name("topic-ends".to_owned()).spawn(ask)?;
        Ok(Self { shared })
    }

    /// What has been told since it was asked for last.
    pub(crate) fn news(&self) -> Option<Answer> {
        lock(&self.shared.answer).take()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        *lock(&self.shared.is_over) = true;
        self.shared.end.come();
    }
}
