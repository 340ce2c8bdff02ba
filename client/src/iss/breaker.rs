//! When to try to connect again: soon at first, seldom when it goes on failing.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

const FIRST_DELAY: Duration = Duration::from_secs(1);
const LAST_DELAY: Duration = Duration::from_secs(60);
/// So many failures in a row open the circuit.
const FAILURES_MAX: u32 = 10;
/// How long nothing is tried then.
const OPEN_FOR: Duration = Duration::from_secs(300);
/// A session that lived so long was a success; one that breaks earlier is another failure.
const PROVEN_AFTER: Duration = Duration::from_secs(60);

/// A circuit breaker with waits that double, each shortened at random by up to half.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    random: RandomState,
}

impl Breaker {
    /// A try has failed, or a session of this age has broken: how long to wait before the next.
    pub(super) fn failed(&mut self, session_age: Duration) -> Duration {
        if session_age >= PROVEN_AFTER {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        let delay = if self.is_open() {
            OPEN_FOR
        } else {
            FIRST_DELAY.saturating_mul(1 << (self.failures - 1).min(16)).min(LAST_DELAY)
        };
        let share = (self.random.hash_one(self.failures) % 1024) as f64 / 1024.0;
        delay.mul_f64(0.5 + share / 2.0)
    }

    /// Whether it has failed so often that only a probe now and then is made.
    pub(super) fn is_open(&self) -> bool {
        self.failures >= FAILURES_MAX
    }

    /// How often it has failed in a row.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_become_rare_and_never_end() {
        let mut breaker = Breaker::default();
        for failure in 1..100 {
            let delay = breaker.failed(Duration::ZERO);
            let most = if failure < FAILURES_MAX { LAST_DELAY } else { OPEN_FOR };
            assert!(delay >= FIRST_DELAY / 2 && delay <= most, "{failure}: {delay:?}");
            assert_eq!(breaker.is_open(), failure >= FAILURES_MAX);
        }
        assert!(breaker.failed(Duration::ZERO) >= OPEN_FOR / 2);
    }

    #[test]
    fn those_who_fail_together_do_not_come_back_together() {
        let delays: std::collections::HashSet<_> =
            (0..20).map(|_| Breaker::default().failed(Duration::ZERO)).collect();
        assert!(delays.len() > 10, "{delays:?}");
    }

    #[test]
    fn only_a_session_that_lasts_is_a_success() {
        let mut breaker = Breaker::default();
        for _ in 0..FAILURES_MAX {
            breaker.failed(Duration::from_secs(1));
        }
        assert!(breaker.is_open(), "connecting and breaking at once is failing");
        assert!(breaker.failed(PROVEN_AFTER) <= FIRST_DELAY);
        assert_eq!((breaker.is_open(), breaker.failures()), (false, 1));
    }
}
