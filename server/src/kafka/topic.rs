//! A topic as its brokers describe it: whether it is there, where it begins and ends.

use std::time::{Duration, Instant};

use futures::executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::client::{Access, Complaints};
use super::error::because;
use super::{Error, REASON_WAIT, REQUEST, Reader, Received, WAIT};

/// Complaints that are passed over at a time.
const COMPLAINTS_MAX: usize = 100;

/// Where a partition begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    /// The position of its first message.
    pub(crate) first: i64,
    /// The position the next message will get.
    pub(crate) end: i64,
}

/// What a topic is to be like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewTopic {
    /// How many partitions it has.
    pub(crate) partitions: i32,
    /// How often each is kept; -1: as the brokers do by default.
    pub(crate) replication: i32,
    /// How long they keep what is in it.
    pub(crate) retention_ms: u64,
    /// The largest message it takes.
    pub(crate) message_bytes_max: usize,
}

/// A topic that is asked about.
pub(crate) struct Topic {
    access: Access,
    /// Reads nothing.
    client: BaseConsumer<Complaints>,
}

impl Topic {
    /// By these settings. Whether the brokers are there shows when they are asked.
    pub(crate) fn connect(access: Access) -> Result<Self, Error> {
        let client = access.client().create_with_context(Complaints::default());
        let client = client.map_err(|error| access.unmade(&error))?;
        Ok(Self { access, client })
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.access.topic
    }

    /// How many partitions it has; 0 if there is no such topic.
    pub(crate) fn partitions(&self) -> Result<usize, Error> {
        self.forget_complaints();
        let name = self.name();
        let metadata = self.client.fetch_metadata(Some(name), REQUEST);
        let metadata =
            metadata.map_err(|error| self.failed("the brokers do not answer".to_owned(), error))?;
        let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == name) else { return Ok(0) };
        match topic.error().map(Code::from) {
            None => Ok(topic.partitions().len()),
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => Ok(0),
            Some(code) => {
                Err(self.failed(format!("topic {name:?} cannot be used"), KafkaError::MetadataFetch(code)))
            }
        }
    }

    /// Where its partitions begin and end; none if there is no such topic.
    pub(crate) fn ends(&self) -> Result<Vec<Ends>, Error> {
        let name = self.name();
        let ends = |partition| {
            let ends = self.client.fetch_watermarks(name, partition, REQUEST);
            let what = || format!("the end of partition {partition} of topic {name:?} cannot be read");
            ends.map(|(first, end)| Ends { first, end }).map_err(|error| self.failed(what(), error))
        };
        let partitions = i32::try_from(self.partitions()?).unwrap_or(i32::MAX);
        (0..partitions).map(ends).collect()
    }

    /// Creates it, unless somebody else just has.
    pub(crate) fn create(&self, like: &NewTopic) -> Result<(), Error> {
        let NewTopic { partitions, replication, retention_ms, message_bytes_max } = *like;
        let name = self.name();
        let what = || format!("topic {name:?} is missing and cannot be created");
        let admin: Result<AdminClient<DefaultClientContext>, _> = self.access.client().create();
        let admin = admin.map_err(|error| self.access.unmade(&error))?;
        let (retention, message_bytes) = (retention_ms.to_string(), message_bytes_max.to_string());
        let topic = rdkafka::admin::NewTopic::new(name, partitions, TopicReplication::Fixed(replication))
            .set("retention.ms", &retention)
            .set("max.message.bytes", &message_bytes)
            .set("cleanup.policy", "delete");
        let options = AdminOptions::new().request_timeout(Some(REQUEST)).operation_timeout(Some(REQUEST));
        let created = block_on(admin.create_topics([&topic], &options));
        match created.map_err(|error| self.failed(what(), error))?.pop() {
            Some(Err((_, code))) if code != Code::TopicAlreadyExists => {
                return Err(self.failed(what(), KafkaError::AdminOp(code)));
            }
            Some(Err(_) | Ok(_)) | None => {}
        }
        let deadline = Instant::now() + REQUEST;
        // Its partitions have leaders a little later.
        while self.partitions()? == 0 || self.ends().is_err() {
            if Instant::now() > deadline {
                return Err(self.failed(what(), KafkaError::AdminOp(Code::LeaderNotAvailable)));
            }
            std::thread::sleep(WAIT);
        }
        tracing::info!(topic = name, partitions, "the topic has been created");
        Ok(())
    }

    /// Reads it on from these positions, one for each partition, and fetches about so many bytes ahead.
    pub(crate) fn reader(&self, from: &[i64], fetched_bytes_max: usize) -> Result<Reader, Error> {
        Reader::open(&self.access, from, fetched_bytes_max)
    }

    /// Hands out every message from these positions to the ends, as [`Reader::read_to`] does.
    pub(crate) fn read<F: From<Error>>(
        &self,
        from: &[i64],
        ends: &[Ends],
        is_stopped: &dyn Fn() -> bool,
        each: impl FnMut(&Received<'_>) -> Result<bool, F>,
    ) -> Result<(), F> {
        let from: Vec<_> = from.iter().zip(ends).map(|(from, ends)| (*from).max(ends.first)).collect();
        if from.iter().zip(ends).all(|(from, ends)| *from >= ends.end) {
            return Ok(());
        }
        self.reader(&from, super::FETCHED_BYTES_MAX)?.read_to(&from, ends, is_stopped, each)
    }

    /// What the client has had to tell so far is what its brokers were like.
    fn forget_complaints(&self) {
        let _ = (0..COMPLAINTS_MAX).take_while(|_| self.client.poll(Duration::ZERO).is_some()).count();
        drop(self.client.client().context().take());
    }

    fn failed(&self, what: String, error: KafkaError) -> Error {
        // The reason behind a time-out, such as a refused password, comes by another way.
        drop(self.client.poll(REASON_WAIT));
        let reason = because(self.client.client().context().take());
        Error::Broker { what: format!("{what}{reason}"), error: error.to_string() }
    }
}
