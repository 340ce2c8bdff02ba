//! What can go wrong, what it means, and whether another try can mend it.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use downlink_proto::v1::append_stream_response::Draining;
use downlink_proto::v1::{ErrorReason, Problem};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::append::RejectedBatch;

/// What the transport says of an answer in another protocol: its first bytes make no frame of HTTP/2.
const NOT_A_FRAME: &str = "frame with invalid size";
/// What it says of an answer in HTTP/2 that is not gRPC.
const NO_GRPC_STATUS: &str = "grpc-status header missing";

/// What went wrong. The text says what to do about it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The address makes no sense.
    #[error("'{url}' is not a server's address ({reason}); write it like http://127.0.0.1:50051")]
    InvalidUrl {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no connection to be had.
    #[error("cannot reach {url}: {reason}; is the server running?")]
    Unreachable {
        /// The server.
        url: String,
        /// Why not.
        reason: String,
    },
    /// The connection broke in the middle of a call.
    #[error("the connection to {url} was lost ({reason})")]
    ConnectionLost {
        /// The server.
        url: String,
        /// How.
        reason: String,
    },
    /// The server did not answer in time.
    #[error("no answer from {url} in {} s; is it a Downlink server?", .after.as_secs())]
    TimedOut {
        /// The server.
        url: String,
        /// How long it had.
        after: Duration,
    },
    /// Another program listens there.
    #[error("something that is not a gRPC server answers at {url}; check the port")]
    NotGrpc {
        /// The address.
        url: String,
    },
    /// The server said no.
    #[error(transparent)]
    Refused(Box<Refusal>),
    /// The server refused a batch of an [`Appender`](crate::Appender), or some of its events.
    #[error("{0}")]
    Rejected(Box<RejectedBatch>),
    /// The log is another one than at first: it was made anew.
    #[error("the log at {url} was replaced: it was {before} and is {now}; start afresh")]
    LogReplaced {
        /// The server.
        url: String,
        /// The log's identity at first.
        before: String,
        /// Its identity now.
        now: String,
    },
    /// The log has forgotten batches that it had acknowledged: an older copy of it was put in its place.
    #[error(
        "the log at {url} lost batches {first} to {last}, which it had acknowledged; was a backup restored?"
    )]
    AcknowledgedLost {
        /// The server.
        url: String,
        /// The first sequence that is missing.
        first: u64,
        /// The last sequence that is missing.
        last: u64,
    },
    /// Tried again for as long as allowed.
    #[error("{last}; gave up after {} s", .tried_for.as_secs_f64().round())]
    GaveUp {
        /// How the last try ended.
        last: Box<Error>,
        /// For how long it was tried.
        tried_for: Duration,
    },
    /// The server broke the rules of the API.
    #[error("{url} answered with {reason}; is it a Downlink server of this version?")]
    Protocol {
        /// The server.
        url: String,
        /// What it did.
        reason: String,
    },
}

/// The few kinds of failure that callers tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request is wrong and will stay so.
    Invalid,
    /// The server cannot be reached, or cannot serve at present: try again.
    Unavailable,
    /// There is no room, or a bound is reached.
    Exhausted,
    /// Somebody else was there first: another head, a newer epoch, a newer stream of the same producer.
    Conflict,
    /// What was asked for is not there, or not any more, or not yet.
    Missing,
    /// Damage: events are lost, or the log is not the one it was.
    DataLoss,
    /// Not allowed.
    Denied,
    /// Not served by this version.
    NotServed,
    /// A defect.
    Internal,
}

/// A field that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldViolation {
    /// Where, such as `events[3].signal`.
    pub field: String,
    /// What is wrong with it.
    pub description: String,
}

/// A server's no, with its reasons.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The gRPC code.
    pub code: Code,
    /// The reason in Downlink's own words, if it gave one.
    pub reason: Option<ErrorReason>,
    /// What was wrong and what to do.
    pub message: String,
    /// The fields in question.
    pub fields: Vec<FieldViolation>,
    /// Further facts, such as `expected`.
    pub metadata: BTreeMap<String, String>,
    /// When to try again.
    pub retry_after: Option<Duration>,
}

impl Error {
    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::InvalidUrl { .. } | Self::NotGrpc { .. } => ErrorKind::Invalid,
            Self::Unreachable { .. } | Self::ConnectionLost { .. } | Self::TimedOut { .. } => {
                ErrorKind::Unavailable
            }
            Self::Refused(refusal) => refusal.kind(),
            Self::Rejected(batch) => batch.refusal.kind(),
            Self::LogReplaced { .. } | Self::AcknowledgedLost { .. } => ErrorKind::DataLoss,
            Self::GaveUp { last, .. } => last.kind(),
            Self::Protocol { .. } => ErrorKind::Internal,
        }
    }

    /// Whether the same again, a little later, can succeed.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::ConnectionLost { .. } | Self::TimedOut { .. } => true,
            Self::Refused(refusal) => refusal.is_retryable(),
            Self::InvalidUrl { .. }
            | Self::NotGrpc { .. }
            | Self::Rejected(_)
            | Self::LogReplaced { .. }
            | Self::AcknowledgedLost { .. }
            | Self::GaveUp { .. }
            | Self::Protocol { .. } => false,
        }
    }

    /// When the server wants to be asked again.
    pub fn retry_after(&self) -> Option<Duration> {
        if let Self::Refused(refusal) = self { refusal.retry_after } else { None }
    }

    /// The server's reason, where it said no.
    pub fn reason(&self) -> Option<ErrorReason> {
        match self {
            Self::Refused(refusal) => refusal.reason,
            Self::Rejected(batch) => batch.refusal.reason,
            Self::GaveUp { last, .. } => last.reason(),
            Self::InvalidUrl { .. }
            | Self::NotGrpc { .. }
            | Self::Unreachable { .. }
            | Self::ConnectionLost { .. }
            | Self::TimedOut { .. }
            | Self::LogReplaced { .. }
            | Self::AcknowledgedLost { .. }
            | Self::Protocol { .. } => None,
        }
    }

    pub(crate) fn given_up(self, tried_for: Duration) -> Self {
        Self::GaveUp { last: Box::new(self), tried_for }
    }

    /// The same, when there was no connection that could have been lost.
    pub(crate) fn while_connecting(self) -> Self {
        if let Self::ConnectionLost { url, reason } = self { Self::Unreachable { url, reason } } else { self }
    }

    /// A server that is about to stop.
    pub(crate) fn draining(asked: &Draining) -> Self {
        Self::Refused(Box::new(Refusal {
            code: Code::Unavailable,
            reason: Some(ErrorReason::Draining),
            message: "the server is about to stop".to_owned(),
            fields: vec![],
            metadata: BTreeMap::new(),
            retry_after: asked.retry_after.and_then(|after| after.try_into().ok()),
        }))
    }

    /// What a call's status means, if the call had so long.
    pub(crate) fn from_status(url: &str, status: &Status, timeout: Duration) -> Self {
        // What a server says arrives without a source; what breaks on the way has one.
        match status.source() {
            Some(source) => Self::from_transport(url, source, timeout),
            None if status.message().contains(NO_GRPC_STATUS) => Self::NotGrpc { url: url.to_owned() },
            None => Self::Refused(Box::new(Refusal::from_status(status))),
        }
    }

    pub(crate) fn from_transport(url: &str, error: &(dyn StdError + 'static), timeout: Duration) -> Self {
        let url = url.to_owned();
        let (mut cause, mut connecting) = (error, false);
        loop {
            if cause.is::<tonic::TimeoutExpired>() {
                return Self::TimedOut { url, after: timeout };
            }
            connecting |= cause.is::<tonic::ConnectError>();
            match cause.source() {
                Some(deeper) => cause = deeper,
                None => break,
            }
        }
        let reason = match cause.downcast_ref::<std::io::Error>() {
            Some(error) if error.raw_os_error().is_some() => error.kind().to_string(),
            Some(_) | None => cause.to_string(),
        };
        if reason.contains(NOT_A_FRAME) {
            return Self::NotGrpc { url };
        }
        if connecting { Self::Unreachable { url, reason } } else { Self::ConnectionLost { url, reason } }
    }
}

impl Refusal {
    fn from_status(status: &Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info().filter(|info| info.domain == "downlink");
        let fields = details.bad_request().map(|bad| bad.field_violations.as_slice()).unwrap_or_default();
        let fields = fields.iter().map(|violation| FieldViolation {
            field: violation.field.clone(),
            description: violation.description.clone(),
        });
        Self {
            code: status.code(),
            reason: info
                .and_then(|info| ErrorReason::from_str_name(&format!("ERROR_REASON_{}", info.reason))),
            message: match status.message() {
                "" => status.code().description().to_lowercase(),
                message => message.to_owned(),
            },
            fields: fields.collect(),
            metadata: info.map(|info| info.metadata.clone().into_iter().collect()).unwrap_or_default(),
            retry_after: details.retry_info().and_then(|retry| retry.retry_delay),
        }
    }

    /// The same from an error about a part of a call.
    pub(crate) fn from_problem(problem: &Problem) -> Self {
        let reason = problem.reason();
        let field = FieldViolation { field: problem.field.clone(), description: String::new() };
        Self {
            code: Code::from_i32(problem.code as i32),
            reason: (reason != ErrorReason::Unspecified).then_some(reason),
            message: problem.message.clone(),
            fields: if problem.field.is_empty() { vec![] } else { vec![field] },
            metadata: problem.metadata.clone().into_iter().collect(),
            retry_after: None,
        }
    }

    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        match self.code {
            Code::InvalidArgument => ErrorKind::Invalid,
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => ErrorKind::Unavailable,
            Code::ResourceExhausted => ErrorKind::Exhausted,
            Code::Aborted | Code::FailedPrecondition | Code::AlreadyExists => ErrorKind::Conflict,
            Code::NotFound | Code::OutOfRange => ErrorKind::Missing,
            Code::DataLoss => ErrorKind::DataLoss,
            Code::PermissionDenied | Code::Unauthenticated => ErrorKind::Denied,
            Code::Unimplemented => ErrorKind::NotServed,
            Code::Ok | Code::Unknown | Code::Internal => ErrorKind::Internal,
        }
    }

    /// Whether the same again, a little later, can succeed.
    pub fn is_retryable(&self) -> bool {
        let room_may_come = matches!(self.reason, Some(ErrorReason::DiskFull | ErrorReason::SlowConsumer));
        room_may_come || self.kind() == ErrorKind::Unavailable
    }
}

impl StdError for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)?;
        // Messages often name the field themselves.
        for violation in self.fields.iter().filter(|violation| !self.message.contains(&violation.field)) {
            write!(out, "; {}", violation.field)?;
            if !violation.description.is_empty() {
                write!(out, ": {}", violation.description)?;
            }
        }
        match self.reason {
            Some(reason) => write!(out, " [{}]", reason.as_str_name().trim_start_matches("ERROR_REASON_")),
            None => write!(out, " [{:?}]", self.code),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::ErrorDetails;

    fn refused(status: &Status) -> Error {
        Error::from_status("http://log:50051", status, Duration::from_secs(10))
    }

    #[test]
    fn details_are_decoded() {
        let mut details = ErrorDetails::new();
        details
            .set_error_info("INVALID_EVENT", "downlink", [("index".to_owned(), "3".to_owned())])
            .add_bad_request_violation("events[3].signal", "is empty")
            .set_retry_info(Some(Duration::from_millis(250)));
        let status = Status::with_error_details(Code::InvalidArgument, "a batch of 4 is refused", details);
        let Error::Refused(refusal) = refused(&status) else { panic!("not refused") };
        assert_eq!(refusal.reason, Some(ErrorReason::InvalidEvent));
        assert_eq!(refusal.metadata["index"], "3");
        assert_eq!(refusal.retry_after, Some(Duration::from_millis(250)));
        assert_eq!(refusal.kind(), ErrorKind::Invalid);
        let text = "a batch of 4 is refused; events[3].signal: is empty [INVALID_EVENT]";
        assert_eq!(refusal.to_string(), text);
    }

    #[test]
    fn another_try_is_for_what_it_can_mend() {
        assert!(refused(&Status::unavailable("draining")).is_retryable());
        assert!(!refused(&Status::invalid_argument("no")).is_retryable());
        assert!(!refused(&Status::resource_exhausted("too many producers")).is_retryable());
        let mut full = ErrorDetails::new();
        full.set_error_info("DISK_FULL", "downlink", std::collections::HashMap::new());
        let status = Status::with_error_details(Code::ResourceExhausted, "the disk is full", full);
        assert!(refused(&status).is_retryable());
        assert!(!refused(&status).given_up(Duration::from_secs(60)).is_retryable());
    }

    #[test]
    fn a_bare_status_still_says_something() {
        let text = refused(&Status::new(Code::Unimplemented, "")).to_string();
        assert_eq!(text, "operation is not implemented or not supported [Unimplemented]");
    }
}
