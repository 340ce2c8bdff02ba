//! The hash over the log's contents: the same however they came to lie on disk, and never of what is not known.

use downlink_storage::engine::Engine as _;
use downlink_storage::engine::memory::MemoryEngine;
use downlink_storage::{Event, Hashed, LINK_EVENTS, Log, Options, Value, Wait};

use crate::support::{anonymous, append, events, offset, open, small_options};

fn options() -> Options {
    Options { commit_events_max: 100_000, ..small_options() }
}

fn fill(log: &Log, events: &[Event], batch: usize) {
    for batch in events.chunks(batch) {
        append(log, anonymous(batch.to_vec())).unwrap();
    }
}

fn hash(log: &Log) -> Hashed {
    let hashed = log.hash().expect("the log is hashed");
    assert_eq!(log.info().unwrap().hashed, Some(hashed));
    hashed
}

fn hash_of(events: &[Event], batch: usize) -> Hashed {
    let log = open(&MemoryEngine::new(), &options());
    fill(&log, events, batch);
    let hashed = hash(&log);
    assert_eq!(hashed.end, log.head());
    hashed
}

#[test]
fn the_same_events_have_the_same_hash_in_any_batches_sealed_or_not_and_after_a_restart() {
    let all = events(1, 1_000);
    let expected = hash_of(&all, 1_000);
    assert_eq!(hash_of(&all, 1), expected);
    let engine = MemoryEngine::new();
    let log = open(&engine, &options());
    fill(&log, &all, 7);
    assert_eq!(hash(&log), expected);
    log.roll(Wait::UntilSealed).unwrap();
    assert_eq!(hash(&log), expected);
    drop(log);
    for is_known in [true, false] {
        if !is_known {
            engine.remove("derived").unwrap();
        }
        let log = open(&engine, &options());
        assert_eq!(hash(&log), expected);
    }
}

#[test]
fn another_event_makes_another_hash_and_so_does_one_more() {
    let all = events(1, 10);
    let mut hashes = vec![hash_of(&all, 10), hash_of(&all[..9], 10), hash_of(&[], 1)];
    for place in 0..10 {
        let mut changed = all.clone();
        changed[place].value = Value::Int(0);
        hashes.push(hash_of(&changed, 10));
    }
    for (place, hashed) in hashes.iter().enumerate() {
        assert!(hashes[..place].iter().all(|other| other.digest != hashed.digest), "{place}");
    }
}

#[test]
fn a_restart_goes_on_after_the_last_link_that_is_kept() {
    let all = events(1, 2 * LINK_EVENTS as usize + 10);
    let engine = MemoryEngine::new();
    let log = open(&engine, &options());
    fill(&log, &all[..all.len() - 5], 50_000);
    log.roll(Wait::UntilSealed).unwrap();
    hash(&log);
    drop(log);
    // What is before it is not read again.
    engine.damage("00000000000000000001.sealed");
    let log = open(&engine, &options());
    fill(&log, &all[all.len() - 5..], 2);
    let found = log.hash().unwrap();
    assert_eq!(found.end, offset(2 * LINK_EVENTS + 1), "the begun link is damaged");
    drop(log);

    let engine = MemoryEngine::new();
    let log = open(&engine, &options());
    for batch in [&all[..100_000], &all[100_000..2 * LINK_EVENTS as usize], &all[2 * LINK_EVENTS as usize..]]
    {
        fill(&log, batch, 50_000);
        log.roll(Wait::UntilSealed).unwrap();
    }
    let expected = hash(&log);
    drop(log);
    engine.damage("00000000000000000001.sealed");
    engine.damage("00000000000000100001.sealed");
    let log = open(&engine, &options());
    assert_eq!(log.hash(), Some(expected), "it was known before the damage");
}

#[test]
fn what_comes_after_damage_has_no_hash() {
    let all = events(1, 100);
    let engine = MemoryEngine::new();
    let log = open(&engine, &options());
    for batch in [&all[..60], &all[60..]] {
        fill(&log, batch, 10);
        log.roll(Wait::UntilSealed).unwrap();
    }
    drop(log);
    engine.damage("00000000000000000061.sealed");
    let log = open(&engine, &options());
    let expected = hash_of(&all[..60], 10);
    assert_eq!(log.hash(), Some(expected));
    fill(&log, &all, 10);
    assert_eq!(log.hash(), Some(expected), "and it stays there");
}
