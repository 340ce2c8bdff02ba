//! Messages on their way into a topic, and what becomes of them.

use std::sync::Mutex;
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{DeliveryResult, Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};

use super::client::{Access, Complaints};
use super::error::because;
use super::{Error, Message, REASON_WAIT};
use crate::sync::{lock, take};

/// That the topic has taken an event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Acknowledged {
    /// Which event.
    pub(crate) offset: u64,
    /// Into which partition.
    pub(crate) partition: usize,
    /// To which place in it.
    pub(crate) position: i64,
}

/// Whether there was room for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// It is on its way.
    Yes,
    /// Too many are on their way: acknowledgements must be waited for.
    NoRoom,
}

/// A topic that events are sent to.
pub(crate) struct Producer {
    topic: String,
    producer: BaseProducer<Deliveries>,
}

/// What librdkafka has told.
#[derive(Debug, Default)]
struct Deliveries {
    acknowledged: Mutex<Vec<Acknowledged>>,
    refused: Mutex<Option<(u64, KafkaError)>>,
    complaints: Complaints,
}

impl Producer {
    /// By these settings. Whether the brokers are there shows when something is sent.
    pub(crate) fn connect(access: &Access) -> Result<Self, Error> {
        let producer = access.client().create_with_context(Deliveries::default());
        let producer = producer.map_err(|error| access.unmade(&error))?;
        Ok(Self { topic: access.topic.clone(), producer })
    }

    /// Sends an event.
    pub(crate) fn send(&self, offset: u64, message: &Message<'_>) -> Result<Sent, Error> {
        let mut headers = OwnedHeaders::new_with_capacity(4);
        for (key, value) in message.headers() {
            headers = headers.insert(Header { key, value: Some(value) });
        }
        let opaque = usize::try_from(offset).expect("offsets fit the machine's words");
        let record = BaseRecord::with_opaque_to(&self.topic, opaque)
            .key(message.key)
            .payload(message.value)
            .timestamp(message.time_ms)
            .headers(headers);
        match self.producer.send(record) {
            Ok(()) => Ok(Sent::Yes),
            Err((KafkaError::MessageProduction(Code::QueueFull), _)) => Ok(Sent::NoRoom),
            Err((error, _)) => Err(self.refused(offset, &error)),
        }
    }

    /// Waits up to `wait` for acknowledgements, and hands out all there are.
    pub(crate) fn acknowledged(
        &self,
        wait: Duration,
        mut each: impl FnMut(Acknowledged),
    ) -> Result<(), Error> {
        self.producer.poll(wait);
        let deliveries = self.deliveries();
        take(&deliveries.acknowledged).into_iter().for_each(&mut each);
        if let Some((offset, error)) = take(&deliveries.refused) {
            return Err(self.refused(offset, &error));
        }
        match self.producer.client().fatal_error() {
            Some((code, _)) => Err(self.failed(&KafkaError::MessageProduction(code))),
            None => Ok(()),
        }
    }

    /// What librdkafka has complained about.
    pub(crate) fn problem(&self) -> Option<String> {
        self.deliveries().complaints.last()
    }

    /// What it has complained about so far is none any more.
    pub(crate) fn forget_problem(&self) {
        drop(self.deliveries().complaints.take());
    }

    fn deliveries(&self) -> &Deliveries {
        self.producer.client().context()
    }

    fn failed(&self, error: &KafkaError) -> Error {
        // The reason comes by another way.
        self.producer.poll(REASON_WAIT);
        let what = format!("the producer has failed{}", because(self.problem()));
        Error::Broker { what, error: error.to_string() }
    }

    fn refused(&self, offset: u64, error: &KafkaError) -> Error {
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
        Error::Refused { offset, topic: self.topic.clone(), error: error.to_string(), hint }
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.complaints.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.complaints.error(error, reason);
    }
}

impl ProducerContext for Deliveries {
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
