//! A topic that is read on and on: a queue for each partition, so that who reads chooses which of them comes next.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::{Offset as Position, TopicPartitionList};

use super::client::{Access, Complaints};
use super::error::because;
use super::{Ends, Error, Received, STALL, WAIT};
use crate::sync::News;

/// Messages that are handed out between two looks at what else the client has to tell.
const SERVE_EVERY: u32 = 1_000;
/// What is listened to then.
const TOLD_MAX: usize = 100;

/// What a partition has at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next<T> {
    /// A message.
    Message(T),
    /// That nothing is behind what has been read.
    End,
    /// Nothing that has arrived.
    Nothing,
}

/// A topic that is read.
pub(crate) struct Reader {
    topic: String,
    // Dropped before the consumer that they belong to.
    queues: Vec<Queue>,
    consumer: Arc<BaseConsumer<Complaints>>,
    news: Arc<News>,
    unserved: Cell<u32>,
}

/// What has arrived of a partition.
struct Queue {
    messages: PartitionQueue<Complaints>,
    /// Whether there may be some: most partitions of a topic that is read to its end have none, and need not be asked.
    may_have_some: Arc<AtomicBool>,
}

impl Reader {
    /// Reads on from these positions, one for each partition.
    pub(super) fn open(access: &Access, from: &[i64], fetched_bytes_max: usize) -> Result<Self, Error> {
        let topic = access.topic.clone();
        let consumer = Arc::new(access.consumer(from.len(), fetched_bytes_max)?);
        let news = Arc::<News>::default();
        let count = i32::try_from(from.len()).unwrap_or(i32::MAX);
        // Before anything is fetched: then all of it comes by its partition's queue.
        let queues = (0..count).map(|partition| Queue::of(&consumer, &topic, partition, &news));
        let queues = queues.collect::<Option<Vec<_>>>();
        let queues = queues.ok_or_else(|| unread(&topic, &KafkaError::Subscription(topic.clone())))?;
        let mut wanted = TopicPartitionList::new();
        for (partition, position) in (0..count).zip(from) {
            let added = wanted.add_partition_offset(&topic, partition, Position::Offset(*position));
            added.map_err(|error| unread(&topic, &error))?;
        }
        consumer.assign(&wanted).map_err(|error| unread(&topic, &error))?;
        Ok(Self { topic, queues, consumer, news, unserved: Cell::new(0) })
    }

    /// Hands out what a partition has next, if that has arrived.
    pub(crate) fn next<T>(
        &self,
        partition: usize,
        look: impl FnOnce(&Received<'_>) -> T,
    ) -> Result<Next<T>, Error> {
        let queue = &self.queues[partition];
        // Set again by what arrives from here on.
        if !queue.may_have_some.swap(false, Ordering::Acquire) {
            return Ok(Next::Nothing);
        }
        let polled = queue.messages.poll(Duration::ZERO);
        queue.may_have_some.fetch_or(polled.is_some(), Ordering::Release);
        if self.unserved.replace(self.unserved.get() + 1) >= SERVE_EVERY {
            self.serve()?;
        }
        match polled {
            Some(Ok(message)) => Ok(Next::Message(look(&Received::of(&message)))),
            Some(Err(KafkaError::PartitionEOF(_))) => Ok(Next::End),
            Some(Err(error)) => Err(unread(&self.topic, &error)),
            None => Ok(Next::Nothing),
        }
    }

    /// Waits until something arrives, or [`Self::waker`] is called, but no longer than a moment.
    pub(crate) fn wait(&self) -> Result<(), Error> {
        self.serve()?;
        self.news.wait(WAIT);
        Ok(())
    }

    /// Wakes who waits.
    pub(crate) fn waker(&self) -> impl Fn() + Send + Sync + 'static {
        let news = self.news.clone();
        move || news.come()
    }

    /// What librdkafka has complained about since it was asked last. It goes on all the same.
    pub(crate) fn problem(&self) -> Option<String> {
        self.consumer.client().context().take()
    }

    /// Hands out every message up to these ends; what is furthest behind in the log comes next, so that what is near there comes
    /// near in time. Ends early when `each` says so.
    pub(super) fn read_to<F: From<Error>>(
        &self,
        from: &[i64],
        ends: &[Ends],
        is_stopped: &dyn Fn() -> bool,
        mut each: impl FnMut(&Received<'_>) -> Result<bool, F>,
    ) -> Result<(), F> {
        let is_left = |partition: &usize| from[*partition] < ends[*partition].end;
        let mut left: BTreeSet<_> = (0..ends.len()).filter(is_left).map(|partition| (0, partition)).collect();
        let mut heard = Instant::now();
        while let Some((reached, partition)) = left.first().copied() {
            if is_stopped() {
                return Ok(());
            }
            let next = self.next(partition, |message| {
                let is_last = message.place.position + 1 >= ends[partition].end;
                (message.offset.max(reached), is_last, each(message))
            })?;
            match next {
                Next::Message((reached, is_last, goes_on)) => {
                    if !goes_on? {
                        return Ok(());
                    }
                    left.pop_first();
                    if !is_last {
                        left.insert((reached, partition));
                    }
                }
                Next::End => drop(left.pop_first()),
                Next::Nothing if heard.elapsed() > STALL => return Err(self.stalled().into()),
                Next::Nothing => {
                    self.wait()?;
                    continue;
                }
            }
            heard = Instant::now();
        }
        Ok(())
    }

    /// That nothing has come for too long.
    pub(crate) fn stalled(&self) -> Error {
        Error::Stalled { topic: self.topic.clone(), reason: because(self.problem()) }
    }

    /// Lets the client tell what is not about a partition. Nearly all of that passes: it has been noted as a complaint, and
    /// the client goes on.
    fn serve(&self) -> Result<(), Error> {
        self.unserved.set(0);
        for _ in 0..TOLD_MAX {
            match self.consumer.poll(Duration::ZERO) {
                None => break,
                Some(Ok(message)) => {
                    let error = format!("{} came out of its queue", Received::of(&message).place);
                    return Err(Error::Broker { what: cannot_be_read(&self.topic), error });
                }
                Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => {
                    return Err(unread(&self.topic, &error));
                }
                Some(Err(_)) => {}
            }
        }
        Ok(())
    }
}

impl Queue {
    fn of(
        consumer: &Arc<BaseConsumer<Complaints>>,
        topic: &str,
        partition: i32,
        news: &Arc<News>,
    ) -> Option<Self> {
        let mut messages = consumer.split_partition_queue(topic, partition)?;
        let may_have_some = Arc::new(AtomicBool::new(true));
        let (news, has_some) = (news.clone(), may_have_some.clone());
        messages.set_nonempty_callback(move || {
            has_some.store(true, Ordering::Release);
            news.come();
        });
        Some(Self { messages, may_have_some })
    }
}

fn cannot_be_read(topic: &str) -> String {
    format!("topic {topic:?} cannot be read")
}

fn unread(topic: &str, error: &KafkaError) -> Error {
    let hint = match error.rdkafka_error_code() {
        Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => " on, has it been emptied?",
        Some(_) | None => "",
    };
    Error::Broker { what: format!("{}{hint}", cannot_be_read(topic)), error: error.to_string() }
}

#[cfg(test)]
mod tests;
