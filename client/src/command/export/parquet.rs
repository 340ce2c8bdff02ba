//! Events as a Parquet file: a column for each field, and one for each kind of value.

use std::io::Write;
use std::sync::Arc;

use downlink_client::Timestamp;
use downlink_client::v1::{Event, value::Kind};
use parquet::basic::Compression;
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int32Type, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use crate::command::value::{ValueKind, quality_word};

/// Rows that are in memory until they are written as a group, and about how many bytes of text and bytes.
const GROUP_ROWS: usize = 100_000;
const GROUP_BYTES: usize = 16 << 20;
/// Parquet's times of nanoseconds end in 2262; those of microseconds hold the years 1 to 9999. What they leave
/// out is in the columns of nanoseconds.
const SCHEMA: &str = "message events {
    REQUIRED INT64 offset (INTEGER(64,false));
    REQUIRED BYTE_ARRAY signal (STRING);
    OPTIONAL INT64 event_time (TIMESTAMP(MICROS,true));
    OPTIONAL INT32 event_time_nanos;
    OPTIONAL INT64 ingest_time (TIMESTAMP(MICROS,true));
    OPTIONAL INT32 ingest_time_nanos;
    REQUIRED BYTE_ARRAY kind (STRING);
    OPTIONAL DOUBLE double_value;
    OPTIONAL INT64 int_value;
    OPTIONAL BOOLEAN bool_value;
    OPTIONAL BYTE_ARRAY string_value (STRING);
    OPTIONAL BYTE_ARRAY bytes_value;
    REQUIRED BYTE_ARRAY quality (STRING);
    REQUIRED BYTE_ARRAY source (STRING);
    OPTIONAL BYTE_ARRAY attributes (JSON);
    OPTIONAL BYTE_ARRAY trace_context;
}";

/// A column that may have no value in a row.
struct Optional<T: DataType> {
    values: Vec<T::T>,
    levels: Vec<i16>,
}

/// The file in the making. Groups of rows are written as they fill up.
pub(super) struct Table<W: Write + Send> {
    writer: SerializedFileWriter<W>,
    group: Group,
}

/// Rows not yet written.
#[derive(Default)]
struct Group {
    bytes: usize,
    offset: Vec<i64>,
    signal: Vec<ByteArray>,
    times: [Optional<Int64Type>; 2],
    nanos: [Optional<Int32Type>; 2],
    kind: Vec<ByteArray>,
    double: Optional<DoubleType>,
    int: Optional<Int64Type>,
    bool: Optional<BoolType>,
    string: Optional<ByteArrayType>,
    bytes_value: Optional<ByteArrayType>,
    quality: Vec<ByteArray>,
    source: Vec<ByteArray>,
    attributes: Optional<ByteArrayType>,
    trace_context: Optional<ByteArrayType>,
}

impl<W: Write + Send> Table<W> {
    pub(super) fn new(out: W) -> anyhow::Result<Self> {
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let schema = Arc::new(parse_message_type(SCHEMA)?);
        let writer = SerializedFileWriter::new(out, schema, Arc::new(properties))?;
        Ok(Self { writer, group: Group::default() })
    }

    pub(super) fn write(&mut self, event: &Event) -> anyhow::Result<()> {
        self.group.push(event)?;
        if self.group.offset.len() == GROUP_ROWS || self.group.bytes >= GROUP_BYTES {
            self.write_group()?;
        }
        Ok(())
    }

    fn write_group(&mut self) -> anyhow::Result<()> {
        let mut rows = self.writer.next_row_group()?;
        std::mem::take(&mut self.group).write(&mut rows)?;
        rows.close()?;
        Ok(())
    }

    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        if !self.group.offset.is_empty() {
            self.write_group()?;
        }
        self.writer.close()?;
        Ok(())
    }
}

impl Group {
    fn push(&mut self, event: &Event) -> anyhow::Result<()> {
        self.offset.push(event.offset.cast_signed());
        self.signal.push(event.signal.as_str().into());
        for (place, time) in [event.event_time, event.ingest_time].into_iter().enumerate() {
            self.times[place].push(time.map(|time| micros(&time)));
            self.nanos[place].push(time.map(|time| time.nanos));
        }
        let kind = event.value.as_ref().and_then(|value| value.kind.as_ref());
        self.kind.push(kind.map(|kind| ValueKind::of(kind).name()).unwrap_or_default().into());
        self.push_value(kind);
        self.quality.push(quality_word(event.quality()).into());
        self.source.push(event.source.as_str().into());
        let attributes = match event.attributes.is_empty() {
            true => None,
            false => Some(serde_json::to_vec(&event.attributes)?.into()),
        };
        self.attributes.push(attributes);
        let trace = &event.trace_context;
        self.trace_context.push((!trace.is_empty()).then(|| trace.clone().into()));
        self.bytes += prost::Message::encoded_len(event);
        Ok(())
    }

    fn push_value(&mut self, kind: Option<&Kind>) {
        let (mut double, mut int, mut bool, mut string, mut bytes) = (None, None, None, None, None);
        match kind {
            Some(Kind::DoubleValue(value)) => double = Some(*value),
            Some(Kind::IntValue(value)) => int = Some(*value),
            Some(Kind::BoolValue(value)) => bool = Some(*value),
            Some(Kind::StringValue(value)) => string = Some(value.as_str().into()),
            Some(Kind::BytesValue(value)) => bytes = Some(value.clone().into()),
            None => {}
        }
        self.double.push(double);
        self.int.push(int);
        self.bool.push(bool);
        self.string.push(string);
        self.bytes_value.push(bytes);
    }

    /// Writes the columns in the order of the schema.
    fn write<W: Write + Send>(self, rows: &mut SerializedRowGroupWriter<'_, W>) -> anyhow::Result<()> {
        let ([event_time, ingest_time], [event_nanos, ingest_nanos]) = (self.times, self.nanos);
        column::<Int64Type, W>(rows, &self.offset, None)?;
        column::<ByteArrayType, W>(rows, &self.signal, None)?;
        event_time.write(rows)?;
        event_nanos.write(rows)?;
        ingest_time.write(rows)?;
        ingest_nanos.write(rows)?;
        column::<ByteArrayType, W>(rows, &self.kind, None)?;
        self.double.write(rows)?;
        self.int.write(rows)?;
        self.bool.write(rows)?;
        self.string.write(rows)?;
        self.bytes_value.write(rows)?;
        column::<ByteArrayType, W>(rows, &self.quality, None)?;
        column::<ByteArrayType, W>(rows, &self.source, None)?;
        self.attributes.write(rows)?;
        self.trace_context.write(rows)
    }
}

impl<T: DataType> Default for Optional<T> {
    fn default() -> Self {
        Self { values: Vec::new(), levels: Vec::new() }
    }
}

impl<T: DataType> Optional<T> {
    fn push(&mut self, value: Option<T::T>) {
        self.levels.push(value.is_some().into());
        self.values.extend(value);
    }

    fn write<W: Write + Send>(&self, rows: &mut SerializedRowGroupWriter<'_, W>) -> anyhow::Result<()> {
        column::<T, W>(rows, &self.values, Some(&self.levels))
    }
}

fn column<T: DataType, W: Write + Send>(
    rows: &mut SerializedRowGroupWriter<'_, W>,
    values: &[T::T],
    levels: Option<&[i16]>,
) -> anyhow::Result<()> {
    let mut column =
        rows.next_column()?.ok_or_else(|| anyhow::anyhow!("more columns than the schema has"))?;
    column.typed::<T>().write_batch(values, levels, None)?;
    Ok(column.close()?)
}

fn micros(time: &Timestamp) -> i64 {
    time.seconds * 1_000_000 + i64::from(time.nanos / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use downlink_client::event;
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::Field;

    #[test]
    fn every_kind_of_value_is_in_its_column() {
        let mut first = event("a", f64::NAN);
        first.offset = 7;
        first.event_time = Some(Timestamp { seconds: -62_135_596_800, nanos: 999_999_999 });
        first.attributes.insert("k".to_owned(), "v".to_owned());
        let others = [
            event("b", -3_i64),
            event("c", true),
            event("d", "text"),
            event("e", Kind::BytesValue(vec![255])),
        ];
        let mut out = Vec::new();
        let mut table = Table::new(&mut out).unwrap();
        std::iter::once(&first).chain(&others).for_each(|event| table.write(event).unwrap());
        table.finish().unwrap();

        let file = SerializedFileReader::new(Bytes::from(out)).unwrap();
        let rows: Vec<_> = file.get_row_iter(None).unwrap().map(Result::unwrap).collect();
        let field = |row: usize, name: &str| {
            rows[row].get_column_iter().find(|(column, _)| *column == name).unwrap().1.clone()
        };
        assert_eq!(field(0, "offset"), Field::ULong(7));
        assert_eq!(field(0, "event_time"), Field::TimestampMicros(-62_135_596_799_000_001));
        assert_eq!(field(0, "event_time_nanos"), Field::Int(999_999_999));
        assert!(matches!(field(0, "double_value"), Field::Double(value) if value.is_nan()));
        assert_eq!(field(0, "int_value"), Field::Null);
        assert_eq!(field(1, "int_value"), Field::Long(-3));
        assert_eq!(field(2, "bool_value"), Field::Bool(true));
        assert_eq!(field(3, "string_value"), Field::Str("text".to_owned()));
        assert_eq!(field(4, "bytes_value"), Field::Bytes(vec![255].into()));
        assert_eq!(field(4, "kind"), Field::Str("bytes".to_owned()));
        assert_eq!(field(1, "attributes"), Field::Null);
    }
}
