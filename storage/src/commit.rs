//! The one writer: gathers what arrived while the last sync ran, makes one block of it, syncs, publishes, answers.

mod write;

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};
use std::thread;

use crate::api::{Append, Appended, Identity, Note, Options};
use crate::block::{BatchRecord, BlockBuilder, ProducerStamp, RequestRecord, Tally};
use crate::copy;
use crate::done::Done;
use crate::error::Error;
use crate::event::{Clock, Offset, Timestamp};
use crate::interner::Interner;
use crate::keys::{self, Form};
use crate::lookup::{self, Lookup};
use crate::producer::{Opened, Producers, Span, Verdict};
use crate::segment::{Header, Segment};
use crate::shared::{Books, Shared, State};
use crate::snapshot;
use write::Stopwatch;

/// What the writer is asked to do, in order.
pub(crate) enum Command {
    Append(Box<Append>, Done<Appended>),
    OpenProducer(Arc<str>, u64, Done<Opened>),
    /// Begin a new segment; answers with its first offset.
    Roll(Done<Offset>),
    /// Settle what came before, leave a snapshot, end.
    Close,
}

impl Command {
    /// Answers that it will not be done; `false` if it was the last command of all.
    pub(crate) fn refuse(self, error: &Error, books: &Books) -> bool {
        match self {
            Self::Append(append, done) => {
                books.count_rejected(append.events.len() as u64);
                done.give(Err(error.clone()));
            }
            Self::OpenProducer(_, _, done) => done.give(Err(error.clone())),
            Self::Roll(done) => done.give(Err(error.clone())),
            Self::Close => return false,
        }
        true
    }
}

/// The writer's own state: what is decided before it is durable.
pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) options: Options,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) signals: Interner,
    pub(crate) producers: Producers,
    pub(crate) last_ingest_time: Timestamp,
    pub(crate) commands: Receiver<Command>,
    pub(crate) snapshots: SyncSender<Vec<u8>>,
    pub(crate) lookups: SyncSender<Lookup>,
    pub(crate) events_since_snapshot: u64,
    /// The counters that the newest snapshot holds.
    pub(crate) tally_in_snapshot: Tally,
}

/// What one commit will settle.
struct Group {
    block: BlockBuilder,
    events: u64,
    head: Offset,
    /// Whether it is of copies, which have no others beside them: only these bring their ingest times.
    is_copied: bool,
    /// Why nothing can be appended at present.
    refused: Option<Error>,
    watch: Stopwatch,
    notes: Vec<Note>,
    answers: Vec<(Done<Appended>, Answer)>,
}

/// An answer that may only be given once the group is durable.
enum Answer {
    Appended(Option<Span>),
    /// In the log, or settled without events.
    Duplicate(Option<Span>),
    /// In the log, or in this very group, too far back to be remembered.
    Settled(Identity, u64),
    /// Answered in turn: what it was refused for may be in this very group.
    Refused(Error),
}

impl Writer {
    /// Works until told to close. A panic is taken for a failed sync: what it left behind cannot be trusted.
    pub(crate) fn run(mut self) {
        let worked = panic::catch_unwind(AssertUnwindSafe(|| self.work()));
        if worked.is_err() {
            self.shared.set_state(State::ReadOnly("the writer failed; see the log".to_owned()));
            let error = Error::ReadOnly("the writer failed".to_owned());
            while let Ok(command) = self.commands.recv() {
                if !command.refuse(&error, &self.shared.books) {
                    break;
                }
            }
        }
        // What came while the log was being closed.
        while let Ok(command) = self.commands.try_recv() {
            command.refuse(&Error::Closed, &self.shared.books);
        }
    }

    fn work(&mut self) {
        let mut carried = None;
        while let Some(command) = carried.take().or_else(|| self.commands.recv().ok()) {
            match command {
                Command::Append(append, done) => carried = self.commit_from(append, done),
                Command::OpenProducer(id, epoch, done) => {
                    let opened = self
                        .writable()
                        .and_then(|()| self.producers.open(&id, epoch, self.options.producers_max));
                    done.give(opened);
                }
                Command::Roll(done) => {
                    let rolled = self
                        .writable()
                        .and_then(|()| self.shared.note_room(self.options.disk_reserve_bytes))
                        .and_then(|()| self.roll());
                    done.give(rolled.map(|()| self.shared.head()));
                }
                Command::Close => break,
            }
        }
        self.snapshot(true);
    }

    /// One commit, beginning with `append`. Gives back a command that has to come after it.
    fn commit_from(&mut self, append: Box<Append>, done: Done<Appended>) -> Option<Command> {
        let mut group = self.group(append.events.is_copied());
        self.admit(&mut group, append, done);
        let mut carried = self.gather(&mut group);
        if carried.is_none() && self.is_crowd(&group) {
            thread::sleep(self.options.commit_delay);
            carried = self.gather(&mut group);
        }
        self.commit(group);
        carried
    }

    /// Takes what waits into the group, up to its bounds. Gives back a command that has to come after it.
    fn gather(&mut self, group: &mut Group) -> Option<Command> {
        // A commit without an end would answer nobody, and not notice that there is room on the disk again.
        while group.refused.is_none()
            && group.answers.len() < self.options.commit_events_max
            && group.events < self.options.commit_events_max as u64
            && group.block.approximate_bytes() < self.options.commit_bytes_max
        {
            match self.commands.try_recv() {
                Ok(Command::Append(append, done)) if append.events.is_copied() == group.is_copied => {
                    self.admit(group, append, done);
                }
                Ok(other) => return Some(other),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return None,
            }
        }
        None
    }

    /// Whether so many clients with little each take turns that a sync for those on their way costs more than to wait for them.
    fn is_crowd(&self, group: &Group) -> bool {
        let appends = group.answers.len();
        let small = group.events <= 2 * appends as u64;
        appends >= self.options.commit_siblings_min && small && group.refused.is_none()
    }

    fn group(&mut self, is_copied: bool) -> Group {
        let watch = Stopwatch::start();
        let head = self.shared.head();
        let least = self.last_ingest_time;
        let ingest_time = if is_copied { least } else { self.clock.now().max(least) };
        let ready = self
            .writable()
            .and_then(|()| self.shared.note_room(self.options.disk_reserve_bytes))
            .and_then(|()| self.roll_if_full());
        let refused = ready.err();
        let block = BlockBuilder::new(head, ingest_time);
        Group { block, events: 0, head, is_copied, refused, watch, notes: Vec::new(), answers: Vec::new() }
    }

    /// Decides about one append; what it gets is only told once the group is durable.
    fn admit(&mut self, group: &mut Group, append: Box<Append>, done: Done<Appended>) {
        let events = append.events.len() as u64;
        match self.judge(group, &append) {
            Ok(Verdict::Append) => {
                let span = self.take(group, append);
                group.answers.push((done, Answer::Appended(span)));
            }
            Ok(Verdict::Duplicate(span)) => {
                self.shared.books.count_duplicates(events);
                group.answers.push((done, Answer::Duplicate(Some(span))));
            }
            Ok(Verdict::Empty { .. }) => group.answers.push((done, Answer::Duplicate(None))),
            Ok(Verdict::Settled) => {
                self.shared.books.count_duplicates(events);
                group.answers.push((done, Answer::Settled(append.identity, events)));
            }
            Err(error) => {
                self.shared.books.count_rejected(events);
                group.answers.push((done, Answer::Refused(error)));
            }
        }
    }

    fn judge(&self, group: &Group, append: &Append) -> Result<Verdict, Error> {
        // After a failed commit, what is remembered of batches is more than what is durable.
        if let Some(error @ Error::ReadOnly(_)) = &group.refused {
            return Err(error.clone());
        }
        let verdict = match &append.identity {
            Identity::Anonymous => Verdict::Append,
            Identity::Request(id) => self.producers.request(id).map_or(Verdict::Append, Verdict::Duplicate),
            Identity::Producer { id, epoch, session, sequence } => {
                self.producers.judge(id, *epoch, *session, *sequence)?
            }
        };
        match verdict {
            Verdict::Append => {}
            // To acknowledge them would be to lose them.
            Verdict::Empty { next } if !append.events.is_empty() => {
                return Err(append.identity.gap(next));
            }
            Verdict::Duplicate(_) | Verdict::Empty { .. } | Verdict::Settled => return Ok(verdict),
        }
        let head = group.head.plus(group.events);
        if let Some(expected) = append.expected_head.filter(|expected| *expected != head) {
            return Err(Error::HeadMismatch { expected, head });
        }
        self.signals.check(&append.events, self.options.signals_max)?;
        copy::check_order(&append.events, head, group.block.ingest_time())?;
        group.refused.clone().map_or(Ok(verdict), Err)
    }

    /// Puts the events into the block. `None` when there are none.
    fn take(&mut self, group: &mut Group, mut append: Box<Append>) -> Option<Span> {
        if append.events.is_empty() {
            if let Identity::Producer { id, sequence, .. } = &append.identity {
                self.producers.skip(id, *sequence);
            }
            return None;
        }
        let span = Span { first: group.head.plus(group.events), events: append.events.len() as u32 };
        group.events += u64::from(span.events);
        group.notes.extend(append.note.take());
        self.signals.learn_copied(&append.events);
        group.block.push(append.events, |name| self.signals.intern(name));
        let (first_offset, events) = (span.first, span.events);
        match append.identity {
            Identity::Anonymous => {}
            Identity::Request(request_id) => {
                let record = RequestRecord { request_id, first_offset, events };
                self.producers.record_request(&record, self.options.request_ids_max);
                group.block.push_request(record);
            }
            Identity::Producer { id, epoch, sequence, .. } => {
                let record =
                    BatchRecord { producer: ProducerStamp { id, epoch, sequence }, first_offset, events };
                self.producers.record(&record);
                group.block.push_batch(record);
            }
        }
        Some(span)
    }

    /// Makes the group durable, visible, known: in this order.
    fn commit(&mut self, group: Group) {
        let durable = if group.block.is_empty() {
            Ok(())
        } else {
            self.write(group.block, group.answers.len(), &group.notes, group.watch)
        };
        if let Err(error) = durable {
            let events: u64 = group.answers.iter().map(|(_, answer)| answer.appended_events()).sum();
            self.shared.books.count_rejected(events);
            for (done, answer) in group.answers {
                done.give(Err(answer.into_refusal().unwrap_or_else(|| error.clone())));
            }
            return;
        }
        let head = self.shared.head();
        for (done, answer) in group.answers {
            match answer {
                Answer::Appended(span) => done.give(Ok(Appended::of(span, head, false))),
                Answer::Duplicate(span) => done.give(Ok(Appended::of(span, head, true))),
                Answer::Settled(identity, events) => lookup::request(&self.lookups, identity, events, done),
                Answer::Refused(error) => done.give(Err(error)),
            }
        }
        if self.events_since_snapshot >= self.options.snapshot_every_events {
            self.snapshot(false);
        }
    }

    /// Before anything is taken into a commit: once it is, only a failed sync may refuse it.
    fn roll_if_full(&mut self) -> Result<(), Error> {
        let newest = self.newest()?;
        let index = newest.index();
        let age = self.clock.now().seconds().saturating_sub(newest.header.created.seconds());
        let full = index.payload_bytes() >= self.options.segment_payload_bytes_max
            || index.blocks().len() as u64 >= u64::from(self.options.segment_blocks_max)
            || u64::try_from(age).is_ok_and(|age| age >= self.options.segment_age_seconds_max);
        drop(index);
        if full { self.roll() } else { Ok(()) }
    }

    /// Begins a new segment and hands the one before to the sealer. Does nothing to an empty one.
    fn roll(&mut self) -> Result<(), Error> {
        if self.newest()?.index().blocks().is_empty() {
            return Ok(());
        }
        let (segments, first) = (&self.shared.segments, self.shared.head());
        let (engine, created) = (segments.engine.as_ref(), self.clock.now());
        let header = Header { log_id: self.shared.log_id, first, created, log_first: segments.oldest() };
        let segment = Segment::create(engine, header, Form::Raw).map_err(|error| {
            // Nothing is in it yet: once it is gone, another try begins from nothing.
            let removed = engine.remove(&keys::segment(header.first, Form::Raw));
            if removed.is_ok() { error } else { self.fail(&error) }
        })?;
        segments.push_newest(Arc::new(segment));
        self.shared.sealing.request();
        Ok(())
    }

    fn newest(&self) -> Result<Arc<Segment>, Error> {
        let newest = self.shared.segments.newest();
        newest.ok_or_else(|| Error::ReadOnly("the newest segment cannot be opened".to_owned()))
    }

    fn writable(&self) -> Result<(), Error> {
        match self.shared.state() {
            State::ReadOnly(reason) => Err(Error::ReadOnly(reason)),
            State::Serving | State::DiskFull(_) => Ok(()),
        }
    }

    /// A failed write or sync is final: nothing more is acknowledged until the log is opened again.
    fn fail(&self, error: &Error) -> Error {
        let reason = format!("a commit failed, restart to recover: {error}");
        self.shared.set_state(State::ReadOnly(reason.clone()));
        Error::ReadOnly(reason)
    }

    /// Hands a snapshot of the derived state to its own thread. Skipped, unless it must be, while that is busy;
    /// never taken after a failed commit, whose batches the producers' state holds already.
    fn snapshot(&mut self, must: bool) {
        let tally = self.shared.books.tally();
        let nothing_new = self.events_since_snapshot == 0 && tally == self.tally_in_snapshot;
        if nothing_new || self.shared.state() != State::Serving {
            return;
        }
        let bytes = {
            let projection = self.shared.projection.read().unwrap_or_else(std::sync::PoisonError::into_inner);
            let head = self.shared.head();
            snapshot::encode(
                self.shared.log_id,
                head,
                self.last_ingest_time,
                tally,
                &projection,
                &self.producers,
            )
        };
        let sent =
            if must { self.snapshots.send(bytes).is_ok() } else { self.snapshots.try_send(bytes).is_ok() };
        if sent {
            self.events_since_snapshot = 0;
            self.tally_in_snapshot = tally;
        }
    }
}

impl Answer {
    fn appended_events(&self) -> u64 {
        match self {
            Self::Appended(span) => span.map_or(0, |span| u64::from(span.events)),
            Self::Duplicate(_) | Self::Settled(..) | Self::Refused(_) => 0,
        }
    }

    fn into_refusal(self) -> Option<Error> {
        match self {
            Self::Refused(error) => Some(error),
            Self::Appended(_) | Self::Duplicate(_) | Self::Settled(..) => None,
        }
    }
}
