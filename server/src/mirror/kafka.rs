//! The topic, over the Kafka protocol: with `kafka/`, the only place that names `rdkafka`.

pub(crate) mod reader;

mod merged;
#[cfg(test)]
pub(super) mod mock;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{Client, ClientContext};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, DeliveryResult, Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::{Offset as Position, TopicPartitionList};

use super::failure::Failure;
use super::message::{CONTENT_TYPE, LOG_ID, Message, OFFSET};
use super::settings::Settings;
pub(super) use merged::read as read_merged;

/// How long one request to the brokers may take.
const REQUEST: Duration = Duration::from_secs(10);
/// How long the reading of what a topic holds may stand still.
const READ_STALL: Duration = Duration::from_secs(30);
/// How long the reason behind a failure is waited for.
const REASON_WAIT: Duration = Duration::from_millis(20);
/// Messages of the topic that are looked at between two looks at the clock.
const POLL: Duration = Duration::from_millis(100);

/// What a message that is in the topic says of itself.
#[derive(Debug)]
pub(super) struct Held {
    /// Which log it is from; empty if it does not say.
    pub(super) log_id: String,
    /// Which event it is; 0 if it does not say.
    pub(super) offset: u64,
    /// Where it is.
    pub(super) partition: i32,
    /// Where it is there.
    pub(super) position: i64,
}

/// That the topic has taken an event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Acknowledged {
    /// Which event.
    pub(super) offset: u64,
    /// Into which partition.
    pub(super) partition: usize,
    /// To which place in it.
    pub(super) position: i64,
}

/// Where a partition begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    /// The position of its first message.
    pub(crate) first: i64,
    /// The position the next message will get.
    pub(crate) end: i64,
}

/// Whether there was room for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// It is on its way.
    Yes,
    /// Too many are on their way: acknowledgements must be waited for.
    NoRoom,
}

/// A client by these settings.
fn client(settings: &Settings) -> ClientConfig {
    let mut client = ClientConfig::new();
    for (key, value) in &settings.client {
        client.set(key, value);
    }
    client.set_log_level(RDKafkaLogLevel::Warning);
    client
}

/// What librdkafka has told.
#[derive(Debug, Default)]
struct Reports {
    acknowledged: Mutex<Vec<Acknowledged>>,
    refused: Mutex<Option<(u64, KafkaError)>>,
    problem: Mutex<Option<String>>,
}

/// A topic that events are sent to.
pub(super) struct Topic {
    settings: Settings,
    producer: BaseProducer<Reports>,
}

impl Topic {
    /// Connects, and creates the topic if it is missing.
    pub(super) fn open(settings: Settings) -> Result<Self, Failure> {
        let producer = client(&settings).create_with_context(Reports::default()).map_err(unmade)?;
        let topic = Self { settings, producer };
        if topic.partitions()? == 0 {
            topic.create()?;
        }
        Ok(topic)
    }

    /// How many partitions it has; 0 if there is no such topic.
    fn partitions(&self) -> Result<usize, Failure> {
        let partitions = partitions_of(self.producer.client(), &self.settings.topic);
        partitions.map_err(|(what, error)| self.broker(&what, error))
    }

    fn create(&self) -> Result<(), Failure> {
        let Settings { topic: name, partitions, replication, retention_ms, message_bytes_max, .. } =
            &self.settings;
        let what = format!("topic {name:?} is missing and cannot be created");
        let admin = client(&self.settings).create_with_context(Reports::default());
        let admin: AdminClient<Reports> = admin.map_err(unmade)?;
        let (retention, message_bytes) = (retention_ms.to_string(), message_bytes_max.to_string());
        let topic = NewTopic::new(name, *partitions, TopicReplication::Fixed(*replication))
            .set("retention.ms", &retention)
            .set("max.message.bytes", &message_bytes)
            .set("cleanup.policy", "delete");
        let options = AdminOptions::new().request_timeout(Some(REQUEST)).operation_timeout(Some(REQUEST));
        let created = block_on(admin.create_topics([&topic], &options));
        match created.map_err(|error| self.broker(&what, error))?.pop() {
            Some(Err((_, code))) if code != Code::TopicAlreadyExists => {
                return Err(self.broker(&what, KafkaError::AdminOp(code)));
            }
            Some(Err(_) | Ok(_)) | None => {}
        }
        let deadline = Instant::now() + REQUEST;
        // Its partitions have leaders a little later.
        while self.partitions()? == 0 || self.ends().is_err() {
            if Instant::now() > deadline {
                return Err(self.broker(&what, KafkaError::AdminOp(Code::LeaderNotAvailable)));
            }
            std::thread::sleep(POLL);
        }
        tracing::info!(topic = name, partitions, "the mirror's topic has been created");
        Ok(())
    }

    /// Where its partitions begin and end.
    pub(super) fn ends(&self) -> Result<Vec<Ends>, Failure> {
        let ends = ends_of(self.producer.client(), &self.settings.topic);
        ends.map_err(|(what, error)| self.broker(&what, error))
    }

    /// Hands out every message from the positions `from` to the ends.
    pub(super) fn read(
        &self,
        from: &[i64],
        ends: &[Ends],
        is_stopped: impl Fn() -> bool,
        mut each: impl FnMut(Held) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let name = &self.settings.topic;
        let what = format!("topic {name:?} cannot be read");
        let failed = |error| self.broker(&what, error);
        let mut wanted = TopicPartitionList::new();
        let mut missing = BTreeMap::new();
        for ((partition, from), ends) in (0..).zip(from).zip(ends) {
            let from = (*from).max(ends.first);
            if from < ends.end {
                wanted.add_partition_offset(name, partition, Position::Offset(from)).map_err(failed)?;
                missing.insert(partition, ends.end);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let mut client = client(&self.settings);
        client.set("group.id", "downlink-mirror").set("enable.auto.commit", "false");
        client.set("auto.offset.reset", "error").set("isolation.level", "read_uncommitted");
        // Positions that hold no message, such as marks of transactions, count as read when the end is told.
        client.set("enable.partition.eof", "true");
        let consumer: BaseConsumer<Reports> =
            client.create_with_context(Reports::default()).map_err(unmade)?;
        consumer.assign(&wanted).map_err(failed)?;
        let mut heard = Instant::now();
        while !missing.is_empty() && !is_stopped() {
            match consumer.poll(POLL) {
                Some(Ok(message)) => {
                    let held = held(&message);
                    let (partition, is_last) =
                        (held.partition, missing.get(&held.partition) <= Some(&(held.position + 1)));
                    each(held)?;
                    if is_last {
                        missing.remove(&partition);
                    }
                    heard = Instant::now();
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => drop(missing.remove(&partition)),
                Some(Err(error)) => return Err(failed(error)),
                None if heard.elapsed() > READ_STALL => {
                    return Err(failed(KafkaError::MessageConsumption(Code::OperationTimedOut)));
                }
                None => {}
            }
        }
        Ok(())
    }

    /// Sends an event.
    pub(super) fn send(&self, offset: u64, message: &Message<'_>) -> Result<Sent, Failure> {
        let mut headers = OwnedHeaders::new_with_capacity(4);
        for (key, value) in message.headers() {
            headers = headers.insert(Header { key, value: Some(value) });
        }
        let opaque = usize::try_from(offset).expect("offsets fit the machine's words");
        let record = BaseRecord::with_opaque_to(&self.settings.topic, opaque)
            .key(message.key)
            .payload(message.value)
            .timestamp(message.time_ms)
            .headers(headers);
        match self.producer.send(record) {
            Ok(()) => Ok(Sent::Yes),
            Err((KafkaError::MessageProduction(Code::QueueFull), _)) => Ok(Sent::NoRoom),
            Err((error, _)) => Err(self.refused(offset, error)),
        }
    }

    /// Waits up to `wait` for acknowledgements, and hands out all there are.
    pub(super) fn acknowledged(
        &self,
        wait: Duration,
        mut each: impl FnMut(Acknowledged),
    ) -> Result<(), Failure> {
        self.producer.poll(wait);
        let reports = self.producer.client().context();
        take(&reports.acknowledged).into_iter().for_each(&mut each);
        if let Some((offset, error)) = take(&reports.refused) {
            return Err(self.refused(offset, error));
        }
        match self.producer.client().fatal_error() {
            Some((code, _)) => {
                Err(self.broker("the producer has failed", KafkaError::MessageProduction(code)))
            }
            None => Ok(()),
        }
    }

    /// What librdkafka has complained about.
    pub(super) fn problem(&self) -> Option<String> {
        lock(&self.producer.client().context().problem).clone()
    }

    /// What it has complained about so far is none any more.
    pub(super) fn forget_problem(&self) {
        drop(take(&self.producer.client().context().problem));
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.settings.topic
    }

    /// That it cannot be the mirror of this log.
    pub(super) fn foreign(&self, problem: String) -> Failure {
        Failure::Foreign { topic: self.settings.topic.clone(), problem }
    }

    fn broker(&self, what: &str, error: KafkaError) -> Failure {
        // The reason behind a time-out, such as a refused password, comes by another way.
        self.producer.poll(REASON_WAIT);
        let reason = self.problem().map(|reason| format!(" ({reason})")).unwrap_or_default();
        Failure::Broker { what: format!("{what}{reason}"), error: error.to_string() }
    }

    fn refused(&self, offset: u64, error: KafkaError) -> Failure {
        let hint = match error.rdkafka_error_code() {
            Some(Code::MessageSizeTooLarge) => {
                "; raise max.message.bytes of the topic and message.max.bytes of the client (mirror_client_file)"
            }
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition) => {
                "; has the topic been deleted? it is created again"
            }
            Some(Code::TopicAuthorizationFailed) => "; allow the mirror's user to write to it",
            Some(_) | None => "",
        };
        Failure::Refused { offset, topic: self.settings.topic.clone(), error: error.to_string(), hint }
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(?level, facility, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
        if error.rdkafka_error_code() == Some(Code::PartitionEOF) {
            return;
        }
        let mut problem = lock(&self.problem);
        // That no broker is left is said after why each has gone, and says less.
        if error.rdkafka_error_code() != Some(Code::AllBrokersDown) {
            *problem = Some(without_circumstances(reason).to_owned());
        } else if problem.is_none() {
            *problem = Some("no broker can be reached".to_owned());
        }
    }
}

impl ConsumerContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, offset: usize) {
        let offset = offset as u64;
        match result {
            Ok(message) => lock(&self.acknowledged).push(Acknowledged {
                offset,
                partition: usize::try_from(message.partition()).expect("partitions count from 0"),
                position: message.offset(),
            }),
            Err((error, _)) => {
                // The first says why; what comes after it follows from it.
                lock(&self.refused).get_or_insert_with(|| (offset, error.clone()));
            }
        }
    }
}

/// A reason without how often and how long it has been one: the same reason is the same text then.
fn without_circumstances(reason: &str) -> &str {
    reason.rsplit_once(" (after ").map_or(reason, |(reason, _)| reason)
}

/// How many partitions a topic has; 0 if there is no such topic. An error comes with what was tried.
fn partitions_of<C: ClientContext>(client: &Client<C>, name: &str) -> Result<usize, (String, KafkaError)> {
    let metadata = client.fetch_metadata(Some(name), REQUEST);
    let metadata = metadata.map_err(|error| ("the brokers do not answer".to_owned(), error))?;
    let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == name) else { return Ok(0) };
    match topic.error().map(Code::from) {
        None => Ok(topic.partitions().len()),
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => Ok(0),
        Some(code) => Err((format!("topic {name:?} cannot be used"), KafkaError::MetadataFetch(code))),
    }
}

/// Where the partitions of a topic begin and end, likewise.
fn ends_of<C: ClientContext>(client: &Client<C>, name: &str) -> Result<Vec<Ends>, (String, KafkaError)> {
    let ends = |partition| {
        let ends = client.fetch_watermarks(name, partition, REQUEST);
        let what = || format!("the end of partition {partition} of topic {name:?} cannot be read");
        ends.map(|(first, end)| Ends { first, end }).map_err(|error| (what(), error))
    };
    let partitions = i32::try_from(partitions_of(client, name)?).unwrap_or(i32::MAX);
    (0..partitions).map(ends).collect()
}

fn unmade(error: KafkaError) -> Failure {
    Failure::Client(error.to_string())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn take<T: Default>(mutex: &Mutex<T>) -> T {
    std::mem::take(&mut *lock(mutex))
}

fn held(message: &BorrowedMessage<'_>) -> Held {
    let text = |key| {
        let headers = message.headers()?;
        let header = headers.iter().find(|header| header.key == key)?;
        std::str::from_utf8(header.value?).ok()
    };
    Held {
        log_id: text(LOG_ID).unwrap_or_default().to_owned(),
        offset: text(OFFSET).and_then(|offset| offset.parse().ok()).unwrap_or_default(),
        partition: message.partition(),
        position: message.offset(),
    }
}
