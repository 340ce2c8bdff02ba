//! Files of sled's that hold nothing of their own: when one is damaged, sled refuses the whole database, and we make
//! the file anew from what it was made of.
//!
//! A snapshot sums up the log in `db`: without one, sled reads the log from its beginning, as after a crash. `conf`
//! says how the log is laid out, which the log shows by itself. Neither can make wrong data of right: what is read is
//! checked above, block by block, and an end that is gone is noticed by the witness.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::files::name_of;
use super::{KIB, MIB};
use crate::directory;
use crate::engine::Error;

/// Suffix of a snapshot that a crash left half written; sled may refuse to open with one about.
const GENERATING: &str = ".generating";
const SNAPSHOT: &str = "snap.";
/// At the end of a snapshot: a length that sled does not look at, and a checksum of what comes before both.
const SNAPSHOT_LENGTH_BYTES: usize = 8;

/// Every unit of its log that a store was ever made with. The larger are multiples of the smallest.
const SEGMENT_BYTES: [usize; 2] = [256 * KIB, 4 * MIB];
/// A checksum, all its bits turned over, of the rest: two numbers of the log.
const SEGMENT_HEADER_BYTES: usize = 20;

/// Removes what would keep the store from being opened and is not needed for it.
pub(super) fn sweep_snapshots(path: &Path) -> Result<(), Error> {
    let mut whole = Vec::new();
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        let Some(name) = name_of(&path).filter(|name| name.starts_with(SNAPSHOT)) else { continue };
        if name.ends_with(GENERATING) { fs::remove_file(&path)? } else { whole.push(path) }
    }
    // Of several, sled takes the last. What is before it may be too old to go on from.
    whole.sort();
    if let Some(last) = whole.last()
        && !is_whole(&fs::read(last)?)
    {
        tracing::warn!(snapshot = %last.display(), "damaged: it is made anew from the log");
        whole.iter().try_for_each(fs::remove_file)?;
        directory::sync(path)?;
    }
    Ok(())
}

fn is_whole(snapshot: &[u8]) -> bool {
    let Some((rest, crc)) = snapshot.split_last_chunk::<4>() else { return false };
    let Some((content, _)) = rest.split_last_chunk::<SNAPSHOT_LENGTH_BYTES>() else { return false };
    !content.is_empty() && crc32fast::hash(content).to_le_bytes() == *crc
}

/// The unit of the log that the store was made with, which must not change: from `conf`, or from the log itself
/// where that is damaged. sled merely warns when the checksum of `conf` is wrong, and then trusts it.
pub(super) fn segment_bytes(path: &Path) -> Result<usize, Error> {
    let conf = path.join("conf");
    match fs::read(&conf) {
        Ok(content) => {
            if let Some(bytes) = parse_conf(&content) {
                return Ok(bytes);
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    let bytes = laid_out(&path.join("db"))?
        .ok_or_else(|| Error::Damaged(format!("settings and log of {}", path.display())))?;
    tracing::warn!(conf = %conf.display(), bytes, "damaged: it is made anew as the log shows it");
    write_conf(path, bytes)?;
    Ok(bytes)
}

fn parse_conf(conf: &[u8]) -> Option<usize> {
    let (text, crc) = conf.split_last_chunk::<4>()?;
    if crc32fast::hash(text) != u32::from_le_bytes(*crc) {
        return None;
    }
    let size = str::from_utf8(text).ok()?.lines().find_map(|line| line.strip_prefix("segment_size: "))?;
    size.parse().ok()
}

/// As sled writes it, under another name first.
fn write_conf(path: &Path, segment_bytes: usize) -> Result<(), Error> {
    let text = format!("segment_size: {segment_bytes}\nuse_compression: false\nversion: 0.34\n");
    let making = path.join("conf.making");
    let mut file = File::create(&making)?;
    file.write_all(text.as_bytes())?;
    file.write_all(&crc32fast::hash(text.as_bytes()).to_le_bytes())?;
    file.sync_all()?;
    fs::rename(making, path.join("conf"))?;
    Ok(directory::sync(path)?)
}

/// The unit at whose multiples the log has headers; `None` if it has none. Where the log was given up again there may be
/// none, but in a log of small units hardly all others are gone, least of all in a store that is only added to.
fn laid_out(db: &Path) -> Result<Option<usize>, Error> {
    let file = File::open(db)?;
    let length = file.metadata()?.len();
    let [small, large] = SEGMENT_BYTES;
    // A large unit has its length, but for one byte, from the first opening on.
    let is_short = length + 1 < large as u64;
    let mut is_large = false;
    for at in (0..length).step_by(small) {
        if has_header(&file, at)? {
            if is_short || at % large as u64 != 0 {
                return Ok(Some(small));
            }
            is_large = true;
        }
    }
    Ok(is_large.then_some(large))
}

fn has_header(file: &File, at: u64) -> Result<bool, Error> {
    let mut header = [0; SEGMENT_HEADER_BYTES];
    match file.read_exact_at(&mut header, at) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        Err(error) => return Err(error.into()),
    }
    let (crc, rest) = header.split_at(4);
    Ok((!crc32fast::hash(rest)).to_le_bytes() == crc)
}
