//! The ordered byte stores the log is built of: a trait, so that tests can make the disk fail on command.

use std::sync::Arc;

pub mod memory;
pub mod sled;
#[cfg(test)]
mod tests;

/// What a store is used for; an engine tunes itself by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Appended to and synced at every commit.
    Newest,
    /// Being written once, in one pass, by the sealer.
    Sealing,
    /// Never written again: a small cache is enough.
    Sealed,
    /// Derived state: few, large values that are replaced now and then.
    Derived,
}

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// One ordered map of bytes to bytes. Shared by one writer and many readers.
pub trait Store: Send + Sync {
    /// The value of `key`.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error>;

    /// The first pair whose key is at least `key`.
    fn at_or_after(&self, key: &[u8]) -> Result<Option<Pair>, Error>;

    /// The last pair whose key is at most `key`.
    fn at_or_before(&self, key: &[u8]) -> Result<Option<Pair>, Error>;

    /// Puts `value` under `key`. Not durable before [`Self::sync`].
    fn insert(&self, key: &[u8], value: &[u8]) -> Result<(), Error>;

    /// Returns when all earlier inserts are on disk and survive a power cut. After an error nothing
    /// may be assumed of them, ever: do not call it again and believe it.
    fn sync(&self) -> Result<(), Error>;
}

/// A place that holds named stores: a directory, or a pretence of one.
pub trait Engine: Send + Sync {
    /// The names of the stores present, in order.
    fn list(&self) -> Result<Vec<String>, Error>;

    /// Opens the store `name`, creating it (durably) if absent.
    fn open(&self, name: &str, profile: Profile) -> Result<Arc<dyn Store>, Error>;

    /// Gives the closed store `from` the name `to`, atomically and durably. `to` must not exist.
    fn rename(&self, from: &str, to: &str) -> Result<(), Error>;

    /// Removes the closed store `name`; no error if it is absent. Atomic enough that a crash in the
    /// middle leaves a store that is whole, gone, or no longer listed.
    fn remove(&self, name: &str) -> Result<(), Error>;

    /// The largest key of the store `name` that is known to have been synced, also when the store cannot be opened.
    /// `None` where it is not known.
    fn last_synced(&self, name: &str) -> Option<Vec<u8>>;

    /// Bytes the store `name` takes on disk, open or not.
    fn bytes_on_disk(&self, name: &str) -> Result<u64, Error>;

    /// Bytes that can still be written.
    fn free_bytes(&self) -> Result<u64, Error>;
}

/// What can go wrong below the log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk has no room.
    #[error("no space left: {0}")]
    NoSpace(String),
    /// The store is there but cannot be read or opened.
    #[error("damaged: {0}")]
    Damaged(String),
    /// Anything else the system said.
    #[error("{0}")]
    Io(String),
}
