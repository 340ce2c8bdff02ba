//! Events out of a Parquet file.

use std::fs::File;

use anyhow::{Context as _, bail, ensure};
use downlink_client::Timestamp;
use downlink_client::v1::{Event, Quality, Value, value::Kind};
use parquet::basic::{LogicalType, TimeUnit};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, DataType};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::types::ColumnDescriptor;

use super::Field;
use crate::command::event_json::word;
use crate::command::value::{QualityWord, ValueKind};

/// Rows that are taken from the file at once.
const ROWS: usize = 1000;
/// What else a file may have: a log gives it itself.
const READ_OVER: [&str; 4] = ["offset", "ingest_time", "ingest_time_nanos", "signal_id"];

/// The events of a file, in its order.
pub(in crate::command) struct Rows {
    file: SerializedFileReader<File>,
    columns: Vec<Column>,
    /// The group of rows after the one that is read.
    group: usize,
    readers: Vec<ColumnReader>,
    /// Of each column, the rows that were taken, the next one last.
    cells: Vec<Vec<Option<Cell>>>,
    /// How many rows have been given.
    row: u64,
}

/// A column that is wanted.
struct Column {
    /// Its place in the file.
    place: usize,
    field: Field,
    is_optional: bool,
    /// Ticks a second, where it is a time.
    ticks: i64,
}

/// What a row has in a column.
enum Cell {
    Long(i64),
    Int(i32),
    Double(f64),
    Bool(bool),
    Bytes(ByteArray),
}

impl Rows {
    pub(in crate::command) fn open(file: File) -> anyhow::Result<Self> {
        let file = SerializedFileReader::new(file).context("this is no Parquet file")?;
        let schema = file.metadata().file_metadata().schema_descr_ptr();
        let mut columns = Vec::new();
        for (place, column) in schema.columns().iter().enumerate() {
            columns.extend(Column::of(place, column)?);
        }
        let has = |field| columns.iter().any(|column: &Column| column.field == field);
        ensure!(has(Field::Signal), "the file has no column 'signal'");
        let values = [Field::Double, Field::Int, Field::Bool, Field::String, Field::Bytes];
        ensure!(values.into_iter().any(has), "the file has no column of values, such as 'double_value'");
        Ok(Self { file, columns, group: 0, readers: Vec::new(), cells: Vec::new(), row: 0 })
    }

    /// The next event; an inner error is about one row, an outer one about the file.
    pub(in crate::command) fn next(&mut self) -> anyhow::Result<Option<anyhow::Result<Event>>> {
        while self.cells.first().is_none_or(Vec::is_empty) {
            if !self.take()? {
                return Ok(None);
            }
        }
        self.row += 1;
        let cells = self.cells.iter_mut().map(|cells| cells.pop().flatten());
        let event = event(self.columns.iter().zip(cells));
        Ok(Some(event.with_context(|| format!("row {}", self.row))))
    }

    /// Takes the next rows from the file. False at its end.
    fn take(&mut self) -> anyhow::Result<bool> {
        if self.readers.is_empty() {
            if self.group == self.file.num_row_groups() {
                return Ok(false);
            }
            let group = self.file.get_row_group(self.group)?;
            let readers = self.columns.iter().map(|column| group.get_column_reader(column.place));
            self.readers = readers.collect::<Result<_, _>>()?;
            self.group += 1;
        }
        let mut cells = Vec::with_capacity(self.columns.len());
        for (reader, column) in self.readers.iter_mut().zip(&self.columns) {
            let mut taken = column.take(reader)?;
            taken.reverse();
            cells.push(taken);
        }
        let rows = cells.first().map_or(0, Vec::len);
        ensure!(cells.iter().all(|cells| cells.len() == rows), "the file's columns have different lengths");
        if rows == 0 {
            self.readers.clear();
        }
        self.cells = cells;
        Ok(true)
    }
}

impl Column {
    /// A column of the file, if it is wanted.
    fn of(place: usize, column: &ColumnDescriptor) -> anyhow::Result<Option<Self>> {
        let name = column.path().string();
        if READ_OVER.contains(&name.as_str()) {
            return Ok(None);
        }
        let field = Field::ALL.into_iter().find(|field| field.name() == name);
        let known = || Field::ALL.map(Field::name).join(", ");
        let field = field.with_context(|| format!("column '{name}' is unknown: known are {}", known()))?;
        ensure!(column.max_rep_level() == 0, "column '{name}' has lists in it");
        let ticks = match column.logical_type_ref() {
            Some(LogicalType::Timestamp(time)) => match time.unit {
                TimeUnit::MILLIS => 1_000,
                TimeUnit::MICROS => 1_000_000,
                TimeUnit::NANOS => 1_000_000_000,
            },
            Some(_) | None if field == Field::EventTime => bail!("column '{name}' is no timestamp"),
            Some(_) | None => 1,
        };
        Ok(Some(Self { place, field, is_optional: column.max_def_level() > 0, ticks }))
    }

    fn take(&self, reader: &mut ColumnReader) -> anyhow::Result<Vec<Option<Cell>>> {
        let of = self.is_optional;
        match reader {
            ColumnReader::Int64ColumnReader(reader) => take(reader, of, Cell::Long),
            ColumnReader::Int32ColumnReader(reader) => take(reader, of, Cell::Int),
            ColumnReader::DoubleColumnReader(reader) => take(reader, of, Cell::Double),
            ColumnReader::BoolColumnReader(reader) => take(reader, of, Cell::Bool),
            ColumnReader::ByteArrayColumnReader(reader) => take(reader, of, Cell::Bytes),
            ColumnReader::Int96ColumnReader(_)
            | ColumnReader::FloatColumnReader(_)
            | ColumnReader::FixedLenByteArrayColumnReader(_) => {
                bail!("column '{}' is of a type that is not taken", self.field.name())
            }
        }
    }
}

fn take<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    is_optional: bool,
    cell: impl Fn(T::T) -> Cell,
) -> anyhow::Result<Vec<Option<Cell>>> {
    let (mut values, mut levels) = (Vec::with_capacity(ROWS), Vec::with_capacity(ROWS));
    reader.read_records(ROWS, is_optional.then_some(&mut levels), None, &mut values)?;
    let mut values = values.into_iter().map(cell);
    if !is_optional {
        return Ok(values.map(Some).collect());
    }
    Ok(levels.into_iter().map(|level| if level > 0 { values.next() } else { None }).collect())
}

/// The event of a row.
fn event<'a>(cells: impl Iterator<Item = (&'a Column, Option<Cell>)>) -> anyhow::Result<Event> {
    let (mut event, mut kind, mut values, mut nanos) = (Event::default(), None, Vec::new(), None);
    for (column, cell) in cells {
        let Some(cell) = cell else { continue };
        match (column.field, cell) {
            (Field::Signal, Cell::Bytes(text)) => text.as_utf8()?.clone_into(&mut event.signal),
            (Field::Source, Cell::Bytes(text)) => text.as_utf8()?.clone_into(&mut event.source),
            (Field::EventTime, Cell::Long(ticks)) => event.event_time = Some(time(ticks, column.ticks)),
            (Field::EventTimeNanos, Cell::Int(of_second)) => nanos = Some(of_second),
            (Field::Kind, Cell::Bytes(text)) => kind = Some(word::<ValueKind>(text.as_utf8()?)?),
            (Field::Double, Cell::Double(value)) => values.push(Kind::DoubleValue(value)),
            (Field::Int, Cell::Long(value)) => values.push(Kind::IntValue(value)),
            (Field::Int, Cell::Int(value)) => values.push(Kind::IntValue(value.into())),
            (Field::Bool, Cell::Bool(value)) => values.push(Kind::BoolValue(value)),
            (Field::String, Cell::Bytes(text)) => values.push(Kind::StringValue(text.as_utf8()?.to_owned())),
            (Field::Bytes, Cell::Bytes(bytes)) => values.push(Kind::BytesValue(bytes.data().to_vec())),
            (Field::Quality, Cell::Bytes(text)) => {
                event.quality = Quality::from(word::<QualityWord>(text.as_utf8()?)?).into();
            }
            (Field::Attributes, Cell::Bytes(text)) => {
                event.attributes = serde_json::from_slice(text.data())
                    .context("attributes are not a JSON object of texts")?;
            }
            (Field::TraceContext, Cell::Bytes(bytes)) => event.trace_context = bytes.data().to_vec(),
            (field, _) => bail!("column '{}' is of a type that is not taken", field.name()),
        }
    }
    if let (Some(time), Some(nanos)) = (&mut event.event_time, nanos) {
        time.nanos = nanos;
    }
    ensure!(!event.signal.is_empty(), "no signal");
    let fits = |value: &Kind| kind.is_none_or(|kind| kind == ValueKind::of(value));
    let mut values = values.into_iter().filter(fits);
    let value = values.next().context("no value of its kind")?;
    ensure!(values.next().is_none(), "values of several kinds");
    event.value = Some(Value { kind: Some(value) });
    Ok(event)
}

fn time(ticks: i64, per_second: i64) -> Timestamp {
    let fraction = ticks.rem_euclid(per_second) * (1_000_000_000 / per_second);
    Timestamp { seconds: ticks.div_euclid(per_second), nanos: fraction as i32 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::parquet_file::write::Table;
    use downlink_client::event;

    fn back(fields: &[Field], events: &[Event]) -> anyhow::Result<Vec<Event>> {
        let file = tempfile::tempfile().unwrap();
        let mut table = Table::new(fields, file.try_clone().unwrap()).unwrap();
        events.iter().for_each(|event| table.write(event).unwrap());
        table.finish().unwrap();
        let mut rows = Rows::open(file)?;
        let mut events = Vec::new();
        while let Some(event) = rows.next()? {
            events.push(event?);
        }
        Ok(events)
    }

    #[test]
    fn what_was_written_comes_back() {
        let events: Vec<_> = (0..2_500_i64)
            .map(|number| Event {
                event_time: Some(Timestamp { seconds: number - 62_135_596_800, nanos: 999_999_999 }),
                quality: Quality::Uncertain.into(),
                attributes: [("k".to_owned(), number.to_string())].into(),
                trace_context: vec![number as u8; 25],
                source: "s".to_owned(),
                ..match number % 3 {
                    0 => event("a", number as f64 / 3.0),
                    1 => event("b", number),
                    _ => event("c", Kind::BytesValue(vec![number as u8])),
                }
            })
            .collect();
        assert_eq!(back(&Field::ALL, &events).unwrap(), events);
        let few = back(&[Field::Int, Field::Double, Field::Bytes, Field::Signal], &events).unwrap();
        assert_eq!(few[4], event("b", 4_i64));
    }

    #[test]
    fn a_file_without_what_is_needed_is_refused() {
        assert!(back(&[Field::Signal], &[event("a", 1.0)]).is_err());
        assert!(back(&[Field::Double], &[event("a", 1.0)]).is_err());
        let missing = back(&[Field::Signal, Field::Int], &[event("a", 1.0)]).unwrap_err();
        assert_eq!(format!("{missing:#}"), "row 1: no value of its kind");
        assert!(Rows::open(tempfile::tempfile().unwrap()).is_err());
    }
}
