//! All checks of an event's shape; what passes them is in the batch that the log gets.

mod columns;
#[cfg(test)]
pub(in crate::grpc) mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use downlink_proto::v1::{self, ErrorReason, value::Kind};
use downlink_storage::batch::Row;
use downlink_storage::{Batch, Clock, SYSTEM_PREFIX, Timestamp, ValueRef};

use crate::config::Config;
use crate::grpc::convert::quality;
use crate::grpc::query::request::invalid;
use crate::grpc::status::Refusal;

/// The checks of one server.
pub(crate) struct Checks {
    clock: Arc<dyn Clock>,
    signal_bytes_max: usize,
    source_bytes_max: usize,
    value_bytes_max: usize,
    attributes_max: usize,
    attributes_bytes_max: usize,
    trace_context_bytes_max: usize,
    past_max: Option<Duration>,
    future_max: Option<Duration>,
}

/// The good events, and for each of the others its index and what is wrong with it.
pub(crate) type Judged = (Batch, Vec<(u32, Refusal)>);

/// The events of a request, as they came.
#[derive(Debug)]
pub(crate) struct Events {
    rows: Vec<v1::Event>,
    columns: Option<v1::EventColumns>,
}

impl Events {
    /// The fields of a request.
    pub(crate) const fn new(rows: Vec<v1::Event>, columns: Option<v1::EventColumns>) -> Self {
        Self { rows, columns }
    }

    /// How many events there are.
    pub(crate) fn len(&self) -> usize {
        self.rows.len() + self.columns.as_ref().map_or(0, |columns| columns.signal_indexes.len())
    }
}

/// What is wrong with a field of an event: the field, and why.
type Problem = (&'static str, String);

impl Checks {
    /// Those of `config`, by `clock`.
    pub(crate) fn new(config: &Config, clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            signal_bytes_max: config.signal_bytes_max,
            source_bytes_max: config.source_bytes_max,
            value_bytes_max: config.value_bytes_max,
            attributes_max: config.attributes_max,
            attributes_bytes_max: config.attributes_bytes_max,
            trace_context_bytes_max: config.trace_context_bytes_max,
            past_max: config.event_time_past_seconds_max.map(Duration::from_secs),
            future_max: config.event_time_future_seconds_max.map(Duration::from_secs),
        }
    }

    /// Judges what came. `trace_context` is for events that bring none.
    ///
    /// # Errors
    /// If nobody can say what the events are.
    pub(crate) fn judge(&self, events: Events, trace_context: &[u8]) -> Result<Judged, Refusal> {
        match events.columns {
            None => Ok(self.rows(events.rows, trace_context)),
            Some(columns) if events.rows.is_empty() => self.columns(columns, trace_context),
            Some(_) => Err(invalid("columns", "must not be set beside `events`")),
        }
    }

    /// Judges rows. `trace_context` is for those that bring none.
    pub(crate) fn rows(&self, events: Vec<v1::Event>, trace_context: &[u8]) -> Judged {
        let now = self.clock.now();
        let mut good = Batch::with_capacity(events.len());
        let mut bad = Vec::new();
        for (index, event) in (0..).zip(events) {
            if let Err((field, problem)) = self.row(event, now, trace_context, &mut good) {
                let field = format!("events[{index}].{field}");
                bad.push((index, Refusal::field(ErrorReason::InvalidEvent, field, problem)));
            }
        }
        (good, bad)
    }

    fn row(
        &self,
        event: v1::Event,
        now: Timestamp,
        trace_context: &[u8],
        good: &mut Batch,
    ) -> Result<(), Problem> {
        let of = |field| move |problem| (field, problem);
        // A name that is in the batch has passed already.
        let signal = match good.find_signal(&event.signal) {
            Some(signal) => signal,
            None => {
                self.signal(&event.signal).map_err(of("signal"))?;
                good.signal(&event.signal)
            }
        };
        self.source(&event.source).map_err(of("source"))?;
        self.attributes(&event.attributes).map_err(of("attributes"))?;
        self.trace_context(&event.trace_context).map_err(of("trace_context"))?;
        let event_time = match event.event_time {
            Some(time) => {
                let nanos = u32::try_from(time.nanos).unwrap_or(u32::MAX);
                self.event_time(time.seconds, nanos, now).map_err(of("event_time"))?
            }
            None => now,
        };
        let kind = event.value.as_ref().and_then(|value| value.kind.as_ref());
        let value = self.value(kind)?;
        let quality =
            quality(event.quality).ok_or_else(|| ("quality", format!("{} is no quality", event.quality)))?;
        let source = good.source(&event.source);
        let trace_context = if event.trace_context.is_empty() { trace_context } else { &event.trace_context };
        let attributes = event.attributes;
        good.push(Row { signal, event_time, value, quality, source, attributes, trace_context });
        Ok(())
    }

    /// What is wrong with the name of a signal that a caller brings, if anything is.
    pub(crate) fn signal(&self, signal: &str) -> Result<(), String> {
        if signal.is_empty() {
            return Err("must not be empty".to_owned());
        }
        at_most(signal.len(), self.signal_bytes_max)?;
        if signal.chars().any(char::is_control) {
            return Err("must not have control characters".to_owned());
        }
        // A feed says itself how its source is.
        let is_feed = signal.strip_prefix("_feed/").is_some_and(|source| !source.is_empty());
        if signal.starts_with(SYSTEM_PREFIX) && !is_feed {
            return Err(
                "names beginning with \"_\" are the system's own, but for \"_feed/<source>\"".to_owned()
            );
        }
        Ok(())
    }

    fn source(&self, source: &str) -> Result<(), String> {
        at_most(source.len(), self.source_bytes_max)
    }

    fn attributes(&self, attributes: &BTreeMap<String, String>) -> Result<(), String> {
        let (found, most) = (attributes.len(), self.attributes_max);
        if found > most {
            return Err(format!("has {found} entries, the most is {most}"));
        }
        let bytes = attributes.iter().map(|(key, value)| key.len() + value.len()).sum();
        at_most(bytes, self.attributes_bytes_max)
    }

    fn trace_context(&self, trace_context: &[u8]) -> Result<(), String> {
        at_most(trace_context.len(), self.trace_context_bytes_max)
    }

    fn event_time(&self, seconds: i64, nanos: u32, now: Timestamp) -> Result<Timestamp, String> {
        let time = Timestamp::new(seconds, nanos)
            .ok_or_else(|| "must be in the years 1 to 9999, with nanos below a second".to_owned())?;
        let seconds = |nanos: i128| nanos / 1_000_000_000;
        let before = now.unix_nanos() - time.unix_nanos();
        if let Some(most) = self.past_max
            && before > i128::try_from(most.as_nanos()).unwrap_or(i128::MAX)
        {
            let (found, most) = (seconds(before), most.as_secs());
            return Err(format!("lies {found} s in the past, the most is {most} s"));
        }
        if let Some(most) = self.future_max
            && -before > i128::try_from(most.as_nanos()).unwrap_or(i128::MAX)
        {
            let (found, most) = (seconds(-before), most.as_secs());
            return Err(format!("lies {found} s in the future, the most is {most} s"));
        }
        Ok(time)
    }

    fn value<'a>(&self, kind: Option<&'a Kind>) -> Result<ValueRef<'a>, Problem> {
        Ok(match kind {
            None => return Err(("value", "must have a kind".to_owned())),
            Some(Kind::DoubleValue(value)) => ValueRef::Double(*value),
            Some(Kind::IntValue(value)) => ValueRef::Int(*value),
            Some(Kind::BoolValue(value)) => ValueRef::Bool(*value),
            Some(Kind::StringValue(value)) => {
                self.value_bytes(value.len()).map_err(|problem| ("value.string_value", problem))?;
                ValueRef::String(value)
            }
            Some(Kind::BytesValue(value)) => {
                self.value_bytes(value.len()).map_err(|problem| ("value.bytes_value", problem))?;
                ValueRef::Bytes(value)
            }
        })
    }

    fn value_bytes(&self, found: usize) -> Result<(), String> {
        at_most(found, self.value_bytes_max)
    }
}

fn at_most(found: usize, most: usize) -> Result<(), String> {
    if found <= most { Ok(()) } else { Err(format!("has {found} bytes, the most is {most}")) }
}
