//! One session of the mirror: what the topic holds is found out, what it lacks is sent, and where it is is kept in the log.

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use downlink_storage::{Clock, Error, Log, Offset};

use super::failure::Failure;
use super::progress::Checkpoint;
use super::sending::{Sending, StoppedBy};
use super::spans::Spans;
use super::{Status, checkpoint, settings};
use crate::config::Config;
use crate::kafka::{Ends, Producer, Received, STOP_POLL, Topic, Writer, wait};
use crate::observability::Tracer;
use crate::offsets::{Offsets, SCATTERED_MAX};
use crate::shutdown::Tasks;
use crate::sync::News;

/// What every session needs.
pub(super) struct Session {
    config: Config,
    log: Log,
    log_id: String,
    clock: Arc<dyn Clock>,
    status: Arc<Status>,
    tracer: Tracer,
    tasks: Tasks,
    /// Whether the log has grown since it was read last.
    news: Arc<News>,
    settle: Duration,
    checkpoint_every: Duration,
}

impl Session {
    /// For sessions by these settings.
    pub(super) fn new(
        config: Config,
        log: Log,
        clock: Arc<dyn Clock>,
        (status, tracer): (Arc<Status>, Tracer),
        tasks: Tasks,
    ) -> Self {
        let news = Arc::<News>::default();
        let listener = news.clone();
        log.on_commit(move |_| listener.come());
        Self {
            log_id: log.id().to_string(),
            log,
            clock,
            status,
            tracer,
            tasks,
            news,
            settle: Duration::from_millis(config.mirror_settle_ms),
            checkpoint_every: Duration::from_millis(config.mirror_checkpoint_ms),
            config,
        }
    }

    /// Mirrors until the server stops; calls `works` whenever the topic holds more than it ever did.
    pub(super) fn run(&self, mut works: impl FnMut()) -> Result<(), Failure> {
        let access = settings::access(&self.config)?;
        let producer = Producer::connect(&access)?;
        let topic = Topic::connect(access)?;
        if topic.partitions()? == 0 {
            topic.create(&settings::new_topic(&self.config))?;
        }
        let ends = topic.ends()?;
        let kept = self.go_on_at(&topic, &ends)?;
        let Some((held, positions)) = self.what_is_held(&topic, &kept, ends)? else { return Ok(()) };
        drop(topic);
        let writer = Writer::new(self.log_id.clone(), self.config.mirror_values);
        let spans = Spans::new(self.tracer.clone(), self.config.mirror_topic.clone());
        let told = (writer, spans);
        let mut sending = Sending::new(&self.log, &producer, told, kept.next_offset, held, positions);
        let mut keeping = Keeping { begun: Instant::now(), under_way: None };
        loop {
            let is_draining = self.tasks.is_draining();
            let stopped_by = if is_draining { StoppedBy::Head } else { sending.send()? };
            sending.receive(stopped_by)?;
            let is_idle = stopped_by == StoppedBy::Head && sending.is_settled();
            if self.status.reached(sending.frontier().get()) {
                works();
                self.is_well(&producer);
            } else if is_idle {
                // Whatever the brokers do, there is nothing that they keep from the topic.
                self.is_well(&producer);
            } else if let Some(problem) = producer.problem() {
                self.has_problem(problem);
            }
            let is_done = is_draining && is_idle;
            if is_done || keeping.begun.elapsed() >= self.checkpoint_every {
                self.keep(&mut sending, &mut keeping);
            }
            if is_done {
                return Ok(());
            }
            if is_idle {
                self.news.wait(STOP_POLL);
            }
        }
    }

    /// Has the log keep where the mirror is, unless it has yet to answer for the last time.
    fn keep(&self, sending: &mut Sending<'_>, keeping: &mut Keeping) {
        keeping.begun = Instant::now();
        if let Some((next_offset, answered)) = keeping.under_way.take() {
            let answer =
                if self.tasks.is_draining() { answered.recv().ok() } else { answered.try_recv().ok() };
            match answer {
                Some(Ok(())) => sending.kept(next_offset),
                // As long as the disk is full, for one. It is tried again.
                Some(Err(error)) => tracing::debug!(%error, "where the mirror is has not been kept"),
                None => return keeping.under_way = Some((next_offset, answered)),
            }
        }
        if let Some(checkpoint) = sending.checkpoint() {
            keeping.under_way = Some((checkpoint.next_offset, self.append(&checkpoint)));
        }
    }

    /// Appends a checkpoint; the answer says when it is on disk, or cannot be.
    fn append(&self, checkpoint: &Checkpoint) -> mpsc::Receiver<Result<(), Error>> {
        let (answer, answered) = mpsc::sync_channel(1);
        let time = self.clock.now();
        checkpoint::append(&self.log, &self.config.mirror_topic, checkpoint, time, move |kept| {
            // Only a session that has ended does not listen.
            let _ = answer.try_send(kept.map(drop));
        });
        answered
    }

    /// The events from a checkpoint on that the topic holds already, and where its partitions end; `None` if the server stops
    /// meanwhile.
    fn what_is_held(
        &self,
        topic: &Topic,
        kept: &Checkpoint,
        mut ends: Vec<Ends>,
    ) -> Result<Option<(Offsets, Vec<i64>)>, Failure> {
        let mut held = Offsets::new(SCATTERED_MAX);
        let mut from = kept.positions.clone();
        let mut twice = 0_u64;
        loop {
            from.resize(ends.len(), 0);
            let each = |message: &Received<'_>| {
                let offset = self.check(message)?;
                if offset >= kept.next_offset {
                    twice += u64::from(!held.insert(offset));
                }
                if held.is_too_large() {
                    let problem = "it lacks events in too many places, choose another mirror_topic";
                    return Err(self.foreign(problem.to_owned()));
                }
                Ok(true)
            };
            topic.read(&from, &ends, &|| self.tasks.is_draining(), each)?;
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
                return Err(self.foreign(format!(
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
        self.append(&begin).recv().expect("every append is answered")?;
        self.status.begins_again(begin.next_offset.get());
        Ok(begin)
    }

    /// Which event a message is, if it is one of this log's.
    fn check(&self, message: &Received<'_>) -> Result<Offset, Failure> {
        let wrong = |problem: String| Err(self.foreign(format!("{} {problem}", message.place)));
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
            Some(offset) => Ok(offset),
        }
    }

    /// That the topic cannot be the mirror of this log.
    fn foreign(&self, problem: String) -> Failure {
        Failure::Foreign { topic: self.config.mirror_topic.clone(), problem }
    }

    /// The topic takes events.
    fn is_well(&self, producer: &Producer) {
        // What was heard while it did is no problem.
        producer.forget_problem();
        if self.status.problem.note(None) {
            tracing::info!(topic = self.config.mirror_topic, "the mirror takes events again");
        }
    }

    fn has_problem(&self, problem: String) {
        if self.status.problem.note(Some(problem.clone())) {
            tracing::warn!(topic = self.config.mirror_topic, problem, "the mirror waits for its brokers");
        }
    }

    /// Says why a session has ended, and when the next one begins.
    pub(super) fn failed(&self, failure: &Failure, delay: Duration) {
        if self.status.problem.note(Some(failure.to_string())) {
            tracing::warn!(%failure, retry_in = ?delay, "the mirror has stopped, and tries again");
        }
    }
}

/// When a checkpoint was tried to keep last, and which one the log has not answered for yet.
struct Keeping {
    begun: Instant,
    under_way: Option<(Offset, mpsc::Receiver<Result<(), Error>>)>,
}
