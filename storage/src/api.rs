//! What the log is asked and what it answers: plain data.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::batch::Batch;
use crate::chain::Hashed;
use crate::error::Error;
use crate::event::{Offset, Timestamp};
use crate::producer::Span;
use crate::shared::State;

/// The bounds of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes of stored blocks after which a new segment begins.
    pub segment_payload_bytes_max: u64,
    /// Blocks after which a new segment begins.
    pub segment_blocks_max: u32,
    /// Seconds after which a new segment begins, at the next append.
    pub segment_age_seconds_max: u64,
    /// Events after which a commit takes no further batch.
    pub commit_events_max: usize,
    /// Bytes of event data after which a commit takes no further batch.
    pub commit_bytes_max: usize,
    /// How long a commit of many small appends waits for more of them before it syncs.
    pub commit_delay: Duration,
    /// Appends in a commit from which on it does.
    pub commit_siblings_min: usize,
    /// Appends that may wait for the writer.
    pub append_queue_max: usize,
    /// Bytes of disk below which nothing is appended. Must exceed what one commit can write.
    pub disk_reserve_bytes: u64,
    /// Bytes of memory for the newest blocks, ready to read.
    pub tail_cache_bytes_max: usize,
    /// Older segments that are kept open.
    pub open_segments_max: usize,
    /// Request ids that are remembered.
    pub request_ids_max: usize,
    /// Producers that are remembered; a further one is refused.
    pub producers_max: usize,
    /// Signals; an event with a further one is refused.
    pub signals_max: usize,
    /// Bytes of memory for newest events of more than 256 bytes; further ones are read from the log when asked for.
    pub newest_bytes_max: usize,
    /// Events after which derived state is written down.
    pub snapshot_every_events: u64,
    /// Events after which rollups are written down.
    pub rollup_events: u64,
    /// How far sealing, rollups and the hash give way to appends where the CPU is scarce: the niceness of their threads, on top of
    /// the process's own.
    pub background_niceness: u8,
}

impl Options {
    /// The documented defaults.
    #[must_use]
    pub const fn standard() -> Self {
        Self {
            segment_payload_bytes_max: 128 << 20,
            segment_blocks_max: 262_144,
            segment_age_seconds_max: 7 * 24 * 60 * 60,
            commit_events_max: 8_192,
            commit_bytes_max: 1 << 20,
            commit_delay: Duration::from_micros(300),
            commit_siblings_min: 12,
            append_queue_max: 4_096,
            disk_reserve_bytes: 64 << 20,
            tail_cache_bytes_max: 16 << 20,
            open_segments_max: 4,
            request_ids_max: 100_000,
            producers_max: 100_000,
            signals_max: 1_000_000,
            newest_bytes_max: 32 << 20,
            snapshot_every_events: 1_000_000,
            rollup_events: 2_000_000,
            background_niceness: 10,
        }
    }
}

/// A batch to append: its events get adjacent offsets, or none is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Append {
    /// The events, in order.
    pub events: Batch,
    /// What makes a retry harmless.
    pub identity: Identity,
    /// Append only if the head is here.
    pub expected_head: Option<Offset>,
    /// What its caller wants to find again in the report of the commit. It means nothing to the log.
    pub note: Option<Note>,
}

/// A few bytes.
pub type Note = Box<[u8]>;

impl Append {
    /// The most events in one batch.
    pub const EVENTS_MAX: usize = 100_000;
}

/// What makes a retry of a batch harmless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Nothing: a retry appends again.
    Anonymous,
    /// A number of the caller's choice, remembered for a while.
    Request([u8; 16]),
    /// A producer's sequence, remembered for the life of the log.
    Producer {
        /// The producer.
        id: Arc<str>,
        /// Its epoch.
        epoch: u64,
        /// From [`crate::Opened`].
        session: u64,
        /// 1, 2, 3 … within the epoch.
        sequence: u64,
    },
}

impl Identity {
    /// That this batch is out of its producer's order.
    pub(crate) fn gap(&self, expected: u64) -> Error {
        let (producer, found) = match self {
            Self::Producer { id, sequence, .. } => (id.to_string(), *sequence),
            Self::Anonymous | Self::Request(_) => (String::new(), 0),
        };
        Error::SequenceGap { producer, expected, found }
    }
}

/// A batch is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Its first event; `None` for a batch without events.
    pub first: Option<Offset>,
    /// Its last event.
    pub last: Option<Offset>,
    /// The offset the next event will get, as of this answer.
    pub head: Offset,
    /// It was in the log already.
    pub duplicate: bool,
}

impl Appended {
    pub(crate) fn of(span: Option<Span>, head: Offset, duplicate: bool) -> Self {
        let duplicate = duplicate && span.is_some();
        Self { first: span.map(|span| span.first), last: span.map(Span::last), head, duplicate }
    }
}

/// Every event received is exactly one of appended, duplicate or rejected, since the log began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// The sum of the others.
    pub received: u64,
    /// Got an offset.
    pub appended: u64,
    /// Was in the log already.
    pub duplicates: u64,
    /// Was refused.
    pub rejected: u64,
}

/// Facts about the log as of one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Info {
    /// Its identity.
    pub id: Uuid,
    /// The oldest offset kept.
    pub oldest: Offset,
    /// The offset the next event will get.
    pub head: Offset,
    /// The hash over its contents, as far as it is known: it runs moments behind the head, and ends at the first damage.
    pub hashed: Option<Hashed>,
    /// The books.
    pub totals: Totals,
    /// Bytes of the stored blocks.
    pub payload_bytes: u64,
    /// Bytes on disk, everything included.
    pub bytes_on_disk: u64,
    /// Ingest time of the oldest event.
    pub oldest_time: Option<Timestamp>,
    /// Ingest time of the newest event.
    pub newest_time: Option<Timestamp>,
    /// Signals that have had an event.
    pub signals: u64,
    /// Segments.
    pub segments: u32,
    /// Sealed ones among them.
    pub sealed_segments: u32,
    /// What the log can do.
    pub state: State,
    /// Commits since it was opened: each is one stored value and one sync.
    pub commits: u64,
}

/// Whether to wait for the sealing of closed segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Return at once.
    No,
    /// Return when all are sealed that can be.
    UntilSealed,
}
