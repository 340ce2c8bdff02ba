//! Rewrites full segments compactly in the background and swaps each in by one rename.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::block::{Block, Effort, Part};
use crate::engine::{Engine, Profile};
use crate::error::Error;
use crate::event::Offset;
use crate::index::SegmentIndex;
use crate::keys::{self, Form};
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

/// Asks the sealing thread to look for work, and waits for it.
#[derive(Clone)]
pub(crate) struct Sealer {
    wake: SyncSender<()>,
    progress: Arc<Progress>,
}

/// What the sealing thread works with.
pub(crate) struct SealerThread {
    woken: Receiver<()>,
    progress: Arc<Progress>,
}

#[derive(Default)]
struct Progress {
    passes: Mutex<Passes>,
    changed: Condvar,
    stop: AtomicBool,
}

/// A pass answers every request made before it began.
#[derive(Default)]
struct Passes {
    requested: u64,
    finished: u64,
    ended: bool,
}

impl Sealer {
    pub(crate) fn new() -> (Self, SealerThread) {
        let (wake, woken) = sync_channel(1);
        let progress = Arc::new(Progress::default());
        (Self { wake, progress: progress.clone() }, SealerThread { woken, progress })
    }

    /// There may be something to seal.
    pub(crate) fn wake(&self) {
        self.progress.passes().requested += 1;
        // A full queue means that a pass is due anyway.
        let _ = self.wake.try_send(());
    }

    /// Returns when everything that could be sealed at the time of the call is.
    pub(crate) fn wait(&self) {
        let mut passes = self.progress.passes();
        let wanted = passes.requested;
        while passes.finished < wanted && !passes.ended {
            passes = self.progress.changed.wait(passes).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Gives up what is under way; what was begun is swept away at the next opening.
    pub(crate) fn stop(&self) {
        self.progress.stop.store(true, Ordering::Release);
        let _ = self.wake.try_send(());
    }
}

impl Progress {
    fn passes(&self) -> std::sync::MutexGuard<'_, Passes> {
        self.passes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}

impl SealerThread {
    /// Seals until stopped.
    pub(crate) fn run(self, shared: &Shared, reserve_bytes: u64) {
        // Damaged segments stay as they are: what can be read of them can be read as well unsealed.
        let mut left_alone = HashSet::new();
        let _ended = Ended(&self.progress);
        while self.woken.recv().is_ok() && !self.progress.stopped() {
            let requested = self.progress.passes().requested;
            self.pass(shared, reserve_bytes, &mut left_alone);
            self.progress.passes().finished = requested;
            self.progress.changed.notify_all();
        }
    }

    fn pass(&self, shared: &Shared, reserve_bytes: u64, left_alone: &mut HashSet<Offset>) {
        let entries = shared.segments.entries();
        for pair in entries.windows(2) {
            let (entry, end) = (pair[0], pair[1].first);
            if entry.form == Form::Sealed || left_alone.contains(&entry.first) || self.progress.stopped() {
                continue;
            }
            let started = Instant::now();
            match self.seal(shared, entry, end, reserve_bytes) {
                Ok(()) => {
                    let seconds = started.elapsed().as_secs_f64();
                    tracing::info!(segment = %entry.first, events = end.since(entry.first), seconds, "sealed");
                }
                Err(Failure::Postponed(reason)) => {
                    tracing::warn!(segment = %entry.first, reason, "sealing postponed");
                }
                Err(Failure::LeftAlone(error)) => {
                    tracing::warn!(segment = %entry.first, %error, "segment is left unsealed");
                    left_alone.insert(entry.first);
                }
            }
        }
    }

    fn seal(&self, shared: &Shared, entry: Entry, end: Offset, reserve_bytes: u64) -> Result<(), Failure> {
        let engine = shared.segments.engine.as_ref();
        let raw = shared.segments.open(entry)?;
        let free_bytes = engine.free_bytes().map_err(Error::from)?;
        // The sealed form is smaller than the raw one, but sled's files are larger than what is in them.
        if free_bytes < reserve_bytes.saturating_add(raw.index().payload_bytes().saturating_mul(2)) {
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
        if let Some(raw) = shared.segments.sealed(entry.first, &index)
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
            if self.progress.stopped() {
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
            if self.progress.stopped() || Instant::now() > deadline {
                return false;
            }
            thread::sleep(Duration::from_millis(READERS_POLL_MS));
        }
        true
    }
}

/// Lets those who wait go, however the thread ends.
struct Ended<'a>(&'a Progress);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.passes().ended = true;
        self.0.changed.notify_all();
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
