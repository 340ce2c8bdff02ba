//! A block as bytes: `version u8, crc32 u32, header, columns`, in version 2 `header, rare, columns`.
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
mod rare;
mod sequence;
pub(crate) mod series;
#[cfg(test)]
mod tests;
mod times;
mod tokens;
mod values;
mod wire;

pub use header::BlockHeader;

use crate::block::Block;
use crate::event::SignalId;
use wire::{Reader, Writer};

/// The versions of the format. Each is read for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    /// What is written at commit; before there was another one, at sealing too.
    Committed = 1,
    /// What is written at sealing: smaller, with the events of rare signals once more where they are found at once.
    Sealed = 2,
}

/// The newest version that is read.
pub(crate) const VERSION_NEWEST: u8 = Version::Sealed as u8;
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
    #[error("the block has format version {found}, this build reads up to {VERSION_NEWEST}")]
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
    let version = match effort {
        Effort::Fast => Version::Committed,
        Effort::Compact => Version::Sealed,
    };
    write(Writer::new(effort, PREFIX_BYTES + block.len() * 8), version, block)
}

fn write(mut writer: Writer, version: Version, block: &Block) -> Vec<u8> {
    writer.put_bytes(&[0; PREFIX_BYTES]);
    header::put(&mut writer, &block.header);
    if version == Version::Sealed {
        rare::put(&mut writer, &block.columns, block.header.signals.len());
    }
    columns::put(&mut writer, version, &block.columns, block.header.signals.len());
    let mut bytes = writer.into_bytes();
    bytes[0] = version as u8;
    let checksum = checksum(&bytes);
    bytes[1..PREFIX_BYTES].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// See [`Block::decode`].
pub(crate) fn decode(bytes: &[u8]) -> Result<Block, DecodeError> {
    let (block, _) = decode_beside_copy(bytes)?;
    Ok(block)
}

/// See [`Part::Compared`](crate::block::Part::Compared).
pub(crate) fn decode_compared(bytes: &[u8]) -> Result<Block, DecodeError> {
    let (block, copy) = decode_beside_copy(bytes)?;
    if let Some(mut copy) = copy {
        rare::check(&mut copy, &block.columns, block.header.signals.len())?;
    }
    Ok(block)
}

/// The block, and where the copy of the events of rare signals begins, if the version has one.
fn decode_beside_copy(bytes: &[u8]) -> Result<(Block, Option<Reader<'_>>), DecodeError> {
    let (version, mut reader) = open(bytes)?;
    let header = header::read(&mut reader)?;
    let copy = (version == Version::Sealed).then(|| reader.clone());
    if copy.is_some() {
        rare::skip(&mut reader, header.signals.len())?;
    }
    Ok((whole(reader, version, header)?, copy))
}

/// See [`Block::decode_some`].
pub(crate) fn decode_some(bytes: &[u8], is_wanted: impl Fn(SignalId) -> bool) -> Result<Block, DecodeError> {
    let (version, mut reader) = open(bytes)?;
    let header = header::read(&mut reader)?;
    let wanted: Vec<bool> = header.signals.iter().map(|signal| is_wanted(signal.id)).collect();
    let mut found = None;
    if version == Version::Sealed {
        found = rare::read(&mut reader, header.rows(), &wanted)?;
    }
    if found.is_none() {
        found = pick::read(reader.clone(), version, header.rows(), &wanted)?;
    }
    match found {
        Some((rows, columns)) => Ok(Block { header, columns, rows: Some(rows) }),
        None => whole(reader, version, header),
    }
}

/// Reads the rest of a block: all its columns.
fn whole(mut reader: Reader<'_>, version: Version, header: BlockHeader) -> Result<Block, DecodeError> {
    let columns = columns::read(&mut reader, version, header.rows(), header.signals.len())?;
    columns::check(&columns, &header.summary)?;
    reader.finish()?;
    Ok(Block { header, columns, rows: None })
}

/// What a block says about itself, without decoding its columns.
///
/// # Errors
/// As [`Block::decode`], except that the columns are not looked at beyond their checksum.
pub fn peek(bytes: &[u8]) -> Result<BlockHeader, DecodeError> {
    header::read(&mut open(bytes)?.1)
}

/// Checks the checksum, then the version.
fn open(bytes: &[u8]) -> Result<(Version, Reader<'_>), DecodeError> {
    let (prefix, body) = bytes.split_first_chunk::<PREFIX_BYTES>().ok_or(DecodeError::Checksum)?;
    let [version, stored @ ..] = *prefix;
    if checksum(bytes) != u32::from_le_bytes(stored) {
        return Err(DecodeError::Checksum);
    }
    let version = match version {
        0 => return Err(DecodeError::Malformed("format version 0")),
        1 => Version::Committed,
        VERSION_NEWEST => Version::Sealed,
        found => return Err(DecodeError::NewerVersion { found }),
    };
    Ok((version, Reader::new(body)))
}

/// Over all of `bytes`, which are at least a prefix long, but the checksum's own place.
fn checksum(bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..1]);
    hasher.update(&bytes[PREFIX_BYTES..]);
    hasher.finalize()
}
