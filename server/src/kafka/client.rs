//! How the brokers of a topic are reached, and what librdkafka tells of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::Error;
use crate::sync::{lock, take};

/// Settings of librdkafka.
pub(crate) type Properties = BTreeMap<String, String>;

/// Settings that begin so are those of the client of a schema registry, and none of librdkafka.
const SCHEMA_REGISTRY: &str = "schema.registry.";

/// The least that a reader fetches ahead of a partition.
const QUEUE_BYTES_MIN: usize = 64 << 10;

/// Where users put settings of librdkafka.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin<'a> {
    /// Lines of `name=value`; none if it is empty.
    pub(crate) file: &'a Path,
    /// Variables that begin so; they override what is in the file.
    pub(crate) variables: &'a str,
    /// Both, as people call them.
    pub(crate) name: &'static str,
}

/// Which topic, and how its brokers are reached.
#[derive(Clone)]
pub(crate) struct Access {
    /// The topic.
    pub(super) topic: String,
    /// What librdkafka is told, secrets included: never to be printed.
    properties: Properties,
    /// Where that comes from, for people.
    settings: &'static str,
}

impl Access {
    /// By the settings that there are now: `fixed`, then what users say, then `defaults`.
    pub(crate) fn load(
        topic: &str,
        defaults: Properties,
        origin: Origin<'_>,
        fixed: Properties,
    ) -> Result<Self, Error> {
        let mut properties = defaults;
        let unmade = |error| Error::Client { settings: origin.name, error };
        properties.extend(chosen(origin).map_err(unmade)?);
        properties.retain(|name, _| !name.starts_with(SCHEMA_REGISTRY));
        properties.extend(fixed);
        Ok(Self { topic: topic.to_owned(), properties, settings: origin.name })
    }

    /// The configuration of a client.
    pub(super) fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        for (key, value) in &self.properties {
            client.set(key, value);
        }
        // Who looks for a topic does not want one to be made by that.
        client.set("allow.auto.create.topics", "false");
        client.set_log_level(RDKafkaLogLevel::Warning);
        client
    }

    /// A client that reads so many partitions, and fetches about so many bytes ahead in all.
    pub(super) fn consumer(
        &self,
        partitions: usize,
        fetched_bytes_max: usize,
    ) -> Result<BaseConsumer<Complaints>, Error> {
        // What is in the queues, and an answer with what comes next.
        let (queues, answer) = (fetched_bytes_max / 4 * 3, fetched_bytes_max / 4);
        let queue_bytes = (queues / partitions.max(1)).max(QUEUE_BYTES_MIN);
        let mut client = self.client();
        // Who reads knows the positions; the brokers keep none, and nobody shares the work.
        client.set("group.id", "downlink").set("enable.auto.commit", "false");
        client.set("auto.offset.reset", "error").set("isolation.level", "read_uncommitted");
        // Positions that hold no message, such as marks of transactions, count as read when the end is told.
        client.set("enable.partition.eof", "true");
        // The queues are small: a full one must not rest for a second.
        client.set("fetch.queue.backoff.ms", "20");
        client.set("queued.max.messages.kbytes", (queue_bytes >> 10).to_string());
        client.set("max.partition.fetch.bytes", queue_bytes.min(1 << 20).to_string());
        client.set("fetch.max.bytes", answer.clamp(1 << 20, 32 << 20).to_string());
        client.create_with_context(Complaints::default()).map_err(|error| self.unmade(&error))
    }

    /// That a client cannot be made.
    pub(super) fn unmade(&self, error: &KafkaError) -> Error {
        Error::Client { settings: self.settings, error: error.to_string() }
    }
}

/// What librdkafka has complained about.
#[derive(Debug, Default)]
pub(super) struct Complaints(Mutex<Option<String>>);

impl Complaints {
    /// The last one, if there has been one.
    pub(super) fn last(&self) -> Option<String> {
        lock(&self.0).clone()
    }

    /// The same; from now on it is none any more.
    pub(super) fn take(&self) -> Option<String> {
        take(&self.0)
    }
}

impl ClientContext for Complaints {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(?level, facility, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
        if error.rdkafka_error_code() == Some(Code::PartitionEOF) {
            return;
        }
        let mut last = lock(&self.0);
        // That no broker is left is said after why each has gone, and says less.
        if error.rdkafka_error_code() != Some(Code::AllBrokersDown) {
            *last = Some(without_circumstances(reason).to_owned());
        } else if last.is_none() {
            *last = Some("no broker can be reached".to_owned());
        }
    }
}

impl ConsumerContext for Complaints {}

/// A reason without how often and how long it has been one: the same reason is the same text then.
fn without_circumstances(reason: &str) -> &str {
    reason.rsplit_once(" (after ").map_or(reason, |(reason, _)| reason)
}

/// What users say as of now: the settings in the file, and over them those of the variables.
pub(crate) fn chosen(origin: Origin<'_>) -> Result<Properties, String> {
    // What is not text is none of ours.
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    of_both(origin.file, origin.variables, variables)
}

fn of_both(
    file: &Path,
    prefix: &str,
    variables: impl Iterator<Item = (String, String)>,
) -> Result<Properties, String> {
    let text = if file.as_os_str().is_empty() {
        String::new()
    } else {
        fs::read_to_string(file).map_err(|error| format!("{} cannot be read: {error}", file.display()))?
    };
    let not_one = |line| format!("line {line} of {} is not name=value", file.display());
    let mut chosen = of_file(&text).map_err(not_one)?;
    chosen.extend(variables.filter_map(|(name, value)| {
        let name = name.strip_prefix(prefix)?.to_ascii_lowercase().replace('_', ".");
        Some((name, value))
    }));
    Ok(chosen)
}

/// The settings in a file, or the number of a line that is none.
fn of_file(text: &str) -> Result<Properties, usize> {
    let mut properties = Properties::new();
    for (number, line) in (1_usize..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line.split_once('=').ok_or(number)?;
        properties.insert(name.trim().to_owned(), value.trim().to_owned());
    }
    Ok(properties)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_lines_of_names_and_values() {
        let properties = of_file("# a comment\n\nsasl.password = a=b \nsecurity.protocol=SASL_SSL").unwrap();
        assert_eq!(properties["sasl.password"], "a=b");
        assert_eq!((properties.len(), &*properties["security.protocol"]), (2, "SASL_SSL"));
        assert_eq!(of_file("a=b\nnonsense"), Err(2));
    }

    #[test]
    fn a_variable_is_a_setting_with_dots() {
        let variables = [("DOWNLINK_X_CLIENT_SASL_PASSWORD", "x"), ("DOWNLINK_X_TOPIC", "y")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter();
        let properties = of_both(Path::new(""), "DOWNLINK_X_CLIENT_", variables).unwrap();
        assert_eq!(properties, Properties::from([("sasl.password".to_owned(), "x".to_owned())]));
    }
}
