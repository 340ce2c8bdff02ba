//! How the mirror's topic is reached and made: what the configuration says, and what the promise of the mirror needs.

use super::failure::Failure;
use crate::config::{Config, MIRROR_VARIABLES, MirrorValues};
use crate::kafka::{Access, NewTopic, Origin, Properties};

/// Names, attributes, trace context and headers of an event.
const BESIDE_VALUE_BYTES: usize = 64 << 10;

/// How the topic is reached, by the settings as they are now.
pub(super) fn access(config: &Config) -> Result<Access, Failure> {
    Ok(Access::load(&config.mirror_topic, defaults(config), origin(config), fixed(config))?)
}

/// Where users put settings of the mirror's client.
pub(super) fn origin(config: &Config) -> Origin<'_> {
    Origin {
        file: &config.mirror_client_file,
        variables: MIRROR_VARIABLES,
        name: "mirror_client_file and DOWNLINK_MIRROR_CLIENT_*",
    }
}

/// What the topic is like if the mirror has to create it: any event fits.
pub(super) fn new_topic(config: &Config) -> NewTopic {
    let replication = config.mirror_replication.and_then(|number| i32::try_from(number).ok());
    NewTopic {
        partitions: i32::try_from(config.mirror_partitions).unwrap_or(i32::MAX),
        replication: replication.unwrap_or(-1),
        retention_ms: config.mirror_retention_ms,
        message_bytes_max: message_bytes_max(config),
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
fn defaults(config: &Config) -> Properties {
    let message_bytes_max = message_bytes_max(config).to_string();
    let defaults = [
        ("message.max.bytes", &*message_bytes_max),
        ("client.id", "downlink-mirror"),
        ("linger.ms", "5"),
        ("compression.type", "lz4"),
        ("socket.nagle.disable", "true"),
    ];
    defaults.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// What settings of the server say, and what the promise of the mirror rests on.
fn fixed(config: &Config) -> Properties {
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
