//! Directories and files: made durable, counted, cleared away.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::directory;
use crate::engine::Error;

pub(super) fn name_of(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

pub(super) fn remove_dir_if_present(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Makes everything in `path`, and the names of it, durable.
pub(super) fn sync_tree(path: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_tree(&entry.path())?;
        } else {
            File::open(entry.path())?.sync_all()?;
        }
    }
    Ok(directory::sync(path)?)
}

pub(super) fn allocated_bytes(path: &Path) -> Result<u64, Error> {
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

/// Makes the files of large pages in `dir` durable whose number is above `synced`; gives the last number.
/// sled numbers them upwards, and removes those it no longer needs from threads of its own.
pub(super) fn sync_blobs(dir: &Path, synced: i64) -> Result<i64, Error> {
    let mut last = synced;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let number = name_of(&path).and_then(|name| name.parse().ok()).unwrap_or(synced);
        if number > synced {
            match File::open(&path).and_then(|file| file.sync_all()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => last = last.max(number),
            }
        }
    }
    if last > synced {
        directory::sync(dir)?;
    }
    Ok(last)
}
