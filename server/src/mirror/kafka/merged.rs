//! Reads a whole topic, its partitions side by side, so that what is near in the log comes near in time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer as _, DefaultConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _, Timestamp};
use rdkafka::{Offset as Position, TopicPartitionList};

use super::{POLL, READ_STALL, REQUEST, client, unmade};
use crate::mirror::failure::Failure;
use crate::mirror::message::{Found, OFFSET};
use crate::mirror::settings::Settings;

/// KiB of messages that may wait in each partition's queue.
const QUEUE_KIB_MAX: &str = "1024";

/// One partition on its way to its end.
struct Partition {
    queue: PartitionQueue<DefaultConsumerContext>,
    end: i64,
    heard: Instant,
}

/// Hands out every message that is in the topic now; whichever partition is furthest behind in the log is read next. Ends
/// early when `each` says so.
pub(in crate::mirror) fn read(
    settings: &Settings,
    mut each: impl FnMut(&Found<'_>) -> Result<bool, Failure>,
    is_stopped: impl Fn() -> bool,
) -> Result<(), Failure> {
    let name = &settings.topic;
    let failed = |error: KafkaError| Failure::Broker {
        what: format!("topic {name:?} cannot be read"),
        error: error.to_string(),
    };
    let mut client = client(settings);
    client.set("group.id", "downlink-verify").set("enable.auto.commit", "false");
    client.set("auto.offset.reset", "error").set("isolation.level", "read_uncommitted");
    // The queues are small: a full one must not rest for a second.
    client.set("fetch.queue.backoff.ms", "20");
    client.set("enable.partition.eof", "true").set("queued.max.messages.kbytes", QUEUE_KIB_MAX);
    let consumer: Arc<BaseConsumer> = Arc::new(client.create().map_err(unmade)?);
    let metadata = consumer.fetch_metadata(Some(name), REQUEST).map_err(failed)?;
    let topic = metadata.topics().iter().find(|topic| topic.name() == name);
    let Some(topic) = topic.filter(|topic| topic.error().is_none()) else {
        return Err(failed(KafkaError::MetadataFetch(Code::UnknownTopicOrPartition)));
    };
    let (mut wanted, mut ends) = (TopicPartitionList::new(), BTreeMap::new());
    for partition in topic.partitions() {
        let (first, end) = consumer.fetch_watermarks(name, partition.id(), REQUEST).map_err(failed)?;
        if first < end {
            wanted.add_partition_offset(name, partition.id(), Position::Offset(first)).map_err(failed)?;
            ends.insert(partition.id(), end);
        }
    }
    consumer.assign(&wanted).map_err(failed)?;
    // By how far each has come in the log.
    let mut behind: BTreeMap<(u64, i32), Partition> = BTreeMap::new();
    for (id, end) in ends {
        let queue = consumer.split_partition_queue(name, id).expect("the topic's name has no zero byte");
        behind.insert((0, id), Partition { queue, end, heard: Instant::now() });
    }
    while let Some(((mut reached, id), mut partition)) = behind.pop_first() {
        if is_stopped() {
            return Ok(());
        }
        // What is not a message, such as that a broker is gone, comes here.
        if let Some(Err(error)) = consumer.poll(std::time::Duration::ZERO) {
            tracing::debug!(%error, "while the mirror's topic is read");
        }
        match partition.queue.poll(POLL) {
            Some(Ok(message)) => {
                let found = found(&message);
                reached = found.offset.max(reached);
                if !each(&found)? {
                    return Ok(());
                }
                if message.offset() + 1 >= partition.end {
                    continue;
                }
                partition.heard = Instant::now();
            }
            Some(Err(KafkaError::PartitionEOF(_))) => continue,
            Some(Err(error)) => return Err(failed(error)),
            None if partition.heard.elapsed() > READ_STALL => {
                return Err(failed(KafkaError::MessageConsumption(Code::OperationTimedOut)));
            }
            None => {}
        }
        behind.insert((reached, id), partition);
    }
    Ok(())
}

fn found<'a>(message: &'a BorrowedMessage<'_>) -> Found<'a> {
    let headers: Vec<_> = message
        .headers()
        .into_iter()
        .flat_map(|headers| headers.iter())
        .map(|header| (header.key, header.value.unwrap_or_default()))
        .collect();
    let text = |key| {
        headers.iter().find(|(name, _)| *name == key).and_then(|(_, value)| std::str::from_utf8(value).ok())
    };
    Found {
        offset: text(OFFSET).and_then(|offset| offset.parse().ok()).unwrap_or_default(),
        partition: message.partition(),
        position: message.offset(),
        key: message.key().unwrap_or_default(),
        value: message.payload().unwrap_or_default(),
        time_ms: match message.timestamp() {
            Timestamp::CreateTime(time_ms) => Some(time_ms),
            // The brokers' own.
            Timestamp::NotAvailable | Timestamp::LogAppendTime(_) => None,
        },
        headers,
    }
}
