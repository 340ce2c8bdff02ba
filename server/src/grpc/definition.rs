//! Definitions of signals: events on `_signal/<name>` whose value is an encoded `downlink.v1.Signal`.

mod brief;

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use downlink_proto::v1::{Limit, Signal, ValueType, limit::Severity};
use downlink_storage::{Event, Latest, Log, Quality, Timestamp, Value};
use prost::Message as _;

pub(crate) use self::brief::Brief;
use super::convert::duration;
use super::ingest::checks::Checks;
use super::query::request::invalid;
use super::status::Refusal;

/// What the signals of definitions begin with.
pub(crate) const PREFIX: &str = "_signal/";
/// The attribute that says what the value of a definition is, and what it says.
const CONTENT_TYPE: (&str, &str) = ("content-type", "application/protobuf; proto=downlink.v1.Signal");
/// The longest name: with the prefix it is as long as the longest name of all.
const NAME_BYTES_MAX: usize = 255 - PREFIX.len();
/// The longest unit and the longest label of a state.
const WORD_BYTES_MAX: usize = 64;
/// The longest title.
const DISPLAY_NAME_BYTES_MAX: usize = 255;
/// The longest description.
const DESCRIPTION_BYTES_MAX: usize = 4 << 10;
/// The most states.
const STATES_MAX: usize = 1_024;
/// The most limits.
const LIMITS_MAX: usize = 16;
/// The longest period, about ten years.
const PERIOD_SECONDS_MAX: u64 = 315_576_000;

/// The definitions as they are kept; all refusals as one if there are any.
pub(crate) fn accepted(definitions: Vec<Signal>, checks: &Checks) -> Result<Vec<(String, Vec<u8>)>, Refusal> {
    if definitions.is_empty() {
        return Err(invalid("signals", "must not be empty"));
    }
    let (mut names, mut refusals) = (HashSet::new(), Vec::new());
    for (index, definition) in definitions.iter().enumerate() {
        let is_new = names.insert(&definition.name);
        let twice = || ("name", format!("{:?} is defined twice in this call", definition.name));
        let checked = check(definition, checks).and_then(|()| is_new.then_some(()).ok_or_else(twice));
        if let Err((field, problem)) = checked {
            refusals.push(invalid(format!("signals[{index}].{field}"), problem));
        }
    }
    match Refusal::all(refusals) {
        Some(refusal) => Err(refusal),
        None => Ok(definitions.into_iter().map(encoded).collect()),
    }
}

/// A definition without what only the log knows.
fn encoded(definition: Signal) -> (String, Vec<u8>) {
    let kept = Signal { signal_id: 0, event_count: 0, latest: None, ..definition };
    let bytes = kept.encode_to_vec();
    (kept.name, bytes)
}

type Problem = (&'static str, String);

fn check(definition: &Signal, checks: &Checks) -> Result<(), Problem> {
    checks.signal(&definition.name).map_err(|problem| ("name", problem))?;
    check_text("name", &definition.name, NAME_BYTES_MAX)?;
    check_text("display_name", &definition.display_name, DISPLAY_NAME_BYTES_MAX)?;
    check_text("unit", &definition.unit, WORD_BYTES_MAX)?;
    check_bytes("description", &definition.description, DESCRIPTION_BYTES_MAX)?;
    let value_type = ValueType::try_from(definition.value_type)
        .map_err(|_| ("value_type", format!("{} is not one of its values", definition.value_type)))?;
    check_states(&definition.states, value_type)?;
    check_period(definition.expected_period)?;
    if definition.limits.len() > LIMITS_MAX {
        return Err(("limits", format!("has {} entries, the most is {LIMITS_MAX}", definition.limits.len())));
    }
    definition.limits.iter().try_for_each(check_limit)
}

fn check_bytes(field: &'static str, text: &str, most: usize) -> Result<(), Problem> {
    if text.len() <= most {
        Ok(())
    } else {
        Err((field, format!("has {} bytes, the most is {most}", text.len())))
    }
}

/// Of text that is one line.
fn check_text(field: &'static str, text: &str, most: usize) -> Result<(), Problem> {
    if text.chars().any(char::is_control) {
        return Err((field, "must not have control characters".to_owned()));
    }
    check_bytes(field, text, most)
}

fn check_states(states: &BTreeMap<i64, String>, value_type: ValueType) -> Result<(), Problem> {
    const FIELD: &str = "states";
    if states.is_empty() {
        return Ok(());
    }
    if !matches!(value_type, ValueType::Unspecified | ValueType::Int) {
        return Err((FIELD, "are for values of type INT".to_owned()));
    }
    if states.len() > STATES_MAX {
        return Err((FIELD, format!("has {} entries, the most is {STATES_MAX}", states.len())));
    }
    if states.values().any(String::is_empty) {
        return Err((FIELD, "must each have a label".to_owned()));
    }
    states.values().try_for_each(|label| check_text(FIELD, label, WORD_BYTES_MAX))
}

fn check_period(period: Option<prost_types::Duration>) -> Result<(), Problem> {
    let Some(period) = period else { return Ok(()) };
    match duration(period, "expected_period") {
        Ok(Duration::ZERO) => Err(("expected_period", "must be positive".to_owned())),
        Ok(length) if length.as_secs() > PERIOD_SECONDS_MAX => {
            Err(("expected_period", format!("is longer than {PERIOD_SECONDS_MAX} s")))
        }
        Ok(_) => Ok(()),
        Err(refusal) => Err(("expected_period", refusal.into_problem().message)),
    }
}

fn check_limit(limit: &Limit) -> Result<(), Problem> {
    let problem = match (limit.low, limit.high) {
        (None, None) => "must each have a low or a high end",
        (low, high) if low.is_some_and(f64::is_nan) || high.is_some_and(f64::is_nan) => "must not be NaN",
        (Some(low), Some(high)) if low > high => "must not have a low end above their high end",
        _ if !matches!(Severity::try_from(limit.severity), Ok(severity) if severity != Severity::Unspecified) => {
            "must each have a severity"
        }
        _ => return Ok(()),
    };
    Err(("limits", problem.to_owned()))
}

/// The event that keeps a definition.
pub(crate) fn event(name: &str, definition: Vec<u8>, time: Timestamp, trace_context: &[u8]) -> Event {
    let (key, value) = CONTENT_TYPE;
    Event {
        signal: format!("{PREFIX}{name}"),
        event_time: time,
        value: Value::Bytes(definition),
        quality: Quality::Good,
        source: String::new(),
        attributes: BTreeMap::from([(key.to_owned(), value.to_owned())]),
        trace_context: trace_context.to_owned(),
    }
}

/// What is kept for a signal, as `read` understands its bytes; `None` if it has no definition. May block on the disk.
fn kept<T>(
    log: &Log,
    name: &str,
    read: impl FnOnce(&Latest, &[u8]) -> Option<T>,
) -> Result<Option<T>, Refusal> {
    let found = log.with_latest(&format!("{PREFIX}{name}"), |latest| match &latest.event.value {
        Value::Bytes(bytes) => read(latest, bytes),
        Value::Double(_) | Value::Int(_) | Value::Bool(_) | Value::String(_) => None,
    })?;
    Ok(found.flatten())
}

/// The definition of a signal.
pub(crate) fn find(log: &Log, name: &str) -> Result<Option<Signal>, Refusal> {
    kept(log, name, |_, bytes| decoded(bytes))
}

/// A definition as it is kept.
pub(crate) fn decoded(bytes: &[u8]) -> Option<Signal> {
    Signal::decode(bytes).ok()
}

/// Where exactly this definition of a signal is kept, if it is the present one.
pub(crate) fn offset_of(log: &Log, name: &str, definition: &[u8]) -> Result<Option<u64>, Refusal> {
    kept(log, name, |latest, bytes| (bytes == definition).then(|| latest.offset.get()))
}
