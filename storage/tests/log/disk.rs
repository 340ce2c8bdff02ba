//! The same on a real disk, in sled.

use std::sync::Arc;

use downlink_storage::engine::sled::SledEngine;
use downlink_storage::engine::{Engine, Profile};
use downlink_storage::{Error, Event, Log, Options, State, SystemClock, Value, Wait};

use crate::damage::newer;
use crate::support::{
    Random, anonymous, append, by_producer, by_request, event, events, offset, open_producer, read_whole,
    with_watchdog,
};

fn options() -> Options {
    Options { tail_cache_bytes_max: 1, open_segments_max: 1, ..Options::standard() }
}

#[test]
fn a_log_on_disk_outlives_rolling_sealing_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    for round in 0..3_u8 {
        let log = Log::open_dir(dir.path(), options()).unwrap();
        assert_eq!(read_whole(&log), expected);
        let opened = open_producer(&log, "p", 1).unwrap();
        assert_eq!(opened.last_sequence, u64::from(round) * 2);
        for sequence in 1..=2 {
            let sequence = opened.last_sequence + sequence;
            append(&log, by_producer(events(sequence as i64, 100), "p", opened.session, sequence)).unwrap();
        }
        append(&log, by_request(events(1, 2), round)).unwrap();
        let again = append(&log, by_request(events(1, 2), 0)).unwrap();
        assert_eq!((again.first, again.duplicate), (Some(offset(201)), true));
        expected = read_whole(&log);
        log.roll(if round == 1 { Wait::No } else { Wait::UntilSealed }).unwrap();
        assert_eq!(read_whole(&log), expected);
    }
    let log = Log::open_dir(dir.path(), options()).unwrap();
    log.roll(Wait::UntilSealed).unwrap();
    let info = log.info().unwrap();
    assert_eq!((info.segments, info.sealed_segments), (4, 3));
    assert_eq!(read_whole(&log), expected);
}

#[test]
fn a_second_opening_is_refused_and_names_the_holder() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open_dir(dir.path(), options()).unwrap();
    let refused = Log::open_dir(dir.path(), options()).err();
    assert!(
        matches!(refused, Some(Error::Locked { pid: Some(pid), .. }) if pid == std::process::id()),
        "{refused:?}"
    );
    append(&log, anonymous(events(1, 1))).unwrap();
    drop(log);
    let log = Log::open_dir(dir.path(), options()).unwrap();
    assert_eq!(read_whole(&log).len(), 1);
}

#[test]
fn a_log_of_a_newer_version_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open_dir(dir.path(), options()).unwrap();
    append(&log, anonymous(events(1, 1))).unwrap();
    drop(log);
    let header = |change: &dyn Fn(&[u8]) -> Vec<u8>| {
        let engine = SledEngine::new(dir.path().join("segments")).unwrap();
        let store = engine.open("00000000000000000001", Profile::Newest).unwrap();
        let before = store.get(&[0]).unwrap().unwrap();
        store.insert(&[0], &change(&before)).unwrap();
        store.sync().unwrap();
        before
    };
    let before = header(&newer);
    let refused = Log::open_dir(dir.path(), options()).err();
    assert!(matches!(refused, Some(Error::NewerFormat { found: 3, supported: 2 })), "{refused:?}");
    header(&|_| before.clone());
    let log = Log::open_dir(dir.path(), options()).unwrap();
    assert_eq!((read_whole(&log).len(), log.state()), (1, State::Serving));
}

#[test]
fn readers_and_the_sealer_share_stores_that_can_be_opened_once_only() {
    with_watchdog(|| {
        let dir = tempfile::tempdir().unwrap();
        let engine = Arc::new(SledEngine::new(dir.path().to_owned()).unwrap());
        let log = Log::open(engine, Arc::new(SystemClock), options()).unwrap();
        std::thread::scope(|scope| {
            for round in 0..4 {
                append(&log, anonymous(events(round * 100, 50))).unwrap();
                log.roll(Wait::No).unwrap();
                let log = log.clone();
                scope.spawn(move || {
                    for _ in 0..10 {
                        assert!(read_whole(&log).len() as i64 >= (round + 1) * 50);
                    }
                });
            }
        });
        log.roll(Wait::UntilSealed).unwrap();
        assert_eq!(log.info().unwrap().sealed_segments, 4);
        assert_eq!(read_whole(&log).len(), 200);
    });
}

#[test]
fn events_of_a_mebibyte_are_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open_dir(dir.path(), options()).unwrap();
    let mut random = Random::new(1);
    for value in 0..24 {
        let noise = (0..1 << 17).flat_map(|_| random.next().to_le_bytes()).collect();
        append(&log, anonymous(vec![Event { value: Value::Bytes(noise), ..event("s", value) }])).unwrap();
    }
    let read = read_whole(&log);
    log.roll(Wait::UntilSealed).unwrap();
    assert_eq!(log.info().unwrap().sealed_segments, 1);
    assert_eq!(read_whole(&log), read);
    drop(log);
    let log = Log::open_dir(dir.path(), options()).unwrap();
    assert_eq!(read_whole(&log), read);
}
