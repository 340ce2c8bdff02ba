//! Brokers inside the process whose answers can be errors: librdkafka's mock cluster.

use std::time::Duration;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

/// What a client asks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Request {
    /// To take messages.
    Produce,
    /// For messages.
    Fetch,
    /// Where partitions begin and end.
    ListOffsets,
    /// Which partitions there are, and who leads them.
    Metadata,
    /// For what makes it idempotent.
    InitProducerId,
}

/// An answer other than the one hoped for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trouble {
    /// The connection is cut instead.
    Cut,
    /// Another broker leads the partition.
    NotLeader,
    /// It took too long.
    TimedOut,
    /// Too few replicas are there.
    TooFewReplicas,
    /// The disk fails.
    Disk,
    /// The message is too large.
    TooLarge,
    /// The user may not.
    NotAllowed,
    /// A batch before this one is missing.
    OutOfOrder,
    /// The producer is not known any more.
    UnknownProducer,
}

impl Trouble {
    const fn code(self) -> RDKafkaRespErr {
        match self {
            Self::Cut => RDKafkaRespErr::RD_KAFKA_RESP_ERR__TRANSPORT,
            Self::NotLeader => RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
            Self::TimedOut => RDKafkaRespErr::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
            Self::TooFewReplicas => RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
            Self::Disk => RDKafkaRespErr::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
            Self::TooLarge => RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
            Self::NotAllowed => RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
            Self::OutOfOrder => RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
            Self::UnknownProducer => RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID,
        }
    }
}

const REQUESTS: [Request; 5] =
    [Request::Produce, Request::Fetch, Request::ListOffsets, Request::Metadata, Request::InitProducerId];

const fn key(request: Request) -> RDKafkaApiKey {
    match request {
        Request::Produce => RDKafkaApiKey::Produce,
        Request::Fetch => RDKafkaApiKey::Fetch,
        Request::ListOffsets => RDKafkaApiKey::ListOffsets,
        Request::Metadata => RDKafkaApiKey::Metadata,
        Request::InitProducerId => RDKafkaApiKey::InitProducerId,
    }
}

/// Brokers, numbered from 1.
pub(crate) struct Brokers {
    cluster: MockCluster<'static, DefaultProducerContext>,
    count: i32,
}

impl Brokers {
    /// So many, with a topic.
    pub(crate) fn start(count: i32, topic: &str, partitions: i32) -> Self {
        let cluster = MockCluster::new(count).expect("a cluster");
        cluster.create_topic(topic, partitions, count.min(3)).expect("a topic");
        Self { cluster, count }
    }

    /// Where they listen.
    pub(crate) fn addresses(&self) -> String {
        self.cluster.bootstrap_servers()
    }

    /// The next answers to such requests, one each.
    pub(crate) fn answer(&self, request: Request, troubles: &[Trouble]) {
        let codes: Vec<_> = troubles.iter().map(|trouble| trouble.code()).collect();
        self.cluster.request_errors(key(request), &codes);
    }

    /// Ends a broker.
    pub(crate) fn stop(&self, broker: i32) {
        self.cluster.broker_down(broker).expect("such a broker");
    }

    /// Makes a broker answer only so much later.
    pub(crate) fn delay(&self, broker: i32, delay: Duration) {
        self.cluster.broker_round_trip_time(broker, delay).expect("such a broker");
    }

    /// Makes a broker the leader of a partition.
    pub(crate) fn lead(&self, topic: &str, partition: i32, broker: i32) {
        self.cluster.partition_leader(topic, partition, Some(broker)).expect("such a partition");
    }

    /// All answer again, and at once.
    pub(crate) fn recover(&self) {
        for request in REQUESTS {
            self.cluster.clear_request_errors(key(request));
        }
        for broker in 1..=self.count {
            self.cluster.broker_up(broker).expect("such a broker");
            self.delay(broker, Duration::ZERO);
        }
    }
}
