//! Where the mirror goes, and how: what the configuration says, and what the promise of the mirror needs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::failure::Failure;
use crate::config::{Config, MIRROR_VARIABLES, MirrorValues};

/// Names, attributes, trace context and headers of an event.
const BESIDE_VALUE_BYTES: usize = 64 << 10;

/// Settings of librdkafka.
pub(crate) type Client = BTreeMap<String, String>;

/// Where the mirror goes, and how.
#[derive(Clone)]
pub(super) struct Settings {
    /// The topic.
    pub(super) topic: String,
    /// How many partitions it is given if it is missing.
    pub(super) partitions: i32,
    /// How often each is kept then; -1: as the brokers do by default.
    pub(super) replication: i32,
    /// How long they keep what is in it then.
    pub(super) retention_ms: u64,
    /// The largest message it takes then: any event fits.
    pub(super) message_bytes_max: usize,
    /// What librdkafka is told, secrets included: never to be printed.
    pub(super) client: Client,
}

impl Settings {
    /// Those of the configuration, of the client's file as it is now, and of the environment.
    pub(super) fn load(config: &Config) -> Result<Self, Failure> {
        let message_bytes_max = message_bytes_max(config);
        let mut client = defaults();
        client.insert("message.max.bytes".to_owned(), message_bytes_max.to_string());
        client.extend(chosen(&config.mirror_client_file, MIRROR_VARIABLES).map_err(Failure::Client)?);
        client.extend(fixed(config));
        Ok(Self {
            topic: config.mirror_topic.clone(),
            partitions: i32::try_from(config.mirror_partitions).unwrap_or(i32::MAX),
            replication: config
                .mirror_replication
                .and_then(|number| i32::try_from(number).ok())
                .unwrap_or(-1),
            retention_ms: config.mirror_retention_ms,
            message_bytes_max,
            client,
        })
    }
}

/// The largest value, and room for everything beside it. JSON writes some characters as six, and so it may write all.
fn message_bytes_max(config: &Config) -> usize {
    let event = config.value_bytes_max + BESIDE_VALUE_BYTES;
    match config.mirror_values {
        MirrorValues::Protobuf => event,
        MirrorValues::Json => 6 * event,
    }
}

/// What may be chosen otherwise.
fn defaults() -> Client {
    let defaults = [
        ("client.id", "downlink-mirror"),
        ("linger.ms", "5"),
        ("compression.type", "lz4"),
        ("socket.nagle.disable", "true"),
        ("allow.auto.create.topics", "false"),
    ];
    defaults.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// What settings of the server say, and what the promise of the mirror rests on.
fn fixed(config: &Config) -> Client {
    let fixed = [
        ("bootstrap.servers", config.mirror_bootstrap_servers.clone()),
        ("queue.buffering.max.messages", config.mirror_queue_events_max.to_string()),
        ("queue.buffering.max.kbytes", (config.mirror_queue_bytes_max / 1024).to_string()),
        // An event is tried until it is taken, or refused for good; each is taken once.
        ("enable.idempotence", "true".to_owned()),
        // With one that is refused everything behind it stops: it could not be sent later without overtaking it.
        ("enable.gapless.guarantee", "true".to_owned()),
        ("acks", "all".to_owned()),
        ("message.timeout.ms", "0".to_owned()),
        // As the Java clients do it, so that other producers and stream processors agree on where a signal is.
        ("partitioner", "murmur2_random".to_owned()),
    ];
    fixed.map(|(name, value)| (name.to_owned(), value)).into()
}

/// The settings in a client's file as it is now, and over them those of the variables that begin so.
pub(crate) fn chosen(file: &Path, variables: &str) -> Result<Client, String> {
    let text = if file.as_os_str().is_empty() {
        String::new()
    } else {
        fs::read_to_string(file).map_err(|error| format!("{} cannot be read: {error}", file.display()))?
    };
    let not_one = |line| format!("line {line} of {} is not name=value", file.display());
    let mut client = of_file(&text).map_err(not_one)?;
    client.extend(of_environment(variables, std::env::vars()));
    Ok(client)
}

/// The settings in a file, or the number of a line that is none.
fn of_file(text: &str) -> Result<Client, usize> {
    let mut client = Client::new();
    for (number, line) in (1_usize..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line.split_once('=').ok_or(number)?;
        client.insert(name.trim().to_owned(), value.trim().to_owned());
    }
    Ok(client)
}

fn of_environment(prefix: &str, variables: impl Iterator<Item = (String, String)>) -> Client {
    let setting = |(name, value): (String, String)| {
        let name = name.strip_prefix(prefix)?.to_ascii_lowercase().replace('_', ".");
        Some((name, value))
    };
    variables.filter_map(setting).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_lines_of_names_and_values() {
        let client = of_file("# a comment\n\nsasl.password = a=b \nsecurity.protocol=SASL_SSL").unwrap();
        assert_eq!(client["sasl.password"], "a=b");
        assert_eq!((client.len(), &*client["security.protocol"]), (2, "SASL_SSL"));
        assert_eq!(of_file("a=b\nnonsense"), Err(2));
    }

    #[test]
    fn a_variable_is_a_setting_with_dots() {
        let variables = [("DOWNLINK_MIRROR_CLIENT_SASL_PASSWORD", "x"), ("DOWNLINK_MIRROR_TOPIC", "y")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let client = of_environment(MIRROR_VARIABLES, variables.into_iter());
        assert_eq!(client, Client::from([("sasl.password".to_owned(), "x".to_owned())]));
    }
}
