//! Room kept for bad times: a file without content that is given up when a full disk would keep the log from being
//! opened, which takes a little room, and taken again when there is plenty.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::directory;
use crate::keys;

/// What opening the log and reading in it may write: sled fills up the last unit of a log with zeros, and sums up
/// what it has read.
const BALLAST_BYTES: u64 = 8 << 20;

/// The file, in the directory of the log.
pub(crate) struct Ballast {
    dir: PathBuf,
    path: PathBuf,
    /// What has to stay free beside it.
    reserve_bytes: u64,
}

impl Ballast {
    /// The ballast in `dir`, if there is any.
    pub(crate) fn of(dir: &Path, reserve_bytes: u64) -> Self {
        Self { dir: dir.to_owned(), path: dir.join(keys::BALLAST), reserve_bytes }
    }

    /// Gives its room to the log if there is no other. What fails here shows when the log is opened.
    pub(crate) fn release_if_needed(&self) {
        if directory::free_bytes(&self.dir).is_ok_and(|free| free >= BALLAST_BYTES) {
            return;
        }
        match fs::remove_file(&self.path).and_then(|()| directory::sync(&self.dir)) {
            Ok(()) => tracing::warn!("the disk is full: the ballast is given up so that the log can be read"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(%error, "the ballast cannot be given up"),
        }
    }

    /// Takes its room, unless the log may need it.
    pub(crate) fn restore(&self) {
        let allocated = self.path.metadata().map_or(0, |metadata| metadata.blocks() * 512);
        let free = directory::free_bytes(&self.dir).unwrap_or(0);
        if allocated >= BALLAST_BYTES || free < self.reserve_bytes.saturating_add(2 * BALLAST_BYTES) {
            return;
        }
        if let Err(error) = self.allocate() {
            tracing::warn!(%error, "no ballast: on a full disk this log may not open");
            // Half of it is of no use.
            let _ = fs::remove_file(&self.path);
        }
    }

    fn allocate(&self) -> io::Result<()> {
        let file = File::create(&self.path)?;
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, BALLAST_BYTES)?;
        file.sync_all()?;
        directory::sync(&self.dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_room_and_keeps_it_as_long_as_there_is_enough() {
        let dir = tempfile::tempdir().expect("a directory");
        let ballast = Ballast::of(dir.path(), 0);
        for _ in 0..2 {
            ballast.restore();
            let metadata = ballast.path.metadata().expect("a file");
            assert!(metadata.blocks() * 512 >= BALLAST_BYTES);
            ballast.release_if_needed();
            assert!(ballast.path.exists());
        }
        fs::remove_file(&ballast.path).expect("removed");
        Ballast::of(dir.path(), u64::MAX / 2).restore();
        assert!(!ballast.path.exists(), "the reserve comes first");
    }
}
