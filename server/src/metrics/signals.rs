//! The newest values of telemetry as gauges, where they are asked for.

use downlink_storage::{Latest, Value};

use super::page::Page;
use super::{SIGNAL_TIME, SIGNAL_VALUE};
use crate::grpc::Shared;
use crate::query::filter::Pattern;

/// Tells the newest value of every signal that is asked for: the first so many by name.
pub(super) fn tell(page: &mut Page, shared: &Shared) {
    let (log, config) = (&shared.log, &shared.config);
    let mut left = config.metrics_signals_max;
    for glob in &config.metrics_signals.0 {
        let Some(pattern) = Pattern::new(glob) else { continue };
        let names = log.names_under(pattern.literal_prefix(), None);
        for name in names.filter(|name| pattern.matches(name)) {
            if left == 0 {
                return;
            }
            // One is enough, whatever patterns it matches.
            let before = config.metrics_signals.0.iter().take_while(|earlier| *earlier != glob);
            if before.filter_map(|earlier| Pattern::new(earlier)).any(|earlier| earlier.matches(&name)) {
                continue;
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
