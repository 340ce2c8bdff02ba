//! A disk whose reads can be held, counted, and told apart.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};

use downlink_storage::engine::{Engine, Error, Pair, Profile, Store};

use super::*;

/// A disk whose reads, those of requests, are counted, and wait while it is held.
#[derive(Clone, Default)]
pub(super) struct Gate(Arc<State>);

#[derive(Default)]
struct State {
    is_held: Mutex<bool>,
    changed: Condvar,
    reads: AtomicUsize,
    eager: AtomicUsize,
    waiting: AtomicUsize,
}

/// Until it is dropped.
pub(super) struct Hold(Gate);

impl Gate {
    pub(super) fn hold(&self) -> Hold {
        *self.0.is_held.lock().unwrap() = true;
        Hold(self.clone())
    }

    fn pass(&self) {
        // The log's own threads read for nobody: an aggregate of what is not rolled up yet has it rolled up, and that goes
        // on whoever goes.
        if std::thread::current().name().is_some_and(|name| name.starts_with("downlink-")) {
            return;
        }
        self.0.reads.fetch_add(1, Ordering::Relaxed);
        if std::thread::current().name() != Some("history") {
            self.0.eager.fetch_add(1, Ordering::Relaxed);
        }
        self.0.waiting.fetch_add(1, Ordering::Relaxed);
        let held = self.0.is_held.lock().unwrap();
        drop(self.0.changed.wait_while(held, |is_held| *is_held).unwrap());
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn reads(&self) -> usize {
        self.0.reads.load(Ordering::Relaxed)
    }

    /// How many reads came from threads that do not give way to others.
    pub(super) fn eager_reads(&self) -> usize {
        self.0.eager.load(Ordering::Relaxed)
    }

    /// Returns when a read waits.
    pub(super) async fn reached(&self) {
        let reached = async {
            while self.0.waiting.load(Ordering::Relaxed) == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.unwrap();
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        *self.0.0.is_held.lock().unwrap() = false;
        self.0.0.changed.notify_all();
    }
}

/// A disk in memory behind a gate.
pub(super) struct GatedEngine(pub(super) MemoryEngine, pub(super) Gate);

struct GatedStore(Arc<dyn Store>, Gate);

impl Engine for GatedEngine {
    fn list(&self) -> Result<Vec<String>, Error> {
        self.0.list()
    }

    fn open(&self, name: &str, profile: Profile) -> Result<Arc<dyn Store>, Error> {
        Ok(Arc::new(GatedStore(self.0.open(name, profile)?, self.1.clone())))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), Error> {
        self.0.rename(from, to)
    }

    fn remove(&self, name: &str) -> Result<(), Error> {
        self.0.remove(name)
    }

    fn last_synced(&self, name: &str) -> Option<Vec<u8>> {
        self.0.last_synced(name)
    }

    fn bytes_on_disk(&self, name: &str) -> Result<u64, Error> {
        self.0.bytes_on_disk(name)
    }

    fn free_bytes(&self) -> Result<u64, Error> {
        self.0.free_bytes()
    }
}

impl Store for GatedStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.1.pass();
        self.0.get(key)
    }

    fn at_or_after(&self, key: &[u8]) -> Result<Option<Pair>, Error> {
        self.1.pass();
        self.0.at_or_after(key)
    }

    fn at_or_before(&self, key: &[u8]) -> Result<Option<Pair>, Error> {
        self.1.pass();
        self.0.at_or_before(key)
    }

    fn insert(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.0.insert(key, value)
    }

    fn sync(&self) -> Result<(), Error> {
        self.0.sync()
    }
}
