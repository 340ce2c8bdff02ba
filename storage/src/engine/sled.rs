//! Stores on a real disk: one sled database per directory, made durable by a sync of our own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use self::files::{allocated_bytes, name_of, remove_dir_if_present, sync_blobs, sync_tree};
use self::guard::{guarded, quiet_panics_of_sled};
use self::residence::{CACHE_BYTES, Residence};
use self::witness::Witness;
use super::{Engine, Error, Pair, Profile, Store};
use crate::directory;

mod files;
mod guard;
mod repair;
mod residence;
mod witness;

/// Suffix of a store on its way out: no longer listed, swept away by [`SledEngine::new`].
const REMOVED: &str = ".removed";
/// Suffix of a store on its way in: not yet listed, swept away by [`SledEngine::new`].
const CREATING: &str = ".creating";
/// How often, and how far apart, opening is tried again while sled's own threads still hold the lock.
const OPEN_ATTEMPTS_MAX: u32 = 100;
const OPEN_RETRY_MS: u64 = 20;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// What sled is told for one [`Profile`].
struct Settings {
    /// The unit of sled's log; another than before must be added to those that [`repair`] knows. Larger than a quarter of it, a value or a page of values goes into a file of
    /// its own under `blobs`.
    segment_bytes: usize,
    /// See [`Residence`].
    resident_bytes: u64,
}

fn settings(profile: Profile) -> Settings {
    // 4 MiB: pages of values up to 64 KiB stay in the one file that a sync must reach first, and a new store
    // takes no more than that.
    // 256 KiB: values up to 62 KiB go to the log once and then, eight together, to a file of their own,
    // which packs best: 1.23 bytes on disk for each, against 1.5 with 1 MiB and 2.4 with 8 MiB.
    let (segment_bytes, resident_bytes) = match profile {
        Profile::Newest => (4 * MIB, 12 * MIB),
        Profile::Sealing | Profile::Sealed | Profile::Derived => (256 * KIB, 8 * MIB),
    };
    Settings { segment_bytes, resident_bytes: resident_bytes as u64 }
}

/// A directory of stores, each a sled database in a directory of its own.
#[derive(Debug)]
pub struct SledEngine {
    dir: PathBuf,
}

impl SledEngine {
    /// The stores in `dir`, which is created if absent. Finishes what a crash interrupted: stores half
    /// created or half removed are swept away. Only one process may use `dir` at a time.
    pub fn new(dir: PathBuf) -> Result<Self, Error> {
        quiet_panics_of_sled();
        directory::create(&dir)?;
        for entry in fs::read_dir(&dir)? {
            let path = entry?.path();
            if name_of(&path).is_some_and(is_passing) {
                fs::remove_dir_all(&path)?;
            }
        }
        directory::sync(&dir)?;
        Ok(Self { dir })
    }

    fn path(&self, name: &str) -> Result<PathBuf, Error> {
        let plain = !name.starts_with('.') && !name.is_empty() && !name.contains(['/', '\0']);
        if plain && !is_passing(name) {
            Ok(self.dir.join(name))
        } else {
            Err(Error::Io(format!("not a name for a store: {name:?}")))
        }
    }

    /// Creates the store under a passing name first, so that a crash leaves it whole or not listed.
    fn create(&self, path: &Path, name: &str, settings: &Settings) -> Result<(), Error> {
        let passing = self.dir.join(format!("{name}{CREATING}"));
        remove_dir_if_present(&passing)?;
        let db = open_db(&passing, settings.segment_bytes)?;
        guarded("creating", || db.flush())?;
        guarded("creating", || {
            drop(db);
            Ok(())
        })?;
        sync_tree(&passing)?;
        fs::rename(&passing, path)?;
        Ok(directory::sync(&self.dir)?)
    }
}

impl Engine for SledEngine {
    fn list(&self) -> Result<Vec<String>, Error> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if let Some(name) = name.to_str()
                && entry.file_type()?.is_dir()
                && self.path(name).is_ok()
            {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn open(&self, name: &str, profile: Profile) -> Result<Arc<dyn Store>, Error> {
        let path = self.path(name)?;
        let settings = settings(profile);
        if !fs::exists(&path)? {
            self.create(&path, name, &settings)?;
        }
        repair::sweep_snapshots(&path)?;
        let db = open_db(&path, repair::segment_bytes(&path)?)?;
        let file = File::open(path.join("db"))?;
        // Opening leaves a new snapshot behind: make its name durable along with the rest.
        directory::sync(&path)?;
        let witness = Witness::open(&path)?;
        let last_synced = witness.last_synced()?.unwrap_or_default();
        let disk_bytes = allocated_bytes(&path)?;
        let residence = guarded("open", || Residence::new(&db, settings.resident_bytes, disk_bytes))?;
        let store = SledStore {
            db: Some(db),
            file,
            path,
            residence: Some(residence),
            witness,
            last_inserted: Mutex::new(last_synced.clone()),
            blobs_synced: AtomicI64::new(-1),
            failed: AtomicBool::new(false),
        };
        store.check_tail(&last_synced)?;
        Ok(Arc::new(store))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), Error> {
        let (from, to) = (self.path(from)?, self.path(to)?);
        if fs::exists(&to)? {
            return Err(Error::Io(format!("a store is already there: {}", to.display())));
        }
        fs::rename(from, to)?;
        Ok(directory::sync(&self.dir)?)
    }

    fn remove(&self, name: &str) -> Result<(), Error> {
        let path = self.path(name)?;
        if !fs::exists(&path)? {
            return Ok(());
        }
        let passing = self.dir.join(format!("{name}{REMOVED}"));
        remove_dir_if_present(&passing)?;
        fs::rename(&path, &passing)?;
        directory::sync(&self.dir)?;
        remove_dir_if_present(&passing)
    }

    fn last_synced(&self, name: &str) -> Option<Vec<u8>> {
        Witness::read(&self.path(name).ok()?).ok()?
    }

    fn bytes_on_disk(&self, name: &str) -> Result<u64, Error> {
        allocated_bytes(&self.path(name)?)
    }

    fn free_bytes(&self) -> Result<u64, Error> {
        Ok(directory::free_bytes(&self.dir)?)
    }
}

/// One open sled database.
struct SledStore {
    /// Always there; taken out only to be dropped under guard.
    db: Option<sled::Db>,
    /// Our own descriptor of sled's one data file, for the sync that sled does not do.
    file: File,
    path: PathBuf,
    /// Always there, as `db`.
    residence: Option<Residence>,
    witness: Witness,
    /// The largest key that was inserted, as far as is known; may be empty.
    last_inserted: Mutex<Vec<u8>>,
    /// The files of large pages are numbered upwards; those up to here are durable.
    blobs_synced: AtomicI64,
    /// Set by the first failed insert or sync: nothing written later can be believed.
    failed: AtomicBool,
}

impl SledStore {
    fn db(&self) -> &sled::Db {
        self.db.as_ref().expect("taken out by drop only")
    }

    fn residence(&self) -> &Residence {
        self.residence.as_ref().expect("taken out by drop only")
    }

    fn last_inserted(&self) -> MutexGuard<'_, Vec<u8>> {
        self.last_inserted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails if keys that were once synced, up to `last_synced`, are gone from the end.
    fn check_tail(&self, last_synced: &[u8]) -> Result<(), Error> {
        if last_synced.is_empty() || self.at_or_after(last_synced)?.is_some() {
            return Ok(());
        }
        Err(Error::Damaged(format!("{}: what was synced last is gone", self.path.display())))
    }

    /// Does what changes the store, unless doing so has failed before.
    fn write<T>(&self, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        if self.failed.load(Ordering::Acquire) {
            return Err(Error::Io("an earlier write or sync of this store failed".to_owned()));
        }
        work().inspect_err(|_| self.failed.store(true, Ordering::Release))
    }

    /// Reads a pair on behalf of `what`.
    fn read<T>(
        &self,
        what: &str,
        work: impl FnOnce() -> Option<sled::Result<(T, sled::IVec)>>,
    ) -> Result<Option<(T, Vec<u8>)>, Error> {
        guarded(what, || {
            let Some((key, value)) = work().transpose()? else { return Ok(None) };
            let value = value.to_vec();
            self.residence().passed(value.len())?;
            Ok(Some((key, value)))
        })
    }
}

impl Store for SledStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let found = self.read("get", || Some(self.db().get(key).transpose()?.map(|value| ((), value))));
        Ok(found?.map(|((), value)| value))
    }

    fn at_or_after(&self, key: &[u8]) -> Result<Option<Pair>, Error> {
        let found = self.read("at_or_after", || self.db().range(key..).next())?;
        Ok(found.map(|(key, value)| (key.to_vec(), value)))
    }

    fn at_or_before(&self, key: &[u8]) -> Result<Option<Pair>, Error> {
        let found = self.read("at_or_before", || self.db().range(..=key).next_back())?;
        Ok(found.map(|(key, value)| (key.to_vec(), value)))
    }

    fn insert(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.write(|| {
            guarded("insert", || {
                self.db().insert(key, value)?;
                self.residence().written(self.db(), value.len())
            })?;
            let mut last = self.last_inserted();
            if last.as_slice() < key {
                *last = key.to_vec();
            }
            Ok(())
        })
    }

    fn sync(&self) -> Result<(), Error> {
        self.write(|| {
            let last = self.last_inserted().clone();
            // Ends in sync_file_range: the drive's cache and the file's length are left to us.
            guarded("flush", || self.db().flush())?;
            let blobs_synced = self.blobs_synced.load(Ordering::Relaxed);
            self.blobs_synced.store(sync_blobs(&self.path.join("blobs"), blobs_synced)?, Ordering::Relaxed);
            self.file.sync_data()?;
            if last.is_empty() { Ok(()) } else { Ok(self.witness.synced(&last)?) }
        })
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        let (db, residence) = (self.db.take(), self.residence.take());
        // sled panics when the last sync of its own fails. Whoever needed that sync has called ours.
        let _: Result<(), Error> = guarded("close", || {
            drop((residence, db));
            Ok(())
        });
    }
}

fn open_db(path: &Path, segment_bytes: usize) -> Result<sled::Db, Error> {
    let config = sled::Config::default()
        .path(path)
        .segment_size(segment_bytes)
        .cache_capacity(CACHE_BYTES)
        .flush_every_ms(None)
        .use_compression(false);
    for _ in 1..OPEN_ATTEMPTS_MAX {
        match guarded("open", || Ok(config.open())) {
            Ok(Err(error)) if is_locked(&error) => thread::sleep(Duration::from_millis(OPEN_RETRY_MS)),
            Ok(opened) => return Ok(opened?),
            Err(panicked) => return Err(panicked),
        }
    }
    Err(Error::Io(format!("still open elsewhere: {}", path.display())))
}

/// Whether opening failed because somebody, most likely a thread of sled's, still holds the lock. sled
/// hides the kind of the system's error, so its words must do.
fn is_locked(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(error) if error.to_string().contains("could not acquire lock"))
}

fn is_passing(name: &str) -> bool {
    name.ends_with(REMOVED) || name.ends_with(CREATING)
}
