//! What is in a topic comes by the queues of its partitions, all of it, and brokers that go away are waited for.

use std::path::Path;

use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::*;
use crate::kafka::mock::Brokers;
use crate::kafka::{Origin, Properties, Topic};

const TOPIC: &str = "a";
const PARTITIONS: i32 = 6;
const MESSAGES: usize = 300;
/// More than is fetched ahead of a partition is in each.
const VALUE_BYTES: usize = 1_000;

fn access(brokers: &Brokers) -> Access {
    let properties = [
        ("bootstrap.servers", &*brokers.addresses()),
        ("reconnect.backoff.ms", "10"),
        ("reconnect.backoff.max.ms", "50"),
    ];
    let properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let origin = Origin { file: Path::new(""), variables: "NONE_", name: "" };
    Access::load(TOPIC, Properties::new(), origin, properties.into()).unwrap()
}

fn value(partition: usize, number: usize) -> String {
    format!("{:>VALUE_BYTES$}", format!("{partition} {number}"))
}

/// As many messages in each partition.
fn fill(access: &Access) {
    let producer: BaseProducer = access.client().create().unwrap();
    for number in 0..MESSAGES {
        for partition in 0..PARTITIONS {
            let value = value(partition as usize, number);
            let record = BaseRecord::<(), _>::to(TOPIC).partition(partition).payload(&value);
            producer.send(record).expect("there is room");
        }
        producer.poll(Duration::ZERO);
    }
    producer.flush(STALL).unwrap();
}

/// Reads everything; `turn` is told again and again how much has been read.
fn read_all(topic: &Topic, turn: impl Fn(usize)) {
    let ends = topic.ends().unwrap();
    let (from, count) = (vec![0; ends.len()], Cell::new(0));
    let mut next = vec![0; ends.len()];
    let each = |message: &Received<'_>| {
        let partition = message.place.partition;
        assert_eq!(message.place.position, next[partition] as i64, "none is left out");
        assert_eq!(message.value, value(partition, next[partition]).as_bytes());
        next[partition] += 1;
        count.set(count.get() + 1);
        Ok::<_, Error>(true)
    };
    let is_stopped = || {
        turn(count.get());
        false
    };
    topic.reader(&from, 1).unwrap().read_to(&from, &ends, &is_stopped, each).unwrap();
    assert_eq!(next, [MESSAGES; PARTITIONS as usize]);
}

#[test]
fn everything_comes_in_order_also_while_brokers_go_away_and_come_back() {
    let brokers = Brokers::start(1, TOPIC, PARTITIONS);
    let access = access(&brokers);
    fill(&access);
    let topic = Topic::connect(access).unwrap();
    // Many times: what is fetched before its queue is there would only now and then be lost.
    for _ in 0..5 {
        read_all(&topic, |_| {});
    }
    let (times, idle, before) = (Cell::new(0), Cell::new(0), Cell::new(0));
    read_all(&topic, |count| {
        idle.set(if before.replace(count) == count { idle.get() + 1 } else { 0 });
        if count > 300 * times.get() {
            times.set(times.get() + 1);
            brokers.stop(1);
        } else if idle.get() > 3 {
            brokers.recover();
        }
    });
    assert!(times.get() > 3, "it was away {} times", times.get());
}
