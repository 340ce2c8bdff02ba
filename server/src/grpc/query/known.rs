//! What the log knows of signals: the newest event of each, with what its definition says of it.

use downlink_proto::v1::LatestValue;
use downlink_storage::{Error, Latest, Log, Quality, SignalInfo, Timestamp};

use super::request::Page;
use crate::grpc::convert::{since, wire_duration, wire_latest, wire_time};
use crate::grpc::definition::Brief;
use crate::grpc::status::Refusal;
use crate::query::filter::Names;

/// What is known of the signals wanted, by name: each as it is asked for.
pub(crate) fn newest<'a>(
    log: &'a Log,
    names: &'a Names,
    page: &Page,
) -> Result<Box<dyn Iterator<Item = Result<SignalInfo, Error>> + 'a>, Refusal> {
    for name in names.exact() {
        if !log.knows(name) {
            return Err(Refusal::signal_unknown(name));
        }
    }
    let Some(exact) = names.only_exact() else {
        return Ok(Box::new(log.signals(page.after.as_deref(), |name| names.wants(name))));
    };
    let mut wanted: Vec<&String> = exact.iter().filter(|name| page.reaches(name)).collect();
    wanted.sort();
    Ok(Box::new(wanted.into_iter().filter_map(|name| log.signal(name).transpose())))
}

/// The newest event of a signal as of `now`, by its definition of today.
pub(crate) fn latest_value(log: &Log, latest: Latest, now: Timestamp) -> Result<LatestValue, Refusal> {
    let definition = Brief::of(log, &latest.event.signal, &latest.event.value)?;
    let age = since(now, latest.event.event_time);
    Ok(LatestValue {
        age: Some(wire_duration(age)),
        stale: latest.event.quality == Quality::Stale || definition.is_outlived(age),
        unchanged_since: Some(wire_time(latest.unchanged_since)),
        unit: definition.unit,
        state: definition.state,
        event: Some(wire_latest(latest)),
    })
}
