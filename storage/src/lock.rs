//! One process a directory: a lock that the system drops when its holder dies, and that names the holder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write};
use std::path::Path;

use crate::directory;
use crate::error::Error;

/// Held as long as the log is open.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    /// Takes the lock of `dir`, creating the directory if need be.
    pub(crate) fn take(dir: &Path) -> Result<Self, Error> {
        let io = |error: std::io::Error| Error::Engine(format!("{}: {error}", dir.display()));
        directory::create(dir).map_err(io)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(dir.join("LOCK"))
            .map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let pid = file.read_to_string(&mut holder).ok().and_then(|_| holder.trim().parse().ok());
                return Err(Error::Locked { dir: dir.to_owned(), pid });
            }
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
        file.set_len(0).and_then(|()| file.rewind()).map_err(io)?;
        match writeln!(file, "{}", std::process::id()) {
            // The holder's number is a courtesy that a full disk does not allow.
            Err(error) if error.kind() == ErrorKind::StorageFull => {}
            written => written.map_err(io)?,
        }
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_taker_learns_who_holds_the_directory() {
        let dir = tempfile::tempdir().expect("a directory");
        let held = DirectoryLock::take(dir.path()).expect("free");
        let refused = DirectoryLock::take(dir.path()).expect_err("taken");
        assert!(matches!(refused, Error::Locked { pid: Some(pid), .. } if pid == std::process::id()));
        drop(held);
        DirectoryLock::take(dir.path()).expect("free again");
    }
}
