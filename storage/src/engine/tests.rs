//! Both engines keep the promises of the trait; the memory one also breaks down as told.

use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::memory::{CrashPlan, MemoryEngine};
use super::sled::SledEngine;
use super::{Engine, Error, Profile, Store};

fn key(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

fn sled_in(dir: &tempfile::TempDir) -> SledEngine {
    SledEngine::new(dir.path().join("stores")).unwrap()
}

/// What every engine must do. `reopen` gives the same engine after a restart without a crash.
fn check_conformance(reopen: &dyn Fn() -> Box<dyn Engine>) {
    let engine = reopen();
    assert!(engine.list().unwrap().is_empty());
    assert!(engine.free_bytes().unwrap() > 0);
    check_reads(&*engine);
    check_names(&*engine);
    for profile in [Profile::Newest, Profile::Sealing, Profile::Sealed, Profile::Derived] {
        let name = format!("{profile:?}");
        let store = engine.open(&name, profile).unwrap();
        for number in 0..100 {
            store.insert(&key(number), &vec![number as u8; 5000]).unwrap();
        }
        store.sync().unwrap();
        assert!(engine.bytes_on_disk(&name).unwrap() > 400_000);
    }
    drop(engine);
    let engine = reopen();
    assert_eq!(engine.list().unwrap(), ["Derived", "Newest", "Sealed", "Sealing"]);
    for name in engine.list().unwrap() {
        // A store may be opened with another profile than it was written with.
        let store = engine.open(&name, Profile::Sealed).unwrap();
        for number in 0..100 {
            assert_eq!(store.get(&key(number)).unwrap().unwrap(), vec![number as u8; 5000]);
        }
    }
}

fn check_reads(engine: &dyn Engine) {
    let store = engine.open("reads", Profile::Newest).unwrap();
    assert_eq!(store.get(&key(1)).unwrap(), None);
    assert_eq!(store.at_or_after(&key(0)).unwrap(), None);
    assert_eq!(store.at_or_before(&key(u64::MAX)).unwrap(), None);
    for number in (10..=500).step_by(10) {
        store.insert(&key(number), &number.to_le_bytes()).unwrap();
    }
    store.insert(&key(20), b"newer").unwrap();
    store.insert(&key(30), b"").unwrap();
    assert_eq!(store.get(&key(20)).unwrap().unwrap(), b"newer");
    assert_eq!(store.get(&key(30)).unwrap().unwrap(), b"");
    assert_eq!(store.get(&key(25)).unwrap(), None);
    let found = |pair: Option<super::Pair>| pair.map(|(key, _)| u64::from_be_bytes(key.try_into().unwrap()));
    for number in 0..520_u64 {
        let after = (number <= 500).then(|| number.div_ceil(10).max(1) * 10);
        let before = (number >= 10).then(|| (number / 10 * 10).min(500));
        assert_eq!(found(store.at_or_after(&key(number)).unwrap()), after, "at or after {number}");
        assert_eq!(found(store.at_or_before(&key(number)).unwrap()), before, "at or before {number}");
    }
    drop(store);
    engine.remove("reads").unwrap();
}

fn check_names(engine: &dyn Engine) {
    for name in ["b", "a", "c"] {
        let store = engine.open(name, Profile::Newest).unwrap();
        store.insert(b"name", name.as_bytes()).unwrap();
        store.sync().unwrap();
    }
    assert_eq!(engine.list().unwrap(), ["a", "b", "c"]);
    engine.rename("a", "d").unwrap();
    assert!(engine.rename("b", "c").is_err());
    assert!(engine.rename("absent", "e").is_err());
    engine.remove("b").unwrap();
    engine.remove("b").unwrap();
    assert_eq!(engine.list().unwrap(), ["c", "d"]);
    assert_eq!(engine.open("d", Profile::Newest).unwrap().get(b"name").unwrap().unwrap(), b"a");
    // Under a name that is free again there is nothing old to be found.
    assert_eq!(engine.open("a", Profile::Newest).unwrap().get(b"name").unwrap(), None);
    for name in ["a", "c", "d"] {
        engine.remove(name).unwrap();
    }
}

#[test]
fn the_sled_engine_conforms() {
    let dir = tempfile::tempdir().unwrap();
    check_conformance(&|| Box::new(sled_in(&dir)));
}

#[test]
fn the_memory_engine_conforms() {
    let engine = MemoryEngine::new();
    check_conformance(&|| Box::new(engine.clone()));
}

#[test]
fn opening_waits_for_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Arc::new(sled_in(&dir));
    let store = engine.open("a", Profile::Newest).unwrap();
    let (opening, waiting) = (Arc::clone(&engine), Duration::from_millis(100));
    let opening = thread::spawn(move || opening.open("a", Profile::Newest).map(drop));
    thread::sleep(waiting);
    assert!(!opening.is_finished());
    drop(store);
    opening.join().unwrap().unwrap();
}

#[test]
fn half_snapshots_and_half_stores_are_swept_away() {
    let dir = tempfile::tempdir().unwrap();
    let engine = sled_in(&dir);
    let stores = dir.path().join("stores");
    drop(engine.open("a", Profile::Newest).unwrap());
    fs::write(stores.join("a/snap.0000000000FFFFFF.generating"), b"half").unwrap();
    fs::write(stores.join("LOCK"), b"").unwrap();
    for name in ["b.removed", "c.creating"] {
        fs::create_dir(stores.join(name)).unwrap();
        fs::write(stores.join(name).join("db"), b"half").unwrap();
        assert!(engine.open(name, Profile::Newest).is_err());
    }
    assert_eq!(engine.list().unwrap(), ["a"]);
    drop(engine.open("a", Profile::Newest).unwrap());
    let engine = sled_in(&dir);
    assert_eq!(engine.list().unwrap(), ["a"]);
    assert_eq!(fs::read_dir(&stores).unwrap().count(), 2);
    for entry in fs::read_dir(stores.join("a")).unwrap() {
        assert!(!entry.unwrap().path().to_string_lossy().ends_with(".generating"));
    }
}

#[test]
fn a_damaged_store_is_an_error_not_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    let engine = sled_in(&dir);
    let files = dir.path().join("stores/a");
    let store = engine.open("a", Profile::Newest).unwrap();
    for number in 0..50 {
        store.insert(&key(number), &[7; 4096]).unwrap();
    }
    store.sync().unwrap();
    drop(store);
    drop(engine.open("a", Profile::Newest).unwrap());
    let db = fs::read(files.join("db")).unwrap();
    fs::write(files.join("db"), vec![0xa5; db.len()]).unwrap();
    let opened = engine.open("a", Profile::Newest);
    let read = opened.and_then(|store| store.get(&key(1)));
    assert!(matches!(read, Err(Error::Damaged(_))), "{read:?}");
    // Neither the settings nor the log tell how the log is laid out.
    fs::write(files.join("conf"), b"segment_size: 8388609\nabcd").unwrap();
    let opened = engine.open("a", Profile::Newest).map(drop);
    assert!(matches!(opened, Err(Error::Damaged(_))), "{opened:?}");
}

#[test]
fn damaged_files_that_hold_nothing_of_their_own_are_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let engine = sled_in(&dir);
    // One unit of the log, a few, and so many that some are used again.
    for (profile, count, bytes) in [
        (Profile::Newest, 1, 100),
        (Profile::Newest, 300, 128 << 10),
        (Profile::Sealing, 1, 100),
        (Profile::Sealing, 300, 62 << 10),
    ] {
        let name = format!("{profile:?}-{count}");
        let store = engine.open(&name, profile).unwrap();
        for number in 0..count {
            store.insert(&key(number), &vec![number as u8; bytes]).unwrap();
            store.sync().unwrap();
        }
        drop(store);
        // Leaves a snapshot of all of it.
        drop(engine.open(&name, profile).unwrap());
        let files = dir.path().join("stores").join(&name);
        let conf = fs::read(files.join("conf")).unwrap();
        for harm in 0..4 {
            for entry in fs::read_dir(&files).unwrap() {
                let path = entry.unwrap().path();
                let file_name = path.file_name().unwrap().to_str().unwrap();
                let mut content = if path.is_file() { fs::read(&path).unwrap() } else { continue };
                match (file_name, harm) {
                    ("conf", 0 | 3) => content[15] ^= 1,
                    ("conf", 1) => content.clear(),
                    ("conf", _) => {
                        fs::remove_file(&path).unwrap();
                        continue;
                    }
                    (snapshot, 0..3) if snapshot.starts_with("snap.") => {
                        let middle = content.len() / 2;
                        if harm == 0 { content[middle] ^= 1 } else { content.truncate(middle * (2 - harm)) }
                    }
                    _ => continue,
                }
                fs::write(&path, content).unwrap();
            }
            let store = engine.open(&name, Profile::Sealed).unwrap();
            for number in 0..count {
                let found = store.get(&key(number)).unwrap();
                assert!(found.is_some_and(|value| value == vec![number as u8; bytes]), "{name}: {number}");
            }
            assert_eq!(store.at_or_after(&key(count)).unwrap(), None);
            drop(store);
            assert_eq!(fs::read(files.join("conf")).unwrap(), conf, "{name}");
        }
    }
}

#[test]
fn a_store_that_lost_its_tail_does_not_open() {
    let dir = tempfile::tempdir().unwrap();
    let engine = sled_in(&dir);
    let store = engine.open("a", Profile::Newest).unwrap();
    for number in 0..50 {
        store.insert(&key(number), &[7; 4096]).unwrap();
        store.sync().unwrap();
    }
    drop(store);
    let db = dir.path().join("stores/a/db");
    let mut bytes = fs::read(&db).unwrap();
    bytes[100_000] ^= 1;
    fs::write(&db, bytes).unwrap();
    for _ in 0..2 {
        let opened = engine.open("a", Profile::Newest).map(drop);
        assert!(matches!(opened, Err(Error::Damaged(_))), "{opened:?}");
    }
}

#[test]
fn a_store_larger_than_its_memory_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let engine = sled_in(&dir);
    for (profile, bytes) in [(Profile::Newest, 128 << 10), (Profile::Sealing, 62 << 10)] {
        let name = format!("{profile:?}");
        let store = engine.open(&name, profile).unwrap();
        let value = |number: u64| vec![number as u8; bytes];
        for number in 0..300 {
            store.insert(&key(number), &value(number)).unwrap();
        }
        store.sync().unwrap();
        for _ in 0..2 {
            for number in 0..300 {
                assert_eq!(store.get(&key(number)).unwrap().unwrap(), value(number));
            }
        }
        let (last, _) = store.at_or_before(&[0xff; 8]).unwrap().unwrap();
        assert_eq!(last, key(299));
        assert_eq!(store.at_or_after(&key(300)).unwrap(), None);
    }
}

fn written(engine: &MemoryEngine, synced: u64, unsynced: u64) -> Arc<dyn Store> {
    let store = engine.open("a", Profile::Newest).unwrap();
    for number in 0..synced + unsynced {
        store.insert(&key(number), &[number as u8; 100]).unwrap();
        if number + 1 == synced {
            store.sync().unwrap();
        }
    }
    store
}

fn found(engine: &MemoryEngine) -> Vec<(u64, Vec<u8>)> {
    let store = engine.open("a", Profile::Newest).unwrap();
    (0..100).filter_map(|number| Some((number, store.get(&key(number)).unwrap()?))).collect()
}

#[test]
fn a_crash_keeps_what_was_synced_and_some_of_the_rest() {
    let (mut torn, mut reordered) = (0, 0);
    for seed in 0..200 {
        let engine = MemoryEngine::new();
        let store = written(&engine, 5, 5);
        engine.crash(CrashPlan::Mixed { seed });
        assert!(store.get(&key(0)).is_err() && store.insert(&key(0), b"").is_err());
        let after = found(&engine);
        assert_eq!(after, {
            let twin = MemoryEngine::new();
            written(&twin, 5, 5);
            twin.crash(CrashPlan::Mixed { seed });
            found(&twin)
        });
        for number in 0..5 {
            assert_eq!(after[usize::from(number)], (number.into(), vec![number; 100]), "seed {seed}");
        }
        torn += usize::from(after.iter().any(|(number, value)| *value != vec![*number as u8; 100]));
        reordered += usize::from(after.windows(2).any(|pair| pair[1].0 > pair[0].0 + 1));
    }
    assert!(torn > 50 && reordered > 100, "{torn} torn, {reordered} reordered");
    for (plan, expected) in [(CrashPlan::LoseAll, 5), (CrashPlan::KeepAll, 10)] {
        let engine = MemoryEngine::new();
        drop(written(&engine, 5, 5));
        engine.crash(plan);
        assert_eq!(found(&engine).len(), expected);
    }
}

#[test]
fn the_power_goes_at_the_step_asked_for() {
    let engine = MemoryEngine::new();
    drop(written(&engine, 3, 0));
    let steps = engine.steps();
    assert_eq!((steps, engine.syncs()), (5, 1));
    for step in 1..=steps {
        let engine = MemoryEngine::new();
        engine.crash_at_step(step);
        let opened = engine.open("a", Profile::Newest);
        assert_eq!(opened.is_ok(), step > 1);
        let Ok(store) = opened else { continue };
        for number in 0..3 {
            assert_eq!(store.insert(&key(number), b"x").is_ok(), number + 2 < step);
        }
        assert!(store.sync().is_err() && engine.list().is_err() && engine.rename("a", "b").is_err());
        engine.crash(CrashPlan::LoseAll);
        assert!(found(&engine).is_empty());
    }
}

#[test]
fn faults_come_on_command() {
    let engine = MemoryEngine::new();
    let store = written(&engine, 3, 1);
    engine.fail_next_sync();
    assert!(store.sync().is_err() && store.sync().is_err() && store.insert(b"k", b"v").is_err());
    assert_eq!(engine.syncs(), 1);
    assert!(engine.rename("a", "b").is_err() && engine.remove("a").is_err(), "it is open");
    drop(store);

    engine.set_free_bytes(10);
    let store = engine.open("a", Profile::Newest).unwrap();
    store.insert(b"12345", b"67890").unwrap();
    assert_eq!(engine.free_bytes().unwrap(), 0);
    assert!(matches!(store.insert(b"1", b""), Err(Error::NoSpace(_))));
    drop(store);
    engine.set_free_bytes(1000);
    engine.no_space(true);
    assert!(matches!(engine.open("b", Profile::Newest), Err(Error::NoSpace(_))));
    engine.no_space(false);

    assert!(engine.corrupt("a", &key(1), 8) && !engine.corrupt("a", b"none", 0));
    assert_eq!(found(&engine)[1].1[..3], [1, 0x81, 1]);
    engine.damage("a");
    assert!(matches!(engine.open("a", Profile::Newest), Err(Error::Damaged(_))));
    engine.remove("a").unwrap();
    assert!(engine.open("a", Profile::Newest).is_ok());
}
