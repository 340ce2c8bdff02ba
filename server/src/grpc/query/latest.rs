//! `GetLatest` of the present and `ListSignals`: what the log knows of each signal, a page at a time.

use std::sync::Arc;

use downlink_proto::v1::{
    GetLatestRequest, GetLatestResponse, ListSignalsRequest, ListSignalsResponse, Signal, ValueType,
};
use downlink_storage::{Log, SignalInfo, Value};
use tonic::Status;

use super::as_of;
use super::known::{latest_value, newest};
use super::request::{Page, names};
use crate::grpc::Shared;
use crate::grpc::convert::wire_latest;
use crate::grpc::definition;
use crate::grpc::status::Refusal;
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
    let answer = shared.newest("latest", move || {
        let head = log.head();
        let entries = newest(&log, &names, &page)?.map(|signal| {
            let signal = signal?;
            let value = |latest| latest_value(&log, latest, clock.now());
            Ok((signal.name.to_string(), signal.latest.map(value).transpose()?))
        });
        let (values, next_page_token) = page.fill(entries)?;
        Ok::<_, Refusal>(GetLatestResponse { values, next_page_token, as_of_offset: head.get() })
    });
    Ok(answer.await??)
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
    let answer = shared.newest("signals", move || {
        let (mut seen, mut defined) =
            (with_events(&log, &names, &page).peekable(), without_events(&log, &names, &page).peekable());
        // By name: either part is in order.
        let entries = std::iter::from_fn(|| match (seen.peek(), defined.peek()) {
            (Some(Ok((one, _))), Some(Ok((other, _)))) if other < one => defined.next(),
            (Some(_), _) => seen.next(),
            (None, _) => defined.next(),
        });
        let (signals, next_page_token) = page.fill(entries)?;
        Ok::<_, Refusal>(ListSignalsResponse { signals, next_page_token })
    });
    Ok(answer.await??)
}

/// A signal by its name, or why it cannot be had.
type Entry = Result<(String, Option<Signal>), Refusal>;

/// The signals wanted that have had events.
fn with_events(log: &Log, names: &Names, page: &Page) -> impl Iterator<Item = Entry> {
    log.signals(page.after.as_deref(), |name| names.wants(name)).map(|signal| {
        let signal = signal?;
        let definition = definition::find(log, &signal.name)?.unwrap_or_default();
        Ok((signal.name.to_string(), Some(wire_signal(signal, definition))))
    })
}

/// The signals wanted that are defined but have had no event yet.
fn without_events(log: &Log, names: &Names, page: &Page) -> impl Iterator<Item = Entry> {
    let after = page.after.as_ref().map(|after| format!("{}{after}", definition::PREFIX));
    let defined = |kept: &str| kept.strip_prefix(definition::PREFIX).map(str::to_owned);
    let is_wanted =
        move |kept: &str| defined(kept).is_some_and(|name| names.wants(&name) && !log.knows(&name));
    let found = log.names_under(definition::PREFIX, after.as_deref()).filter(move |kept| is_wanted(kept));
    found.filter_map(move |kept| {
        let name = defined(&kept)?;
        Some(definition::find(log, &name).map(|definition| (name, definition)))
    })
}

/// Without a definition the kind of its values is that of the newest.
fn wire_signal(signal: SignalInfo, definition: Signal) -> Signal {
    let newest = match signal.latest.as_ref().map(|latest| &latest.event.value) {
        None => ValueType::Unspecified,
        Some(Value::Double(_)) => ValueType::Double,
        Some(Value::Int(_)) => ValueType::Int,
        Some(Value::Bool(_)) => ValueType::Bool,
        Some(Value::String(_)) => ValueType::String,
        Some(Value::Bytes(_)) => ValueType::Bytes,
    };
    let defined = definition.value_type();
    Signal {
        name: signal.name.to_string(),
        signal_id: signal.id.0,
        value_type: if defined == ValueType::Unspecified { newest } else { defined }.into(),
        event_count: signal.events,
        latest: signal.latest.map(wire_latest),
        ..definition
    }
}
