//! The checks of events in columns: the same as of rows, a table's entries once each.

use std::iter::Enumerate;
use std::slice::Iter;

use downlink_proto::v1::event_columns::Extras;
use downlink_proto::v1::{ErrorReason, EventColumns};
use downlink_storage::batch::{Row, SignalIndex, SourceIndex};
use downlink_storage::{Batch, Quality, Timestamp, ValueRef};

use super::{Checks, Judged};
use crate::grpc::convert::kind;
use crate::grpc::convert::quality;
use crate::grpc::query::request::invalid;
use crate::grpc::status::Refusal;

/// What is wrong with an event: the field below `columns`, and why.
type Problem = (String, String);

impl Checks {
    /// Judges columns. `trace_context` is for events that bring none.
    ///
    /// # Errors
    /// If the arrays do not fit together, so that nobody can say what the events are.
    pub(crate) fn columns(&self, columns: EventColumns, trace_context: &[u8]) -> Result<Judged, Refusal> {
        check_shape(&columns)?;
        let events = columns.signal_indexes.len();
        let (mut good, mut bad) = (Batch::with_capacity(events), Vec::new());
        let mut values = Values::of(&columns);
        let mut extras = columns.extras.iter().enumerate().peekable();
        let tables = Tables::new(self, &columns, trace_context, &mut good);
        let mut seconds = 0_i64;
        for index in 0..events {
            seconds = seconds.wrapping_add(columns.event_time_second_deltas.get(index).copied().unwrap_or(0));
            let value = values.next(at(&columns.kinds, index, kind::DOUBLE));
            let extras = extras.next_if(|(_, extras)| extras.index as usize == index);
            match tables.row(&Own { index, seconds, value, extras }) {
                Ok(row) => good.push(row),
                Err((field, problem)) => {
                    let refusal =
                        Refusal::field(ErrorReason::InvalidEvent, format!("columns.{field}"), problem);
                    bad.push((index as u32, refusal));
                }
            }
        }
        Ok((good, bad))
    }
}

/// The element of an event, in an array that is empty when all have the usual one.
#[inline]
fn at<T: Copy>(array: &[T], index: usize, usual: T) -> T {
    array.get(index).copied().unwrap_or(usual)
}

/// What an event has of its own.
struct Own<'a> {
    index: usize,
    seconds: i64,
    /// With its place in the array of its kind.
    value: Option<(usize, ValueRef<'a>)>,
    /// With their place.
    extras: Option<(usize, &'a Extras)>,
}

/// What the arrays have in common for all events, judged already.
struct Tables<'a> {
    checks: &'a Checks,
    columns: &'a EventColumns,
    now: Timestamp,
    signals: Vec<Result<SignalIndex, String>>,
    sources: Vec<Result<SourceIndex, String>>,
    trace_contexts: Vec<Result<&'a [u8], String>>,
}

impl<'a> Tables<'a> {
    fn new(checks: &'a Checks, columns: &'a EventColumns, trace_context: &'a [u8], good: &mut Batch) -> Self {
        let signals = columns.signals.iter();
        let signals = signals.map(|name| checks.signal(name).map(|()| good.signal(name))).collect();
        let mut sources: Vec<_> =
            columns.sources.iter().map(|name| checks.source(name).map(|()| good.source(name))).collect();
        if sources.is_empty() {
            sources.push(Ok(good.source("")));
        }
        let own = |context: &'a Vec<u8>| {
            let context = if context.is_empty() { trace_context } else { context.as_slice() };
            checks.trace_context(context).map(|()| context)
        };
        let mut trace_contexts: Vec<_> = columns.trace_contexts.iter().map(own).collect();
        if trace_contexts.is_empty() {
            trace_contexts.push(Ok(trace_context));
        }
        Self { checks, columns, now: checks.clock.now(), signals, sources, trace_contexts }
    }

    /// The event at `index`, checked in the order in which rows are.
    #[inline]
    fn row(&self, own: &Own<'a>) -> Result<Row<'a>, Problem> {
        let (columns, index) = (self.columns, own.index);
        let signal = entry("signal", &self.signals, columns.signal_indexes[index], index)?;
        let source = entry("source", &self.sources, at(&columns.source_indexes, index, 0), index)?;
        if let Some((place, extras)) = own.extras {
            let problem = |problem| (format!("extras[{place}].attributes"), problem);
            self.checks.attributes(&extras.attributes).map_err(problem)?;
        }
        let trace_context = at(&columns.trace_context_indexes, index, 0);
        let trace_context = entry("trace_context", &self.trace_contexts, trace_context, index)?;
        let event_time = if columns.event_time_second_deltas.is_empty() {
            self.now
        } else {
            let nanos = at(&columns.event_time_nanos, index, 0);
            let problem = |problem| (format!("event_time_second_deltas[{index}]"), problem);
            self.checks.event_time(own.seconds, nanos, self.now).map_err(problem)?
        };
        Ok(Row {
            signal,
            event_time,
            value: self.value(own)?,
            quality: self.quality(index)?,
            source,
            attributes: own.extras.map(|(_, extras)| extras.attributes.clone()).unwrap_or_default(),
            trace_context,
        })
    }

    #[inline]
    fn value(&self, own: &Own<'a>) -> Result<ValueRef<'a>, Problem> {
        let none = || (format!("kinds[{}]", own.index), "must have a kind".to_owned());
        let (place, value) = own.value.ok_or_else(none)?;
        let (field, bytes) = match value {
            ValueRef::Double(_) | ValueRef::Int(_) | ValueRef::Bool(_) => return Ok(value),
            ValueRef::String(text) => ("string_values", text.len()),
            ValueRef::Bytes(bytes) => ("bytes_values", bytes.len()),
        };
        self.checks.value_bytes(bytes).map_err(|problem| (format!("{field}[{place}]"), problem))?;
        Ok(value)
    }

    #[inline]
    fn quality(&self, index: usize) -> Result<Quality, Problem> {
        let Some(&wire) = self.columns.qualities.get(index) else { return Ok(Quality::Good) };
        quality(wire).ok_or_else(|| (format!("qualities[{index}]"), format!("{wire} is no quality")))
    }
}

/// What a table says of the event at `index`.
#[inline]
fn entry<T: Copy>(of: &str, table: &[Result<T, String>], place: u32, index: usize) -> Result<T, Problem> {
    match table.get(place as usize) {
        Some(Ok(entry)) => Ok(*entry),
        Some(Err(problem)) => Err((format!("{of}s[{place}]"), problem.clone())),
        None => Err((format!("{of}_indexes[{index}]"), format!("{place} is not an index into `{of}s`"))),
    }
}

/// The values, each kind in its own array.
struct Values<'a> {
    double: Enumerate<Iter<'a, f64>>,
    int: Enumerate<Iter<'a, i64>>,
    bool: Enumerate<Iter<'a, bool>>,
    string: Enumerate<Iter<'a, String>>,
    bytes: Enumerate<Iter<'a, Vec<u8>>>,
}

impl<'a> Values<'a> {
    fn of(columns: &'a EventColumns) -> Self {
        Self {
            double: columns.double_values.iter().enumerate(),
            int: columns.int_values.iter().enumerate(),
            bool: columns.bool_values.iter().enumerate(),
            string: columns.string_values.iter().enumerate(),
            bytes: columns.bytes_values.iter().enumerate(),
        }
    }

    /// The next value of a kind, with its place in its array; `None` if there is no such kind.
    #[inline]
    fn next(&mut self, of: u32) -> Option<(usize, ValueRef<'a>)> {
        match of {
            kind::DOUBLE => self.double.next().map(|(place, value)| (place, ValueRef::Double(*value))),
            kind::INT => self.int.next().map(|(place, value)| (place, ValueRef::Int(*value))),
            kind::BOOL => self.bool.next().map(|(place, value)| (place, ValueRef::Bool(*value))),
            kind::STRING => self.string.next().map(|(place, value)| (place, ValueRef::String(value))),
            kind::BYTES => self.bytes.next().map(|(place, value)| (place, ValueRef::Bytes(value))),
            _ => None,
        }
    }
}

/// Whether the arrays belong together.
fn check_shape(columns: &EventColumns) -> Result<(), Refusal> {
    let events = columns.signal_indexes.len();
    let of_events = [
        ("source_indexes", columns.source_indexes.len()),
        ("event_time_second_deltas", columns.event_time_second_deltas.len()),
        ("event_time_nanos", columns.event_time_nanos.len()),
        ("qualities", columns.qualities.len()),
        ("kinds", columns.kinds.len()),
        ("trace_context_indexes", columns.trace_context_indexes.len()),
    ];
    let wrong = |field: &str, found: usize, wanted: usize| {
        Err(invalid(format!("columns.{field}"), format!("has {found} elements, not {wanted}")))
    };
    if let Some((field, found)) = of_events.into_iter().find(|(_, found)| *found != 0 && *found != events) {
        return wrong(field, found, events);
    }
    if columns.event_time_second_deltas.is_empty() && !columns.event_time_nanos.is_empty() {
        return wrong("event_time_second_deltas", 0, events);
    }
    let of_kind = |kind| match columns.kinds.as_slice() {
        [] if kind == kind::DOUBLE => events,
        kinds => kinds.iter().filter(|of| **of == kind).count(),
    };
    let values = [
        ("double_values", columns.double_values.len(), kind::DOUBLE),
        ("int_values", columns.int_values.len(), kind::INT),
        ("bool_values", columns.bool_values.len(), kind::BOOL),
        ("string_values", columns.string_values.len(), kind::STRING),
        ("bytes_values", columns.bytes_values.len(), kind::BYTES),
    ];
    if let Some((field, found, kind)) = values.into_iter().find(|(_, found, kind)| *found != of_kind(*kind)) {
        // What is of no kind may be what is missing here.
        let known = kind::DOUBLE..=kind::BYTES;
        if let Some(index) = columns.kinds.iter().position(|kind| !known.contains(kind)) {
            return Err(invalid(
                format!("columns.kinds[{index}]"),
                format!("{} is no kind", columns.kinds[index]),
            ));
        }
        return wrong(field, found, of_kind(kind));
    }
    let mut least = 0;
    for (place, extras) in columns.extras.iter().enumerate() {
        let index = extras.index as usize;
        if index < least || index >= events {
            let problem = format!("{index} is out of order, or not below the {events} events");
            return Err(invalid(format!("columns.extras[{place}].index"), problem));
        }
        least = index + 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
