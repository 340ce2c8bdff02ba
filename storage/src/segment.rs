//! One segment: a store that holds adjacent blocks, the newest of all or one that never grows again.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use uuid::Uuid;

use crate::block::{self, Block, Part};
use crate::bytes::{Fault, Reader, Writer};
use crate::copy::Beginning;
use crate::engine::{self, Engine, Profile, Store};
use crate::error::Error;
use crate::event::{Offset, Timestamp};
use crate::index::SegmentIndex;
use crate::keys::{self, FORMAT_VERSION, Form, HEADER_VERSION};

/// Who a segment belongs to: its first value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) log_id: Uuid,
    pub(crate) first: Offset,
    pub(crate) created: Timestamp,
    /// Where the log begins.
    pub(crate) log_first: Offset,
}

/// An open segment.
pub(crate) struct Segment {
    pub(crate) header: Header,
    pub(crate) form: Form,
    store: Arc<dyn Store>,
    index: RwLock<SegmentIndex>,
}

/// What there is at an offset.
pub(crate) enum Found {
    /// A block that contains it.
    Block(Arc<Block>),
    /// Nothing that can be read around it.
    Missing {
        /// The first missing offset.
        first: Offset,
        /// The first after them.
        end: Offset,
    },
}

impl Segment {
    /// Makes an empty segment, durably.
    pub(crate) fn create(engine: &dyn Engine, header: Header, form: Form) -> Result<Self, Error> {
        let profile = if form == Form::Raw { Profile::Newest } else { Profile::Sealing };
        let store = engine.open(&keys::segment(header.first, form), profile)?;
        store.insert(keys::HEADER, &header.encode())?;
        store.sync()?;
        Ok(Self { header, form, store, index: RwLock::default() })
    }

    /// Opens a segment that exists, as the one to write to (`Profile::Newest`) or to read only.
    pub(crate) fn open(
        engine: &dyn Engine,
        first: Offset,
        form: Form,
        profile: Profile,
    ) -> Result<Self, Error> {
        let name = keys::segment(first, form);
        let store = engine.open(&name, profile)?;
        let header = store.get(keys::HEADER)?;
        let header = match header.as_deref().map(Header::decode) {
            Some(Ok(header)) if header.first == first => header,
            Some(Err(Fault::Newer(found))) => {
                return Err(Error::NewerFormat { found, supported: HEADER_VERSION });
            }
            Some(Ok(_) | Err(Fault::Checksum | Fault::Malformed)) | None => {
                return Err(Error::Damaged(format!("segment {name} has no readable header")));
            }
        };
        let index = load_index(store.as_ref(), form)?;
        Ok(Self { header, form, store, index: RwLock::new(index) })
    }

    /// Appends a block, which [`Self::sync`] or [`Self::finish`] will make durable. After an error the segment must not be written
    /// to again.
    pub(crate) fn put(&self, block: &Block, encoded: &[u8]) -> Result<(), Error> {
        self.store.insert(&keys::block(block.first_offset()), encoded)?;
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        index.push(block.summary(), block.signals(), encoded.len());
        Ok(())
    }

    /// Writes the index behind the blocks and makes everything durable.
    pub(crate) fn finish(&self) -> Result<(), Error> {
        let footer = self.index().encode();
        self.store.insert(keys::FOOTER, &footer)?;
        Ok(self.store.sync()?)
    }

    /// Makes everything in it durable.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        Ok(self.store.sync()?)
    }

    /// Its blocks as far as their headers are whole.
    pub(crate) fn index(&self) -> RwLockReadGuard<'_, SegmentIndex> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// What there is at `offset`, in a segment that ends before `end`.
    pub(crate) fn read(&self, offset: Offset, end: Offset) -> Result<Found, Error> {
        self.read_part(offset, end, Part::Whole)
    }

    /// The same, of the block this part.
    pub(crate) fn read_part(&self, offset: Offset, end: Offset, part: Part<'_>) -> Result<Found, Error> {
        let pair = match self.store.at_or_before(&keys::block(offset)) {
            Ok(pair) => pair,
            Err(engine::Error::Damaged(error)) => {
                tracing::warn!(segment = %self.header.first, %offset, error, "cannot read block");
                None
            }
            Err(error) => return Err(error.into()),
        };
        let mut first = if pair.is_some() { self.header.first } else { self.index().hole_at(offset) };
        if let Some((key, value)) = pair
            && let Some(begin) = keys::block_offset(&key)
        {
            match Block::decode_part(&value, part) {
                Ok(block) if block.first_offset() == begin && block.end_offset() > offset => {
                    return Ok(Found::Block(Arc::new(block)));
                }
                Ok(block) if block.first_offset() == begin => first = block.end_offset(),
                Ok(_) => first = begin,
                Err(block::DecodeError::NewerVersion { found }) => {
                    return Err(Error::NewerFormat { found, supported: block::VERSION_NEWEST });
                }
                Err(error) => {
                    tracing::warn!(block = %begin, %error, "damaged block");
                    first = begin;
                }
            }
        }
        let first = first.max(self.header.first);
        Ok(Found::Missing { first, end: self.next_key(offset).map_or(end, |next| next.min(end)) })
    }

    /// The first block key after `offset`.
    fn next_key(&self, offset: Offset) -> Option<Offset> {
        let (key, _) = self.store.at_or_after(&keys::block(offset.plus(1))).ok()??;
        keys::block_offset(&key)
    }
}

impl Header {
    /// Which log it is, and where that begins.
    pub(crate) const fn beginning(&self) -> Beginning {
        Beginning { log_id: self.log_id, first: self.log_first }
    }

    fn encode(&self) -> Vec<u8> {
        // What a log from its first offset on needs is as it always was.
        let is_whole = self.log_first == Offset::FIRST;
        let mut writer = Writer::new(if is_whole { FORMAT_VERSION } else { HEADER_VERSION });
        writer.bytes(self.log_id.as_bytes()).u64(self.first.get()).time(self.created);
        if !is_whole {
            writer.u64(self.log_first.get());
        }
        writer.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        let mut reader = Reader::new(bytes, HEADER_VERSION)?;
        let log_id = Uuid::from_slice(reader.bytes()?).map_err(|_| Fault::Malformed)?;
        let (first, created) = (reader.offset()?, reader.time()?);
        let log_first = if reader.is_at_end() { Offset::FIRST } else { reader.offset()? };
        Ok(Self { log_id, first, created, log_first })
    }
}

/// The index in the footer, or else made from the blocks' headers.
fn load_index(store: &dyn Store, form: Form) -> Result<SegmentIndex, Error> {
    if form == Form::Sealed {
        match store.get(keys::FOOTER).map(|footer| footer.map(|bytes| SegmentIndex::decode(&bytes))) {
            Ok(Some(Ok(index))) => return Ok(index),
            Ok(Some(Err(Fault::Newer(found)))) => {
                return Err(Error::NewerFormat { found, supported: FORMAT_VERSION });
            }
            Ok(Some(Err(_)) | None) | Err(_) => {
                tracing::warn!("damaged index of a sealed segment: making it anew")
            }
        }
    }
    scan_index(store)
}

/// Reads the header of every block. Damaged ones are left out: their offsets become gaps. Those of a newer version are not
/// damaged: without them the log would seem shorter than it is, and give their offsets away again.
fn scan_index(store: &dyn Store) -> Result<SegmentIndex, Error> {
    let mut index = SegmentIndex::default();
    let mut from = Offset::FIRST;
    while let Ok(Some((key, value))) = store.at_or_after(&keys::block(from)) {
        let Some(first) = keys::block_offset(&key) else { break };
        match block::peek(&value) {
            Ok(header)
                if header.summary.first_offset == first && index.end().is_none_or(|end| end <= first) =>
            {
                index.push(header.summary, &header.signals, value.len());
            }
            Ok(_) => tracing::warn!(block = %first, "block is not where it should be"),
            Err(block::DecodeError::NewerVersion { found }) => {
                return Err(Error::NewerFormat { found, supported: block::VERSION_NEWEST });
            }
            Err(error) => tracing::warn!(block = %first, %error, "damaged block"),
        }
        from = first.plus(1);
    }
    Ok(index)
}
