//! How long to wait before another session.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);

/// Waits that double up to a bound, each shortened at random by up to half, so that many servers do not come back in step.
#[derive(Debug)]
pub(super) struct Backoff {
    step: Duration,
    last: Duration,
    random: RandomState,
    tries: u64,
}

impl Backoff {
    /// Waits up to `last`.
    pub(super) fn new(last: Duration) -> Self {
        Self { step: FIRST.min(last), last, random: RandomState::new(), tries: 0 }
    }

    /// The next wait.
    pub(super) fn next_delay(&mut self) -> Duration {
        self.tries += 1;
        let share = (self.random.hash_one(self.tries) % 1024) as f64 / 1024.0;
        let delay = self.step.mul_f64(0.5 + share / 2.0);
        self.step = (self.step * 2).min(self.last);
        delay
    }

    /// Begins with short waits again.
    pub(super) fn reset(&mut self) {
        self.step = FIRST.min(self.last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
