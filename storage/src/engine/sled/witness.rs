//! Remembers the last key that was synced, because sled 0.34 does not: it takes the first flipped bit of
//! its log for the end of it, drops all that follows, and opens as if nothing had been lost.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The file, beside sled's own.
const NAME: &str = "synced";
/// Key, its length in one byte, checksum of both.
const KEY_BYTES_MAX: usize = 64;
const BYTES: usize = KEY_BYTES_MAX + 1 + 4;

/// The file that holds the key. It is written after each sync and never synced itself: what is found
/// in it is true, only perhaps out of date.
pub(super) struct Witness(File);

impl Witness {
    /// The witness of the store in `path`.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        Ok(Self(options.read(true).write(true).create(true).truncate(false).open(path.join(NAME))?))
    }

    /// What the witness of the store in `path` says, though the store cannot be opened.
    pub(super) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
        Self(File::open(path.join(NAME))?).last_synced()
    }

    /// The largest key known to have been synced; `None` if it is not known.
    pub(super) fn last_synced(&self) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = [0; BYTES];
        if self.0.metadata()?.len() != BYTES as u64 {
            return Ok(None);
        }
        self.0.read_exact_at(&mut bytes, 0)?;
        let (body, crc) = bytes.split_at(KEY_BYTES_MAX + 1);
        let length = usize::from(body[KEY_BYTES_MAX]);
        let whole = crc32fast::hash(body).to_le_bytes() == crc && (1..=KEY_BYTES_MAX).contains(&length);
        Ok(whole.then(|| body[..length].to_vec()))
    }

    /// Notes that everything up to `key` has been synced. Keys too long are not noted.
    pub(super) fn synced(&self, key: &[u8]) -> io::Result<()> {
        let mut bytes = [0; BYTES];
        let (Some(place), Ok(length)) =
            (bytes[..KEY_BYTES_MAX].get_mut(..key.len()), u8::try_from(key.len()))
        else {
            return Ok(());
        };
        place.copy_from_slice(key);
        bytes[KEY_BYTES_MAX] = length;
        let crc = crc32fast::hash(&bytes[..=KEY_BYTES_MAX]).to_le_bytes();
        bytes[KEY_BYTES_MAX + 1..].copy_from_slice(&crc);
        self.0.write_all_at(&bytes, 0)
    }
}
