//! Damage under aggregates: rollups that are damaged cost nothing but time, lost events are never left out unsaid.

use downlink_storage::engine::memory::MemoryEngine;
use downlink_storage::engine::{Engine, Profile};
use downlink_storage::{Bucket, Wait};

use crate::aggregate::{START_MS, answer, assert_same, compare, expected, feed, open, random_query, sorted};
use crate::damage::values;
use crate::support::{Random, Read, SeedOnPanic, read_all, read_whole};

/// A log, rolled up in part, with a sealed part and a newest; closed. Nothing in it is late: of what is lost, the times
/// are told from what is around it.
fn filled(seed: u64) -> (MemoryEngine, Vec<Read>, i64) {
    let mut random = Random::new(seed);
    let engine = MemoryEngine::new();
    let log = open(&engine);
    let mut now_ms = START_MS;
    feed(&log, &mut random, &mut now_ms, 20, 1);
    log.roll_up();
    log.roll(Wait::UntilSealed).unwrap();
    feed(&log, &mut random, &mut now_ms, 10, 1);
    if random.chance(2) {
        log.roll_up();
    }
    let read = read_whole(&log);
    (engine, read, now_ms)
}

#[test]
fn damaged_rollups_cost_time_and_never_an_answer() {
    let (engine, ..) = filled(1);
    let count = values(&engine).iter().filter(|(name, ..)| name == "rollups").count();
    assert!(count >= 8, "{count} values");
    for number in 0..count * 4 {
        let _seed = SeedOnPanic(number as u64);
        let mut random = Random::new(number as u64);
        let (engine, read, now_ms) = filled(1);
        let rolled: Vec<_> = values(&engine).into_iter().filter(|(name, ..)| name == "rollups").collect();
        let (name, key, length) = &rolled[number % rolled.len()];
        match random.below(3) {
            0 => {
                let store = engine.open(name, Profile::Derived).unwrap();
                let value = store.get(key).unwrap().unwrap();
                store.insert(key, &value[..random.below(*length as u64) as usize]).unwrap();
                store.sync().unwrap();
            }
            _ => assert!(engine.corrupt(name, key, random.below(*length as u64 * 8) as usize)),
        }
        let log = open(&engine);
        compare(&log, &mut random, now_ms, &read);
        // Made again meanwhile, and once more after a restart.
        log.roll_up();
        compare(&log, &mut random, now_ms, &read);
        drop(log);
        compare(&open(&engine), &mut random, now_ms, &read);
    }
}

#[test]
fn rollups_that_cannot_be_opened_are_made_anew() {
    let (engine, read, now_ms) = filled(2);
    engine.damage("rollups");
    compare(&open(&engine), &mut Random::new(2), now_ms, &read);
}

#[test]
fn what_is_lost_is_said_of_every_bucket_it_may_be_missing_from() {
    let (mut said, mut whole) = (0, 0);
    for seed in 0..60 {
        let _seed = SeedOnPanic(seed);
        let mut random = Random::new(seed);
        let (engine, read, now_ms) = filled(seed);
        if random.chance(2) {
            engine.remove("rollups").unwrap();
        }
        let blocks = values(&engine);
        let is_block = |key: &[u8]| key.first() == Some(&1);
        let blocks: Vec<_> =
            blocks.into_iter().filter(|(name, key, _)| name.starts_with('0') && is_block(key)).collect();
        let (name, key, length) = &blocks[random.below(blocks.len() as u64) as usize];
        assert!(engine.corrupt(name, key, random.below(*length as u64 * 8) as usize));
        let log = open(&engine);
        let (left, gaps) = read_all(&log);
        assert_eq!(gaps.len(), 1, "one block is lost");
        for _ in 0..10 {
            let (query, end) = random_query(&mut random, &log, now_ms);
            for bucket in answer(&log, &query) {
                let all = expected(&sorted(&read, bucket.signal), &query, &bucket, end);
                if bucket.incomplete {
                    said += 1;
                    let least = expected(&sorted(&left, bucket.signal), &query, &bucket, end);
                    assert!((least.count..=all.count).contains(&bucket.count), "{bucket:?}");
                } else {
                    whole += usize::from(bucket.count > 0);
                    // Rollups made before the damage may know more than the blocks.
                    assert_same(Bucket { incomplete: false, ..bucket }, all, &query);
                }
            }
        }
    }
    assert!(said > 100 && whole > 100, "{said} incomplete, {whole} whole");
}
