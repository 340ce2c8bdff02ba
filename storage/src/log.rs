//! [`Log`]: open, append, read, head: the only door for the rest.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use uuid::Uuid;

use crate::block::Block;
use crate::commit::{Command, Writer};
use crate::done::Done;
use crate::engine::Engine;
use crate::engine::sled::SledEngine;
use crate::error::Error;
use crate::event::{Clock, Event, Offset, SignalId, SystemClock, Timestamp};
use crate::interner::Interner;
use crate::lock::DirectoryLock;
use crate::lookup;
use crate::producer::{Opened, Span};
use crate::projection::{Latest, SignalInfo};
use crate::read::{self, Chunk, Seek};
use crate::recover::{self, Recovered};
use crate::seal::Sealer;
use crate::shared::{Shared, State};

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
    /// Events after which derived state is written down.
    pub snapshot_every_events: u64,
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
            append_queue_max: 4_096,
            disk_reserve_bytes: 64 << 20,
            tail_cache_bytes_max: 16 << 20,
            open_segments_max: 4,
            request_ids_max: 100_000,
            producers_max: 100_000,
            signals_max: 1_000_000,
            snapshot_every_events: 1_000_000,
        }
    }
}

/// A batch to append: its events get adjacent offsets, or none is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Append {
    /// The events, in order.
    pub events: Vec<Event>,
    /// What makes a retry harmless.
    pub identity: Identity,
    /// Append only if the head is here.
    pub expected_head: Option<Offset>,
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
        /// From [`Opened`].
        session: u64,
        /// 1, 2, 3 … within the epoch.
        sequence: u64,
    },
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
}

/// Whether to wait for the sealing of closed segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Return at once.
    No,
    /// Return when all are sealed that can be.
    UntilSealed,
}

/// An append-only, durable log of events. Cheap to clone; all clones are the same log.
#[derive(Clone)]
pub struct Log {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    commands: SyncSender<Command>,
    append_queue_max: usize,
    sealer: Sealer,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Kept to the end.
    _lock: Option<Arc<DirectoryLock>>,
}

impl Log {
    /// Opens the log in a directory, or makes one there. Blocks while it recovers.
    pub fn open_dir(dir: &Path, options: Options) -> Result<Self, Error> {
        let lock = DirectoryLock::take(dir)?;
        let engine = SledEngine::new(dir.join("segments"))?;
        Self::start(Arc::new(engine), Arc::new(SystemClock), options, Some(lock))
    }

    /// Opens the log on an engine and a clock of the caller's choice.
    pub fn open(engine: Arc<dyn Engine>, clock: Arc<dyn Clock>, options: Options) -> Result<Self, Error> {
        Self::start(engine, clock, options, None)
    }

    fn start(
        engine: Arc<dyn Engine>,
        clock: Arc<dyn Clock>,
        options: Options,
        lock: Option<DirectoryLock>,
    ) -> Result<Self, Error> {
        let recovered = recover::recover(engine, clock.as_ref(), &options)?;
        let Recovered { log_id, segments, head, derived, mut snapshots, read_only, replayed_events } =
            recovered;
        tracing::info!(%log_id, %head, replayed_events, "log opened");

        let mut signals = Interner::default();
        for info in derived.projection.iter() {
            signals.learn(info.id, info.name.clone());
        }
        let visible = (derived.projection, derived.tally, derived.last_ingest_time);
        let shared = Arc::new(Shared::new(log_id, segments, visible, head, options.tail_cache_bytes_max));
        if let Some(reason) = read_only {
            shared.set_state(State::ReadOnly(reason));
        }

        let (commands, received) = sync_channel(options.append_queue_max);
        let (snapshot_sender, snapshot_receiver) = sync_channel::<Vec<u8>>(1);
        let (lookup_sender, lookup_receiver) = sync_channel(lookup::QUEUE_MAX);
        let (sealer, sealing) = Sealer::new();
        let (append_queue_max, reserve_bytes) = (options.append_queue_max, options.disk_reserve_bytes);
        let writer = Writer {
            shared: shared.clone(),
            options,
            clock,
            signals,
            producers: derived.producers,
            last_ingest_time: derived.last_ingest_time,
            commands: received,
            snapshots: snapshot_sender,
            sealer: sealer.clone(),
            lookups: lookup_sender,
            events_since_snapshot: replayed_events,
            tally_in_snapshot: derived.tally,
        };
        let (looked_up, sealed) = (shared.clone(), shared.clone());
        let lock = lock.map(Arc::new);
        let locked = lock.clone();
        let threads = vec![
            spawn("downlink-write", move || {
                writer.run();
                drop(locked);
            })?,
            spawn("downlink-snap", move || {
                while let Ok(bytes) = snapshot_receiver.recv() {
                    if let Err(error) = snapshots.save(&bytes) {
                        tracing::warn!(%error, "derived state was not written down: the next start takes longer");
                    }
                }
            })?,
            spawn("downlink-lookup", move || lookup::run(&looked_up, lookup_receiver))?,
            spawn("downlink-seal", move || sealing.run(&sealed, reserve_bytes))?,
        ];
        sealer.wake();
        let inner =
            Inner { shared, commands, append_queue_max, sealer, threads: Mutex::new(threads), _lock: lock };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Appends a batch. Never blocks: `done` is called once, on the writer's thread, when the batch is durable
    /// or refused; or at once when too many appends wait already. It must not block.
    pub fn append(&self, append: Append, done: impl FnOnce(Result<Appended, Error>) + Send + 'static) {
        self.submit(Command::Append(append, Done::new(done)));
    }

    /// A producer opens a stream. Answers in order with appends: everything before it is settled then.
    pub fn open_producer(
        &self,
        id: Arc<str>,
        epoch: u64,
        done: impl FnOnce(Result<Opened, Error>) + Send + 'static,
    ) {
        self.submit(Command::OpenProducer(id, epoch, Done::new(done)));
    }

    /// Hands a command to the writer, or refuses it.
    fn submit(&self, command: Command) {
        let (command, error) = match self.inner.commands.try_send(command) {
            Ok(()) => return,
            Err(TrySendError::Full(command)) => {
                (command, Error::Overloaded { waiting: self.inner.append_queue_max as u64 })
            }
            Err(TrySendError::Disconnected(command)) => (command, Error::Closed),
        };
        command.refuse(&error, &self.inner.shared.books);
    }

    /// Takes events into the books that were refused before they reached the log.
    pub fn count_rejected(&self, events: u64) {
        self.inner.shared.books.count_rejected(events);
    }

    /// The log's identity.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.inner.shared.log_id
    }

    /// The offset the next event will get. Everything below is durable and can be read.
    #[must_use]
    pub fn head(&self) -> Offset {
        self.inner.shared.head()
    }

    /// The oldest offset kept.
    #[must_use]
    pub fn oldest(&self) -> Offset {
        self.inner.shared.segments.oldest()
    }

    /// Calls `listener` with the new head after each commit, on the writer's thread. It must not block.
    pub fn on_commit(&self, listener: impl Fn(Offset) + Send + Sync + 'static) {
        self.inner.shared.on_commit(Box::new(listener));
    }

    /// Calls `listener` with the new state whenever it changes. It must not block.
    pub fn on_state(&self, listener: impl Fn(State) + Send + Sync + 'static) {
        self.inner.shared.on_state(Box::new(listener));
    }

    /// What the log can do at present.
    #[must_use]
    pub fn state(&self) -> State {
        self.inner.shared.state()
    }

    /// A block that contains `from`, if it is among the newest. Never blocks.
    #[must_use]
    pub fn read_cached(&self, from: Offset) -> Option<Arc<Block>> {
        self.inner.shared.cached(from)
    }

    /// The piece of the log at `from`; with `signals`, the next piece that may matter to who wants only those.
    /// Blocks on the disk.
    pub fn read(&self, from: Offset, signals: Option<&[SignalId]>) -> Result<Chunk, Error> {
        read::read(&self.inner.shared, from, signals)
    }

    /// The offset of a moment. Blocks on the disk.
    pub fn seek(&self, to: Seek) -> Result<Offset, Error> {
        read::seek(&self.inner.shared, to)
    }

    /// The numbers of the known signals whose names match.
    #[must_use]
    pub fn match_signals(&self, matches: impl Fn(&str) -> bool) -> Vec<SignalId> {
        let projection = self.inner.shared.projection.read().unwrap_or_else(PoisonError::into_inner);
        projection.iter().filter(|info| matches(&info.name)).map(|info| info.id).collect()
    }

    /// Everything known of the signals whose names match, by name.
    #[must_use]
    pub fn signals(&self, matches: impl Fn(&str) -> bool) -> Vec<SignalInfo> {
        let projection = self.inner.shared.projection.read().unwrap_or_else(PoisonError::into_inner);
        let mut signals: Vec<_> = projection.iter().filter(|info| matches(&info.name)).cloned().collect();
        drop(projection);
        signals.sort_by(|a, b| a.name.cmp(&b.name));
        signals
    }

    /// The newest event of a signal, by offset.
    #[must_use]
    pub fn latest(&self, name: &str) -> Option<Latest> {
        let projection = self.inner.shared.projection.read().unwrap_or_else(PoisonError::into_inner);
        projection.get(name).map(|info| info.latest.clone())
    }

    /// Facts about the log. Blocks on the disk.
    pub fn info(&self) -> Result<Info, Error> {
        let shared = &self.inner.shared;
        let entries = shared.segments.entries();
        let (payload_bytes, bytes_on_disk) = shared.segments.sizes();
        let (signals, head) = {
            let projection = shared.projection.read().unwrap_or_else(PoisonError::into_inner);
            (projection.len() as u64, shared.head())
        };
        let tally = shared.books.tally();
        let appended = head.since(Offset::FIRST);
        let totals = Totals {
            received: appended + tally.duplicate_events + tally.rejected_events,
            appended,
            duplicates: tally.duplicate_events,
            rejected: tally.rejected_events,
        };
        Ok(Info {
            id: shared.log_id,
            oldest: shared.segments.oldest(),
            head,
            totals,
            payload_bytes,
            bytes_on_disk,
            oldest_time: shared.segments.ingest_time_first(),
            newest_time: shared.newest_ingest_time(),
            signals,
            segments: entries.len() as u32,
            sealed_segments: entries.iter().filter(|entry| entry.is_sealed()).count() as u32,
            state: shared.state(),
        })
    }

    /// Begins a new segment, so that the one before can be sealed; answers with its first offset. Blocks.
    pub fn roll(&self, wait: Wait) -> Result<Offset, Error> {
        let (sender, receiver) = sync_channel(1);
        self.submit(Command::Roll(Done::new(move |rolled| drop(sender.send(rolled)))));
        let first = receiver.recv().map_err(|_| Error::Closed)??;
        if wait == Wait::UntilSealed {
            self.inner.sealer.wake();
            self.inner.sealer.wait();
        }
        Ok(first)
    }

    /// Settles what was appended, writes derived state down and ends all threads. Blocks. Later appends are
    /// refused; reads still work. Happens by itself when the last clone is dropped.
    pub fn close(&self) {
        self.inner.close();
    }
}

impl Inner {
    fn close(&self) {
        self.shared.closing.store(true, Ordering::Release);
        self.sealer.stop();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        // An answer may drop the last clone on a thread that cannot wait for itself. All threads end when the
        // queues do.
        if threads.iter().any(|thread| thread.thread().id() == thread::current().id()) {
            return;
        }
        // The writer may be gone already, after a panic or an earlier close.
        let _ = self.commands.send(Command::Close);
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the log panicked");
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map_err(|error| Error::Engine(error.to_string()))
}
