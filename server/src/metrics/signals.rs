//! The newest values of telemetry as gauges, where they are asked for.

use downlink_storage::{Latest, Value};

use super::page::Page;
use super::{SIGNAL_TIME, SIGNAL_VALUE};
use crate::grpc::Shared;
use crate::query::filter::Pattern;

/// Tells the newest value of every signal that is asked for: the first so many by name.
pub(super) fn tell(page: &mut Page, shared: &Shared) {
    let (log, config) = (&shared.log, &shared.config);
    let patterns: Vec<_> = config.metrics_signals.0.iter().filter_map(|glob| Pattern::new(glob)).collect();
    let mut left = config.metrics_signals_max;
    for (index, pattern) in patterns.iter().enumerate() {
        // One is enough, whatever patterns it matches.
        let is_new = |name: &str| !patterns[..index].iter().any(|earlier| earlier.matches(name));
        let names = log.names_under(pattern.literal_prefix(), None);
        for name in names.filter(|name| pattern.matches(name) && is_new(name)) {
            if left == 0 {
                return;
            }
            // What cannot be read is damaged, which others tell.
            if let Ok(Some(Some((value, seconds)))) = log.with_latest(&name, number) {
                page.value(&SIGNAL_VALUE, &[&name], value);
                page.value(&SIGNAL_TIME, &[&name], seconds);
                left -= 1;
            }
        }
    }
}

/// The value as a number, and its time.
fn number(latest: &Latest) -> Option<(f64, f64)> {
    let value = match &latest.event.value {
        Value::Double(value) => *value,
        Value::Int(value) => *value as f64,
        Value::Bool(value) => f64::from(u8::from(*value)),
        Value::String(_) | Value::Bytes(_) => return None,
    };
    Some((value, latest.event.event_time.unix_nanos() as f64 / 1e9))
}
