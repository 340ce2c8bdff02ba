//! One session of a replica: where it goes on is found out, the topic is read, and where it has got to is kept.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use downlink_storage::{Beginning, Log, Offset};

use super::failure::Failure;
use super::kept::Kept;
use super::merge::Missing;
use super::reading::{Reading, Until};
use super::status::Status;
use super::{access, survey};
use crate::config::Config;
use crate::kafka::{Ends, Reader, STALL, Topic, Watch};

/// How often it is asked where the topic ends, and kept where the replica goes on.
const LOOK_AROUND: Duration = Duration::from_secs(1);
/// How long an event that a topic lacks, read to its end, is waited for before it is taken for missing.
const SETTLE: Duration = Duration::from_secs(3);
/// How long a replica waits for what is missing before it reads the topic from its beginning, once: it may be another topic of
/// the same name by now.
const DOUBT: Duration = Duration::from_secs(10);

/// What every session needs.
pub(super) struct Session<'a> {
    config: Config,
    log: Log,
    status: &'a Status,
    /// Whether the process stops.
    is_stopped: &'a dyn Fn() -> bool,
    /// What was missing when the topic was read from its beginning to look for it.
    looked_for: Cell<Option<Offset>>,
    /// The furthest that the log has come to in any session.
    furthest: Cell<Offset>,
    /// What was kept last.
    kept: RefCell<Option<Kept>>,
}

/// How far a session goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    /// To what the topic has when it begins.
    End,
    /// On and on.
    Never,
}

/// How long the event that comes next has been waited for, whatever else comes meanwhile.
struct Wait {
    next: Offset,
    since: Instant,
}

impl Wait {
    fn new(next: Offset) -> Self {
        Self { next, since: Instant::now() }
    }

    fn for_event(&mut self, next: Offset) -> Duration {
        if next != self.next {
            *self = Self::new(next);
        }
        self.since.elapsed()
    }
}

/// Why a session has ended without a failure.
#[derive(PartialEq, Eq)]
enum Ended {
    Done,
    /// The topic has more partitions than when the session began: another one begins.
    Grown,
    /// The topic is shorter than it was: another one begins, with nothing of what is known of this one.
    MadeAnew,
}

impl<'a> Session<'a> {
    /// For sessions by these settings.
    pub(super) fn new(
        config: Config,
        log: Log,
        status: &'a Status,
        is_stopped: &'a dyn Fn() -> bool,
    ) -> Self {
        let furthest = Cell::new(log.head());
        Self {
            config,
            log,
            status,
            is_stopped,
            looked_for: Cell::default(),
            furthest,
            kept: RefCell::default(),
        }
    }

    /// Reads the topic until the goal is reached, or the process stops; calls `works` whenever the log comes further than in any
    /// session before.
    pub(super) fn run(&self, goal: Goal, works: &mut dyn FnMut()) -> Result<(), Failure> {
        while self.read(goal, works)? != Ended::Done {
            let topic = &self.config.follow_topic;
            tracing::info!(topic, "the topic has more partitions, or was made anew");
        }
        Ok(())
    }

    fn read(&self, goal: Goal, works: &mut dyn FnMut()) -> Result<Ended, Failure> {
        let topic = Topic::connect(access(&self.config)?)?;
        let ends = topic.ends()?;
        if ends.is_empty() {
            return Err(Failure::Nothing { topic: topic.name().to_owned(), problem: "is not there" });
        }
        let positions = self.positions(&ends);
        let reader = topic.reader(&positions, self.config.follow_buffer_bytes_max / 2)?;
        let reading = Reading::new(&self.log, &reader, self.status, &positions, &self.config);
        let next_offset = self.log.head().get();
        tracing::info!(topic = topic.name(), next_offset, ?positions, "the topic is read");
        let (looked_at, next_kept) = (Instant::now(), None);
        let mut pass = Pass { session: self, reader: &reader, reading, looked_at, next_kept };
        let ended = match goal {
            Goal::End => pass.until_the_end(&topic, &ends, works),
            Goal::Never => pass.for_ever(topic, works),
        }?;
        pass.end(&ended)?;
        Ok(ended)
    }

    /// Where to go on: as it is kept, if that is of this topic and not ahead of the log.
    fn positions(&self, ends: &[Ends]) -> Vec<i64> {
        let kept = Kept::load(&self.config.data_dir).ok().flatten();
        let is_ours = |kept: &Kept| {
            kept.topic == self.config.follow_topic
                && kept.next_offset <= self.log.head().get()
                && !kept.positions.is_empty()
                // A topic that was made anew is shorter, at first.
                && (0..).zip(&kept.positions).all(|(partition, position)| {
                    ends.get::<usize>(partition).is_some_and(|ends| ends.end >= *position)
                })
        };
        let is_any = kept.is_some();
        let kept = kept.filter(is_ours);
        if is_any && kept.is_none() {
            // Lest a topic that was made anew, and grows, looks like the one before in the end.
            self.keep(self.log.head(), Vec::new());
        }
        let mut positions = kept.map(|kept| kept.positions).unwrap_or_default();
        positions.resize(ends.len(), 0);
        for (position, ends) in positions.iter_mut().zip(ends) {
            *position = (*position).max(ends.first);
        }
        positions
    }

    /// Which log it is, and where that begins.
    fn beginning(&self) -> Beginning {
        Beginning { log_id: self.log.id(), first: self.log.oldest() }
    }

    /// Whether the log has come further than ever.
    fn is_further(&self) -> bool {
        let head = self.log.head();
        self.furthest.replace(self.furthest.get().max(head)) < head
    }

    fn keep(&self, next_offset: Offset, positions: Vec<i64>) {
        let kept = Kept::new(self.beginning(), &self.config.follow_topic, next_offset, positions);
        if self.kept.borrow().as_ref() == Some(&kept) {
            return;
        }
        match kept.save(&self.config.data_dir) {
            Ok(()) => drop(self.kept.replace(Some(kept))),
            Err(error) => {
                tracing::warn!(%error, "where the replica goes on is not kept: it reads more of the topic next time");
            }
        }
    }

    /// Tells that something is in the way, and waits for it to pass.
    fn has_problem(&self, problem: String) {
        if self.status.problem.note(Some(problem.clone())) {
            tracing::warn!(problem, "waiting for events of the topic");
        }
    }

    /// Nothing is in the way.
    fn is_well(&self) {
        if self.status.problem.note(None) {
            tracing::info!("the topic gives events again");
        }
    }
}

/// A session at work.
struct Pass<'a> {
    session: &'a Session<'a>,
    reader: &'a Reader,
    reading: Reading<'a>,
    looked_at: Instant,
    /// What is to be kept once the log has come so far.
    next_kept: Option<(Offset, Vec<i64>)>,
}

impl Pass<'_> {
    fn for_ever(&mut self, topic: Topic, works: &mut dyn FnMut()) -> Result<Ended, Failure> {
        let mut watch =
            Watch::start(move || topic.ends(), LOOK_AROUND, self.reader.waker()).map_err(Failure::Thread)?;
        let mut wait = Wait::new(self.reading.merge.next());
        let mut read_before = self.reading.merge.read().collect::<Vec<_>>();
        loop {
            if (self.session.is_stopped)() {
                return Ok(Ended::Done);
            }
            let has_read = self.reading.turn(&Until::Stopped)?;
            let waited = wait.for_event(self.reading.merge.next());
            match self.reading.merge.missing() {
                Some(missing) => self.await_missing(missing, waited)?,
                None => self.hear(),
            }
            if self.session.is_further() {
                works();
                self.session.is_well();
            }
            match watch.news() {
                Some(Ok(ends)) => {
                    // What has been read since they were asked for may lie behind them.
                    if let Some(ended) = change(&ends, &read_before) {
                        return Ok(ended);
                    }
                    read_before = self.reading.merge.read().collect();
                    self.look_around(&ends);
                }
                // Who reads knows better why, as soon as that is known.
                Some(Err(error)) if self.session.status.problem().is_none() => {
                    self.session.has_problem(error.to_string());
                }
                Some(Err(_)) | None => {}
            }
            if self.looked_at.elapsed() >= LOOK_AROUND {
                self.looked_at = Instant::now();
                self.keep();
            }
            if !has_read {
                self.reader.wait()?;
            }
        }
    }

    /// What the brokers are like: the client goes on by itself.
    fn hear(&self) {
        if let Some(problem) = self.reader.problem() {
            self.session.has_problem(problem);
        }
    }

    /// Tells how far it is to the ends.
    fn look_around(&self, ends: &[Ends]) {
        let behind = self.reading.behind(ends);
        self.session.status.is_behind(behind);
        if behind == 0 && self.reading.merge.missing().is_none() {
            self.session.is_well();
        }
    }

    /// The mirror may still be sending it.
    fn await_missing(&self, missing: Missing, waited: Duration) -> Result<(), Failure> {
        let is_full = self.reading.merge.to_read().next().is_none();
        let is_doubted = is_full || waited >= DOUBT;
        if is_doubted && self.session.looked_for.replace(Some(missing.first)) != Some(missing.first) {
            // Kept so that the next session does not begin here again.
            self.session.keep(self.session.log.head(), Vec::new());
            let hint = ": the topic is read from its beginning to look for it";
            return Err(self.missing(missing, hint.to_owned()));
        }
        if is_full {
            let hint = "; more than follow_buffer_events_max or follow_buffer_bytes_max comes before it, if it comes";
            return Err(self.missing(missing, hint.to_owned()));
        }
        if waited < LOOK_AROUND {
            return Ok(());
        }
        let is_beginning = missing.first == self.session.log.oldest();
        let hint = if is_beginning {
            "; has retention removed it? follow_first_offset is for a new replica"
        } else {
            ""
        };
        self.session
            .has_problem(self.missing(missing, format!(", so far: waiting for it{hint}")).to_string());
        Ok(())
    }

    /// Reads everything that the topic has at present: to where its partitions end, and on to the last event that was found
    /// there, since events before it may have come into other partitions meanwhile.
    fn until_the_end(
        &mut self,
        topic: &Topic,
        ends: &[Ends],
        works: &mut dyn FnMut(),
    ) -> Result<Ended, Failure> {
        for (partition, ends) in ends.iter().enumerate() {
            if self.reading.merge.position(partition) >= ends.end {
                self.reading.merge.close(partition);
            }
        }
        let mut heard = Instant::now();
        while self.reading.merge.to_read().next().is_some() {
            let has_read = self.reading.turn(&Until::Ends(ends))?;
            if has_read {
                heard = Instant::now();
            } else if heard.elapsed() > STALL {
                return Err(self.reader.stalled().into());
            }
            self.go_on(has_read, ends, works)?;
        }
        let goal = self.reading.merge.end();
        self.reading.merge.reopen();
        let mut wait = Wait::new(self.reading.merge.next());
        while self.reading.merge.next() < goal {
            let has_read = self.reading.turn(&Until::Stopped)?;
            self.go_on(has_read, ends, works)?;
            let waited = wait.for_event(self.reading.merge.next());
            let is_stuck = self.reading.merge.to_read().next().is_none();
            if let Some(missing) = self.reading.merge.missing().filter(|_| is_stuck || waited >= SETTLE) {
                self.reading.copier.finish()?;
                return Err(self.missing(missing, survey::hint(topic, missing.first)?));
            }
        }
        Ok(Ended::Done)
    }

    fn go_on(&mut self, has_read: bool, ends: &[Ends], works: &mut dyn FnMut()) -> Result<(), Failure> {
        if self.looked_at.elapsed() >= LOOK_AROUND {
            self.looked_at = Instant::now();
            let (head, messages_left) = (self.session.log.head().get(), self.reading.behind(ends));
            tracing::info!(head, messages_left, "restoring");
            self.keep();
        }
        self.hear();
        if has_read {
            self.session.is_well();
            works();
        } else {
            self.reader.wait()?;
        }
        Ok(())
    }

    /// The session ends well: everything is settled, and where it has got to is kept.
    fn end(&mut self, ended: &Ended) -> Result<(), Failure> {
        self.reading.copier.finish()?;
        let merge = &self.reading.merge;
        let positions = if *ended == Ended::MadeAnew { Vec::new() } else { merge.positions() };
        self.session.keep(merge.next(), positions);
        Ok(())
    }

    /// Keeps where to go on as of the last time this was done, if that has become durable.
    fn keep(&mut self) {
        let is_durable = |next: &mut (Offset, Vec<i64>)| next.0 <= self.session.log.head();
        if let Some((next, positions)) = self.next_kept.take_if(is_durable) {
            self.session.keep(next, positions);
        }
        let merge = &self.reading.merge;
        self.next_kept.get_or_insert_with(|| (merge.next(), merge.positions()));
    }

    fn missing(&self, missing: Missing, hint: String) -> Failure {
        Failure::Missing { topic: self.session.config.follow_topic.clone(), missing, hint }
    }
}

/// Whether a topic that ends here is another one than that of which so much has been read.
fn change(ends: &[Ends], read: &[i64]) -> Option<Ended> {
    let is_shorter = ends.len() < read.len() || ends.iter().zip(read).any(|(ends, read)| ends.end < *read);
    if is_shorter { Some(Ended::MadeAnew) } else { (ends.len() > read.len()).then_some(Ended::Grown) }
}
