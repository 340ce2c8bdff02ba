//! A block as bytes: `version u8, crc32 u32, header, order, event times, values, texts, bytes, extras`.
//!
//! The checksum covers all other bytes. Whatever passes it is still treated as possibly malformed. Each submodule writes
//! and reads one part; all but the smallest pieces go into sections, each compressed on its own by zstd. How hard the
//! writer tries is its own affair: the format is the same.

mod columns;
mod extras;
mod float;
mod header;
mod integers;
mod pick;
pub(crate) mod series;
#[cfg(test)]
mod tests;
mod times;
mod values;
mod wire;

pub use header::BlockHeader;

use crate::block::Block;
use crate::event::SignalId;
use wire::{Reader, Writer};

/// The version of the format that is written, and the newest that is read.
const VERSION: u8 = 1;
/// Version and checksum.
const PREFIX_BYTES: usize = 5;

/// How hard to try to make a block small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// At commit: quick.
    Fast,
    /// At sealing: small.
    Compact,
}

/// Why bytes are not a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// They are damaged.
    #[error("the checksum of the block is wrong")]
    Checksum,
    /// They are whole, but from a newer version.
    #[error("the block has format version {found}, this build reads up to {VERSION}")]
    NewerVersion {
        /// The version they have.
        found: u8,
    },
    /// They are whole, but not as any version writes them.
    #[error("the block is malformed: {0}")]
    Malformed(&'static str),
}

/// See [`Block::encode`].
pub(crate) fn encode(block: &Block, effort: Effort) -> Vec<u8> {
    let mut writer = Writer::new(effort, PREFIX_BYTES + block.len() * 8);
    writer.put_bytes(&[0; PREFIX_BYTES]);
    header::put(&mut writer, &block.header);
    columns::put(&mut writer, &block.columns, block.header.signals.len());
    let mut bytes = writer.into_bytes();
    bytes[0] = VERSION;
    let checksum = checksum(&bytes);
    bytes[1..PREFIX_BYTES].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// See [`Block::decode`].
pub(crate) fn decode(bytes: &[u8]) -> Result<Block, DecodeError> {
    let mut reader = open(bytes)?;
    let header = header::read(&mut reader)?;
    let columns = columns::read(&mut reader, &header)?;
    reader.finish()?;
    Ok(Block { header, columns, rows: None })
}

/// See [`Block::decode_some`].
pub(crate) fn decode_some(bytes: &[u8], is_wanted: impl Fn(SignalId) -> bool) -> Result<Block, DecodeError> {
    let mut reader = open(bytes)?;
    let header = header::read(&mut reader)?;
    let wanted: Vec<bool> = header.signals.iter().map(|signal| is_wanted(signal.id)).collect();
    if let Some((rows, columns)) = pick::read(reader.clone(), &header, &wanted)? {
        return Ok(Block { header, columns, rows: Some(rows) });
    }
    let columns = columns::read(&mut reader, &header)?;
    reader.finish()?;
    Ok(Block { header, columns, rows: None })
}

/// What a block says about itself, without decoding its columns.
///
/// # Errors
/// As [`Block::decode`], except that the columns are not looked at beyond their checksum.
pub fn peek(bytes: &[u8]) -> Result<BlockHeader, DecodeError> {
    header::read(&mut open(bytes)?)
}

/// Checks the checksum, then the version.
fn open(bytes: &[u8]) -> Result<Reader<'_>, DecodeError> {
    let (prefix, body) = bytes.split_first_chunk::<PREFIX_BYTES>().ok_or(DecodeError::Checksum)?;
    let [version, stored @ ..] = *prefix;
    if checksum(bytes) != u32::from_le_bytes(stored) {
        return Err(DecodeError::Checksum);
    }
    match version {
        VERSION => Ok(Reader::new(body)),
        0 => Err(DecodeError::Malformed("format version 0")),
        found => Err(DecodeError::NewerVersion { found }),
    }
}

/// Over all of `bytes`, which are at least a prefix long, but the checksum's own place.
fn checksum(bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..1]);
    hasher.update(&bytes[PREFIX_BYTES..]);
    hasher.finalize()
}
