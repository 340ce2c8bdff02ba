//! Damage is contained: one value that is not what it was costs what it held, and nothing else.

use std::collections::BTreeSet;

use downlink_storage::engine::memory::MemoryEngine;
use downlink_storage::engine::{Engine, Profile};
use downlink_storage::{Chunk, Error, Log, Options, State, SystemClock, Wait};

use crate::support::{
    Random, Read, SeedOnPanic, anonymous, append, by_producer, events, offset, open, open_producer, read_all,
    read_from, read_whole, small_options,
};

const HEADER: &[u8] = &[0];

fn options() -> Options {
    Options { segment_blocks_max: 1_000, ..small_options() }
}

/// Two sealed segments, one that cannot be sealed any more, and the newest; closed.
fn filled() -> (MemoryEngine, Vec<Read>) {
    let engine = MemoryEngine::new();
    let log = open(&engine, &options());
    let session = open_producer(&log, "p", 1).unwrap().session;
    let mut sequence = 0;
    for segment in 0..4 {
        for block in 0..5 {
            sequence += 1;
            append(&log, by_producer(events(segment * 100 + block * 10, 7), "p", session, sequence)).unwrap();
        }
        match segment {
            0 | 1 => drop(log.roll(Wait::UntilSealed).unwrap()),
            2 => {
                // No room for the sealed form.
                engine.set_free_bytes((1 << 20) + 300);
                log.roll(Wait::UntilSealed).unwrap();
                engine.set_free_bytes(1 << 40);
            }
            _ => {}
        }
    }
    assert_eq!(log.info().unwrap().sealed_segments, 2);
    let read = read_whole(&log);
    drop(log);
    (engine, read)
}

/// The stores of the log and their keys, with the length of each value.
pub(crate) fn values(engine: &MemoryEngine) -> Vec<(String, Vec<u8>, usize)> {
    let mut values = Vec::new();
    for name in engine.list().unwrap() {
        let store = engine.open(&name, Profile::Sealed).unwrap();
        let mut from = Vec::new();
        while let Some((key, value)) = store.at_or_after(&from).unwrap() {
            from = [&key[..], &[0]].concat();
            values.push((name.clone(), key, value.len()));
        }
    }
    values
}

/// The offsets that are in no gap, compared with what was there; gives back the gaps.
fn check_neighbours(log: &Log, read: &[Read]) -> Vec<(u64, u64)> {
    let (found, gaps) = read_all(log);
    let lost = |offset: u64| gaps.iter().any(|(first, end)| (*first..*end).contains(&offset));
    let expected = read.iter().filter(|read| !lost(read.offset.get()));
    assert!(found.iter().eq(expected), "the neighbours are as they were; gaps: {gaps:?}");
    // Who wants some signals only learns of the gaps as well.
    let ids: BTreeSet<_> = read.iter().map(|read| read.signal_id).collect();
    let ids: Vec<_> = ids.into_iter().collect();
    assert_eq!(read_from(log, log.oldest(), Some(&ids)), (found, gaps.clone()));
    gaps
}

#[test]
fn a_damaged_value_costs_what_it_held_and_nothing_else() {
    let (engine, read) = filled();
    let values = values(&engine);
    assert!(values.len() > 15, "{values:?}");
    drop(engine);
    for (number, (name, key, length)) in values.into_iter().enumerate() {
        let mut random = Random::new(number as u64);
        for _ in 0..4 {
            let (engine, _) = filled();
            let bit = random.below(length as u64 * 8) as usize;
            let _seed = SeedOnPanic(bit as u64);
            assert!(engine.corrupt(&name, &key, bit), "{name} {key:?}");
            let log = open(&engine, &options());
            let gaps = check_neighbours(&log, &read);
            let lost: u64 = gaps.iter().map(|(first, end)| end - first).sum();
            let newest = name.starts_with("00000000000000000106");
            match (key.first(), name.contains("sealed")) {
                _ if name == "derived" => assert_eq!(gaps, []),
                (Some(0), _) => assert_eq!(lost, 35, "a segment without a header is lost: {name}"),
                (Some(1), true) => assert!(lost > 0 && lost <= 35, "{name} {gaps:?}"),
                (Some(1), false) => assert_eq!(lost, 7, "one block: {name} {gaps:?}"),
                _ => assert_eq!(gaps, [], "an index is made anew"),
            }
            let is_header = key == HEADER;
            assert_eq!(matches!(log.state(), State::ReadOnly(_)), newest && is_header);
            assert_eq!(log.head().get(), 141, "no offset is used twice: {name} {key:?}");
            let appended = append(&log, anonymous(events(1, 1)));
            match appended {
                Ok(appended) => assert_eq!(appended.first, Some(offset(141))),
                Err(Error::ReadOnly(reason)) => assert!(is_header && reason.contains(&name), "{reason}"),
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[test]
fn a_segment_that_cannot_be_opened_is_a_gap() {
    for (segment, first) in [(0, 1), (1, 36), (2, 71)] {
        let (engine, read) = filled();
        let name = &engine.list().unwrap()[segment];
        engine.damage(name);
        let log = open(&engine, &options());
        assert_eq!(check_neighbours(&log, &read), [(first, first + 35)]);
        assert_eq!(log.state(), State::Serving);
        append(&log, anonymous(events(1, 1))).unwrap();
        log.roll(Wait::UntilSealed).unwrap();
    }
}

#[test]
fn a_newest_segment_that_cannot_be_opened_leaves_the_others_readable() {
    for remove_derived in [false, true] {
        let (engine, read) = filled();
        engine.damage("00000000000000000106");
        if remove_derived {
            engine.remove("derived").unwrap();
        }
        let log = open(&engine, &options());
        // Without the snapshot it is known that the last block, which began at 134, was synced: not how far it went.
        let end = if remove_derived { 135 } else { 141 };
        let gaps = check_neighbours(&log, &read[..end - 1]);
        assert_eq!(gaps, [(106, end as u64)]);
        assert!(matches!(log.state(), State::ReadOnly(reason) if reason.contains("00000000000000000106")));
        assert!(matches!(append(&log, anonymous(events(1, 1))), Err(Error::ReadOnly(_))));
        assert!(matches!(open_producer(&log, "p", 1), Err(Error::ReadOnly(_))));
        drop(log);
        // Nothing that was done meanwhile makes it worse.
        let log = open(&engine, &options());
        assert_eq!(check_neighbours(&log, &read[..log.head().get() as usize - 1]), gaps);
    }
}

#[test]
fn a_missing_segment_is_a_gap_and_its_offsets_are_not_used_again() {
    for (segment, first) in [(0, 1), (1, 36), (2, 71), (3, 106)] {
        let (engine, read) = filled();
        let name = &engine.list().unwrap()[segment];
        engine.remove(name).unwrap();
        let log = open(&engine, &options());
        assert_eq!(log.oldest(), offset(1), "nothing was removed on purpose");
        assert_eq!(check_neighbours(&log, &read), [(first, first + 35)]);
        // Without its newest segment a log cannot tell what it has lost, but goes on behind what it knew.
        if let Ok(appended) = append(&log, anonymous(events(1, 1))) {
            assert_eq!(appended.first, Some(offset(141)));
        }
    }
}

#[test]
fn what_is_left_of_a_log_is_read_without_its_oldest_segment_and_without_derived_state() {
    let (engine, read) = filled();
    let oldest = engine.list().unwrap()[0].clone();
    engine.remove(&oldest).unwrap();
    engine.remove("derived").unwrap();
    let log = open(&engine, &options());
    assert_eq!(check_neighbours(&log, &read), [(1, 36)]);
    assert_eq!(log.names().count(), 3);
    assert_eq!(append(&log, anonymous(events(1, 1))).unwrap().first, Some(offset(141)));
}

#[test]
fn a_log_without_its_segments_is_not_taken_for_a_new_one() {
    let (engine, _) = filled();
    for name in engine.list().unwrap().iter().filter(|name| *name != "derived") {
        engine.remove(name).unwrap();
    }
    for _ in 0..2 {
        let log = open(&engine, &options());
        assert!(matches!(log.state(), State::ReadOnly(_)), "{:?}", log.state());
        assert_eq!(log.head(), offset(141));
        assert!(matches!(append(&log, anonymous(events(1, 1))), Err(Error::ReadOnly(_))));
        assert!(matches!(log.read(offset(1), None), Ok(Chunk::Gap { end, .. }) if end == offset(141)));
        assert_eq!(log.names().count(), 3);
    }
}

#[test]
fn segments_of_another_log_are_not_mixed_in() {
    let (engine, read) = filled();
    let (other, _) = filled();
    let name = &engine.list().unwrap()[2];
    engine.remove(name).unwrap();
    let (from, to) =
        (other.open(name, Profile::Sealed).unwrap(), engine.open(name, Profile::Newest).unwrap());
    let mut next = Vec::new();
    while let Some((key, value)) = from.at_or_after(&next).unwrap() {
        to.insert(&key, &value).unwrap();
        next = [&key[..], &[0]].concat();
    }
    to.sync().unwrap();
    drop(to);
    let log = open(&engine, &options());
    assert_eq!(check_neighbours(&log, &read), [(71, 106)]);
}

#[test]
fn a_log_of_a_newer_version_is_refused() {
    let (engine, _) = filled();
    let store = engine.open("00000000000000000106", Profile::Newest).unwrap();
    store.insert(HEADER, &newer(&store.get(HEADER).unwrap().unwrap())).unwrap();
    store.sync().unwrap();
    drop(store);
    let clock = std::sync::Arc::new(SystemClock);
    let refused = Log::open(std::sync::Arc::new(engine), clock, options()).err();
    assert!(matches!(refused, Some(Error::NewerFormat { found: 3, supported: 2 })), "{refused:?}");
}

#[test]
fn a_log_with_a_block_of_a_newer_version_is_refused_and_not_taken_for_a_shorter_one() {
    let (engine, _) = filled();
    let store = engine.open("00000000000000000106", Profile::Newest).unwrap();
    let (key, mut value) = store.at_or_after(&[HEADER, &[0]].concat()).unwrap().expect("a block");
    assert_eq!(value[0], 1, "the version comes first");
    value[0] = 3;
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&value[..1]);
    checksum.update(&value[5..]);
    value[1..5].copy_from_slice(&checksum.finalize().to_le_bytes());
    store.insert(&key, &value).unwrap();
    store.sync().unwrap();
    drop(store);
    let clock = std::sync::Arc::new(SystemClock);
    let refused = Log::open(std::sync::Arc::new(engine), clock, options()).err();
    assert!(matches!(refused, Some(Error::NewerFormat { found: 3, supported: 2 })), "{refused:?}");
}

/// The same value, as version 3 would have written it: a version, fields, a checksum.
pub(crate) fn newer(value: &[u8]) -> Vec<u8> {
    let mut content = value[..value.len() - 4].to_vec();
    content[0] = 3;
    let checksum = crc32fast::hash(&content);
    content.extend_from_slice(&checksum.to_le_bytes());
    content
}
