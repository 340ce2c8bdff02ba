//! One session of the mirror: what the topic holds is found out, what it lacks is sent, and where it is is kept in the log.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use downlink_storage::{Block, Chunk, Clock, Log, Offset};

use super::checkpoint;
use super::failure::Failure;
use super::held::HeldOffsets;
use super::kafka::{Held, Sent, Topic};
use super::message::Writer;
use super::progress::{Checkpoint, Progress};
use super::settings::Settings;
use super::{STOP_POLL, Status, wait};
use crate::config::Config;
use crate::shutdown::Tasks;

/// How long acknowledgements are waited for while there is nothing to send.
const ACKNOWLEDGEMENT_WAIT: Duration = Duration::from_millis(5);
/// Events that are sent between two looks at acknowledgements.
const SENT_AT_ONCE_MAX: usize = 1_000;
/// The most offsets behind a checkpoint that a topic may hold: a bit of memory for each.
const HELD_MAX: u64 = 1 << 33;

/// What every session needs.
pub(super) struct Session {
    config: Config,
    log: Log,
    clock: Arc<dyn Clock>,
    status: Arc<Status>,
    tasks: Tasks,
    /// Whether the log has grown since it was read last.
    news: Arc<(Mutex<bool>, Condvar)>,
    settle: Duration,
    checkpoint_every: Duration,
}

impl Session {
    /// For sessions by these settings.
    pub(super) fn new(
        config: Config,
        log: Log,
        clock: Arc<dyn Clock>,
        status: Arc<Status>,
        tasks: Tasks,
    ) -> Self {
        let news = Arc::new((Mutex::new(false), Condvar::new()));
        let listener = news.clone();
        log.on_commit(move |_| {
            *listener.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
            listener.1.notify_one();
        });
        Self {
            log,
            clock,
            status,
            tasks,
            news,
            settle: Duration::from_millis(config.mirror_settle_ms),
            checkpoint_every: Duration::from_millis(config.mirror_checkpoint_ms),
            config,
        }
    }

    /// Mirrors until the server stops; calls `works` whenever the topic takes something.
    pub(super) fn run(&self, mut works: impl FnMut()) -> Result<(), Failure> {
        let topic = Topic::open(Settings::load(&self.config)?)?;
        let kept = self.go_on_at(&topic)?;
        let Some((held, positions)) = self.what_is_held(&topic, &kept)? else { return Ok(()) };
        let mut progress = Progress::new(kept.next_offset, held.end(), positions);
        let mut sending = Sending::new(self, &topic, held);
        let (mut kept, mut kept_at) = (kept.next_offset, Instant::now());
        loop {
            let before = progress.frontier();
            let is_draining = self.tasks.is_draining();
            let stopped_by = if is_draining { StoppedBy::Head } else { sending.send(&mut progress)? };
            topic.acknowledged(stopped_by.wait(&progress), |acknowledged| {
                let offset = Offset::new(acknowledged.offset).expect("what was sent has an offset");
                progress.acknowledged(offset, acknowledged.partition, acknowledged.position);
            })?;
            self.status.reached(progress.frontier().get());
            if progress.frontier() > before {
                works();
                self.is_well(&topic);
            } else if let Some(problem) = topic.problem() {
                self.has_problem(&topic, problem);
            }
            let is_done = is_draining && progress.outstanding() == 0;
            if is_done || kept_at.elapsed() >= self.checkpoint_every {
                kept_at = Instant::now();
                let checkpoint = sending.is_worth_a_checkpoint().then(|| progress.checkpoint(kept)).flatten();
                if let Some(checkpoint) = checkpoint {
                    kept = checkpoint.next_offset;
                    sending.news = false;
                    let append = checkpoint::append(topic.name(), &checkpoint, self.clock.now());
                    // One that is lost is made up for by the next.
                    self.log.append(append, |_| {});
                }
            }
            if is_done {
                return Ok(());
            }
            if stopped_by == StoppedBy::Head && progress.outstanding() == 0 {
                self.wait_for_news();
            }
        }
    }

    /// The events from a checkpoint on that the topic holds already, and where its partitions end; `None` if the server stops
    /// meanwhile.
    fn what_is_held(
        &self,
        topic: &Topic,
        kept: &Checkpoint,
    ) -> Result<Option<(HeldOffsets, Vec<i64>)>, Failure> {
        let mut held = HeldOffsets::from(kept.next_offset);
        let mut from = kept.positions.clone();
        let mut ends = topic.ends()?;
        let mut twice = 0_u64;
        loop {
            from.resize(ends.len(), 0);
            topic.read(
                &from,
                &ends,
                || self.tasks.is_draining(),
                |message| {
                    let offset = self.check(topic, kept, &message)?;
                    twice += u64::from(!held.insert(offset));
                    Ok(())
                },
            )?;
            // What a server sent before it was killed may still be on its way through the brokers.
            wait(&self.tasks, self.settle);
            if self.tasks.is_draining() {
                return Ok(None);
            }
            let later = topic.ends()?;
            if later == ends {
                break;
            }
            from = ends.iter().map(|ends| ends.end).collect();
            ends = later;
        }
        if twice > 0 {
            tracing::warn!(topic = topic.name(), events = twice, "the topic holds events twice");
        }
        let (next_offset, held_events) = (kept.next_offset.get(), held.len());
        tracing::info!(topic = topic.name(), next_offset, held_events, "the mirror goes on");
        self.status.note(None);
        Ok(Some((held, ends.iter().map(|ends| ends.end).collect())))
    }

    /// The last checkpoint, if the topic still has what it had then. One that has been made anew is filled from the beginning.
    fn go_on_at(&self, topic: &Topic) -> Result<Checkpoint, Failure> {
        let (kept, ends) = (checkpoint::find(&self.log, topic.name())?, topic.ends()?);
        if ends.iter().all(|ends| ends.end == 0) && kept.positions.iter().any(|position| *position > 0) {
            tracing::warn!(
                topic = topic.name(),
                "the topic has been made anew: it is filled from the oldest event on"
            );
            return Ok(Checkpoint { next_offset: self.log.oldest(), positions: Vec::new() });
        }
        for (partition, position) in kept.positions.iter().enumerate() {
            let end = ends.get(partition).map_or(0, |ends| ends.end);
            if end < *position {
                return Err(topic.foreign(format!(
                    "partition {partition} ends at position {end}, but had come to {position}: has it lost messages? \
                     Delete the topic, or choose another with mirror_topic: it is filled from the oldest event on then"
                )));
            }
        }
        Ok(kept)
    }

    /// Which event a message is, if it is one of this log's.
    fn check(&self, topic: &Topic, kept: &Checkpoint, message: &Held) -> Result<Offset, Failure> {
        let place = format!("position {} of partition {}", message.position, message.partition);
        let wrong = |problem: String| Err(topic.foreign(format!("{place} {problem}")));
        let own = self.log.id().to_string();
        match Offset::new(message.offset) {
            None => wrong("has a message without an offset, which no mirror has written".to_owned()),
            Some(_) if message.log_id != own => wrong(format!(
                "is an event of log {:?}, this is {own}: choose another mirror_topic",
                message.log_id
            )),
            Some(offset) if offset >= self.log.head() => wrong(format!(
                "is event {offset}, but the log ends at {}: has the log been put back to an earlier state?",
                self.log.head()
            )),
            Some(offset) if offset.since(kept.next_offset.min(offset)) > HELD_MAX => {
                wrong(format!("is event {offset}, too far behind the checkpoint at {}", kept.next_offset))
            }
            Some(offset) => Ok(offset),
        }
    }

    /// The topic takes events.
    fn is_well(&self, topic: &Topic) {
        // What was heard while it did is no problem.
        drop(topic.problem());
        if self.status.note(None) {
            tracing::info!(topic = topic.name(), "the mirror takes events again");
        }
    }

    fn has_problem(&self, topic: &Topic, problem: String) {
        if self.status.note(Some(problem.clone())) {
            tracing::warn!(topic = topic.name(), problem, "the mirror waits for its brokers");
        }
    }

    /// Says why a session has ended, and when the next one begins.
    pub(super) fn failed(&self, failure: &Failure, delay: Duration) {
        if self.status.note(Some(failure.to_string())) {
            tracing::warn!(%failure, retry_in = ?delay, "the mirror has stopped, and tries again");
        }
    }

    fn wait_for_news(&self) {
        let (news, growth) = &*self.news;
        let news = news.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = growth.wait_timeout_while(news, STOP_POLL, |news| !*news);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }
}

/// Why no more is sent for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StoppedBy {
    /// There is more, but acknowledgements come first.
    Turn,
    /// Too much is on its way.
    NoRoom,
    /// There is no more.
    Head,
}

impl StoppedBy {
    /// How long to wait for acknowledgements.
    fn wait(self, progress: &Progress) -> Duration {
        if self == Self::Turn || progress.outstanding() == 0 { Duration::ZERO } else { ACKNOWLEDGEMENT_WAIT }
    }
}

/// The way from the log to the topic.
struct Sending<'a> {
    session: &'a Session,
    topic: &'a Topic,
    held: HeldOffsets,
    block: Option<Arc<Block>>,
    writer: Writer,
    /// Whether anything but the mirror's own checkpoints has been sent since the last one.
    news: bool,
}

impl<'a> Sending<'a> {
    fn new(session: &'a Session, topic: &'a Topic, held: HeldOffsets) -> Self {
        let writer = Writer::new(session.log.id().to_string(), session.config.mirror_values);
        Self { session, topic, held, block: None, writer, news: false }
    }

    /// A checkpoint is an event too: one for nothing but the one before would never end.
    const fn is_worth_a_checkpoint(&self) -> bool {
        self.news
    }

    /// Sends what comes next, until something stops it.
    fn send(&mut self, progress: &mut Progress) -> Result<StoppedBy, Failure> {
        for _ in 0..SENT_AT_ONCE_MAX {
            let next = progress.next_offset();
            if self.held.contains(next) {
                // It is in the topic, so it was in the log.
                progress.skipped();
                self.news = true;
                continue;
            }
            let Some(block) = self.block_at(next, progress)? else {
                return Ok(if progress.next_offset() > next { StoppedBy::Turn } else { StoppedBy::Head });
            };
            let row = usize::try_from(next.since(block.first_offset())).expect("a block fits memory");
            let event = block.event(row);
            let message = self.writer.write(&event);
            if self.topic.send(next.get(), &message)? == Sent::NoRoom {
                return Ok(StoppedBy::NoRoom);
            }
            self.news |= **event.signal != *checkpoint::SIGNAL;
            progress.sent();
        }
        Ok(StoppedBy::Turn)
    }

    /// The block with this offset; `None` at the head, or when it is lost.
    fn block_at(&mut self, next: Offset, progress: &mut Progress) -> Result<Option<Arc<Block>>, Failure> {
        if let Some(block) = &self.block
            && (block.first_offset()..block.end_offset()).contains(&next)
        {
            return Ok(Some(block.clone()));
        }
        self.block = match self.session.log.read(next, None)? {
            Chunk::Block(block) => Some(block),
            Chunk::Head => None,
            Chunk::Gap { end, .. } | Chunk::Skipped { end } => {
                tracing::error!(
                    first = next.get(),
                    end = end.get(),
                    "events are lost to damage, and cannot be mirrored"
                );
                (next.get()..end.get()).for_each(|_| progress.skipped());
                None
            }
        };
        Ok(self.block.clone())
    }
}
