//! Derived state is derived: thrown away, it comes back the same.

use downlink_storage::engine::Engine;
use downlink_storage::engine::memory::MemoryEngine;
use downlink_storage::{Appended, Log, Opened, Seek, SignalInfo, Timestamp, Totals, Wait};

use crate::support::{
    append, by_producer, by_request, events, offset, open, open_producer, read_whole, small_options, time_ms,
};

/// All that does not come from reading the blocks one by one.
#[derive(Debug, PartialEq)]
struct Answers {
    signals: Vec<SignalInfo>,
    totals: Totals,
    opened: Vec<(u64, Option<u64>, u64)>,
    requests: Vec<Appended>,
    retries: Vec<Appended>,
}

fn fill(log: &Log) {
    let sessions = ["a", "b", "c"].map(|id| (id, open_producer(log, id, 1).unwrap().session));
    for round in 1..=100 {
        for (number, (id, session)) in sessions.iter().enumerate() {
            let batch = events(round * 10 + number as i64, 1 + number);
            append(log, by_producer(batch, id, *session, round as u64)).unwrap();
        }
        append(log, by_request(events(round, 2), round as u8)).unwrap();
        if round % 9 == 0 {
            append(log, by_request(events(round, 2), round as u8)).unwrap();
            log.roll(if round % 2 == 0 { Wait::UntilSealed } else { Wait::No }).unwrap();
        }
    }
}

fn ask(log: &Log) -> Answers {
    // The books first: the retries below count.
    let totals = log.info().unwrap().totals;
    let opened: Vec<Opened> = ["a", "b", "c"].map(|id| open_producer(log, id, 1).unwrap()).into();
    let mut retries = Vec::new();
    for (number, (id, opened)) in ["a", "b", "c"].into_iter().zip(&opened).enumerate() {
        // The first ones are too long ago to be remembered, and are looked up.
        for sequence in [1, 2, 30, 36, 37, 100] {
            let batch = events(sequence as i64 * 10 + number as i64, 1 + number);
            retries.push(append(log, by_producer(batch, id, opened.session, sequence)).unwrap());
        }
    }
    let requests = (1..=100_u8).map(|id| append(log, by_request(events(i64::from(id), 2), id)).unwrap());
    Answers {
        signals: log.signals(None, |_| true).map(Result::unwrap).collect(),
        totals,
        requests: requests.collect(),
        retries,
        opened: opened
            .iter()
            .map(|opened| {
                (opened.last_sequence, opened.last_offset.map(|offset| offset.get()), opened.events)
            })
            .collect(),
    }
}

#[test]
fn derived_state_thrown_away_comes_back_the_same() {
    let engine = MemoryEngine::new();
    let mut options = small_options();
    let log = open(&engine, &options);
    fill(&log);
    // The books as of the last block are what blocks alone can bring back.
    append(&log, by_request(events(1, 1), 101)).unwrap();
    let read = read_whole(&log);
    let before = ask(&log);
    assert!(before.requests.iter().chain(&before.retries).all(|answer| answer.duplicate));
    assert_eq!(log.head().get() as usize, read.len() + 1, "a retry appends nothing");
    drop(log);

    engine.remove("derived").unwrap();
    let log = open(&engine, &options);
    assert_eq!(ask(&log), before);
    assert_eq!(read_whole(&log), read);
    drop(log);

    // From a snapshot, and from one that is behind.
    options.snapshot_every_events = 1;
    let log = open(&engine, &options);
    let from_snapshot = ask(&log);
    assert_eq!(from_snapshot.signals, before.signals);
    assert_eq!(from_snapshot.opened, before.opened);
    assert_eq!((&from_snapshot.requests, &from_snapshot.retries), (&before.requests, &before.retries));
    assert_eq!(read_whole(&log), read);
}

#[test]
fn facts_about_a_log_of_many_segments_are_told_without_opening_them() {
    const SEGMENTS: u8 = 50;
    let engine = MemoryEngine::new();
    let log = open(&engine, &small_options());
    for segment in 0..SEGMENTS {
        append(&log, by_request(events(segment.into(), 3), segment)).unwrap();
        log.roll(Wait::UntilSealed).unwrap();
    }
    let before = log.info().unwrap();
    assert_eq!(before.sealed_segments, u32::from(SEGMENTS));
    assert!(before.payload_bytes > 0 && before.oldest_time.is_some());
    drop(log);

    // Thrown away, the facts come back from the segments themselves, once.
    for is_known in [true, false, true] {
        if !is_known {
            engine.remove("derived").unwrap();
        }
        let log = open(&engine, &small_options());
        // Behind our back segments are opened for rollups and for the hash only.
        log.roll_up();
        log.hash();
        let opens = engine.opens();
        let after = log.info().unwrap();
        assert_eq!(engine.opens() == opens, is_known, "{} stores were opened", engine.opens() - opens);
        assert_eq!((after.payload_bytes, after.oldest_time), (before.payload_bytes, before.oldest_time));
        // Nor are those opened in which a moment cannot be.
        let opens = engine.opens();
        let last = time_ms(1_600_000_000_000 + i64::from(SEGMENTS) + 1);
        assert_eq!(log.seek(Seek::EventTime(last)).unwrap(), offset(3 * u64::from(SEGMENTS)));
        assert!(engine.opens() <= opens + 1, "{} stores were opened", engine.opens() - opens);
        let opens = engine.opens();
        assert_eq!(log.seek(Seek::EventTime(Timestamp::MAX)).unwrap(), log.head());
        assert_eq!(log.seek(Seek::IngestTime(Timestamp::MAX)).unwrap(), log.head());
        assert_eq!(engine.opens(), opens);
    }
}

#[test]
fn the_books_outlive_a_clean_restart() {
    let engine = MemoryEngine::new();
    let log = open(&engine, &small_options());
    append(&log, by_request(events(1, 3), 1)).unwrap();
    drop(log);
    let log = open(&engine, &small_options());
    append(&log, by_request(events(1, 3), 1)).unwrap();
    log.count_rejected(5);
    drop(log);
    let log = open(&engine, &small_options());
    let expected = Totals { received: 11, appended: 3, duplicates: 3, rejected: 5 };
    assert_eq!(log.info().unwrap().totals, expected);
}
