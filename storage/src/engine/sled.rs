//! Stores on a real disk: one sled database per directory, made durable by a sync of our own.

use std::cell::Cell;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};
use std::thread;
use std::time::Duration;

use super::{Engine, Error, Pair, Profile, Store};

/// Suffix of a store on its way out: no longer listed, swept away by [`SledEngine::new`].
const REMOVED: &str = ".removed";
/// Suffix of a store on its way in: not yet listed, swept away by [`SledEngine::new`].
const CREATING: &str = ".creating";
/// Suffix of a snapshot that a crash left half written; sled may refuse to open with one about.
const GENERATING: &str = ".generating";

/// How often, and how far apart, opening is tried again while sled's own threads still hold the lock.
const OPEN_ATTEMPTS_MAX: u32 = 100;
const OPEN_RETRY_MS: u64 = 20;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// What sled is told for one [`Profile`].
struct Settings {
    segment_bytes: usize,
    cache_bytes: u64,
    mode: sled::Mode,
}

fn settings(profile: Profile) -> Settings {
    let (segment_bytes, cache_bytes) = match profile {
        Profile::Newest => (8 * MIB, 32 * MIB),
        Profile::Sealing | Profile::Sealed => (MIB, 4 * MIB),
        Profile::Derived => (8 * MIB, 4 * MIB),
    };
    Settings { segment_bytes, cache_bytes: cache_bytes as u64, mode: sled::Mode::HighThroughput }
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
        fs::create_dir_all(&dir)?;
        for entry in fs::read_dir(&dir)? {
            let path = entry?.path();
            if name_of(&path).is_some_and(is_passing) {
                fs::remove_dir_all(&path)?;
            }
        }
        sync_dir(&dir)?;
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
        let db = open_db(&passing, settings.segment_bytes, settings)?;
        guarded("creating", || db.flush())?;
        guarded("creating", || {
            drop(db);
            Ok(())
        })?;
        sync_tree(&passing)?;
        fs::rename(&passing, path)?;
        sync_dir(&self.dir)
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
        remove_half_snapshots(&path)?;
        let db = open_db(&path, stored_segment_bytes(&path)?, &settings)?;
        let file = File::open(path.join("db"))?;
        // Opening leaves a new snapshot behind: make its name durable along with the rest.
        sync_dir(&path)?;
        Ok(Arc::new(SledStore { db: Some(db), file, failed: AtomicBool::new(false) }))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), Error> {
        let (from, to) = (self.path(from)?, self.path(to)?);
        if fs::exists(&to)? {
            return Err(Error::Io(format!("a store is already there: {}", to.display())));
        }
        fs::rename(from, to)?;
        sync_dir(&self.dir)
    }

    fn remove(&self, name: &str) -> Result<(), Error> {
        let path = self.path(name)?;
        if !fs::exists(&path)? {
            return Ok(());
        }
        let passing = self.dir.join(format!("{name}{REMOVED}"));
        remove_dir_if_present(&passing)?;
        fs::rename(&path, &passing)?;
        sync_dir(&self.dir)?;
        remove_dir_if_present(&passing)
    }

    fn bytes_on_disk(&self, name: &str) -> Result<u64, Error> {
        allocated_bytes(&self.path(name)?)
    }

    fn free_bytes(&self) -> Result<u64, Error> {
        let stat = rustix::fs::statvfs(&self.dir).map_err(io::Error::from)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// One open sled database.
struct SledStore {
    /// Always there; taken out only to be dropped under guard.
    db: Option<sled::Db>,
    /// Our own descriptor of sled's one data file, for the sync that sled does not do.
    file: File,
    /// Set by the first failed insert or sync: nothing written later can be believed.
    failed: AtomicBool,
}

impl SledStore {
    fn db(&self) -> &sled::Db {
        self.db.as_ref().expect("taken out by drop only")
    }

    fn write<T>(&self, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        if self.failed.load(Ordering::Acquire) {
            return Err(Error::Io("an earlier write or sync of this store failed".to_owned()));
        }
        work().inspect_err(|_| self.failed.store(true, Ordering::Release))
    }
}

impl Store for SledStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        guarded("get", || Ok(self.db().get(key)?.map(|value| value.to_vec())))
    }

    fn at_or_after(&self, key: &[u8]) -> Result<Option<Pair>, Error> {
        guarded("at_or_after", || self.db().range(key..).next().map(to_pair).transpose())
    }

    fn at_or_before(&self, key: &[u8]) -> Result<Option<Pair>, Error> {
        guarded("at_or_before", || self.db().range(..=key).next_back().map(to_pair).transpose())
    }

    fn insert(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.write(|| guarded("insert", || self.db().insert(key, value).map(drop)))
    }

    fn sync(&self) -> Result<(), Error> {
        self.write(|| {
            // Ends in sync_file_range: the drive's cache and the file's length are left to us.
            guarded("flush", || self.db().flush())?;
            Ok(self.file.sync_data()?)
        })
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        let db = self.db.take();
        // sled panics when the last sync of its own fails. Whoever needed that sync has called ours.
        let _: Result<(), Error> = guarded("close", || {
            drop(db);
            Ok(())
        });
    }
}

fn to_pair(pair: sled::Result<(sled::IVec, sled::IVec)>) -> sled::Result<Pair> {
    pair.map(|(key, value)| (key.to_vec(), value.to_vec()))
}

fn open_db(path: &Path, segment_bytes: usize, settings: &Settings) -> Result<sled::Db, Error> {
    let config = sled::Config::default()
        .path(path)
        .segment_size(segment_bytes)
        .cache_capacity(settings.cache_bytes)
        .mode(settings.mode)
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

/// The segment size the store was created with, which must not change. sled merely warns when the
/// checksum of this file is wrong, and then trusts it.
fn stored_segment_bytes(path: &Path) -> Result<usize, Error> {
    let damaged = || Error::Damaged(format!("settings of {}", path.display()));
    let conf = fs::read(path.join("conf")).map_err(|_| damaged())?;
    let (text, crc) = conf.split_last_chunk::<4>().ok_or_else(damaged)?;
    if crc32fast::hash(text) != u32::from_le_bytes(*crc) {
        return Err(damaged());
    }
    let text = str::from_utf8(text).map_err(|_| damaged())?;
    let size = text.lines().find_map(|line| line.strip_prefix("segment_size: ")).ok_or_else(damaged)?;
    size.parse().map_err(|_| damaged())
}

thread_local! {
    /// Set while this thread is inside sled, whose panics we turn into errors.
    static INSIDE_SLED: Cell<bool> = const { Cell::new(false) };
}

/// Keeps panics that [`guarded`] catches off stderr; all others are reported as before.
fn quiet_panics_of_sled() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !INSIDE_SLED.get() {
                report(info);
            }
        }));
    });
}

/// Does `work` inside sled; its errors and its panics become ours.
fn guarded<T>(what: &str, work: impl FnOnce() -> sled::Result<T>) -> Result<T, Error> {
    let outer = INSIDE_SLED.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    INSIDE_SLED.set(outer);
    match result {
        Ok(result) => Ok(result?),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            // sled unwraps some errors of the system, which leaves only their words.
            let no_space = text.contains("StorageFull");
            let text = format!("panic in {what}: {text}");
            Err(if no_space { Error::NoSpace(text) } else { Error::Damaged(text) })
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        let text = error.to_string();
        #[expect(clippy::wildcard_enum_match_arm, reason = "the list of kinds is open")]
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace(text),
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => Self::Damaged(text),
            _ => Self::Io(text),
        }
    }
}

impl From<sled::Error> for Error {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Io(error) => error.into(),
            sled::Error::CollectionNotFound(_)
            | sled::Error::Unsupported(_)
            | sled::Error::ReportableBug(_)
            | sled::Error::Corruption { .. } => Self::Damaged(error.to_string()),
        }
    }
}

fn name_of(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

fn is_passing(name: &str) -> bool {
    name.ends_with(REMOVED) || name.ends_with(CREATING)
}

fn remove_half_snapshots(path: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        if name_of(&path).is_some_and(|name| name.ends_with(GENERATING)) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

fn remove_dir_if_present(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

fn sync_dir(path: &Path) -> Result<(), Error> {
    Ok(File::open(path)?.sync_all()?)
}

/// Makes everything in `path`, and the names of it, durable.
fn sync_tree(path: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_tree(&entry.path())?;
        } else {
            File::open(entry.path())?.sync_all()?;
        }
    }
    sync_dir(path)
}

fn allocated_bytes(path: &Path) -> Result<u64, Error> {
    let mut bytes = 0;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let inner = if entry.file_type()?.is_dir() { allocated_bytes(&entry.path()) } else { Ok(0) };
        // sled's threads may remove a file while we look.
        match entry.metadata() {
            Ok(metadata) => bytes += metadata.blocks() * 512 + inner?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(bytes)
}
