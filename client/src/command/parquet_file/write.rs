//! Events into a Parquet file.

use std::io::Write;
use std::sync::Arc;

use downlink_client::Timestamp;
use downlink_client::v1::{Event, value::Kind};
use parquet::basic::Compression;
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int32Type, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use super::Field;
use crate::command::value::{ValueKind, quality_word};

/// Rows that are in memory until they are written as a group, and about how many bytes of text and bytes.
const GROUP_ROWS: usize = 100_000;
const GROUP_BYTES: usize = 16 << 20;

/// How a column is declared.
const fn declaration(field: Field) -> &'static str {
    match field {
        Field::Offset => "REQUIRED INT64 offset (INTEGER(64,false));",
        Field::Signal => "REQUIRED BYTE_ARRAY signal (STRING);",
        Field::EventTime => "OPTIONAL INT64 event_time (TIMESTAMP(MICROS,true));",
        Field::EventTimeNanos => "OPTIONAL INT32 event_time_nanos;",
        Field::IngestTime => "OPTIONAL INT64 ingest_time (TIMESTAMP(MICROS,true));",
        Field::IngestTimeNanos => "OPTIONAL INT32 ingest_time_nanos;",
        Field::Kind => "REQUIRED BYTE_ARRAY kind (STRING);",
        Field::Double => "OPTIONAL DOUBLE double_value;",
        Field::Int => "OPTIONAL INT64 int_value;",
        Field::Bool => "OPTIONAL BOOLEAN bool_value;",
        Field::String => "OPTIONAL BYTE_ARRAY string_value (STRING);",
        Field::Bytes => "OPTIONAL BYTE_ARRAY bytes_value;",
        Field::Quality => "REQUIRED BYTE_ARRAY quality (STRING);",
        Field::Source => "REQUIRED BYTE_ARRAY source (STRING);",
        Field::Attributes => "OPTIONAL BYTE_ARRAY attributes (JSON);",
        Field::TraceContext => "OPTIONAL BYTE_ARRAY trace_context;",
    }
}

/// The file in the making. Groups of rows are written as they fill up.
pub(in crate::command) struct Table<W: Write + Send> {
    writer: SerializedFileWriter<W>,
    columns: Vec<(Field, Cells)>,
    rows: usize,
    bytes: usize,
}

/// The rows of a column that are not yet written.
enum Cells {
    Long(Optional<Int64Type>),
    Int(Optional<Int32Type>),
    Double(Optional<DoubleType>),
    Bool(Optional<BoolType>),
    Bytes(Optional<ByteArrayType>),
}

/// Values, and for each row whether there is one.
struct Optional<T: DataType> {
    values: Vec<T::T>,
    levels: Vec<i16>,
}

impl<W: Write + Send> Table<W> {
    pub(in crate::command) fn new(fields: &[Field], out: W) -> anyhow::Result<Self> {
        let declarations: Vec<_> = fields.iter().map(|field| declaration(*field)).collect();
        let schema = parse_message_type(&format!("message events {{ {} }}", declarations.join("\n")))?;
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let writer = SerializedFileWriter::new(out, Arc::new(schema), Arc::new(properties))?;
        let columns = fields.iter().map(|field| (*field, Cells::of(*field))).collect();
        Ok(Self { writer, columns, rows: 0, bytes: 0 })
    }

    pub(in crate::command) fn write(&mut self, event: &Event) -> anyhow::Result<()> {
        for (field, cells) in &mut self.columns {
            cells.push(*field, event)?;
        }
        self.rows += 1;
        self.bytes += prost::Message::encoded_len(event);
        if self.rows == GROUP_ROWS || self.bytes >= GROUP_BYTES {
            self.write_group()?;
        }
        Ok(())
    }

    fn write_group(&mut self) -> anyhow::Result<()> {
        let mut rows = self.writer.next_row_group()?;
        for (field, cells) in &mut self.columns {
            std::mem::replace(cells, Cells::of(*field)).write(*field, &mut rows)?;
        }
        rows.close()?;
        (self.rows, self.bytes) = (0, 0);
        Ok(())
    }

    pub(in crate::command) fn finish(mut self) -> anyhow::Result<()> {
        if self.rows > 0 {
            self.write_group()?;
        }
        self.writer.close()?;
        Ok(())
    }
}

impl Cells {
    fn of(field: Field) -> Self {
        match field {
            Field::Offset | Field::EventTime | Field::IngestTime | Field::Int => {
                Self::Long(Optional::default())
            }
            Field::EventTimeNanos | Field::IngestTimeNanos => Self::Int(Optional::default()),
            Field::Double => Self::Double(Optional::default()),
            Field::Bool => Self::Bool(Optional::default()),
            Field::Signal
            | Field::Kind
            | Field::String
            | Field::Bytes
            | Field::Quality
            | Field::Source
            | Field::Attributes
            | Field::TraceContext => Self::Bytes(Optional::default()),
        }
    }

    fn push(&mut self, field: Field, event: &Event) -> anyhow::Result<()> {
        let kind = event.value.as_ref().and_then(|value| value.kind.as_ref());
        match self {
            Self::Long(cells) => cells.push(long(field, event, kind)),
            Self::Int(cells) => {
                let time = if field == Field::EventTimeNanos { event.event_time } else { event.ingest_time };
                cells.push(time.map(|time| time.nanos));
            }
            Self::Double(cells) => cells.push(kind.and_then(double)),
            Self::Bool(cells) => cells.push(kind.and_then(bool)),
            Self::Bytes(cells) => cells.push(bytes(field, event, kind)?),
        }
        Ok(())
    }

    fn write<W: Write + Send>(
        self,
        field: Field,
        rows: &mut SerializedRowGroupWriter<'_, W>,
    ) -> anyhow::Result<()> {
        match self {
            Self::Long(cells) => cells.write(field, rows),
            Self::Int(cells) => cells.write(field, rows),
            Self::Double(cells) => cells.write(field, rows),
            Self::Bool(cells) => cells.write(field, rows),
            Self::Bytes(cells) => cells.write(field, rows),
        }
    }
}

fn long(field: Field, event: &Event, kind: Option<&Kind>) -> Option<i64> {
    match (field, kind) {
        (Field::Offset, _) => Some(event.offset.cast_signed()),
        (Field::EventTime, _) => event.event_time.as_ref().map(micros),
        (Field::IngestTime, _) => event.ingest_time.as_ref().map(micros),
        (_, Some(Kind::IntValue(value))) => Some(*value),
        (_, _) => None,
    }
}

fn double(kind: &Kind) -> Option<f64> {
    if let Kind::DoubleValue(value) = kind { Some(*value) } else { None }
}

fn bool(kind: &Kind) -> Option<bool> {
    if let Kind::BoolValue(value) = kind { Some(*value) } else { None }
}

fn bytes(field: Field, event: &Event, kind: Option<&Kind>) -> anyhow::Result<Option<ByteArray>> {
    Ok(match (field, kind) {
        (Field::Signal, _) => Some(event.signal.as_str().into()),
        (Field::Kind, kind) => Some(kind.map(|kind| ValueKind::of(kind).name()).unwrap_or_default().into()),
        (Field::String, Some(Kind::StringValue(value))) => Some(value.as_str().into()),
        (Field::Bytes, Some(Kind::BytesValue(value))) => Some(value.clone().into()),
        (Field::Quality, _) => Some(quality_word(event.quality()).into()),
        (Field::Source, _) => Some(event.source.as_str().into()),
        (Field::Attributes, _) if !event.attributes.is_empty() => {
            Some(serde_json::to_vec(&event.attributes)?.into())
        }
        (Field::TraceContext, _) if !event.trace_context.is_empty() => {
            Some(event.trace_context.clone().into())
        }
        (_, _) => None,
    })
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

    fn write<W: Write + Send>(
        self,
        field: Field,
        rows: &mut SerializedRowGroupWriter<'_, W>,
    ) -> anyhow::Result<()> {
        let column = rows.next_column()?;
        let mut column = column.ok_or_else(|| anyhow::anyhow!("no column for {}", field.name()))?;
        let is_optional = declaration(field).starts_with("OPTIONAL");
        let levels = is_optional.then_some(self.levels.as_slice());
        column.typed::<T>().write_batch(&self.values, levels, None)?;
        Ok(column.close()?)
    }
}

fn micros(time: &Timestamp) -> i64 {
    time.seconds * 1_000_000 + i64::from(time.nanos / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use downlink_client::event;
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::Field as Found;

    fn written(fields: &[Field], events: &[Event]) -> Vec<parquet::record::Row> {
        let mut out = Vec::new();
        let mut table = Table::new(fields, &mut out).unwrap();
        events.iter().for_each(|event| table.write(event).unwrap());
        table.finish().unwrap();
        let file = SerializedFileReader::new(bytes::Bytes::from(out)).unwrap();
        file.get_row_iter(None).unwrap().map(Result::unwrap).collect()
    }

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
        let rows = written(&Field::ALL, &[&[first][..], &others].concat());
        let field = |row: usize, name: &str| {
            rows[row].get_column_iter().find(|(column, _)| *column == name).unwrap().1.clone()
        };
        assert_eq!(field(0, "offset"), Found::ULong(7));
        assert_eq!(field(0, "event_time"), Found::TimestampMicros(-62_135_596_799_000_001));
        assert_eq!(field(0, "event_time_nanos"), Found::Int(999_999_999));
        assert!(matches!(field(0, "double_value"), Found::Double(value) if value.is_nan()));
        assert_eq!(field(0, "int_value"), Found::Null);
        assert_eq!(field(1, "int_value"), Found::Long(-3));
        assert_eq!(field(2, "bool_value"), Found::Bool(true));
        assert_eq!(field(3, "string_value"), Found::Str("text".to_owned()));
        assert_eq!(field(4, "bytes_value"), Found::Bytes(vec![255].into()));
        assert_eq!(field(4, "kind"), Found::Str("bytes".to_owned()));
        assert_eq!(field(1, "attributes"), Found::Null);
    }

    #[test]
    fn a_file_has_the_columns_asked_for_in_their_order() {
        let rows = written(&[Field::Double, Field::Signal], &[event("a", 1.5), event("b", true)]);
        let names: Vec<_> = rows[0].get_column_iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["double_value", "signal"]);
        assert_eq!(rows[1].get_column_iter().next().unwrap().1, &Found::Null);
    }
}
