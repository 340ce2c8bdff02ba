//! Rewrites full segments compactly in the background and swaps each in by one rename.

use std::collections::HashSet;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::block::{Block, Effort, Part};
use crate::engine::{Engine, Profile};
use crate::error::Error;
use crate::event::Offset;
use crate::index::SegmentIndex;
use crate::keys::{self, Form};
use crate::observer::{SealOutcome, SealReport};
use crate::segment::{Found, Segment};
use crate::segments::Entry;
use crate::shared::Shared;

/// Events in the first sealed block; the following ones aim at [`BLOCK_BYTES`].
const FIRST_BLOCK_EVENTS: usize = 16_384;

/// The stored size sealed blocks aim at, and the size that the engine packs badly beyond.
const BLOCK_BYTES: usize = 58 * 1024;
const BLOCK_BYTES_MAX: usize = 62 * 1024;

/// Bounds of a sealed block, whatever its events look like.
const BLOCK_EVENTS_MIN: usize = 1;
const BLOCK_EVENTS_MAX: usize = 65_536;

/// Bytes written between syncs: one large sync at the end would hold up the writer's, on the same disk.
const UNSYNCED_BYTES_MAX: usize = 4 << 20;

/// Bytes of blocks in memory, on their way into larger ones.
const GATHERED_BYTES_MAX: usize = 16 << 20;

/// How long the sealer waits for readers to let go of the raw segment before it leaves the removal to the next
/// opening of the log.
const READERS_WAIT_MS: u64 = 10_000;
const READERS_POLL_MS: u64 = 5;

/// Seals until the log is closed.
pub(crate) fn run(shared: &Shared, reserve_bytes: u64) {
    let begin = || Sealer { shared, reserve_bytes, left_alone: HashSet::new() };
    shared.sealing.work(|| shared.is_closing(), begin, Sealer::pass);
}

/// The thread at work. What was begun and is given up is swept away at the next opening.
struct Sealer<'a> {
    shared: &'a Shared,
    reserve_bytes: u64,
    /// Damaged segments stay as they are: what can be read of them can be read as well unsealed.
    left_alone: HashSet<Offset>,
}

impl Sealer<'_> {
    fn pass(&mut self) {
        let entries = self.shared.segments.entries();
        for pair in entries.windows(2) {
            let (entry, end) = (pair[0], pair[1].first);
            if self.shared.is_closing() {
                return;
            }
            if entry.form == Form::Sealed || self.left_alone.contains(&entry.first) {
                continue;
            }
            let (begun, started) = (SystemTime::now(), Instant::now());
            let sealed = self.seal(entry, end);
            let (took, events) = (started.elapsed(), end.since(entry.first));
            let outcome = match &sealed {
                Ok(()) => {
                    let seconds = took.as_secs_f64();
                    tracing::info!(segment = %entry.first, events, seconds, "sealed");
                    SealOutcome::Sealed
                }
                Err(Failure::Postponed(reason)) => {
                    tracing::warn!(segment = %entry.first, reason, "sealing postponed");
                    SealOutcome::Postponed(reason)
                }
                Err(Failure::LeftAlone(error)) => {
                    tracing::warn!(segment = %entry.first, %error, "segment is left unsealed");
                    self.left_alone.insert(entry.first);
                    SealOutcome::LeftAlone(error)
                }
            };
            let report = SealReport { first: entry.first, events, begun, took, outcome };
            self.shared.observe(|observer| observer.sealed(&report));
        }
    }

    fn seal(&self, entry: Entry, end: Offset) -> Result<(), Failure> {
        let segments = &self.shared.segments;
        let engine = segments.engine.as_ref();
        let raw = segments.open(entry)?;
        let free_bytes = engine.free_bytes().map_err(Error::from)?;
        // The sealed form is smaller than the raw one, but sled's files are larger than what is in them.
        if free_bytes < self.reserve_bytes.saturating_add(raw.index().payload_bytes().saturating_mul(2)) {
            return Err(Failure::Postponed("the disk has no room for it"));
        }
        let sealing = keys::segment(entry.first, Form::Sealing);
        engine.remove(&sealing).map_err(Error::from)?;
        let written = Segment::create(engine, raw.header, Form::Sealing)
            .map_err(Failure::from)
            .and_then(|sealing| self.rewrite(&raw, end, sealing))
            .and_then(|written| {
                verify(engine, entry.first, &written)?;
                Ok(written)
            });
        if written.is_err() {
            // Half a copy is worth nothing, but takes room.
            engine.remove(&sealing).map_err(Error::from)?;
        }
        let index = written?;
        drop(raw);
        engine.rename(&sealing, &keys::segment(entry.first, Form::Sealed)).map_err(Error::from)?;
        if let Some(raw) = segments.sealed(entry.first, &index)
            && !self.last_holder(raw)
        {
            return Ok(());
        }
        Ok(engine.remove(&keys::segment(entry.first, Form::Raw)).map_err(Error::from)?)
    }

    /// Writes the blocks of `raw` into `sealed` and closes it. Gives back the index of what was written.
    fn rewrite(&self, raw: &Segment, end: Offset, sealed: Segment) -> Result<SegmentIndex, Failure> {
        let mut gathered = Gathered::new();
        let mut next = raw.header.first;
        while next < end {
            if self.shared.is_closing() {
                return Err(Failure::Postponed("the log is being closed"));
            }
            let Found::Block(block) = raw.read(next, end)? else {
                return Err(Failure::LeftAlone(Error::Damaged(format!(
                    "no readable block at offset {next}"
                ))));
            };
            next = block.end_offset();
            gathered.push(block);
            if gathered.bytes >= GATHERED_BYTES_MAX {
                gathered.write_rest(&sealed)?;
            } else if gathered.events >= gathered.wanted {
                gathered.write_full(&sealed)?;
            }
        }
        gathered.write_rest(&sealed)?;
        sealed.finish()?;
        Ok(sealed.index().clone())
    }

    /// Waits until nobody reads the segment any more, and closes it. `false`: somebody still does.
    fn last_holder(&self, segment: Arc<Segment>) -> bool {
        let deadline = Instant::now() + Duration::from_millis(READERS_WAIT_MS);
        while Arc::strong_count(&segment) > 1 {
            if self.shared.is_closing() || Instant::now() > deadline {
                return false;
            }
            thread::sleep(Duration::from_millis(READERS_POLL_MS));
        }
        true
    }
}

/// Blocks on their way into larger ones.
struct Gathered {
    blocks: Vec<Arc<Block>>,
    events: usize,
    bytes: usize,
    wanted: usize,
    unsynced_bytes: usize,
}

impl Gathered {
    fn new() -> Self {
        Self { blocks: Vec::new(), events: 0, bytes: 0, wanted: FIRST_BLOCK_EVENTS, unsynced_bytes: 0 }
    }

    fn push(&mut self, block: Arc<Block>) {
        self.events += block.len();
        self.bytes += block.memory_bytes();
        self.blocks.push(block);
    }

    /// Writes as many blocks of the wanted size as there are.
    fn write_full(&mut self, sealed: &Segment) -> Result<(), Error> {
        let merged = Block::merge(&self.blocks);
        let mut row = 0;
        while merged.len() - row >= self.wanted {
            row += self.write(&merged.slice(row..row + self.wanted), sealed)?;
        }
        self.clear();
        if row < merged.len() {
            self.push(Arc::new(merged.slice(row..merged.len())));
        }
        Ok(())
    }

    fn write_rest(&mut self, sealed: &Segment) -> Result<(), Error> {
        if self.events == 0 {
            return Ok(());
        }
        let merged = Block::merge(&self.blocks);
        let mut row = 0;
        while row < merged.len() {
            let end = merged.len().min(row + self.wanted);
            row += self.write(&merged.slice(row..end), sealed)?;
        }
        self.clear();
        Ok(())
    }

    fn clear(&mut self) {
        self.blocks.clear();
        (self.events, self.bytes) = (0, 0);
    }

    /// Writes as many of the block's first events as make a value of a good size; gives back how many.
    fn write(&mut self, block: &Block, sealed: &Segment) -> Result<usize, Error> {
        let encoded = block.encode(Effort::Compact);
        let aimed = (block.len() * BLOCK_BYTES / encoded.len()).clamp(BLOCK_EVENTS_MIN, BLOCK_EVENTS_MAX);
        self.wanted = aimed;
        if encoded.len() > BLOCK_BYTES_MAX && aimed < block.len() {
            return self.write(&block.slice(0..aimed), sealed);
        }
        // The raw segment goes when this one is whole: its blocks must mean the same, bit for bit.
        if Block::decode_part(&encoded, Part::Compared).as_ref() != Ok(block) {
            return Err(Error::Damaged(format!("block {} does not survive sealing", block.first_offset())));
        }
        sealed.put(block, &encoded)?;
        self.unsynced_bytes += encoded.len();
        if self.unsynced_bytes >= UNSYNCED_BYTES_MAX {
            sealed.sync()?;
            self.unsynced_bytes = 0;
        }
        Ok(block.len())
    }
}

/// Opens what was written as a reader will, and checks that all of it is there: from then on it is the only copy.
fn verify(engine: &dyn Engine, first: Offset, written: &SegmentIndex) -> Result<(), Error> {
    let sealed = Segment::open(engine, first, Form::Sealing, Profile::Sealed)?;
    let mut found = SegmentIndex::default();
    for summary in written.blocks() {
        let end = summary.first_offset.plus(summary.events);
        let Found::Block(block) = sealed.read(summary.first_offset, end)? else {
            return Err(Error::Damaged(format!("sealed block {} cannot be read back", summary.first_offset)));
        };
        found.push(block.summary(), block.signals(), 0);
    }
    if found.blocks() == written.blocks() {
        Ok(())
    } else {
        Err(Error::Damaged("a sealed segment differs from what was written".to_owned()))
    }
}

/// Why a segment was not sealed.
enum Failure {
    /// Another time.
    Postponed(&'static str),
    /// Not as long as the log is open.
    LeftAlone(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::LeftAlone(error)
    }
}
