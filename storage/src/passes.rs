//! Work that a thread does in passes behind the writer, and those who ask for it and wait.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A pass answers every request made before it began.
#[derive(Default)]
pub(crate) struct Passes {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    requested: u64,
    finished: u64,
    has_ended: bool,
}

impl Passes {
    /// Asks for a pass.
    pub(crate) fn request(&self) {
        self.state().requested += 1;
        self.changed.notify_all();
    }

    /// Asks for a pass, and returns when it is finished, or when there will be none any more.
    pub(crate) fn complete(&self) {
        let mut state = self.state();
        state.requested += 1;
        let requested = state.requested;
        self.changed.notify_all();
        while state.finished < requested && !state.has_ended {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Lets the thread see that what it rests for has come.
    pub(crate) fn wake(&self) {
        // It looks while it holds this lock: it has either seen it already, or waits.
        drop(self.state());
        self.changed.notify_all();
    }

    /// What the thread does: it begins, then does a pass at once and one for each request, until `is_over`.
    pub(crate) fn work<W>(
        &self,
        is_over: impl Fn() -> bool,
        begin: impl FnOnce() -> W,
        pass: impl FnMut(&mut W),
    ) {
        self.work_and_rest(&is_over, begin, pass, |requested, ()| self.rest(requested, None, &is_over));
    }

    /// The same, with a `rest` after each pass, which began when so much was requested.
    pub(crate) fn work_and_rest<W, T>(
        &self,
        is_over: impl Fn() -> bool,
        begin: impl FnOnce() -> W,
        mut pass: impl FnMut(&mut W) -> T,
        rest: impl Fn(u64, T),
    ) {
        let _ended = Ended(self);
        let mut worker = begin();
        while !is_over() {
            let requested = self.state().requested;
            let passed = pass(&mut worker);
            self.state().finished = requested;
            self.changed.notify_all();
            rest(requested, passed);
        }
    }

    /// Waits until more is requested than this, or `is_over`, or for so long.
    pub(crate) fn rest(&self, requested: u64, at_most: Option<Duration>, is_over: impl Fn() -> bool) {
        let is_quiet = |state: &mut State| state.requested == requested && !is_over();
        match at_most {
            Some(at_most) => drop(self.changed.wait_timeout_while(self.state(), at_most, is_quiet)),
            None => drop(self.changed.wait_while(self.state(), is_quiet)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets those who wait go, however the thread ends.
struct Ended<'a>(&'a Passes);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.state().has_ended = true;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn a_request_is_answered_by_a_pass_that_begins_after_it() {
        let (passes, is_over, begun) = (Passes::default(), AtomicBool::new(false), AtomicU32::new(0));
        thread::scope(|scope| {
            scope.spawn(|| {
                passes.work(
                    || is_over.load(Ordering::Acquire),
                    || &begun,
                    |begun| _ = begun.fetch_add(1, Ordering::AcqRel),
                );
            });
            for _ in 0..1_000 {
                let before = begun.load(Ordering::Acquire);
                passes.complete();
                assert!(begun.load(Ordering::Acquire) > before);
            }
            is_over.store(true, Ordering::Release);
            passes.wake();
        });
        // Nobody waits for a thread that is gone.
        passes.complete();
    }

    #[test]
    fn a_thread_that_panics_leaves_nobody_waiting() {
        for panics_at_once in [true, false] {
            let passes = &Passes::default();
            thread::scope(|scope| {
                let begin = move || assert!(!panics_at_once, "on purpose");
                let worker = scope.spawn(move || passes.work(|| false, begin, |_| panic!("on purpose")));
                passes.complete();
                assert!(worker.join().is_err());
            });
        }
    }
}
