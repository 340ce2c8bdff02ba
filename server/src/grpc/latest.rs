//! `GetLatest` and `ListSignals`: what the log knows of each signal, a page at a time.

use std::sync::Arc;

use downlink_proto::v1::{
    ErrorReason, GetLatestRequest, GetLatestResponse, LatestValue, ListSignalsRequest, ListSignalsResponse,
    Signal, ValueType,
};
use downlink_storage::{Clock, Latest, Log, SignalInfo, Value};
use tonic::Status;

use super::Shared;
use super::convert::{wire_duration, wire_latest, wire_time};
use super::request::{Page, names};
use super::status::Refusal;
use super::subscribe::since;
use crate::query::filter::Names;

/// `GetLatest`.
pub(crate) async fn get_latest(
    shared: &Arc<Shared>,
    request: GetLatestRequest,
) -> Result<GetLatestResponse, Status> {
    if request.as_of_offset.is_some() {
        return Err(Refusal::not_served_yet("`as_of_offset`").into());
    }
    if request.as_of_time.is_some() {
        return Err(Refusal::not_served_yet("`as_of_time`").into());
    }
    let names = names(&request.signals, "signals", shared.config.filter_patterns_max)?;
    let page = Page::new(request.page_size, &request.page_token, &shared.config)?;
    let (log, clock) = (shared.log.clone(), shared.clock.clone());
    let answer = shared.unary("latest", move || {
        let head = log.head();
        let found = newest(&log, &names, &page)?;
        let entries = found.into_iter().map(|(name, latest)| (name, latest_value(latest, &*clock)));
        let (values, next_page_token) = page.fill(entries);
        Ok::<_, Refusal>(GetLatestResponse { values, next_page_token, as_of_offset: head.get() })
    });
    Ok(answer.await??)
}

/// The newest events of the signals wanted, by name.
fn newest(log: &Log, names: &Names, page: &Page) -> Result<Vec<(String, Latest)>, Refusal> {
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

fn latest_value(latest: Latest, clock: &dyn Clock) -> LatestValue {
    LatestValue {
        age: Some(wire_duration(since(clock.now(), latest.event.event_time))),
        stale: false,
        unchanged_since: Some(wire_time(latest.unchanged_since)),
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
        let wanted = log.signals(page.after.as_deref(), page.entries_enough(), |name| names.wants(name));
        let (signals, next_page_token) =
            page.fill(wanted.into_iter().map(|signal| (signal.name.to_string(), wire_signal(signal))));
        ListSignalsResponse { signals, next_page_token }
    });
    answer.await
}

/// Without a definition the kind of its values is that of the newest.
fn wire_signal(signal: SignalInfo) -> Signal {
    let value_type = match signal.latest.event.value {
        Value::Double(_) => ValueType::Double,
        Value::Int(_) => ValueType::Int,
        Value::Bool(_) => ValueType::Bool,
        Value::String(_) => ValueType::String,
        Value::Bytes(_) => ValueType::Bytes,
    };
    Signal {
        name: signal.name.to_string(),
        signal_id: signal.id.0,
        value_type: value_type.into(),
        event_count: signal.events,
        latest: Some(wire_latest(signal.latest)),
        ..Signal::default()
    }
}
