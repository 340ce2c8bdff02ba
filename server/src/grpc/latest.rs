//! `GetLatest` of the present and `ListSignals`: what the log knows of each signal, a page at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use downlink_proto::v1::{
    ErrorReason, GetLatestRequest, GetLatestResponse, LatestValue, ListSignalsRequest, ListSignalsResponse,
    Signal, ValueType,
};
use downlink_storage::{Latest, Log, Quality, SignalInfo, Timestamp, Value};
use tonic::Status;

use super::convert::{wire_duration, wire_latest, wire_time};
use super::definition::{self, Brief};
use super::request::{Page, names};
use super::status::Refusal;
use super::subscribe::since;
use super::{Shared, as_of};
use crate::query::filter::Names;

/// `GetLatest`.
pub(crate) async fn get_latest(
    shared: &Arc<Shared>,
    request: GetLatestRequest,
) -> Result<GetLatestResponse, Status> {
    let names = names(&request.signals, "signals", shared.config.filter_patterns_max)?;
    let page = Page::new(request.page_size, &request.page_token, &shared.config)?;
    if let Some(then) = as_of::then(request.as_of_offset, request.as_of_time)? {
        return as_of::get_latest(shared, then, names, page).await;
    }
    let (log, clock) = (shared.log.clone(), shared.clock.clone());
    let answer = shared.unary("latest", move || {
        let head = log.head();
        let found = newest(&log, &names, &page)?;
        let entries = found.into_iter().map(|(name, latest)| {
            let value = latest_value(latest, Brief::of(&log, &name), clock.now());
            (name, value)
        });
        let (values, next_page_token) = page.fill(entries);
        Ok::<_, Refusal>(GetLatestResponse { values, next_page_token, as_of_offset: head.get() })
    });
    Ok(answer.await??)
}

/// The newest events of the signals wanted, by name.
pub(crate) fn newest(log: &Log, names: &Names, page: &Page) -> Result<Vec<(String, Latest)>, Refusal> {
    for name in names.exact() {
        if !log.knows(name) {
            let message = format!("the log has never seen the signal {name:?}");
            return Err(Refusal::new(ErrorReason::SignalUnknown, message).with("signal", name));
        }
    }
    if let Some(exact) = names.only_exact() {
        let mut wanted: Vec<&String> = exact.iter().filter(|name| page.reaches(name)).collect();
        wanted.sort();
        wanted.truncate(page.entries_enough());
        return Ok(wanted.into_iter().filter_map(|name| Some((name.clone(), log.latest(name)?))).collect());
    }
    let wanted = log.signals(page.after.as_deref(), page.entries_enough(), |name| names.wants(name));
    Ok(wanted.into_iter().map(|signal| (signal.name.to_string(), signal.latest)).collect())
}

/// The newest event of a signal as of `now`.
pub(crate) fn latest_value(latest: Latest, definition: Brief, now: Timestamp) -> LatestValue {
    let age = since(now, latest.event.event_time);
    LatestValue {
        age: Some(wire_duration(age)),
        stale: latest.event.quality == Quality::Stale || definition.is_outlived(age),
        unchanged_since: Some(wire_time(latest.unchanged_since)),
        unit: definition.unit.clone(),
        state: definition.label(&latest.event.value),
        event: Some(wire_latest(latest)),
    }
}

/// `ListSignals`.
pub(crate) async fn list_signals(
    shared: &Arc<Shared>,
    request: ListSignalsRequest,
) -> Result<ListSignalsResponse, Status> {
    let patterns = if request.filter.is_empty() { Vec::new() } else { vec![request.filter] };
    let names = names(&patterns, "filter", 1)?;
    let page = Page::new(request.page_size, &request.page_token, &shared.config)?;
    let log = shared.log.clone();
    let answer = shared.unary("signals", move || {
        let found = with_events(&log, &names, &page).chain(without_events(&log, &names, &page));
        // By name: either part is in order, and neither is shorter than a page needs.
        let found: BTreeMap<String, Signal> = found.collect();
        let (signals, next_page_token) = page.fill(found.into_iter());
        ListSignalsResponse { signals, next_page_token }
    });
    answer.await
}

/// The signals wanted that have had events.
fn with_events(log: &Log, names: &Names, page: &Page) -> impl Iterator<Item = (String, Signal)> {
    let found = log.signals(page.after.as_deref(), page.entries_enough(), |name| names.wants(name));
    found.into_iter().map(|signal| {
        let definition = definition::find(log, &signal.name).unwrap_or_default();
        (signal.name.to_string(), wire_signal(signal, definition))
    })
}

/// The signals wanted that are defined but have had no event yet.
fn without_events(log: &Log, names: &Names, page: &Page) -> impl Iterator<Item = (String, Signal)> {
    let after = page.after.as_ref().map(|after| format!("{}{after}", definition::PREFIX));
    let is_wanted = |name: &str| {
        let defined = name.strip_prefix(definition::PREFIX);
        defined.is_some_and(|name| names.wants(name) && !log.knows(name))
    };
    let found = log.signals_under(definition::PREFIX, after.as_deref(), page.entries_enough(), is_wanted);
    let signal = |name: &str| Some((name.to_owned(), definition::find(log, name)?));
    found.into_iter().filter_map(move |kept| signal(kept.name.strip_prefix(definition::PREFIX)?))
}

/// Without a definition the kind of its values is that of the newest.
fn wire_signal(signal: SignalInfo, definition: Signal) -> Signal {
    let newest = match signal.latest.event.value {
        Value::Double(_) => ValueType::Double,
        Value::Int(_) => ValueType::Int,
        Value::Bool(_) => ValueType::Bool,
        Value::String(_) => ValueType::String,
        Value::Bytes(_) => ValueType::Bytes,
    };
    let defined = definition.value_type();
    Signal {
        name: signal.name.to_string(),
        signal_id: signal.id.0,
        value_type: if defined == ValueType::Unspecified { newest } else { defined }.into(),
        event_count: signal.events,
        latest: Some(wire_latest(signal.latest)),
        ..definition
    }
}
