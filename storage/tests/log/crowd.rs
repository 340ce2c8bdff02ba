//! A commit waits a little for further appends when many small ones came at once, and for nothing else.

use std::sync::mpsc::channel;
use std::time::Duration;

use downlink_storage::engine::memory::MemoryEngine;
use downlink_storage::{Log, Options};

use super::support::{anonymous, answer, events, open, small_options, submit, with_watchdog};

const CROWD: usize = 12;

/// Appends `waiting` batches while the writer is busy, so that one commit finds all of them, and one more once it goes
/// on: how many commits it took.
fn commits(delay: Duration, waiting: usize, events_each: usize) -> u64 {
    let options = Options { commit_delay: delay, commit_siblings_min: CROWD, ..small_options() };
    let log = open(&MemoryEngine::new(), &options);
    let ((busy, is_busy), (go, gate)) = (channel(), channel::<()>());
    log.append(anonymous(events(0, 1)), move |_| {
        busy.send(()).unwrap();
        assert!(gate.recv().is_err());
    });
    answer(&is_busy);
    let first: Vec<_> = (0..waiting).map(|_| submit(&log, anonymous(events(1, events_each)))).collect();
    let before = committed(&log);
    drop(go);
    let late = submit(&log, anonymous(events(1, 1)));
    for append in first.iter().chain([&late]) {
        answer(append).unwrap();
    }
    committed(&log) - before
}

fn committed(log: &Log) -> u64 {
    log.info().unwrap().commits
}

#[test]
fn a_crowd_shares_its_sync_with_who_comes_a_little_later() {
    with_watchdog(|| assert_eq!(commits(Duration::from_secs(1), CROWD, 1), 1));
}

#[test]
fn few_appends_or_large_ones_wait_for_nobody() {
    let for_ever = Duration::from_secs(24 * 60 * 60);
    with_watchdog(|| {
        commits(for_ever, CROWD - 2, 1);
        commits(for_ever, CROWD, 3);
    });
}
