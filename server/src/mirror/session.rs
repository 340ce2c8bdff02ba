//! One session of the mirror: what the topic holds is found out, what it lacks is sent, and where it is is kept in the log.

use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use downlink_storage::{Clock, Log, Offset};

use super::checkpoint;
use super::failure::Failure;
use super::held::HeldOffsets;
use super::kafka::{Ends, Held, Topic};
use super::message::Writer;
use super::progress::Checkpoint;
use super::sending::{Sending, StoppedBy};
use super::settings::Settings;
use super::{STOP_POLL, Status, wait};
use crate::config::Config;
use crate::shutdown::Tasks;

/// The most offsets behind a checkpoint that a topic may hold: a bit of memory for each.
const HELD_MAX: u64 = 1 << 33;

/// What every session needs.
pub(super) struct Session {
    config: Config,
    log: Log,
    log_id: String,
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
            log_id: log.id().to_string(),
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

    /// Mirrors until the server stops; calls `works` whenever the topic holds more than it ever did.
    pub(super) fn run(&self, mut works: impl FnMut()) -> Result<(), Failure> {
        let topic = Topic::open(Settings::load(&self.config)?)?;
        let ends = topic.ends()?;
        let kept = self.go_on_at(&topic, &ends)?;
        let Some((held, positions)) = self.what_is_held(&topic, &kept, ends)? else { return Ok(()) };
        let writer = Writer::new(self.log_id.clone(), self.config.mirror_values);
        let mut sending = Sending::new(&self.log, &topic, writer, kept.next_offset, held, positions);
        let (mut kept_at, mut has_caught_up) = (Instant::now(), false);
        loop {
            let is_draining = self.tasks.is_draining();
            let stopped_by = if is_draining { StoppedBy::Head } else { sending.send()? };
            sending.receive(stopped_by)?;
            let is_idle = stopped_by == StoppedBy::Head && sending.is_settled();
            if self.status.reached(sending.frontier().get()) {
                works();
                self.is_well(&topic);
            } else if is_idle && !has_caught_up {
                self.is_well(&topic);
            } else if let Some(problem) = topic.problem() {
                self.has_problem(&topic, problem);
            }
            has_caught_up |= is_idle;
            let is_done = is_draining && is_idle;
            if is_done || kept_at.elapsed() >= self.checkpoint_every {
                kept_at = Instant::now();
                if let Some(checkpoint) = sending.checkpoint() {
                    checkpoint::append(&self.log, topic.name(), &checkpoint, self.clock.now(), |_| {});
                }
            }
            if is_done {
                return Ok(());
            }
            if is_idle {
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
        mut ends: Vec<Ends>,
    ) -> Result<Option<(HeldOffsets, Vec<i64>)>, Failure> {
        let mut held = HeldOffsets::from(kept.next_offset);
        let mut from = kept.positions.clone();
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
        Ok(Some((held, ends.iter().map(|ends| ends.end).collect())))
    }

    /// The last checkpoint, if the topic still has what it had then. One that has been made anew is filled from the beginning.
    fn go_on_at(&self, topic: &Topic, ends: &[Ends]) -> Result<Checkpoint, Failure> {
        let kept = checkpoint::find(&self.log, topic.name())?;
        if ends.iter().all(|ends| ends.end == 0) && kept.positions.iter().any(|position| *position > 0) {
            return self.begin_again(topic);
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

    /// The oldest event, for a topic that has been made anew. The log keeps that before the topic holds anything: the positions of
    /// the last checkpoint are those of a topic that is gone.
    fn begin_again(&self, topic: &Topic) -> Result<Checkpoint, Failure> {
        tracing::warn!(
            topic = topic.name(),
            "the topic has been made anew: it is filled from the oldest event on"
        );
        let begin = Checkpoint { next_offset: self.log.oldest(), positions: Vec::new() };
        let (answer, answered) = mpsc::sync_channel(1);
        checkpoint::append(&self.log, topic.name(), &begin, self.clock.now(), move |kept| {
            // Only a thread that has ended does not listen.
            let _ = answer.send(kept);
        });
        answered.recv().expect("every append is answered")?;
        self.status.begins_again(begin.next_offset.get());
        Ok(begin)
    }

    /// Which event a message is, if it is one of this log's.
    fn check(&self, topic: &Topic, kept: &Checkpoint, message: &Held) -> Result<Offset, Failure> {
        let place = format!("position {} of partition {}", message.position, message.partition);
        let wrong = |problem: String| Err(topic.foreign(format!("{place} {problem}")));
        match Offset::new(message.offset) {
            None => wrong("has a message without an offset, which no mirror has written".to_owned()),
            Some(_) if message.log_id != self.log_id => wrong(format!(
                "is an event of log {:?}, this is {}: choose another mirror_topic",
                message.log_id, self.log_id
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
        topic.forget_problem();
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
