//! How long to wait before another try.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use crate::Result;

const FIRST_DELAY: Duration = Duration::from_millis(50);
const LAST_DELAY: Duration = Duration::from_secs(2);

/// Waits that double from one try to the next, each shortened at random by up to half, so that many clients
/// do not come back in step.
#[derive(Debug)]
pub struct Backoff {
    step: Duration,
    random: RandomState,
    tries: u64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { step: FIRST_DELAY, random: RandomState::new(), tries: 0 }
    }
}

impl Backoff {
    /// The next wait; at least as long as the server asked for.
    pub fn next_delay(&mut self, asked_for: Option<Duration>) -> Duration {
        self.tries += 1;
        // Hash keys are the one source of randomness in the standard library, and good enough for this.
        let share = (self.random.hash_one(self.tries) % 1024) as f64 / 1024.0;
        let delay = self.step.mul_f64(0.5 + share / 2.0);
        self.step = (self.step * 2).min(LAST_DELAY);
        delay.max(asked_for.unwrap_or_default())
    }

    /// Begins with short waits again.
    pub fn reset(&mut self) {
        self.step = FIRST_DELAY;
    }
}

/// Tries until it works, until it fails in a way that another try cannot mend, or for so long.
pub(crate) async fn retry<T, F>(retry_for: Duration, mut call: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let start = tokio::time::Instant::now();
    let mut backoff = Backoff::default();
    loop {
        let error = match call().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let delay = backoff.next_delay(error.retry_after());
        if !error.is_retryable() {
            return Err(error);
        }
        if start.elapsed() + delay > retry_for {
            return Err(error.given_up(start.elapsed()));
        }
        tokio::time::sleep(delay).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_differ() {
        let mut backoff = Backoff::default();
        let delays: Vec<_> = (0..20).map(|_| backoff.next_delay(None)).collect();
        assert!(delays[0] <= FIRST_DELAY && delays[0] >= FIRST_DELAY / 2);
        assert!(delays[10..].iter().all(|delay| *delay <= LAST_DELAY && *delay >= LAST_DELAY / 2));
        assert!(delays[10..].windows(2).any(|pair| pair[0] != pair[1]), "no jitter: {delays:?}");
    }

    #[test]
    fn a_wait_is_as_long_as_the_server_asked_for() {
        let asked_for = Duration::from_secs(7);
        assert_eq!(Backoff::default().next_delay(Some(asked_for)), asked_for);
    }
}
