//! What was altered on disk so that it still looks whole is noticed by the hash that was made when it came.

use downlink_storage::block::Block;
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

/// Whoever wants all signals does not look at the copy of the events of the rare ones.
#[test]
fn a_copy_of_rare_signals_events_that_is_another_is_found() {
    let engine = MemoryEngine::new();
    let log = open(&engine, &options());
    let name = |signal: &str| signal.to_owned();
    let frequent = events(1, 5_000).into_iter().map(|event| Event { signal: name("frequent"), ..event });
    let rare = events(6_000, 3).into_iter().map(|event| Event { signal: name("rare"), ..event });
    fill(&log, &frequent.chain(rare).collect::<Vec<_>>());
    log.roll(Wait::UntilSealed).unwrap();
    assert_eq!(verify(&log, 1, 5_004), (Vec::new(), true));
    let rare = log.match_signals(|name| name == "rare");
    drop(log);

    let (sealed, key) = (format!("{SEGMENT}.sealed"), [&[1][..], &1_u64.to_be_bytes()].concat());
    let store = engine.open(&sealed, Profile::Sealed).unwrap();
    let value = store.get(&key).unwrap().expect("a block");
    let whole = Block::decode(&value).unwrap();
    let events_of = |block: &Block| -> Vec<_> {
        let events = block.events().filter(|event| rare.contains(&event.signal_id));
        events.map(|event| (event.offset, event.to_event())).collect()
    };
    let other = (5..value.len()).map(|place| {
        let mut other = value.clone();
        other[place] ^= 1;
        reseal(&mut other);
        other
    });
    let is_other_for_rare = |other: &Vec<u8>| {
        let some = Block::decode_some(other, &rare);
        Block::decode(other).as_ref() == Ok(&whole)
            && some.is_ok_and(|some| events_of(&some) != events_of(&whole))
    };
    let other = other.into_iter().find(is_other_for_rare).expect("a bit of a value in the copy");
    store.insert(&key, &other).unwrap();
    drop(store);
    let log = open(&engine, &options());
    let damaged = Verified { first: offset(1), end: offset(5_004), outcome: Outcome::Damaged, bytes: 0 };
    assert_eq!(verify(&log, 1, 5_004), (vec![damaged], false));
}

/// Gives a block the checksum that it should have.
fn reseal(block: &mut [u8]) {
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&block[..1]);
    checksum.update(&block[5..]);
    block[1..5].copy_from_slice(&checksum.finalize().to_le_bytes());
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
