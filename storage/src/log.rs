//! [`Log`]: open, append, read, head: the only door for the rest.

mod queries;

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Instant, SystemTime};

use uuid::Uuid;

use crate::api::{Append, Appended, Info, Options, Wait};
use crate::ballast::Ballast;
use crate::block::BLOCK_ROWS_MAX;
use crate::chain::Hashed;
use crate::chain::links::Links;
use crate::commit::{Command, Writer};
use crate::copy::{Beginning, Copied};
use crate::done::Done;
use crate::engine::Engine;
use crate::engine::sled::SledEngine;
use crate::error::Error;
use crate::event::{Clock, Offset, SystemClock};
use crate::interner::Interner;
use crate::lock::DirectoryLock;
use crate::lookup;
use crate::observer::{Observer, Opening};
use crate::passes::Passes;
use crate::producer::Opened;
use crate::recover::{self, Recovered};
use crate::seal;
use crate::shared::{Shared, State};
use crate::threads::{spawn, spawn_in_background};

/// An append-only, durable log of events. Cheap to clone; all clones are the same log.
#[derive(Clone)]
pub struct Log {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    commands: SyncSender<Command>,
    append_queue_max: usize,
    disk_reserve_bytes: u64,
    opening: Opening,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Kept to the end.
    _lock: Option<Arc<DirectoryLock>>,
}

impl Log {
    /// Opens the log in a directory, or makes one there. Blocks while it recovers.
    pub fn open_dir(dir: &Path, options: Options) -> Result<Self, Error> {
        Self::open_locked(dir, options, None)
    }

    /// The same for a log that is kept elsewhere and is to be copied here: a log that is made now is that one. One that
    /// is there must be.
    pub fn open_copy(dir: &Path, options: Options, beginning: Beginning) -> Result<Self, Error> {
        Self::open_locked(dir, options, Some(beginning))
    }

    fn open_locked(dir: &Path, options: Options, beginning: Option<Beginning>) -> Result<Self, Error> {
        let lock = DirectoryLock::take(dir)?;
        let ballast = Ballast::of(dir, options.disk_reserve_bytes);
        ballast.release_if_needed();
        let engine = SledEngine::new(dir.join("segments"))?;
        let log = Self::start(Arc::new(engine), Arc::new(SystemClock), options, beginning, Some(lock))?;
        ballast.restore();
        log.on_state(move |state| {
            // Takes a moment, once, after a disk that was full.
            if state == State::Serving {
                ballast.restore();
            }
        });
        Ok(log)
    }

    /// Opens the log on an engine and a clock of the caller's choice.
    pub fn open(engine: Arc<dyn Engine>, clock: Arc<dyn Clock>, options: Options) -> Result<Self, Error> {
        Self::start(engine, clock, options, None, None)
    }

    /// As [`Self::open_copy`], likewise.
    pub fn open_copy_on(
        engine: Arc<dyn Engine>,
        clock: Arc<dyn Clock>,
        options: Options,
        beginning: Beginning,
    ) -> Result<Self, Error> {
        Self::start(engine, clock, options, Some(beginning), None)
    }

    fn start(
        engine: Arc<dyn Engine>,
        clock: Arc<dyn Clock>,
        mut options: Options,
        beginning: Option<Beginning>,
        lock: Option<DirectoryLock>,
    ) -> Result<Self, Error> {
        let (begun, began) = (SystemTime::now(), Instant::now());
        // The last batch that a commit takes may go beyond its bound, but not beyond a block's.
        options.commit_events_max = options.commit_events_max.min(BLOCK_ROWS_MAX - Append::EVENTS_MAX);
        let recovered = recover::recover(engine, clock.as_ref(), &options, beginning)?;
        let Recovered { log_id, segments, head, derived, mut snapshots, read_only, replayed_events } =
            recovered;
        tracing::info!(%log_id, %head, replayed_events, "log opened");

        let mut signals = Interner::default();
        for info in derived.projection.iter() {
            signals.learn(info.id, info.name.clone());
        }
        let visible = (derived.projection, derived.tally, derived.last_ingest_time);
        let memory = (options.tail_cache_bytes_max, options.newest_bytes_max);
        let links = Links::new(log_id, snapshots.store());
        let shared = Arc::new(Shared::new(log_id, (segments, links), visible, head, memory));
        if let Some(reason) = read_only {
            shared.set_state(State::ReadOnly(reason));
        }

        // Whoever opens the log on a full disk is to see that before the first append.
        let _ = shared.note_room(options.disk_reserve_bytes);

        let (commands, received) = sync_channel(options.append_queue_max);
        let (snapshot_sender, snapshot_receiver) = sync_channel::<Vec<u8>>(1);
        let (lookup_sender, lookup_receiver) = sync_channel(lookup::QUEUE_MAX);
        let (append_queue_max, reserve_bytes) = (options.append_queue_max, options.disk_reserve_bytes);
        let (rollup_events, niceness) = (options.rollup_events, options.background_niceness);
        let writer = Writer {
            shared: shared.clone(),
            options,
            clock,
            signals,
            producers: derived.producers,
            last_ingest_time: derived.last_ingest_time,
            commands: received,
            snapshots: snapshot_sender,
            lookups: lookup_sender,
            events_since_snapshot: replayed_events,
            tally_in_snapshot: derived.tally,
        };
        let (looked_up, sealed) = (shared.clone(), shared.clone());
        let lock = lock.map(Arc::new);
        let locked = lock.clone();
        let mut threads = vec![
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
            spawn_in_background("downlink-seal", niceness, move || seal::run(&sealed, reserve_bytes))?,
        ];
        threads.extend(derive(&shared, rollup_events, reserve_bytes, niceness)?);
        let totals = shared.totals(shared.head());
        let opening = Opening { begun, took: began.elapsed(), replayed_events, totals };
        let inner = Inner {
            shared,
            commands,
            append_queue_max,
            disk_reserve_bytes: reserve_bytes,
            opening,
            threads: Mutex::new(threads),
            _lock: lock,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Appends a batch. Never blocks: `done` is called once, on the writer's thread, when the batch is durable
    /// or refused; or at once when too many appends wait already. It must not block.
    pub fn append(&self, append: Append, done: impl FnOnce(Result<Appended, Error>) + Send + 'static) {
        let (events, events_max) = (append.events.len(), Append::EVENTS_MAX);
        if events > events_max {
            self.count_rejected(events as u64);
            return done(Err(Error::TooLarge { events, events_max }));
        }
        self.submit(Command::Append(Box::new(append), Done::new(done)));
    }

    /// Appends events of this very log that were kept elsewhere, as they are. Refused unless the first comes next, and no
    /// log can have them behind what is there. Otherwise as [`Self::append`].
    pub fn append_copied(&self, events: Copied, done: impl FnOnce(Result<Appended, Error>) + Send + 'static) {
        self.append(events.into_append(), done);
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

    /// Tells `observer` of the log's own work from here on.
    pub fn observe(&self, observer: Arc<dyn Observer>) {
        self.inner.shared.add_observer(observer);
    }

    /// How it was opened.
    #[must_use]
    pub fn opening(&self) -> Opening {
        self.inner.opening
    }

    /// What the log can do at present.
    #[must_use]
    pub fn state(&self) -> State {
        self.inner.shared.state()
    }

    /// Looks whether the disk has room, as every append does, and changes the state if that is news. Blocks on the disk.
    pub fn check_room(&self) {
        // What keeps it from being known is told by the next append.
        let _ = self.inner.shared.note_room(self.inner.disk_reserve_bytes);
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
        let totals = shared.totals(head);
        Ok(Info {
            id: shared.log_id,
            oldest: shared.segments.oldest(),
            head,
            hashed: shared.chain.hashed(),
            totals,
            payload_bytes,
            bytes_on_disk,
            oldest_time: shared.segments.ingest_time_first(),
            newest_time: shared.newest_ingest_time(),
            signals,
            segments: entries.len() as u32,
            sealed_segments: entries.iter().filter(|entry| entry.is_sealed()).count() as u32,
            state: shared.state(),
            commits: shared.commits.load(Ordering::Relaxed),
        })
    }

    /// Begins a new segment, so that the one before can be sealed; answers with its first offset. Blocks.
    pub fn roll(&self, wait: Wait) -> Result<Offset, Error> {
        let (sender, receiver) = sync_channel(1);
        self.submit(Command::Roll(Done::new(move |rolled| drop(sender.send(rolled)))));
        let first = receiver.recv().map_err(|_| Error::Closed)??;
        if wait == Wait::UntilSealed {
            self.inner.shared.sealing.complete();
        }
        Ok(first)
    }

    /// Returns when everything below the present head is rolled up that can be. Blocks.
    pub fn roll_up(&self) {
        self.inner.shared.rollups.passes.complete();
    }

    /// Returns when everything below the present head is hashed that can be, with how far that is. Blocks.
    pub fn hash(&self) -> Option<Hashed> {
        self.inner.shared.chain.passes.complete();
        self.inner.shared.chain.hashed()
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
        [&self.shared.sealing, &self.shared.rollups.passes, &self.shared.chain.passes]
            .into_iter()
            .for_each(Passes::wake);
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

/// The threads that make what is derived from the log behind the writer.
fn derive(
    shared: &Arc<Shared>,
    rollup_events: u64,
    reserve_bytes: u64,
    niceness: u8,
) -> Result<[JoinHandle<()>; 2], Error> {
    let nudged = Arc::downgrade(shared);
    shared.on_commit(Box::new(move |head| {
        if let Some(shared) = nudged.upgrade() {
            shared.rollups.nudge(head);
            shared.chain.nudge();
        }
    }));
    let (rolled_up, hashed) = (shared.clone(), shared.clone());
    Ok([
        spawn_in_background("downlink-rollup", niceness, move || {
            rolled_up.rollups.run(&rolled_up, rollup_events, reserve_bytes);
        })?,
        spawn_in_background("downlink-chain", niceness, move || hashed.chain.run(&hashed, reserve_bytes))?,
    ])
}
