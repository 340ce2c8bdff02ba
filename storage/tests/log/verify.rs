//! What was altered on disk so that it still looks whole is noticed by the hash that was made when it came.

use downlink_storage::engine::memory::MemoryEngine;
use downlink_storage::engine::{Engine, Profile};
use downlink_storage::{Error, Event, LINK_EVENTS, Log, Options, Outcome, Value, Verified, Wait};

use crate::support::{anonymous, append, events, offset, open, small_options};

const SEGMENT: &str = "00000000000000000001";

fn options() -> Options {
    Options { commit_events_max: 100_000, segment_blocks_max: 1_000, ..small_options() }
}

fn fill(log: &Log, events: &[Event]) {
    for batch in events.chunks(10_000) {
        append(log, anonymous(batch.to_vec())).unwrap();
    }
    log.hash();
}

/// What a verification finds that is not whole, and whether it knows the hash.
fn verify(log: &Log, first: u64, end: u64) -> (Vec<Verified>, bool) {
    let mut verification = log.verify(offset(first), offset(end)).unwrap();
    let (mut next, mut found) = (offset(first), Vec::new());
    while let Some(verified) = verification.step().unwrap() {
        assert_eq!(verified.first, next, "nothing is left out");
        next = verified.end;
        if verified.outcome != Outcome::Whole {
            found.push(Verified { bytes: 0, ..verified });
        }
    }
    assert_eq!((next, verification.next()), (offset(end), offset(end)));
    let hashed = verification.hashed();
    assert!(hashed.is_none_or(|hashed| hashed.end == next));
    (found, hashed.is_some())
}

/// Puts a block of another log with the same offsets into this one.
fn swap_block(engine: &MemoryEngine, other: &MemoryEngine, first: u64) {
    let key = [&[1][..], &first.to_be_bytes()].concat();
    let value = other.open(SEGMENT, Profile::Sealed).unwrap().get(&key).unwrap().expect("a block");
    engine.open(SEGMENT, Profile::Sealed).unwrap().insert(&key, &value).unwrap();
}

#[test]
fn what_was_altered_and_looks_whole_is_noticed() {
    let all = events(1, 2 * LINK_EVENTS as usize + 20_000);
    let head = all.len() as u64 + 1;
    let engine = MemoryEngine::new();
    let log = open(&engine, &options());
    fill(&log, &all);
    assert_eq!(verify(&log, 1, head), (Vec::new(), true));
    assert_eq!(verify(&log, 5, head), (Vec::new(), false), "not from the oldest on");

    // One value among all, in the second link.
    let mut changed = all.clone();
    changed[75_000].value = Value::Int(-1);
    let other = MemoryEngine::new();
    fill(&open(&other, &options()), &changed);
    drop(log);
    swap_block(&engine, &other, 70_001);
    let log = open(&engine, &options());
    log.hash();
    let (begin, end) = (LINK_EVENTS + 1, 2 * LINK_EVENTS + 1);
    let noticed = |log: &Log, first| {
        let (found, has_hash) = verify(log, first, head);
        assert!(!has_hash);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(
            (found[0].end, found[0].outcome),
            (offset(end), Outcome::Changed { since: offset(begin) })
        );
    };
    for first in [1, 5, 65_000, begin] {
        noticed(&log, first);
    }
    assert_eq!(verify(&log, begin + 1, head), (Vec::new(), false), "too little of the link");
    assert_eq!(verify(&log, 1, begin), (Vec::new(), true), "the first link is as it was");
}

#[test]
fn damage_is_found_and_what_comes_after_it_is_compared_again() {
    let all = events(1, 2 * LINK_EVENTS as usize);
    let head = all.len() as u64 + 1;
    let engine = MemoryEngine::new();
    let log = open(&engine, &options());
    fill(&log, &all);
    let key = [&[1][..], &10_001_u64.to_be_bytes()].concat();
    assert!(engine.corrupt(SEGMENT, &key, 1_000));
    let damaged =
        Verified { first: offset(10_001), end: offset(20_001), outcome: Outcome::Damaged, bytes: 0 };
    assert_eq!(verify(&log, 1, head), (vec![damaged], false));
    assert_eq!(
        verify(&log, 15_000, 15_005).0,
        [Verified { first: offset(15_000), end: offset(15_005), ..damaged }]
    );
    let mut changed = all.clone();
    changed[90_000].value = Value::Int(-1);
    let other = MemoryEngine::new();
    fill(&open(&other, &options()), &changed);
    drop(log);
    swap_block(&engine, &other, 90_001);
    let log = open(&engine, &options());
    log.hash();
    let (found, _) = verify(&log, 1, head);
    assert_eq!(found[1].outcome, Outcome::Changed { since: offset(LINK_EVENTS + 1) });
    assert_eq!(found.len(), 2);
}

#[test]
fn what_was_not_hashed_before_is_read_all_the_same_and_what_is_not_there_is_refused() {
    let engine = MemoryEngine::new();
    let log = open(&engine, &options());
    fill(&log, &events(1, 100));
    log.roll(Wait::UntilSealed).unwrap();
    assert_eq!(verify(&log, 1, 101), (Vec::new(), true));
    assert_eq!(verify(&log, 1, 51), (Vec::new(), true));
    assert_eq!(verify(&log, 101, 101).0, []);
    for (first, end) in [(102, 102), (1, 102)] {
        assert!(matches!(log.verify(offset(first), offset(end)), Err(Error::BeyondHead { .. })));
    }
}
