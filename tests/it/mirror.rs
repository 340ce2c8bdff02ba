//! The mirror: every event in the topic, once and in order, as an independent consumer sees it.

mod events;
mod kill;
mod registry;
mod trouble;
mod verify;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use downlink_proto::v1::consumer_service_client::ConsumerServiceClient;
use downlink_proto::v1::{Consumer, Event, ListConsumersRequest};
use prost::Message as _;

use crate::harness::{Server, server_command};
use crate::kafka::{Message, Topic};

/// The signal of the mirror's own checkpoints.
const CHECKPOINTS: &str = "_consumer/_mirror";
/// How long a mirror may take to catch up on a busy machine; a broker's client alone waits up to 10 s before it connects again.
pub(crate) const CATCH_UP: Duration = Duration::from_secs(180);

/// Longer than the times of events are ago: brokers drop what is older by its own time.
pub(crate) const RETENTION: &str = "mirror_retention_ms=100000000000000";

/// A server on `dir` with a mirror in `topic`.
pub(crate) fn mirrored(dir: &Path, topic: &Topic, settings: &[&str]) -> Server {
    let command = mirrored_command(dir, topic, settings);
    Server::spawn(command).unwrap_or_else(|output| panic!("the server did not start: {output}"))
}

pub(crate) fn mirrored_command(dir: &Path, topic: &Topic, settings: &[&str]) -> Command {
    let mut command = server_command(dir);
    let brokers = format!("mirror_bootstrap_servers={}", topic.brokers());
    let name = format!("mirror_topic={}", topic.name());
    for setting in
        [&*brokers, &name, RETENTION, "mirror_partitions=4", "mirror_retry_ms_max=500"].iter().chain(settings)
    {
        command.args(["--set", setting]);
    }
    // Also shows that any setting of librdkafka can be given so.
    command.env("DOWNLINK_MIRROR_CLIENT_RECONNECT_BACKOFF_MAX_MS", "500");
    command
}

/// Waits until the topic has everything, by the server's word.
pub(crate) async fn caught_up(server: &Server) {
    let caught_up = async {
        loop {
            let info = server.info().await;
            if info.mirrored_offset == info.head_offset {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(CATCH_UP, caught_up).await;
    assert!(waited.is_ok(), "the mirror does not catch up within {CATCH_UP:?}: {:?}", server.info().await);
}

/// Waits until the topic has everything by the server's word, and shows that it has. Gives the log, and what is in the topic.
async fn is_mirrored(server: &Server, topic: &Topic) -> (Vec<Event>, Vec<Message>) {
    // In this order: the log may grow by a checkpoint at any time.
    let log = server.read_everything().await;
    caught_up(server).await;
    let (messages, ends) = topic.read();
    check(&server.info().await.log_id, &log, &messages, &ends);
    (log, messages)
}

/// That the messages are the log; further checkpoints may have come after it was read.
fn check(log_id: &str, log: &[Event], messages: &[Message], ends: &[(u64, u64)]) {
    let mut by_offset = BTreeMap::new();
    for message in messages {
        let offset: u64 = message.headers["offset"].parse().expect("a number");
        let before = by_offset.insert(offset, message);
        assert!(before.is_none(), "event {offset} is there twice: {before:?} and {message:?}");
    }
    for (index, event) in log.iter().enumerate() {
        assert_eq!(event.offset, index as u64 + 1, "the log is whole");
        let message = by_offset.remove(&event.offset).unwrap_or_else(|| panic!("{event:?} is lost"));
        is_the_event(message, event, log_id);
    }
    for (offset, message) in by_offset {
        assert_eq!(message.key, CHECKPOINTS, "event {offset} is in no log: {message:?}");
    }
    is_in_order(messages, ends);
}

/// That a message is this event and says of it what it should.
fn is_the_event(message: &Message, event: &Event, log_id: &str) {
    let decoded = Event::decode(&*message.value).expect("an event");
    assert_eq!(decoded.encode_to_vec(), event.encode_to_vec(), "{decoded:?} is not {event:?}");
    assert_eq!(message.key, event.signal);
    assert_eq!(message.headers["log_id"], log_id);
    let seen_by_others = (message.event["offset"].as_str(), message.event["signal"].as_str());
    assert_eq!(seen_by_others, (Some(&*event.offset.to_string()), Some(&*event.signal)));
}

/// Signals that may be in several partitions: tests that add partitions append to them all the while, and a key may move then.
const MOVES: &str = "/grown/";

/// That nothing is missing inside the partitions, and that each signal is in one of them, in its order.
fn is_in_order(messages: &[Message], ends: &[(u64, u64)]) {
    let mut next: Vec<_> = ends.iter().map(|(first, _)| *first).collect();
    let mut partitions: BTreeMap<&str, u64> = BTreeMap::new();
    let mut last: BTreeMap<(&str, u64), u64> = BTreeMap::new();
    for message in messages {
        let position = &mut next[message.partition as usize];
        assert_eq!(message.position, *position, "partition {} has a hole", message.partition);
        *position += 1;
        let offset = message.headers["offset"].parse().expect("a number");
        let key = &*message.key;
        let may_move = key == CHECKPOINTS || key.contains(MOVES);
        let partition = *partitions.entry(key).or_insert(message.partition);
        assert!(may_move || partition == message.partition, "{key} is in two partitions");
        if let Some(before) = last.insert((key, message.partition), offset) {
            assert!(before < offset, "{key}: {before} stands before {offset}");
        }
    }
    assert!(next.iter().zip(ends).all(|(next, (_, end))| next == end), "{next:?} is not {ends:?}");
}

/// How many partitions have something.
fn partitions_used(messages: &[Message]) -> usize {
    messages.iter().map(|message| message.partition).collect::<BTreeSet<_>>().len()
}

/// The mirror, as one of the consumers.
async fn consumer(server: &Server) -> Option<Consumer> {
    let mut client = ConsumerServiceClient::new(server.channel().await);
    let listed = client.list_consumers(ListConsumersRequest::default()).await.expect("a list");
    listed.into_inner().consumers.into_iter().find(|consumer| consumer.name == "_mirror")
}
