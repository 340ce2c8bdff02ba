//! The border to sled: its errors and its panics become ours.

use std::cell::Cell;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use crate::engine::Error;

thread_local! {
    /// Set while this thread is inside sled, whose panics we turn into errors.
    static INSIDE_SLED: Cell<bool> = const { Cell::new(false) };
}

/// Keeps panics that [`guarded`] catches off stderr; all others are reported as before.
pub(super) fn quiet_panics_of_sled() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !INSIDE_SLED.get() {
                report(info);
            }
        }));
    });
}

/// In a panic of sled's: the system was short of something, which says nothing about the data.
const PASSING: &[&str] = &["Too many open files", "PermissionDenied", "OutOfMemory", "Input/output error"];

/// Does `work` inside sled; its errors and its panics become ours.
pub(super) fn guarded<T>(what: &str, work: impl FnOnce() -> sled::Result<T>) -> Result<T, Error> {
    let outer = INSIDE_SLED.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    INSIDE_SLED.set(outer);
    match result {
        Ok(result) => Ok(result?),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            // sled unwraps some errors of the system, which leaves only their words.
            let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
            let (no_space, passing) = (says(&["StorageFull"]), says(PASSING));
            let text = format!("panic in {what}: {text}");
            Err(match (no_space, passing) {
                (true, _) => Error::NoSpace(text),
                (false, true) => Error::Io(text),
                (false, false) => Error::Damaged(text),
            })
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        let text = error.to_string();
        #[expect(clippy::wildcard_enum_match_arm, reason = "the list of kinds is open")]
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace(text),
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::NotFound => {
                Self::Damaged(text)
            }
            _ => Self::Io(text),
        }
    }
}

impl From<sled::Error> for Error {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Io(error) => error.into(),
            sled::Error::CollectionNotFound(_)
            | sled::Error::Unsupported(_)
            | sled::Error::ReportableBug(_)
            | sled::Error::Corruption { .. } => Self::Damaged(error.to_string()),
        }
    }
}
