//! A pretence of a disk, in memory: it fails and forgets on command, and each run of it can be repeated.

use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::disk::{Contents, Disk, Map, SplitMix64, gone};
use super::{Engine, Error, Pair, Profile, Store};

mod disk;

/// What a power cut does to the writes that were not yet synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashPlan {
    /// All of them are lost.
    LoseAll,
    /// All of them happen to be on disk.
    KeepAll,
    /// Each is lost or kept, in no particular order, and the last of a store may be torn: cut short or
    /// garbled. The same seed makes the same choices.
    Mixed {
        /// Picks the choices.
        seed: u64,
    },
}

/// The pretended disk. Clones are handles to the same disk, which outlives the "machine": after
/// [`Self::crash`] open it again as if rebooted.
#[derive(Clone, Default)]
pub struct MemoryEngine {
    disk: Arc<Mutex<Disk>>,
}

impl MemoryEngine {
    /// An empty disk without faults and with all the room one may want.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cuts the power and boots again: unsynced writes fare as `plan` says, stores that are open answer
    /// with errors from now on, [`Self::crash_at_step`] and [`Self::fail_next_sync`] are disarmed.
    pub fn crash(&self, plan: CrashPlan) {
        let mut disk = self.disk();
        disk.boots += 1;
        disk.crash_at_step = None;
        disk.fail_next_sync = false;
        let mut rng = SplitMix64(if let CrashPlan::Mixed { seed } = plan { seed } else { 0 });
        for contents in disk.stores.values_mut() {
            let unsynced = std::mem::take(&mut contents.unsynced);
            let last = unsynced.len().saturating_sub(1);
            for (index, (key, value)) in unsynced.into_iter().enumerate() {
                let survives = match plan {
                    CrashPlan::LoseAll => None,
                    CrashPlan::KeepAll => Some(value),
                    CrashPlan::Mixed { .. } => rng.fate(value, index == last),
                };
                if let Some(value) = survives {
                    contents.synced.insert(key, value);
                }
            }
            contents.current = contents.synced.clone();
        }
        disk.used_bytes = disk.stores.values().map(Contents::bytes).sum();
    }

    /// Lets the power go at the mutating call numbered `step` (see [`Self::steps`]): it has no effect,
    /// and it and every call after it fail until [`Self::crash`].
    pub fn crash_at_step(&self, step: u64) {
        self.disk().crash_at_step = Some(step);
    }

    /// Makes the next sync of any store fail; that store takes no writes until it is opened again.
    pub fn fail_next_sync(&self) {
        self.disk().fail_next_sync = true;
    }

    /// While `full`, inserts and the creation of stores fail for want of space.
    pub fn no_space(&self, full: bool) {
        self.disk().full = full;
    }

    /// Leaves room for `bytes` more of keys and values.
    pub fn set_free_bytes(&self, bytes: u64) {
        let mut disk = self.disk();
        disk.capacity_bytes = Some(disk.used_bytes.saturating_add(bytes));
    }

    /// Flips one bit (counted from the first of the first byte) of the value under `key`, if there is
    /// one; says whether there was.
    pub fn corrupt(&self, name: &str, key: &[u8], bit: usize) -> bool {
        let mut disk = self.disk();
        let Some(contents) = disk.stores.get_mut(name) else { return false };
        let mut flipped = false;
        for map in [&mut contents.synced, &mut contents.current] {
            if let Some(byte) = map.get_mut(key).and_then(|value| Arc::make_mut(value).get_mut(bit / 8)) {
                *byte ^= 0x80 >> (bit % 8);
                flipped = true;
            }
        }
        flipped
    }

    /// Makes every later opening of the store fail as damaged, until it is removed.
    pub fn damage(&self, name: &str) {
        if let Some(contents) = self.disk().stores.get_mut(name) {
            contents.damaged = true;
        }
    }

    /// How many mutating calls (inserts, syncs, creations, renames, removals) there have been.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.disk().steps
    }

    /// How many syncs have succeeded.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.disk().syncs
    }

    /// How often a store has been opened.
    #[must_use]
    pub fn opens(&self) -> u64 {
        self.disk().opens
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        // No call leaves the disk half changed, so one that panicked (a failed test) does no harm.
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine for MemoryEngine {
    fn list(&self) -> Result<Vec<String>, Error> {
        let disk = self.disk();
        disk.check_power()?;
        Ok(disk.stores.keys().cloned().collect())
    }

    fn open(&self, name: &str, _: Profile) -> Result<Arc<dyn Store>, Error> {
        let mut disk = self.disk();
        disk.check_power()?;
        if !disk.stores.contains_key(name) {
            disk.step()?;
            disk.check_space(0)?;
            disk.stores.insert(name.to_owned(), Contents::default());
        }
        let boot = disk.boots;
        let contents = disk.closed(name)?.ok_or_else(|| gone(name))?;
        if contents.damaged {
            return Err(Error::Damaged(format!("{name}, on command")));
        }
        contents.opened_in_boot = Some(boot);
        disk.opens += 1;
        let failed = AtomicBool::new(false);
        Ok(Arc::new(MemoryStore { engine: self.clone(), name: name.to_owned(), boot, failed }))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), Error> {
        let mut disk = self.disk();
        disk.step()?;
        if disk.stores.contains_key(to) {
            return Err(Error::Io(format!("a store is already there: {to}")));
        }
        disk.closed(from)?.ok_or_else(|| gone(from))?;
        let contents = disk.stores.remove(from).ok_or_else(|| gone(from))?;
        disk.stores.insert(to.to_owned(), contents);
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<(), Error> {
        let mut disk = self.disk();
        disk.step()?;
        if let Some(contents) = disk.closed(name)? {
            let bytes = contents.bytes();
            disk.used_bytes = disk.used_bytes.saturating_sub(bytes);
            disk.stores.remove(name);
        }
        Ok(())
    }

    fn last_synced(&self, name: &str) -> Option<Vec<u8>> {
        let disk = self.disk();
        disk.check_power().ok()?;
        let (key, _) = disk.stores.get(name)?.synced.last_key_value()?;
        Some(key.clone())
    }

    fn bytes_on_disk(&self, name: &str) -> Result<u64, Error> {
        let disk = self.disk();
        disk.check_power()?;
        disk.stores.get(name).map(Contents::bytes).ok_or_else(|| gone(name))
    }

    fn free_bytes(&self) -> Result<u64, Error> {
        let disk = self.disk();
        disk.check_power()?;
        Ok(disk.free_bytes())
    }
}

/// A handle to a store, of no use after a crash.
struct MemoryStore {
    engine: MemoryEngine,
    name: String,
    boot: u64,
    failed: AtomicBool,
}

impl MemoryStore {
    fn with<T>(&self, work: impl FnOnce(&mut Disk) -> Result<T, Error>) -> Result<T, Error> {
        let mut disk = self.engine.disk();
        if disk.boots != self.boot {
            return Err(Error::Io(format!("opened before the crash: {}", self.name)));
        }
        work(&mut disk)
    }

    fn read<T>(&self, work: impl FnOnce(&Map) -> T) -> Result<T, Error> {
        self.with(|disk| {
            disk.check_power()?;
            Ok(work(&disk.stores.get(&self.name).ok_or_else(|| gone(&self.name))?.current))
        })
    }

    fn write<T>(&self, work: impl FnOnce(&mut Disk) -> Result<T, Error>) -> Result<T, Error> {
        self.with(|disk| {
            disk.step()?;
            if self.failed.load(Ordering::Relaxed) {
                return Err(Error::Io("an earlier write or sync of this store failed".to_owned()));
            }
            work(disk).inspect_err(|_| self.failed.store(true, Ordering::Relaxed))
        })
    }
}

impl Store for MemoryStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.read(|map| map.get(key).map(|value| value.to_vec()))
    }

    fn at_or_after(&self, key: &[u8]) -> Result<Option<Pair>, Error> {
        self.read(|map| map.range::<[u8], _>((Bound::Included(key), Bound::Unbounded)).next().map(to_pair))
    }

    fn at_or_before(&self, key: &[u8]) -> Result<Option<Pair>, Error> {
        let range = (Bound::Unbounded, Bound::Included(key));
        self.read(|map| map.range::<[u8], _>(range).next_back().map(to_pair))
    }

    fn insert(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.write(|disk| {
            let bytes = (key.len() + value.len()) as u64;
            disk.check_space(bytes)?;
            let contents = disk.stores.get_mut(&self.name).ok_or_else(|| gone(&self.name))?;
            let value = Arc::new(value.to_vec());
            let old = contents.current.insert(key.to_vec(), Arc::clone(&value));
            contents.unsynced.push((key.to_vec(), value));
            let old_bytes = old.map_or(0, |old| (key.len() + old.len()) as u64);
            disk.used_bytes = (disk.used_bytes + bytes).saturating_sub(old_bytes);
            Ok(())
        })
    }

    fn sync(&self) -> Result<(), Error> {
        self.write(|disk| {
            if std::mem::take(&mut disk.fail_next_sync) {
                return Err(Error::Io("sync fails, on command".to_owned()));
            }
            disk.syncs += 1;
            let contents = disk.stores.get_mut(&self.name).ok_or_else(|| gone(&self.name))?;
            contents.synced.extend(contents.unsynced.drain(..));
            Ok(())
        })
    }
}

impl Drop for MemoryStore {
    fn drop(&mut self) {
        let mut disk = self.engine.disk();
        if let Some(contents) = disk.stores.get_mut(&self.name)
            && contents.opened_in_boot == Some(self.boot)
        {
            contents.opened_in_boot = None;
        }
    }
}

fn to_pair((key, value): (&Vec<u8>, &Arc<Vec<u8>>)) -> Pair {
    (key.clone(), value.to_vec())
}
