//! `downlink export`: a part of the log as a file.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::{Args, ValueEnum};
use downlink_client::time::push_rfc3339;
use downlink_client::v1::{Event, read_response::Frame};
use serde_json::{Map, Value as Json};

use super::output::warn_of_gap;
use super::parquet_file::{Field, write};
use super::read::{Missing, RangeArguments};
use super::standard_output::StandardOutput;
use super::value::{self, ValueKind};
use super::{Context, event_json, unmatched};

/// Writes a part of the log as CSV (RFC 4180, with a header), JSON lines or Parquet.
///
/// In CSV a double is the shortest decimal that has the same bits when read back, or NaN, Infinity, -Infinity or
/// NaN(0x…); the column `kind` tells it from an integer. Bytes are base64, attributes a JSON object, times RFC 3339 in UTC.
///
/// Events that are damaged on the server's disk are left out, said so on standard error, and the exit code is 3; with
/// `--on-damage fail` the export ends there, with exit code 1.
///
/// In Parquet a value is in the column of its kind, such as `double_value`; times are microseconds in UTC, exact with the
/// nanoseconds of the second in `event_time_nanos` and `ingest_time_nanos` beside them. 'downlink import' takes all three
/// formats in again, bit for bit.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  downlink export --format csv --columns event_time,signal,value --out day.csv
  downlink export --format jsonl --signal 'iss/*' | gzip > day.jsonl.gz
  downlink export --format parquet --out day.parquet
  downlink export --format parquet --columns event_time,signal,value,kind --out small.parquet")]
pub(super) struct Export {
    /// The format of the file.
    #[arg(long, value_enum, default_value_t = FileFormat::Csv)]
    format: FileFormat,
    /// What to write of each event, in this order. All of it by default.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Column::ALL, hide_default_value = true)]
    columns: Vec<Column>,
    #[command(flatten)]
    range: RangeArguments,
    /// Write to this file instead of standard output. Until it is whole it is called FILE.part.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FileFormat {
    /// A table with a header.
    Csv,
    /// A JSON object a line.
    Jsonl,
    /// Apache Parquet, for data frames and warehouses.
    Parquet,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Column {
    Offset,
    Signal,
    EventTime,
    IngestTime,
    Value,
    /// double, int, bool, string or bytes.
    Kind,
    Quality,
    Source,
    Attributes,
    /// In hex.
    TraceContext,
}

impl Column {
    const ALL: [Self; 10] = [
        Self::Offset,
        Self::Signal,
        Self::EventTime,
        Self::IngestTime,
        Self::Value,
        Self::Kind,
        Self::Quality,
        Self::Source,
        Self::Attributes,
        Self::TraceContext,
    ];

    /// The same in Parquet.
    const fn fields(self) -> &'static [Field] {
        match self {
            Self::Offset => &[Field::Offset],
            Self::Signal => &[Field::Signal],
            Self::EventTime => &[Field::EventTime, Field::EventTimeNanos],
            Self::IngestTime => &[Field::IngestTime, Field::IngestTimeNanos],
            Self::Value => &[Field::Double, Field::Int, Field::Bool, Field::String, Field::Bytes],
            Self::Kind => &[Field::Kind],
            Self::Quality => &[Field::Quality],
            Self::Source => &[Field::Source],
            Self::Attributes => &[Field::Attributes],
            Self::TraceContext => &[Field::TraceContext],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Offset => "offset",
            Self::Signal => "signal",
            Self::EventTime => "event_time",
            Self::IngestTime => "ingest_time",
            Self::Value => "value",
            Self::Kind => "kind",
            Self::Quality => "quality",
            Self::Source => "source",
            Self::Attributes => "attributes",
            Self::TraceContext => "trace_context",
        }
    }

    fn push_cell(self, cell: &mut String, event: &Event) {
        match self {
            Self::Offset => cell.push_str(&event.offset.to_string()),
            Self::Signal => cell.push_str(&event.signal),
            Self::EventTime => event.event_time.iter().for_each(|time| push_rfc3339(cell, time)),
            Self::IngestTime => event.ingest_time.iter().for_each(|time| push_rfc3339(cell, time)),
            Self::Value => value::push_value(cell, event.value.as_ref()),
            Self::Kind => {
                let kind = event.value.as_ref().and_then(|value| value.kind.as_ref());
                cell.push_str(kind.map(|kind| ValueKind::of(kind).name()).unwrap_or_default());
            }
            Self::Quality => cell.push_str(value::quality_word(event.quality())),
            Self::Source => cell.push_str(&event.source),
            Self::Attributes if event.attributes.is_empty() => {}
            Self::Attributes => cell.push_str(&serde_json::json!(event.attributes).to_string()),
            Self::TraceContext => cell.push_str(&value::hex(&event.trace_context)),
        }
    }
}

impl Export {
    pub(super) async fn run(&self, context: &Context) -> anyhow::Result<()> {
        let mut columns = Vec::new();
        for column in &self.columns {
            ensure!(!columns.contains(column), "--columns has {} twice", column.name());
            columns.push(*column);
        }
        let client = context.connect().await?;
        let mut replay = client.read(self.range.request()).await?;
        let (out, part) = self.open()?;
        let mut table = Table::new(self.format, columns, out)?;
        let (mut missing, mut is_empty) = (Missing::default(), true);
        while let Some(frame) = replay.next().await? {
            match frame {
                Frame::Events(batch) => {
                    is_empty &= batch.events.is_empty();
                    for event in &batch.events {
                        table.write(event)?;
                    }
                }
                Frame::Gap(gap) => {
                    missing.note(&gap);
                    warn_of_gap(&gap);
                }
                Frame::End(_) => break,
            }
        }
        table.finish()?;
        if let (Some(part), Some(path)) = (part, &self.out) {
            std::fs::rename(&part, path).with_context(|| cannot_write(path))?;
        }
        missing.none()?;
        unmatched::account_for(&client, self.range.signals(), is_empty.then_some("no event matches")).await
    }

    /// Where to write, and the file that is to be renamed when it is whole.
    fn open(&self) -> anyhow::Result<(Box<dyn Write + Send>, Option<PathBuf>)> {
        let Some(path) = &self.out else { return Ok((Box::new(StandardOutput::new()), None)) };
        // A pipe or a device stays what it is.
        let is_special = path.metadata().is_ok_and(|metadata| !metadata.is_file());
        let part = if is_special { path.clone() } else { part_of(path) };
        let file = File::create(&part).with_context(|| cannot_write(&part))?;
        Ok((Box::new(file), (!is_special).then_some(part)))
    }
}

/// The name of a file that is not whole yet.
fn part_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write {}", path.display())
}

/// The file in the making.
enum Table<W: Write + Send> {
    Csv { columns: Vec<Column>, writer: Box<csv::Writer<W>>, cell: String },
    Jsonl { columns: Vec<Column>, writer: BufWriter<W> },
    Parquet(Box<write::Table<W>>),
}

impl<W: Write + Send> Table<W> {
    fn new(format: FileFormat, columns: Vec<Column>, out: W) -> anyhow::Result<Self> {
        match format {
            FileFormat::Csv => {
                let mut writer = csv::WriterBuilder::new().buffer_capacity(256 << 10).from_writer(out);
                writer.write_record(columns.iter().map(|column| column.name()))?;
                Ok(Self::Csv { columns, writer: Box::new(writer), cell: String::new() })
            }
            FileFormat::Jsonl => {
                Ok(Self::Jsonl { columns, writer: BufWriter::with_capacity(256 << 10, out) })
            }
            FileFormat::Parquet => {
                let fields: Vec<_> = columns.iter().flat_map(|column| column.fields()).copied().collect();
                Ok(Self::Parquet(Box::new(write::Table::new(&fields, out)?)))
            }
        }
    }

    fn write(&mut self, event: &Event) -> anyhow::Result<()> {
        match self {
            Self::Csv { columns, writer, cell } => {
                for column in columns.iter() {
                    cell.clear();
                    column.push_cell(cell, event);
                    writer.write_field(&*cell)?;
                }
                writer.write_record(None::<&[u8]>)?;
            }
            Self::Jsonl { columns, writer } => {
                let mut fields = event_json::to_json(event);
                let wanted: Map<_, _> = columns
                    .iter()
                    .filter_map(|column| Some((column.name().to_owned(), fields.remove(column.name())?)))
                    .collect();
                serde_json::to_writer(&mut *writer, &Json::Object(wanted))?;
                writer.write_all(b"\n")?;
            }
            Self::Parquet(table) => table.write(event)?,
        }
        Ok(())
    }

    fn finish(self) -> anyhow::Result<()> {
        match self {
            Self::Csv { mut writer, .. } => Ok(writer.flush()?),
            Self::Jsonl { mut writer, .. } => Ok(writer.flush()?),
            Self::Parquet(table) => table.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use downlink_client::v1::value::Kind;
    use downlink_client::{Timestamp, event};

    fn exported(format: FileFormat, columns: &[Column], events: &[Event]) -> String {
        let mut out = Vec::new();
        let mut table = Table::new(format, columns.to_vec(), &mut out).unwrap();
        events.iter().for_each(|event| table.write(event).unwrap());
        table.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn csv_is_quoted_and_typed() {
        let mut text = event("a,b", "say \"hi\"\n");
        text.event_time = Some(Timestamp { seconds: 1_539_320_355, nanos: 36 });
        text.attributes.insert("k".to_owned(), "v".to_owned());
        let events = [text, event("c", 12.0), event("c", 12_i64), event("c", Kind::BytesValue(vec![255]))];
        let columns = [Column::EventTime, Column::Signal, Column::Value, Column::Kind, Column::Attributes];
        let expected = "event_time,signal,value,kind,attributes\n\
            2018-10-12T04:59:15.000000036Z,\"a,b\",\"say \"\"hi\"\"\n\",string,\"{\"\"k\"\":\"\"v\"\"}\"\n\
            ,c,12,double,\n,c,12,int,\n,c,/w==,bytes,\n";
        assert_eq!(exported(FileFormat::Csv, &columns, &events), expected);
    }

    #[test]
    fn json_lines_hold_the_columns_asked_for() {
        let columns = [Column::Value, Column::Signal];
        let line = exported(FileFormat::Jsonl, &columns, &[event("c", true)]);
        assert_eq!(line, "{\"value\":true,\"signal\":\"c\"}\n");
    }
}
