//! Directories: names that outlive a power cut, and the room that is left.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Makes sure that `dir` is there, and that a power cut cannot take its name, or one above it made here, away again.
pub(crate) fn create(dir: &Path) -> io::Result<()> {
    let parent = match dir.parent() {
        None => return Ok(()),
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
    };
    if dir.is_dir() {
        // A crash may have come between its making and this. Whoever forbids us to look there made it himself.
        return match sync(parent) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            synced => synced,
        };
    }
    create(parent)?;
    fs::create_dir(dir)?;
    sync(parent)
}

/// Makes the names in `dir` durable.
pub(crate) fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Bytes that can still be written on the disk of `dir`.
pub(crate) fn free_bytes(dir: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_on_the_way_is_made_and_what_is_there_is_left() {
        let root = tempfile::tempdir().expect("a directory");
        let dir = root.path().join("a/b/c");
        for _ in 0..2 {
            create(&dir).expect("made");
            assert!(dir.is_dir());
        }
        fs::write(root.path().join("file"), b"").expect("a file");
        create(&root.path().join("file")).expect_err("a file is in the way");
    }
}
