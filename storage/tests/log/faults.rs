//! Disks that fail and disks that are full: what is answered, what is not, and what goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;

use downlink_storage::engine::memory::{CrashPlan, MemoryEngine};
use downlink_storage::{Append, Error, Log, State, Totals, Wait};

use crate::support::{
    anonymous, answer, append, by_producer, by_request, events, offset, open, open_producer, read_whole,
    small_options, submit,
};

fn totals(log: &Log) -> (u64, u64, u64) {
    let Totals { received, appended, duplicates, rejected } = log.info().unwrap().totals;
    assert_eq!(received, appended + duplicates + rejected);
    (appended, duplicates, rejected)
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged_and_reads_go_on() {
    let engine = MemoryEngine::new();
    let log = open(&engine, &small_options());
    let (sender, states) = channel();
    log.on_state(move |state| drop(sender.send(state)));
    let session = open_producer(&log, "p", 1).unwrap().session;
    append(&log, by_producer(events(1, 2), "p", session, 1)).unwrap();
    append(&log, by_request(events(3, 1), 1)).unwrap();
    let read = read_whole(&log);

    engine.fail_next_sync();
    let failed = append(&log, by_producer(events(4, 2), "p", session, 2));
    assert!(matches!(failed, Err(Error::ReadOnly(_))), "{failed:?}");
    assert!(matches!(answer(&states), State::ReadOnly(_)));
    // The very batch that failed, a batch and a request that are durable, something new: no answer is an
    // acknowledgement.
    for retry in [
        by_producer(events(4, 2), "p", session, 2),
        by_producer(events(1, 2), "p", session, 1),
        by_request(events(3, 1), 1),
        anonymous(events(9, 1)),
        anonymous(Vec::new()),
    ] {
        let refused = append(&log, retry);
        assert!(matches!(refused, Err(Error::ReadOnly(_))), "{refused:?}");
    }
    assert!(matches!(open_producer(&log, "p", 1), Err(Error::ReadOnly(_))));
    assert!(matches!(log.roll(Wait::No), Err(Error::ReadOnly(_))));
    assert!(matches!(log.state(), State::ReadOnly(_)));
    assert_eq!(read_whole(&log), read);
    assert_eq!(totals(&log), (3, 0, 8));
    drop(log);

    // The power goes before anything is synced again: the batch is gone, and nobody was told otherwise.
    engine.crash(CrashPlan::LoseAll);
    let log = open(&engine, &small_options());
    assert_eq!(log.state(), State::Serving);
    assert_eq!(read_whole(&log), read);
    let opened = open_producer(&log, "p", 1).unwrap();
    assert_eq!(opened.last_sequence, 1);
    let retried = append(&log, by_producer(events(4, 2), "p", opened.session, 2)).unwrap();
    assert!(!retried.duplicate && retried.first == Some(read[2].offset.plus(1)), "{retried:?}");
}

#[test]
fn what_was_not_synced_before_a_restart_is_synced_before_it_is_believed() {
    let engine = MemoryEngine::new();
    let log = open(&engine, &small_options());
    append(&log, anonymous(events(1, 1))).unwrap();
    engine.fail_next_sync();
    append(&log, by_request(events(2, 2), 7)).unwrap_err();
    drop(log);

    // The process starts again, the machine does not: it still sees the batch.
    let log = open(&engine, &small_options());
    let retried = append(&log, by_request(events(2, 2), 7)).unwrap();
    let read = read_whole(&log);
    assert_eq!(read.len(), 3, "once");
    drop(log);
    engine.crash(CrashPlan::LoseAll);

    let log = open(&engine, &small_options());
    assert_eq!(read_whole(&log), read);
    let again = append(&log, by_request(events(2, 2), 7)).unwrap();
    assert_eq!((again.first, again.duplicate), (retried.first, true));
}

#[test]
fn a_full_disk_refuses_appends_until_there_is_room() {
    let engine = MemoryEngine::new();
    let log = open(&engine, &small_options());
    let (sender, states) = channel();
    log.on_state(move |state| drop(sender.send(state)));
    let session = open_producer(&log, "p", 1).unwrap().session;
    let first = append(&log, by_producer(events(1, 2), "p", session, 1)).unwrap();
    let request = append(&log, by_request(events(3, 1), 1)).unwrap();
    for round in 1..=3 {
        let read = read_whole(&log);
        engine.no_space(true);
        let refused = append(&log, by_producer(events(4, 2), "p", session, round + 1));
        assert!(matches!(refused, Err(Error::DiskFull { .. })), "{refused:?}");
        assert!(matches!(answer(&states), State::DiskFull(_)));
        assert!(matches!(log.roll(Wait::No), Err(Error::DiskFull { .. })));
        assert!(matches!(log.state(), State::DiskFull(_)));
        assert_eq!(read_whole(&log), read);
        let again = append(&log, by_producer(events(1, 2), "p", session, 1)).unwrap();
        assert_eq!((again.first, again.duplicate), (first.first, true));
        let again = append(&log, by_request(events(3, 1), 1)).unwrap();
        assert_eq!((again.first, again.duplicate), (request.first, true));

        engine.no_space(false);
        let appended = append(&log, by_producer(events(4, 2), "p", session, round + 1)).unwrap();
        assert!(!appended.duplicate, "what was refused was not kept");
        assert_eq!(answer(&states), State::Serving);
        assert_eq!(totals(&log), (3 + 2 * round, 3 * round, 2 * round));
    }
    engine.set_free_bytes((1 << 20) - 1);
    assert!(matches!(append(&log, anonymous(events(1, 1))), Err(Error::DiskFull { .. })));
    engine.set_free_bytes(2 << 20);
    append(&log, anonymous(events(1, 1))).unwrap();
    assert_eq!(read_whole(&log).len(), 10);
}

/// Hands in a batch that is refused, again and again, each time as soon as it is answered.
fn insist(log: &Log, stopped: Arc<AtomicBool>) {
    let again = log.clone();
    let refused = Append { expected_head: Some(offset(1 << 40)), ..anonymous(events(1, 1)) };
    log.append(refused, move |_| {
        if !stopped.load(Ordering::Relaxed) {
            insist(&again, stopped);
        }
    });
}

#[test]
fn those_who_are_refused_without_end_keep_nobody_waiting() {
    let engine = MemoryEngine::new();
    let log = open(&engine, &small_options());
    let stopped = Arc::new(AtomicBool::new(false));
    (0..4).for_each(|_| insist(&log, stopped.clone()));
    for value in 0..20 {
        append(&log, anonymous(events(value, 1))).unwrap();
    }
    engine.no_space(true);
    append(&log, anonymous(events(1, 1))).unwrap_err();
    engine.no_space(false);
    append(&log, anonymous(events(1, 1))).unwrap();
    stopped.store(true, Ordering::Relaxed);
    assert_eq!(read_whole(&log).len(), 21);
}

#[test]
fn every_append_of_a_failed_commit_is_refused_and_counted_once() {
    let engine = MemoryEngine::new();
    let log = open(&engine, &small_options());
    engine.fail_next_sync();
    let answers: Vec<_> = (0..20).map(|value| submit(&log, anonymous(events(value, 1)))).collect();
    let refused = answers.iter().filter(|receiver| answer(receiver).is_err()).count();
    assert_eq!(refused, 20);
    assert_eq!(totals(&log), (0, 0, 20));
    assert_eq!(read_whole(&log), []);
}
