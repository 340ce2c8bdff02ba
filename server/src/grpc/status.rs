//! Every refusal as a gRPC status or as a `Problem`: one table of reasons, codes and what to do.

use std::collections::HashMap;
use std::time::Duration;

use downlink_proto::v1::{ErrorReason, Problem};
use downlink_storage::Error;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::shutdown::RETRY_AFTER;

/// The domain of every `ErrorInfo`.
pub(crate) const DOMAIN: &str = "downlink";
/// How many fields an answer names at most: it travels in a header.
const FIELDS_MAX: usize = 16;

/// Why a call, or a part of one, was refused.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    reason: ErrorReason,
    message: String,
    fields: Vec<(String, String)>,
    metadata: Vec<(&'static str, String)>,
}

impl Refusal {
    /// For `reason`, explained by `message`.
    pub(crate) fn new(reason: ErrorReason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), fields: Vec::new(), metadata: Vec::new() }
    }

    /// Because `field` makes no sense.
    pub(crate) fn field(reason: ErrorReason, field: impl Into<String>, problem: impl Into<String>) -> Self {
        let (field, problem) = (field.into(), problem.into());
        let mut refusal = Self::new(reason, format!("{field}: {problem}"));
        refusal.fields.push((field, problem));
        refusal
    }

    /// Because the server is about to stop.
    pub(crate) fn draining() -> Self {
        Self::new(ErrorReason::Draining, "the server is about to stop")
    }

    /// Because there has been no event on `signal`.
    pub(crate) fn signal_unknown(signal: &str) -> Self {
        let message = format!("the log has never seen the signal {signal:?}");
        Self::new(ErrorReason::SignalUnknown, message).with("signal", signal)
    }

    /// Because this part of the API is not there yet.
    pub(crate) fn not_served_yet(what: &str) -> Self {
        Self::new(ErrorReason::NotServedYet, format!("{what} is not served by this version"))
    }

    /// With a fact that programs can read.
    pub(crate) fn with(mut self, key: &'static str, value: impl ToString) -> Self {
        self.metadata.push((key, value.to_string()));
        self
    }

    /// Several of the same kind as one that names all their fields.
    pub(crate) fn all(refusals: Vec<Self>) -> Option<Self> {
        let count = refusals.len();
        let mut refusals = refusals.into_iter();
        let mut all = refusals.next()?;
        if count > 1 {
            all.message = format!("{} (and {} more)", all.message, count - 1);
        }
        all.fields.extend(refusals.flat_map(|refusal| refusal.fields).take(FIELDS_MAX));
        all.fields.truncate(FIELDS_MAX);
        Some(all)
    }

    /// As an error about a part of a call.
    pub(crate) fn into_problem(self) -> Problem {
        Problem {
            code: u32::try_from(i32::from(code(self.reason))).unwrap_or_default(),
            reason: self.reason.into(),
            message: self.message,
            field: self.fields.into_iter().next().map(|(field, _)| field).unwrap_or_default(),
            metadata: self.metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
        }
    }
}

/// The name of a reason in an `ErrorInfo`.
pub(crate) fn reason_name(reason: ErrorReason) -> &'static str {
    let name = reason.as_str_name();
    name.strip_prefix("ERROR_REASON_").unwrap_or(name)
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let metadata: HashMap<String, String> =
            refusal.metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let mut details = ErrorDetails::with_error_info(reason_name(refusal.reason), DOMAIN, metadata);
        for (field, problem) in refusal.fields {
            details.add_bad_request_violation(field, problem);
        }
        if let Some(after) = retry_after(refusal.reason) {
            details.set_retry_info(Some(after));
        }
        Self::with_error_details(code(refusal.reason), refusal.message, details)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::DiskFull { free_bytes, reserve_bytes } => Self::new(ErrorReason::DiskFull, message)
                .with("free_bytes", free_bytes)
                .with("reserve_bytes", reserve_bytes),
            Error::ReadOnly(_) => Self::new(ErrorReason::ReadOnly, message),
            Error::ProducerFenced { .. } => Self::new(ErrorReason::ProducerFenced, message),
            Error::SequenceGap { expected, found, .. } => {
                Self::new(ErrorReason::SequenceGap, message).with("expected", expected).with("found", found)
            }
            Error::HeadMismatch { expected, head } => Self::new(ErrorReason::ExpectedHeadMismatch, message)
                .with("expected", expected)
                .with("head", head),
            Error::Quota { bound, .. } => Self::new(ErrorReason::Quota, message).with("bound", bound),
            Error::TooLarge { events, events_max } => {
                Self::new(ErrorReason::BatchTooLarge, message).with("found", events).with("most", events_max)
            }
            Error::Overloaded { .. } => Self::new(ErrorReason::Overloaded, message),
            Error::Closed => Self::draining(),
            Error::Truncated { oldest, .. } => {
                Self::new(ErrorReason::OffsetTruncated, message).with("oldest", oldest)
            }
            Error::BeyondHead { head, .. } => {
                Self::new(ErrorReason::OffsetBeyondHead, message).with("head", head)
            }
            // Details of the machine go to its own log, not over the wire.
            Error::Locked { .. }
            | Error::NewerFormat { .. }
            | Error::NotACopy(_)
            | Error::AnotherLog { .. }
            | Error::Damaged(_)
            | Error::Engine(_) => {
                tracing::error!(error = message, "the log has failed a call");
                Self::new(ErrorReason::Internal, "the log cannot be read; the server's log has the details")
            }
        }
    }
}

/// The status of an error of the log.
pub(crate) fn status(error: Error) -> Status {
    Refusal::from(error).into()
}

/// The code that belongs to a reason.
const fn code(reason: ErrorReason) -> Code {
    match reason {
        ErrorReason::Unspecified | ErrorReason::Internal => Code::Internal,
        ErrorReason::InvalidEvent
        | ErrorReason::InvalidFilter
        | ErrorReason::BatchTooLarge
        | ErrorReason::InvalidRequest => Code::InvalidArgument,
        ErrorReason::ExpectedHeadMismatch | ErrorReason::EtagMismatch => Code::Aborted,
        ErrorReason::ProducerFenced
        | ErrorReason::SequenceGap
        | ErrorReason::CheckpointRewind
        | ErrorReason::NoMirror
        | ErrorReason::ReadReplica => Code::FailedPrecondition,
        ErrorReason::OffsetTruncated | ErrorReason::OffsetBeyondHead => Code::OutOfRange,
        ErrorReason::SignalUnknown | ErrorReason::ConsumerUnknown => Code::NotFound,
        ErrorReason::DiskFull | ErrorReason::Quota | ErrorReason::SlowConsumer => Code::ResourceExhausted,
        ErrorReason::Overloaded
        | ErrorReason::Starting
        | ErrorReason::Draining
        | ErrorReason::ReadOnly
        | ErrorReason::MirrorUnavailable => Code::Unavailable,
        ErrorReason::BlockCorrupt => Code::DataLoss,
        ErrorReason::NotServedYet => Code::Unimplemented,
    }
}

/// When a retry may help, if it may.
const fn retry_after(reason: ErrorReason) -> Option<Duration> {
    match reason {
        ErrorReason::Overloaded => Some(Duration::from_millis(100)),
        ErrorReason::Starting | ErrorReason::Draining => Some(RETRY_AFTER),
        ErrorReason::DiskFull | ErrorReason::Quota | ErrorReason::MirrorUnavailable => {
            Some(Duration::from_secs(5))
        }
        ErrorReason::Unspecified
        | ErrorReason::Internal
        | ErrorReason::InvalidEvent
        | ErrorReason::InvalidFilter
        | ErrorReason::BatchTooLarge
        | ErrorReason::InvalidRequest
        | ErrorReason::ExpectedHeadMismatch
        | ErrorReason::EtagMismatch
        | ErrorReason::ProducerFenced
        | ErrorReason::SequenceGap
        | ErrorReason::OffsetTruncated
        | ErrorReason::OffsetBeyondHead
        | ErrorReason::SignalUnknown
        | ErrorReason::ConsumerUnknown
        | ErrorReason::CheckpointRewind
        | ErrorReason::NoMirror
        | ErrorReason::ReadReplica
        | ErrorReason::SlowConsumer
        | ErrorReason::ReadOnly
        | ErrorReason::BlockCorrupt
        | ErrorReason::NotServedYet => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_reason_fields_and_when_to_retry() {
        let bad = (0..40).map(|index| {
            Refusal::field(ErrorReason::InvalidEvent, format!("events[{index}].signal"), "must not be empty")
        });
        let status = Status::from(Refusal::all(bad.collect()).unwrap());
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.message(), "events[0].signal: must not be empty (and 39 more)");
        let info = status.get_details_error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("INVALID_EVENT", "downlink"));
        let fields = status.get_details_bad_request().unwrap().field_violations;
        assert_eq!((fields.len(), fields[1].field.as_str()), (FIELDS_MAX, "events[1].signal"));
        assert!(status.get_details_retry_info().is_none());

        let overloaded = super::status(Error::Overloaded { waiting: 3 });
        assert_eq!(overloaded.code(), Code::Unavailable);
        assert!(overloaded.get_details_retry_info().unwrap().retry_delay.is_some());
    }

    #[test]
    fn a_gap_says_what_was_expected() {
        let gap = Error::SequenceGap { producer: "p".to_owned(), expected: 4, found: 9 };
        let problem = Refusal::from(gap.clone()).into_problem();
        assert_eq!((problem.code, problem.reason()), (9, ErrorReason::SequenceGap));
        assert_eq!(problem.metadata["expected"], "4");
        assert_eq!(super::status(gap).get_details_error_info().unwrap().metadata["expected"], "4");
    }

    #[test]
    fn details_of_the_machine_stay_here() {
        let status = super::status(Error::Engine("/secret/path: permission denied".to_owned()));
        assert_eq!(status.code(), Code::Internal);
        assert!(!status.message().contains("secret"));
    }
}
