//! A message that is in a topic, and what it says of itself.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rdkafka::message::{BorrowedMessage, Headers as _, Message as _, Timestamp};

use super::message::{CONTENT_TYPE, LOG_ID, OFFSET};

/// Where a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// In which partition.
    pub(crate) partition: usize,
    /// Where it is there.
    pub(crate) position: i64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "position {} of partition {}", self.position, self.partition)
    }
}

/// A message, not decoded yet.
#[derive(Debug)]
pub(crate) struct Received<'a> {
    /// Where it is.
    pub(crate) place: Place,
    /// Which log it says it is from; empty if it does not say.
    pub(crate) log_id: &'a str,
    /// Which event it says it is; 0 if it does not say.
    pub(crate) offset: u64,
    /// What it says its value is; empty if it does not say.
    pub(crate) content_type: &'a str,
    /// Its key.
    pub(crate) key: &'a [u8],
    /// Its value.
    pub(crate) value: &'a [u8],
    /// Its time, unless the brokers have given it one of their own.
    pub(crate) time_ms: Option<i64>,
    /// Its headers; none if the name of one is no text.
    pub(crate) headers: Vec<(&'a str, &'a [u8])>,
}

impl<'a> Received<'a> {
    /// A message as the client hands it out.
    pub(super) fn of(message: &'a BorrowedMessage<'_>) -> Self {
        let position = message.offset();
        let partition = usize::try_from(message.partition()).expect("partitions count from 0");
        let mut received = Self {
            place: Place { partition, position },
            log_id: "",
            offset: 0,
            content_type: "",
            key: message.key().unwrap_or_default(),
            value: message.payload().unwrap_or_default(),
            time_ms: match message.timestamp() {
                Timestamp::CreateTime(time_ms) => Some(time_ms),
                Timestamp::NotAvailable | Timestamp::LogAppendTime(_) => None,
            },
            headers: headers(message),
        };
        for (name, value) in &received.headers {
            let Ok(value) = std::str::from_utf8(value) else { continue };
            match *name {
                LOG_ID => received.log_id = value,
                OFFSET => received.offset = value.parse().unwrap_or_default(),
                CONTENT_TYPE => received.content_type = value,
                _ => {}
            }
        }
        received
    }

    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }
}

fn headers<'a>(message: &'a BorrowedMessage<'_>) -> Vec<(&'a str, &'a [u8])> {
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    let all = || headers.map(|header| (header.key, header.value.unwrap_or_default())).collect();
    // The client library panics at a name that is not UTF-8. Whoever can write to the topic can make one; no mirror does.
    catch_unwind(AssertUnwindSafe(all)).unwrap_or_default()
}
