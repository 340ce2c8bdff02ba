//! A file as events: CSV with a header, JSON lines, or Parquet.

use std::fs::File;
use std::io::{BufRead, BufReader, Lines as TextLines, Read};

use anyhow::{Context as _, bail};
use downlink_client::time::parse_rfc3339;
use downlink_client::v1::{Event, Quality, Value};

use crate::command::event_json;
use crate::command::parquet_file::read::Rows;
use crate::command::value::{self, QualityWord, ValueKind};

type Input = Box<dyn Read + Send>;

/// The events of a file, one by one.
pub(super) enum Events {
    Csv { columns: Vec<Column>, records: Box<csv::StringRecordsIntoIter<Input>> },
    Jsonl { lines: TextLines<BufReader<Input>>, number: u64 },
    Parquet(Box<Rows>),
}

/// What a column of CSV holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Signal,
    EventTime,
    Value,
    Kind,
    Quality,
    Source,
    Attributes,
    TraceContext,
    /// The log's own; a new log gives its own.
    ReadOver,
}

impl Events {
    pub(super) fn jsonl(input: Input) -> Self {
        Self::Jsonl { lines: BufReader::new(input).lines(), number: 0 }
    }

    pub(super) fn parquet(file: File) -> anyhow::Result<Self> {
        Ok(Self::Parquet(Box::new(Rows::open(file)?)))
    }

    pub(super) fn csv(input: Input) -> anyhow::Result<Self> {
        let mut reader = csv::Reader::from_reader(input);
        let header = reader.headers().context("no CSV header")?;
        let columns = header.iter().map(column).collect::<anyhow::Result<Vec<_>>>()?;
        for (needed, name) in [(Column::Signal, "signal"), (Column::Value, "value")] {
            if !columns.contains(&needed) {
                bail!("the CSV header has no column '{name}'");
            }
        }
        Ok(Self::Csv { columns, records: Box::new(reader.into_records()) })
    }

    /// The next event; an inner error is about one line or row, an outer one about the file.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<anyhow::Result<Event>>> {
        match self {
            Self::Parquet(rows) => rows.next(),
            Self::Jsonl { lines, number } => loop {
                let Some(line) = lines.next().transpose()? else { return Ok(None) };
                *number += 1;
                if !line.trim().is_empty() {
                    return Ok(Some(event_json::from_json(&line).with_context(|| format!("line {number}"))));
                }
            },
            Self::Csv { columns, records } => match records.next() {
                None => Ok(None),
                Some(Ok(record)) => {
                    let line = record.position().map_or(0, csv::Position::line);
                    Ok(Some(event(columns, &record).with_context(|| format!("line {line}"))))
                }
                Some(Err(error)) if error.is_io_error() => Err(error.into()),
                Some(Err(error)) => Ok(Some(Err(error.into()))),
            },
        }
    }
}

fn column(name: &str) -> anyhow::Result<Column> {
    Ok(match name.trim() {
        "signal" => Column::Signal,
        "event_time" => Column::EventTime,
        "value" => Column::Value,
        "kind" => Column::Kind,
        "quality" => Column::Quality,
        "source" => Column::Source,
        "attributes" => Column::Attributes,
        "trace_context" => Column::TraceContext,
        "offset" | "ingest_time" => Column::ReadOver,
        other => bail!(
            "column '{other}' is unknown: known are signal, value, kind, event_time, quality, source, attributes, \
             trace_context"
        ),
    })
}

fn event(columns: &[Column], record: &csv::StringRecord) -> anyhow::Result<Event> {
    let (mut event, mut kind, mut text) = (Event::default(), None, "");
    for (column, cell) in columns.iter().zip(record) {
        match column {
            Column::Signal => cell.clone_into(&mut event.signal),
            Column::Value => text = cell,
            Column::Source => cell.clone_into(&mut event.source),
            Column::ReadOver => {}
            _ if cell.is_empty() => {}
            Column::EventTime => event.event_time = Some(parse_rfc3339(cell)?),
            Column::Kind => kind = Some(event_json::word::<ValueKind>(cell)?),
            Column::Quality => {
                event.quality = Quality::from(event_json::word::<QualityWord>(cell)?).into();
            }
            Column::TraceContext => event.trace_context = value::parse_hex(cell)?,
            Column::Attributes => {
                event.attributes =
                    serde_json::from_str(cell).context("attributes are not a JSON object of texts")?;
            }
        }
    }
    if event.signal.is_empty() {
        bail!("no signal");
    }
    let value = kind.map_or_else(|| Ok(value::guess(text)), |kind| kind.parse(text))?;
    event.value = Some(Value { kind: Some(value) });
    Ok(event)
}

#[cfg(test)]
mod tests {
    use super::*;
    use downlink_client::event;
    use downlink_client::v1::value::Kind;
    use std::io::Cursor;

    fn read(mut events: Events) -> Vec<anyhow::Result<Event>> {
        std::iter::from_fn(|| events.next().unwrap()).collect()
    }

    fn input(text: &str) -> Input {
        Box::new(Cursor::new(text.to_owned()))
    }

    #[test]
    fn csv_lines_are_events() {
        let text = "offset,value,kind,signal,event_time,quality,attributes\n\
            7,12,double,a,1970-01-01T00:00:00Z,bad,\"{\"\"k\"\":\"\"v\"\"}\"\n\
            8,12,,b,,,\n\
            9,x,int,c,,,\n\
            10,\"two\nlines\",string,d,,,\n";
        let events = read(Events::csv(input(text)).unwrap());
        let first = events[0].as_ref().unwrap();
        assert_eq!((first.value.clone(), first.quality()), (event("", 12.0).value, Quality::Bad));
        assert_eq!((first.event_time.unwrap().seconds, first.attributes["k"].as_str()), (0, "v"));
        assert_eq!(events[1].as_ref().unwrap(), &event("b", 12_i64));
        assert_eq!(format!("{:#}", events[2].as_ref().unwrap_err()).split(':').next(), Some("line 4"));
        assert_eq!(events[3].as_ref().unwrap().value, event("", "two\nlines").value);
    }

    #[test]
    fn json_lines_are_events() {
        let events = read(Events::jsonl(input("{\"signal\":\"a\",\"value\":1}\n\n{\"signal\":\"b\"}\n")));
        assert_eq!(events[0].as_ref().unwrap().value, Some(Value { kind: Some(Kind::IntValue(1)) }));
        assert!(format!("{:#}", events[1].as_ref().unwrap_err()).starts_with("line 3"));
    }

    #[test]
    fn a_header_without_what_is_needed_is_refused() {
        for text in ["", "signal\n", "signal,value,colour\n"] {
            assert!(Events::csv(input(text)).is_err(), "{text}");
        }
    }
}
