//! The topic, read on and on: a queue for each partition, so that who reads chooses which of them comes next.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{Offset as Position, TopicPartitionList};

use super::{CONTENT_TYPE, Ends, LOG_ID, OFFSET, REASON_WAIT, Reports, ends_of, lock, take};

/// The least that the client fetches ahead of a partition.
const QUEUE_BYTES_MIN: usize = 64 << 10;

/// Complaints that are passed over at a time.
const COMPLAINTS_MAX: usize = 100;

/// Which topic is read, and how.
#[derive(Clone)]
pub(crate) struct ReaderSettings {
    /// The topic.
    pub(crate) topic: String,
    /// What librdkafka is told, secrets included: never to be printed.
    pub(crate) client: BTreeMap<String, String>,
    /// Where these settings come from, for people.
    pub(crate) client_from: &'static str,
    /// How much may be fetched ahead, over all partitions.
    pub(crate) fetched_bytes_max: usize,
}

/// Why the topic is not read.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {error}")]
pub(crate) struct Unread {
    what: String,
    error: String,
}

/// A message, as far as it is looked at before it is decoded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received<'a> {
    /// Where it is.
    pub(crate) partition: usize,
    /// Where it is there.
    pub(crate) position: i64,
    /// Which log it says it is from; empty if it does not say.
    pub(crate) log_id: &'a str,
    /// Which event it says it is; 0 if it does not say.
    pub(crate) offset: u64,
    /// What it says its value is; empty if it does not say.
    pub(crate) content_type: &'a str,
    /// Its value.
    pub(crate) value: &'a [u8],
}

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
    settings: ReaderSettings,
    /// Asks where partitions begin and end.
    asking: BaseConsumer<Reports>,
    reading: Option<Reading>,
    news: Arc<News>,
}

struct Reading {
    // Dropped before the consumer that they belong to.
    queues: Vec<Queue>,
    consumer: Arc<BaseConsumer<Reports>>,
}

/// What has arrived of a partition.
struct Queue {
    messages: PartitionQueue<Reports>,
    /// Whether there may be some: most partitions of a topic that is read to its end have none, and need not be asked.
    may_have_some: Arc<AtomicBool>,
}

/// Whether something has arrived since it was asked last.
#[derive(Default)]
struct News {
    has_come: Mutex<bool>,
    coming: Condvar,
}

impl News {
    fn come(&self) {
        *lock(&self.has_come) = true;
        self.coming.notify_one();
    }
}

impl Reader {
    /// Connects; nothing is read yet.
    pub(crate) fn connect(settings: ReaderSettings) -> Result<Self, Unread> {
        let asking = consumer(&settings, settings.fetched_bytes_max)?;
        Ok(Self { settings, asking, reading: None, news: Arc::default() })
    }

    /// Its name.
    pub(crate) fn topic(&self) -> &str {
        &self.settings.topic
    }

    /// Where its partitions begin and end; none if there is no such topic.
    pub(crate) fn ends(&self) -> Result<Vec<Ends>, Unread> {
        // Reads nothing, so all it has to tell is what its brokers are like: told below, if it matters.
        let _ = (0..COMPLAINTS_MAX).take_while(|_| self.asking.poll(Duration::ZERO).is_some()).count();
        let ends = ends_of(self.asking.client(), &self.settings.topic);
        ends.map_err(|(what, error)| {
            // The reason behind a time-out, such as a refused password, comes by another way.
            drop(self.asking.poll(REASON_WAIT));
            let reason = take(&self.asking.client().context().problem);
            let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
            Unread { what: format!("{what}{reason}"), error: error.to_string() }
        })
    }

    /// Reads on from these positions, one for each partition.
    pub(crate) fn read_from(&mut self, positions: &[i64]) -> Result<(), Unread> {
        let topic = &self.settings.topic;
        let share = self.settings.fetched_bytes_max / positions.len().max(1);
        let consumer = Arc::new(consumer(&self.settings, share.max(QUEUE_BYTES_MIN))?);
        let mut wanted = TopicPartitionList::new();
        for (partition, position) in (0..).zip(positions) {
            let added = wanted.add_partition_offset(topic, partition, Position::Offset(*position));
            added.map_err(|error| unread(topic, &error))?;
        }
        consumer.assign(&wanted).map_err(|error| unread(topic, &error))?;
        let queue = |partition| {
            let mut messages = consumer.split_partition_queue(topic, partition)?;
            let may_have_some = Arc::new(AtomicBool::new(true));
            let (news, has_some) = (self.news.clone(), may_have_some.clone());
            messages.set_nonempty_callback(move || {
                has_some.store(true, Ordering::Release);
                news.come();
            });
            Some(Queue { messages, may_have_some })
        };
        let count = i32::try_from(positions.len()).unwrap_or(i32::MAX);
        let queues = (0..count).map(queue).collect::<Option<Vec<_>>>();
        let queues = queues.ok_or_else(|| unread(topic, &KafkaError::Subscription(topic.clone())))?;
        self.reading = Some(Reading { queues, consumer });
        Ok(())
    }

    /// Hands out what the partition has next, if that has arrived.
    pub(crate) fn next<T>(
        &self,
        partition: usize,
        look: impl FnOnce(Received<'_>) -> T,
    ) -> Result<Next<T>, Unread> {
        let Some(reading) = &self.reading else { return Ok(Next::Nothing) };
        let queue = &reading.queues[partition];
        // Set again by what arrives from here on.
        if !queue.may_have_some.swap(false, Ordering::Acquire) {
            return Ok(Next::Nothing);
        }
        let polled = queue.messages.poll(Duration::ZERO);
        queue.may_have_some.fetch_or(polled.is_some(), Ordering::Release);
        self.one(polled, look)
    }

    /// Serves the client; hands out a message that had arrived before its partition had a queue.
    pub(crate) fn serve<T>(&self, look: impl FnOnce(Received<'_>) -> T) -> Result<Next<T>, Unread> {
        let Some(reading) = &self.reading else { return Ok(Next::Nothing) };
        self.one(reading.consumer.poll(Duration::ZERO), look)
    }

    fn one<T>(
        &self,
        polled: Option<Result<BorrowedMessage<'_>, KafkaError>>,
        look: impl FnOnce(Received<'_>) -> T,
    ) -> Result<Next<T>, Unread> {
        match polled {
            Some(Ok(message)) => Ok(Next::Message(look(received(&message)))),
            Some(Err(KafkaError::PartitionEOF(_))) => Ok(Next::End),
            Some(Err(error)) => Err(unread(&self.settings.topic, &error)),
            None => Ok(Next::Nothing),
        }
    }

    /// Waits until something arrives, or [`Self::waker`] is called, but no longer than this.
    pub(crate) fn wait(&self, most: Duration) {
        let has_come = lock(&self.news.has_come);
        let waited = self.news.coming.wait_timeout_while(has_come, most, |has_come| !*has_come);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }

    /// Wakes who waits.
    pub(crate) fn waker(&self) -> impl Fn() + Send + Sync + 'static {
        let news = self.news.clone();
        move || news.come()
    }

    /// What librdkafka has complained about since it was asked last.
    pub(crate) fn problem(&self) -> Option<String> {
        take(&self.reading.as_ref()?.consumer.client().context().problem)
    }
}

fn consumer(settings: &ReaderSettings, queue_bytes: usize) -> Result<BaseConsumer<Reports>, Unread> {
    let mut client = ClientConfig::new();
    for (key, value) in &settings.client {
        client.set(key, value);
    }
    // Positions are kept with the log; the brokers keep none, and nobody shares the work.
    client.set("group.id", "downlink-replica").set("enable.auto.commit", "false");
    client.set("auto.offset.reset", "error").set("isolation.level", "read_uncommitted");
    client.set("enable.partition.eof", "true").set("allow.auto.create.topics", "false");
    // The queues are small: a full one must not rest for a second.
    client.set("fetch.queue.backoff.ms", "20");
    client.set("queued.max.messages.kbytes", (queue_bytes >> 10).max(1).to_string());
    client.set("max.partition.fetch.bytes", queue_bytes.min(1 << 20).to_string());
    client.set_log_level(RDKafkaLogLevel::Warning);
    client.create_with_context(Reports::default()).map_err(|error| Unread {
        what: format!("the Kafka client cannot be made, see {}", settings.client_from),
        error: error.to_string(),
    })
}

fn unread(topic: &str, error: &KafkaError) -> Unread {
    let hint = match error.rdkafka_error_code() {
        Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => " on, has it been emptied?",
        Some(_) | None => "",
    };
    Unread { what: format!("topic {topic:?} cannot be read{hint}"), error: error.to_string() }
}

fn received<'a>(message: &'a BorrowedMessage<'_>) -> Received<'a> {
    let mut received = Received {
        partition: usize::try_from(message.partition()).expect("partitions count from 0"),
        position: message.offset(),
        log_id: "",
        offset: 0,
        content_type: "",
        value: message.payload().unwrap_or_default(),
    };
    for header in message.headers().into_iter().flat_map(|headers| headers.iter()) {
        let Some(value) = header.value.and_then(|value| std::str::from_utf8(value).ok()) else { continue };
        match header.key {
            LOG_ID => received.log_id = value,
            OFFSET => received.offset = value.parse().unwrap_or_default(),
            CONTENT_TYPE => received.content_type = value,
            _ => {}
        }
    }
    received
}
