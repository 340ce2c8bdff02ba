//! One session after the other, and how long to wait between them.

use std::hash::{BuildHasher, RandomState};
use std::thread;
use std::time::Duration;

use crate::shutdown::Tasks;

const FIRST: Duration = Duration::from_millis(100);

/// How often who waits looks whether the server stops.
pub(crate) const STOP_POLL: Duration = Duration::from_millis(100);

/// Runs sessions until the server stops, or one has come to its end. After one that has failed the next begins a while
/// later, at most `longest`, but soon if it worked for a time: then it calls what it is given.
pub(crate) fn sessions<F>(
    tasks: &Tasks,
    longest: Duration,
    mut session: impl FnMut(&mut dyn FnMut()) -> Result<(), F>,
    mut failed: impl FnMut(&F, Duration),
) {
    let mut backoff = Backoff::new(longest);
    while !tasks.is_draining() {
        match session(&mut || backoff.reset()) {
            Ok(()) => break,
            Err(failure) => {
                let delay = backoff.next_delay();
                failed(&failure, delay);
                wait(tasks, delay);
            }
        }
    }
}

/// Waits so long, or until the server stops.
pub(crate) fn wait(tasks: &Tasks, delay: Duration) {
    let mut left = delay;
    while !left.is_zero() && !tasks.is_draining() {
        let nap = left.min(STOP_POLL);
        thread::sleep(nap);
        left -= nap;
    }
}

/// Waits that double up to a bound, each shortened at random by up to half, so that many servers do not come back in step.
#[derive(Debug)]
struct Backoff {
    step: Duration,
    last: Duration,
    random: RandomState,
    tries: u64,
}

impl Backoff {
    /// Waits up to `last`.
    fn new(last: Duration) -> Self {
        Self { step: FIRST.min(last), last, random: RandomState::new(), tries: 0 }
    }

    /// The next wait.
    fn next_delay(&mut self) -> Duration {
        self.tries += 1;
        let share = (self.random.hash_one(self.tries) % 1024) as f64 / 1024.0;
        let delay = self.step.mul_f64(0.5 + share / 2.0);
        self.step = (self.step * 2).min(self.last);
        delay
    }

    /// Begins with short waits again.
    fn reset(&mut self) {
        self.step = FIRST.min(self.last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_follow_each_other_at_growing_distances_until_one_ends_well_or_the_server_stops() {
        let (tasks, longest) = (Tasks::default(), Duration::from_millis(250));
        let (mut tries, mut delays) = (0, Vec::new());
        let session = |works: &mut dyn FnMut()| {
            tries += 1;
            // One of them gets somewhere, and fails then.
            if tries == 4 {
                works();
            }
            if tries < 6 { Err(tries) } else { Ok(()) }
        };
        sessions(&tasks, longest, session, |failure, delay| delays.push((*failure, delay)));
        let failures: Vec<_> = delays.iter().map(|(failure, _)| *failure).collect();
        assert_eq!((tries, failures), (6, vec![1, 2, 3, 4, 5]));
        let delays: Vec<_> = delays.into_iter().map(|(_, delay)| delay).collect();
        assert!(delays[1] >= FIRST && delays[2] >= longest / 2 && delays[2] <= longest, "{delays:?}");
        assert!(delays[3] <= FIRST && delays[4] >= FIRST, "{delays:?}");
        tasks.drain();
        sessions(&tasks, longest, |_| panic!("the server stops"), |(): &(), _| {});
    }

    #[test]
    fn waits_grow_to_a_bound_and_differ() {
        let last = Duration::from_secs(5);
        let mut backoff = Backoff::new(last);
        let delays: Vec<_> = (0..20).map(|_| backoff.next_delay()).collect();
        assert!(delays[0] <= FIRST && delays[0] >= FIRST / 2);
        assert!(delays[10..].iter().all(|delay| *delay <= last && *delay >= last / 2));
        assert!(delays[10..].windows(2).any(|pair| pair[0] != pair[1]), "no jitter: {delays:?}");
        backoff.reset();
        assert!(backoff.next_delay() <= FIRST);
    }
}
