//! What a bench sends: a recording or made-up telemetry, in memory before the clock starts.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use downlink_client::append::{BatchBuilder, EncodedBatch};
use downlink_client::iss::recording::Recording;
use downlink_client::iss::time::year_of_file_name;
use downlink_client::v1::{Event, EventColumns, Value, value::Kind};
use downlink_client::{Timestamp, columns, event};

/// The last second there is, in 9999.
const SECONDS_MAX: i64 = 253_402_300_799;
const SECOND_NANOS: i32 = 1_000_000_000;

/// Events, compact: names are kept once.
pub(super) struct Load {
    /// An event of each signal, to be filled in.
    templates: Vec<Event>,
    rows: Vec<(u32, Timestamp, Kind)>,
}

impl Load {
    /// A recording of the station.
    pub(super) fn of_file(path: &Path) -> anyhow::Result<Self> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        // The year does not matter here.
        let year = year_of_file_name(name).unwrap_or(2000);
        let mut recording = Recording::open(file, year, "iss/")?;
        let mut load = Self { templates: vec![], rows: vec![] };
        let mut indexes: HashMap<Arc<str>, u32> = HashMap::new();
        while let Some(row) = recording.next_row()? {
            let Ok(row) = row else { continue };
            let index = *indexes.entry(Arc::clone(&row.signal)).or_insert_with(|| {
                let source = format!("replay/{name}");
                load.templates.push(Event { source, ..event(&*row.signal, 0.0) });
                load.templates.len() as u32 - 1
            });
            load.rows.push((index, row.event_time, row.value));
        }
        Ok(load)
    }

    /// Made up: each signal a slow wave, a value a second.
    pub(super) fn synthetic(events: usize, signals: usize) -> Self {
        let template = |n| Event { source: "bench".to_owned(), ..event(format!("bench/{n}"), 0.0) };
        let row = |n: usize| {
            let second = (n / signals) as f64;
            let value = 20.0 + 5.0 * (second / 600.0 + n as f64).sin();
            let nanos = (n % signals * (999_999_999 / signals)) as i32;
            let time = Timestamp { seconds: 1_700_000_000 + second as i64, nanos };
            ((n % signals) as u32, time, Kind::DoubleValue(value))
        };
        Self { templates: (0..signals).map(template).collect(), rows: (0..events).map(row).collect() }
    }

    /// Moves all event times by so much; `false` where that leads beyond the year 9999.
    pub(super) fn shift(&mut self, by: Duration) -> bool {
        for (_, time, _) in &mut self.rows {
            let nanos = time.nanos + by.subsec_nanos().cast_signed();
            let Some(seconds) = time.seconds.checked_add_unsigned(by.as_secs()) else { return false };
            let seconds = seconds.saturating_add(i64::from(nanos / SECOND_NANOS));
            *time = Timestamp { seconds, nanos: nanos % SECOND_NANOS };
            if time.seconds > SECONDS_MAX {
                return false;
            }
        }
        true
    }

    pub(super) fn events(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn signals(&self) -> usize {
        self.templates.len()
    }

    /// Encodes, from `start`, at most so many events. This is a client's work for each event, and is timed.
    pub(super) fn encode(&mut self, start: usize, count: usize, builder: &mut BatchBuilder) -> EncodedBatch {
        let end = self.rows.len().min(start + count);
        for (index, time, kind) in &self.rows[start..end] {
            let event = &mut self.templates[*index as usize];
            event.event_time = Some(*time);
            event.value = Some(Value { kind: Some(kind.clone()) });
            builder.push(event);
        }
        builder.take()
    }

    /// The same in columns, filled from the rows without an event in between.
    pub(super) fn columns(&self, start: usize, count: usize) -> EncodedBatch {
        let rows = &self.rows[start..self.rows.len().min(start + count)];
        let mut columns = EventColumns {
            // All events of a load have one source.
            sources: self.templates.first().map(|event| event.source.clone()).into_iter().collect(),
            signal_indexes: Vec::with_capacity(rows.len()),
            event_time_second_deltas: Vec::with_capacity(rows.len()),
            event_time_nanos: Vec::with_capacity(rows.len()),
            double_values: Vec::with_capacity(rows.len()),
            ..EventColumns::default()
        };
        let mut places = vec![None; self.templates.len()];
        let mut before = 0;
        for (template, time, kind) in rows {
            let place = *places[*template as usize].get_or_insert_with(|| {
                columns.signals.push(self.templates[*template as usize].signal.clone());
                columns.signals.len() as u32 - 1
            });
            columns.signal_indexes.push(place);
            columns.event_time_second_deltas.push(time.seconds - before);
            columns.event_time_nanos.push(time.nanos.cast_unsigned());
            before = time.seconds;
            let kind = columns::push_value(&mut columns, Some(kind));
            columns.kinds.push(kind);
        }
        if columns.double_values.len() == rows.len() {
            columns.kinds.clear();
        }
        EncodedBatch::of_columns(&columns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_in_exactly_one_batch() {
        let (mut load, mut builder) = (Load::synthetic(2500, 7), BatchBuilder::default());
        let sizes = (0..2500).step_by(1000).map(|start| load.encode(start, 1000, &mut builder).len());
        assert_eq!(sizes.collect::<Vec<_>>(), [1000, 1000, 500]);
        assert_eq!((load.events(), load.signals()), (2500, 7));
        let before: Vec<Timestamp> = load.rows.iter().map(|row| row.1).collect();
        assert!(load.shift(Duration::new(86_400, 999_999_999)));
        let nanos = |time: &Timestamp| i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos);
        let shifted =
            load.rows.iter().zip(before).map(|((_, after, _), before)| nanos(after) - nanos(&before));
        assert!(shifted.into_iter().all(|by| by == 86_400_999_999_999));
        assert!(!load.shift(Duration::from_secs(300_000_000_000)));
        let sizes = (0..2500).step_by(1000).map(|start| load.columns(start, 1000).len());
        assert_eq!(sizes.collect::<Vec<_>>(), [1000, 1000, 500]);
    }
}
