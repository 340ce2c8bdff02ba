//! Derived state on disk: what the fold over the blocks came to at some offset, so that opening the log need not
//! begin at its beginning.

use uuid::Uuid;

use crate::api::Options;
use crate::block::Tally;
use crate::bytes::{Fault, Reader, Writer};
use crate::engine::{Engine, Profile, Store};
use crate::event::{Offset, Timestamp};
use crate::keys::{self, FORMAT_VERSION};
use crate::producer::Producers;
use crate::projection::Projection;

/// A snapshot is stored in parts of this size: the engine is not made for values of many megabytes.
const PART_BYTES: usize = 60 * 1024;

/// Two slots, written in turn: a crash while one is written leaves the other.
const SLOTS: u8 = 2;

/// The fold over all blocks below `valid_for`.
#[derive(Debug, PartialEq)]
pub(crate) struct Derived {
    pub(crate) valid_for: Offset,
    pub(crate) last_ingest_time: Timestamp,
    pub(crate) tally: Tally,
    pub(crate) projection: Projection,
    pub(crate) producers: Producers,
}

impl Derived {
    /// The fold over nothing.
    pub(crate) fn empty() -> Self {
        Self {
            valid_for: Offset::FIRST,
            last_ingest_time: Timestamp::MIN,
            tally: Tally::default(),
            projection: Projection::default(),
            producers: Producers::default(),
        }
    }

    /// Takes the next block in.
    pub(crate) fn apply(&mut self, block: &crate::block::Block, options: &Options) {
        self.projection.apply(block, options.newest_bytes_max);
        self.producers.apply(block, options.request_ids_max);
        self.valid_for = block.end_offset();
        self.last_ingest_time = block.summary().ingest_time_last;
        self.tally = block.tally();
    }
}

/// The bytes of a snapshot, from parts that may live apart.
pub(crate) fn encode(
    log_id: Uuid,
    valid_for: Offset,
    last_ingest_time: Timestamp,
    tally: Tally,
    projection: &Projection,
    producers: &Producers,
) -> Vec<u8> {
    let mut writer = Writer::new(FORMAT_VERSION);
    writer.bytes(log_id.as_bytes()).u64(valid_for.get()).time(last_ingest_time);
    writer.u64(tally.duplicate_events).u64(tally.rejected_events);
    projection.encode(&mut writer);
    producers.encode(&mut writer);
    writer.finish()
}

fn decode(bytes: &[u8]) -> Result<(Uuid, Derived), Fault> {
    let mut reader = Reader::new(bytes, FORMAT_VERSION)?;
    let log_id = Uuid::from_slice(reader.bytes()?).map_err(|_| Fault::Malformed)?;
    let derived = Derived {
        valid_for: reader.offset()?,
        last_ingest_time: reader.time()?,
        tally: Tally { duplicate_events: reader.u64()?, rejected_events: reader.u64()? },
        projection: Projection::decode(&mut reader)?,
        producers: Producers::decode(&mut reader)?,
    };
    Ok((log_id, derived))
}

/// Where snapshots are kept. Whatever goes wrong here is logged and costs time at the next opening, nothing else.
pub(crate) struct Snapshots {
    store: std::sync::Arc<dyn Store>,
    next_slot: u8,
}

impl Snapshots {
    /// Opens the store of derived state; makes it anew if it is damaged.
    pub(crate) fn open(engine: &dyn Engine) -> Result<Self, crate::engine::Error> {
        let store = engine.open(keys::DERIVED, Profile::Derived).or_else(|error| {
            tracing::warn!(%error, "derived state cannot be opened: making it anew");
            engine.remove(keys::DERIVED)?;
            engine.open(keys::DERIVED, Profile::Derived)
        })?;
        Ok(Self { store, next_slot: 0 })
    }

    /// The newest whole snapshot, and the log it is of.
    pub(crate) fn load(&mut self) -> Option<(Uuid, Derived)> {
        let found = (0..SLOTS).filter_map(|slot| Some((slot, decode(&self.read(slot)?).ok()?)));
        // Of two for the same offset, the newer one has counted more.
        let (slot, newest) = found.max_by_key(|(_, (_, derived))| {
            let Tally { duplicate_events, rejected_events } = derived.tally;
            (derived.valid_for, duplicate_events + rejected_events)
        })?;
        self.next_slot = (slot + 1) % SLOTS;
        Some(newest)
    }

    /// The store of derived state.
    pub(crate) fn store(&self) -> std::sync::Arc<dyn Store> {
        self.store.clone()
    }

    fn read(&self, slot: u8) -> Option<Vec<u8>> {
        let manifest = self.store.get(&keys::snapshot_manifest(slot)).ok()??;
        let parts = Reader::new(&manifest, FORMAT_VERSION).ok()?.u32().ok()?;
        let mut bytes = Vec::new();
        for part in 0..parts {
            bytes.extend_from_slice(&self.store.get(&keys::snapshot_part(slot, part)).ok()??);
        }
        Some(bytes)
    }

    /// Keeps a snapshot.
    pub(crate) fn save(&mut self, bytes: &[u8]) -> Result<(), crate::engine::Error> {
        let slot = self.next_slot;
        let mut parts = 0;
        for part in bytes.chunks(PART_BYTES) {
            self.store.insert(&keys::snapshot_part(slot, parts), part)?;
            parts += 1;
        }
        let mut manifest = Writer::new(FORMAT_VERSION);
        manifest.u64(u64::from(parts));
        self.store.insert(&keys::snapshot_manifest(slot), &manifest.finish())?;
        self.store.sync()?;
        self.next_slot = (slot + 1) % SLOTS;
        Ok(())
    }
}
