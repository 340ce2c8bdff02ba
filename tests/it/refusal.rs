//! A refusal as a client reads it: code, `ErrorInfo`, `BadRequest`, `RetryInfo`; and the books beside it.

use std::collections::HashMap;
use std::fmt::Debug;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::harness::Server;

/// What a refused call says.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) code: Code,
    pub(crate) reason: String,
    /// The fields of `BadRequest`, in order.
    pub(crate) fields: Vec<String>,
    pub(crate) metadata: HashMap<String, String>,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) message: String,
}

impl Refusal {
    /// Reads a status, which must have our `ErrorInfo` and a message for people.
    pub(crate) fn read(status: &Status) -> Self {
        let info = status.get_details_error_info().unwrap_or_else(|| panic!("no ErrorInfo: {status:?}"));
        assert_eq!(info.domain, "downlink", "{status:?}");
        assert!(!status.message().is_empty(), "{status:?}");
        let violations = status.get_details_bad_request().map(|details| details.field_violations);
        let violations = violations.unwrap_or_default();
        assert!(violations.iter().all(|violation| !violation.description.is_empty()), "{violations:?}");
        Self {
            code: status.code(),
            reason: info.reason,
            fields: violations.into_iter().map(|violation| violation.field).collect(),
            metadata: info.metadata,
            retry_after: status.get_details_retry_info().and_then(|details| details.retry_delay),
            message: status.message().to_owned(),
        }
    }

    /// Asserts code and reason.
    #[track_caller]
    pub(crate) fn is(self, code: Code, reason: &str) -> Self {
        assert_eq!((self.code, self.reason.as_str()), (code, reason), "{self:?}");
        self
    }

    /// Asserts that exactly these fields are named.
    #[track_caller]
    pub(crate) fn names(self, fields: &[&str]) -> Self {
        assert_eq!(self.fields, fields, "{self:?}");
        self
    }
}

/// The refusal of a call that must not have succeeded.
#[track_caller]
pub(crate) fn refused<T: Debug>(result: Result<T, Status>) -> Refusal {
    Refusal::read(&result.expect_err("the call should have been refused"))
}

/// The books of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Books {
    pub(crate) appended: u64,
    pub(crate) duplicates: u64,
    pub(crate) rejected: u64,
}

impl Books {
    /// As they are now. They must balance.
    pub(crate) async fn of(server: &Server) -> Self {
        let totals = server.info().await.totals.expect("totals");
        let answered = totals.appended_events + totals.duplicate_events + totals.rejected_events;
        assert_eq!(totals.received_events, answered, "the books balance: {totals:?}");
        Self {
            appended: totals.appended_events,
            duplicates: totals.duplicate_events,
            rejected: totals.rejected_events,
        }
    }

    /// Asserts what has been entered since `self`, exactly.
    #[track_caller]
    pub(crate) fn plus(self, appended: u64, duplicates: u64, rejected: u64) -> Self {
        Self {
            appended: self.appended + appended,
            duplicates: self.duplicates + duplicates,
            rejected: self.rejected + rejected,
        }
    }
}
