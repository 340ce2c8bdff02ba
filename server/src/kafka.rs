//! The Kafka protocol: a topic, who reads it and who writes it. With `kafka/`, the only place that names `rdkafka`.

mod client;
mod error;
mod message;
#[cfg(test)]
pub(crate) mod mock;
mod problem;
mod producer;
mod reader;
mod received;
mod retry;
mod topic;
mod watch;

use std::time::Duration;

pub(crate) use client::{Access, Origin, Properties, chosen};
pub(crate) use error::Error;
pub(crate) use message::{CONTENT_TYPE, JSON, LOG_ID, Message, OFFSET, Writer};
pub(crate) use problem::Problem;
pub(crate) use producer::{Acknowledged, Producer, Sent};
pub(crate) use reader::{Next, Reader};
pub(crate) use received::{Place, Received};
pub(crate) use retry::{STOP_POLL, sessions, wait};
pub(crate) use topic::{Ends, NewTopic, Topic};
pub(crate) use watch::Watch;

/// How long one request to the brokers may take.
const REQUEST: Duration = Duration::from_secs(10);
/// How long the reason behind a failure is waited for.
const REASON_WAIT: Duration = Duration::from_millis(20);
/// How long what a topic has is waited for at a time.
const WAIT: Duration = Duration::from_millis(50);
/// How long a topic may give nothing of what it has.
pub(crate) const STALL: Duration = Duration::from_secs(60);
/// What is fetched ahead of those who read a topic once, over all partitions.
pub(crate) const FETCHED_BYTES_MAX: usize = 16 << 20;
