//! When operations are due: evenly spaced, whatever the ones before them took, so that a stall is charged to every
//! operation that it delays and not to one of them only.

use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

/// Operations that may be due and not yet begun, for each worker. Later ones wait; when they were due is kept.
const WAITING_MAX: usize = 100_000;

/// One worker's turns.
pub(super) enum Turns {
    /// The next as soon as the one before is done, until this moment.
    AtOnce(Instant),
    /// Each when it is due.
    Paced(mpsc::Receiver<Instant>),
}

impl Turns {
    /// Turns for so many workers, for so long: `rate` of them a second in all, or as many as get done.
    pub(super) fn deal(workers: usize, rate: Option<f64>, lasting: Duration) -> Vec<Self> {
        let Some(rate) = rate else {
            let end = Instant::now() + lasting;
            return (0..workers).map(|_| Self::AtOnce(end)).collect();
        };
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..workers).map(|_| mpsc::channel(WAITING_MAX)).unzip();
        // The runtime's timers are a millisecond coarse; a thread's sleep is not.
        thread::spawn(move || {
            let start = Instant::now();
            for turn in 0..(rate * lasting.as_secs_f64()) as usize {
                let due = start + Duration::from_secs_f64(turn as f64 / rate);
                thread::sleep(due.saturating_duration_since(Instant::now()));
                // A worker that has failed takes no more turns.
                let _ = senders[turn % workers].blocking_send(due);
            }
        });
        receivers.into_iter().map(Self::Paced).collect()
    }

    /// Waits for the next turn: when it was due. `None` after the last.
    pub(super) async fn next(&mut self) -> Option<Instant> {
        match self {
            Self::AtOnce(end) => Some(Instant::now()).filter(|now| now < end),
            Self::Paced(due) => due.recv().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_turn_is_dealt_once_and_evenly() {
        let mut turns = Turns::deal(3, Some(10_000.0), Duration::from_millis(20));
        let mut due = vec![];
        for worker in &mut turns {
            while let Some(turn) = worker.next().await {
                due.push(turn);
            }
        }
        due.sort();
        assert_eq!(due.len(), 200);
        let gaps = due.windows(2).map(|pair| (pair[1] - pair[0]).as_micros());
        assert!(gaps.into_iter().all(|gap| (99..=100).contains(&gap)));
    }

    #[tokio::test]
    async fn turns_at_once_end() {
        let mut turns = Turns::deal(1, None, Duration::ZERO);
        assert_eq!(turns[0].next().await, None);
    }
}
