//! Calls, by method: only those that the API describes have a name of their own.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::histogram::Histogram;
use super::page::Page;
use super::{Metrics, RPC_DURATION, RPC_ERRORS, RPCS, RPCS_IN_FLIGHT};

/// What gRPC calls its codes, by number.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
const OK: usize = 0;
const CANCELLED: usize = 1;
const UNKNOWN: usize = 2;
/// All methods that are not described.
const OTHER: &str = "other";
/// An error that names no reason, or one that is not of this API.
const NONE: &str = "none";

/// All calls.
pub(crate) struct Rpcs {
    /// The last one is for all others.
    methods: Vec<Method>,
    by_path: HashMap<String, usize>,
    /// The last one is [`NONE`].
    reasons: Vec<&'static str>,
}

struct Method {
    name: String,
    begun: AtomicU64,
    ended: [AtomicU64; CODES.len()],
    errors: Vec<AtomicU64>,
    duration: Histogram,
}

impl Rpcs {
    /// None yet of these methods, "service/method", and these reasons.
    pub(crate) fn new(methods: Vec<String>, mut reasons: Vec<&'static str>) -> Self {
        reasons.push(NONE);
        let by_path = methods.iter().enumerate().map(|(index, name)| (format!("/{name}"), index)).collect();
        let method = |name| Method {
            name,
            begun: AtomicU64::new(0),
            ended: std::array::from_fn(|_| AtomicU64::new(0)),
            errors: reasons.iter().map(|_| AtomicU64::new(0)).collect(),
            duration: Histogram::of_durations(),
        };
        let methods = methods.into_iter().chain([OTHER.to_owned()]).map(method).collect();
        Self { methods, by_path, reasons }
    }

    pub(super) fn tell(&self, page: &mut Page) {
        for method in &self.methods {
            let begun = method.begun.load(Ordering::Relaxed);
            if begun == 0 {
                continue;
            }
            let mut all = 0;
            for (code, ended) in CODES.iter().zip(&method.ended) {
                let ended = ended.load(Ordering::Relaxed);
                all += ended;
                if ended > 0 {
                    page.number(&RPCS, &[&method.name, code], ended);
                }
            }
            for (reason, errors) in self.reasons.iter().zip(&method.errors) {
                let errors = errors.load(Ordering::Relaxed);
                if errors > 0 {
                    page.number(&RPC_ERRORS, &[&method.name, reason], errors);
                }
            }
            page.histogram(&RPC_DURATION, &[&method.name], &method.duration);
            page.number(&RPCS_IN_FLIGHT, &[&method.name], begun.saturating_sub(all));
        }
    }
}

/// One call: counted as cancelled when it is dropped before it has ended.
pub(crate) struct Call {
    metrics: Arc<Metrics>,
    method: usize,
    begun: Instant,
    has_ended: bool,
}

impl Call {
    /// A call to `path` begins.
    pub(crate) fn begin(metrics: &Arc<Metrics>, path: &str) -> Self {
        let rpcs = &metrics.rpcs;
        let method = rpcs.by_path.get(path).copied().unwrap_or(rpcs.methods.len() - 1);
        rpcs.methods[method].begun.fetch_add(1, Ordering::Relaxed);
        Self { metrics: metrics.clone(), method, begun: Instant::now(), has_ended: false }
    }

    /// What is called, as "service/method", if that is described.
    pub(crate) fn method(&self) -> &str {
        &self.metrics.rpcs.methods[self.method].name
    }

    /// It has ended with this code, and for that reason if it is an error.
    pub(crate) fn end(&mut self, code: i32, reason: &str) {
        let code = usize::try_from(code).ok().filter(|code| *code < CODES.len()).unwrap_or(UNKNOWN);
        self.note(code, reason);
    }

    fn note(&mut self, code: usize, reason: &str) {
        if std::mem::replace(&mut self.has_ended, true) {
            return;
        }
        let rpcs = &self.metrics.rpcs;
        let method = &rpcs.methods[self.method];
        // A caller who goes is no error: so ends every subscription.
        if code != OK && code != CANCELLED {
            let known = rpcs.reasons.iter().position(|known| *known == reason);
            method.errors[known.unwrap_or(rpcs.reasons.len() - 1)].fetch_add(1, Ordering::Relaxed);
        }
        method.duration.took(self.begun.elapsed());
        method.ended[code].fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.note(CANCELLED, NONE);
    }
}
