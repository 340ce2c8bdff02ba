//! A topic, and what a client that is not ours finds in it.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write as _};

use serde_json::{Value, json};

use super::{operate, python};
use crate::harness::succeed;

/// A topic of a test.
pub(crate) struct Topic {
    brokers: String,
    name: String,
}

/// A message as an independent consumer found it.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) partition: u64,
    pub(crate) position: u64,
    pub(crate) key: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) timestamp_ms: i64,
    pub(crate) value: Vec<u8>,
    /// What it decoded the value to, in the JSON of proto3.
    pub(crate) event: Value,
}

impl Topic {
    pub(super) const fn new(brokers: String, name: String) -> Self {
        Self { brokers, name }
    }

    /// `127.0.0.1:port`.
    pub(crate) fn brokers(&self) -> &str {
        &self.brokers
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Creates it with so many partitions and with settings, `name=value`.
    pub(crate) fn create(&self, partitions: u32, settings: &[&str]) {
        self.operate("create", &[&[&*partitions.to_string()], settings].concat());
    }

    /// Deletes it with all that is in it.
    pub(crate) fn delete(&self) {
        self.operate("delete", &[]);
    }

    /// Adds partitions, up to so many.
    pub(crate) fn grow(&self, partitions: u32) {
        self.operate("grow", &[&partitions.to_string()]);
    }

    /// Changes a setting, `name=value`.
    pub(crate) fn set(&self, setting: &str) {
        self.operate("set", &[setting]);
    }

    /// Sends a message with these headers, `name=value`.
    pub(crate) fn produce(&self, headers: &[&str]) {
        self.operate("produce", headers);
    }

    /// Sends one with a header whose name is no text.
    pub(crate) fn produce_odd(&self) {
        succeed(python("odd_message.py").args([&self.brokers, &self.name]));
    }

    /// Sends a message that is in it once more, but for these headers or, with `value=` and hexadecimal digits, its value.
    pub(crate) fn repeat(&self, message: &Message, changes: &[&str]) {
        let place = [message.partition.to_string(), message.position.to_string()];
        self.operate("repeat", &[&place.each_ref().map(String::as_str)[..], changes].concat());
    }

    /// Removes what is in a partition before this position.
    pub(crate) fn truncate(&self, partition: u64, position: u64) {
        self.operate("truncate", &[&partition.to_string(), &position.to_string()]);
    }

    /// Sends messages to the partitions that they name.
    pub(crate) fn fill(&self, messages: &[Message]) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut lines = BufWriter::new(&file);
        for message in messages {
            let value: String = message.value.iter().map(|byte| format!("{byte:02x}")).collect();
            let line = json!({
                "partition": message.partition,
                "key": message.key,
                "headers": message.headers,
                "value": value,
            });
            writeln!(lines, "{line}").unwrap();
        }
        lines.flush().unwrap();
        self.operate("fill", &[file.path().to_str().expect("a path in UTF-8")]);
    }

    /// Everything in it, by partition and position, and where each partition begins and ends.
    pub(crate) fn read(&self) -> (Vec<Message>, Vec<(u64, u64)>) {
        let said = self.lines();
        let mut lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let last = lines.pop().expect("a last line");
        let ends = serde_json::from_value(last["ends"].clone()).expect("it says where the partitions end");
        let mut messages: Vec<_> = lines.into_iter().map(message).collect();
        messages.sort_by_key(|message| (message.partition, message.position));
        (messages, ends)
    }

    /// The same as that client prints it: a line of JSON for each message, then one with the ends.
    pub(crate) fn lines(&self) -> String {
        succeed(python("mirror_consumer.py").args([&self.brokers, &self.name]))
    }

    /// Where each partition begins and ends.
    pub(crate) fn ends(&self) -> Vec<(u64, u64)> {
        let said = succeed(python("kafka_topic.py").args([&self.brokers, "ends", &self.name]));
        serde_json::from_str(&said).expect("it says where the partitions end")
    }

    fn operate(&self, action: &str, more: &[&str]) {
        operate(&self.brokers, &[&[action, &self.name], more].concat());
    }
}

fn message(mut line: Value) -> Message {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let headers: Vec<(String, String)> = serde_json::from_value(line["headers"].take()).unwrap();
    let count = headers.len();
    let headers = BTreeMap::from_iter(headers);
    assert_eq!(headers.len(), count, "a header comes twice");
    Message {
        partition: line["partition"].as_u64().unwrap(),
        position: line["position"].as_u64().unwrap(),
        key: text(&line["key"]),
        headers,
        timestamp_ms: line["timestamp_ms"].as_i64().expect("the time of an event"),
        value: bytes(&text(&line["value"])),
        event: line["event"].take(),
    }
}

fn bytes(hexadecimal: &str) -> Vec<u8> {
    let digits = |index| &hexadecimal[index..index + 2];
    (0..hexadecimal.len()).step_by(2).map(|index| u8::from_str_radix(digits(index), 16).unwrap()).collect()
}
