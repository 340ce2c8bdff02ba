//! Recordings of the feed: CSV, plain or zstd, read row by row and never as a whole.

use std::collections::HashMap;
use std::io::{self, BufReader, Read};
use std::sync::Arc;

use csv::{ByteRecord, ReaderBuilder};
use downlink_proto::v1::value::Kind;
use prost_types::Timestamp;

use super::catalogue::Nature;
use super::time::event_time;

const BUFFER_BYTES: usize = 256 << 10;

/// The first bytes of a zstd frame.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// A recording that cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It breaks off, or the disk does.
    #[error("cannot read the recording")]
    Read(#[from] io::Error),
    /// It is no CSV.
    #[error("the recording is not CSV")]
    Csv(#[from] csv::Error),
    /// A column is not there.
    #[error("the recording has no column '{0}' in its header; needed are timestamp_hours, pui and value")]
    NoColumn(&'static str),
}

/// One update of one item.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The name of the signal: prefix and item.
    pub signal: Arc<str>,
    /// When the feed said it happened.
    pub event_time: Timestamp,
    /// Its value.
    pub value: Kind,
}

/// A row that says nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct BadRow {
    /// The line it begins on, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub reason: String,
}

/// A recording under way. The same file always gives the same rows.
pub struct Recording {
    reader: csv::Reader<Box<dyn Read + Send>>,
    columns: Columns,
    year: i32,
    prefix: String,
    record: ByteRecord,
    items: HashMap<Vec<u8>, (Arc<str>, Nature)>,
}

/// Where the columns are.
#[derive(Clone, Copy, Debug)]
struct Columns {
    timestamp_hours: usize,
    pui: usize,
    value: usize,
}

impl Recording {
    /// Opens a recording; whether it is compressed, its first bytes tell. Signals are named prefix and item.
    pub fn open(file: impl Read + Send + 'static, year: i32, prefix: &str) -> Result<Self, Error> {
        let text = decompressed(file)?;
        let mut reader = ReaderBuilder::new().flexible(true).buffer_capacity(BUFFER_BYTES).from_reader(text);
        let header = reader.byte_headers()?;
        let column = |name: &'static str| {
            header.iter().position(|cell| cell == name.as_bytes()).ok_or(Error::NoColumn(name))
        };
        let columns = Columns {
            timestamp_hours: column("timestamp_hours")?,
            pui: column("pui")?,
            value: column("value")?,
        };
        let (record, items) = (ByteRecord::new(), HashMap::new());
        Ok(Self { reader, columns, year, prefix: prefix.to_owned(), record, items })
    }

    /// The next row, good or bad; none at the end.
    pub fn next_row(&mut self) -> Result<Option<Result<Row, BadRow>>, Error> {
        if !self.reader.read_byte_record(&mut self.record)? {
            return Ok(None);
        }
        let line = self.record.position().map_or(0, csv::Position::line);
        Ok(Some(self.parse().map_err(|reason| BadRow { line, reason })))
    }

    fn parse(&mut self) -> Result<Row, String> {
        let Columns { timestamp_hours, pui, value } = self.columns;
        let cell = |column: usize| self.record.get(column).ok_or("too few cells".to_owned());
        let (hours, pui, value) = (cell(timestamp_hours)?, cell(pui)?, cell(value)?);
        let (signal, nature) = match self.items.get(pui) {
            Some((signal, nature)) => (Arc::clone(signal), *nature),
            None => {
                let name = item_name(pui, &self.prefix)?;
                let signal: Arc<str> = format!("{}{name}", self.prefix).into();
                let nature = Nature::of(name);
                self.items.insert(pui.to_vec(), (Arc::clone(&signal), nature));
                (signal, nature)
            }
        };
        let hours = text(hours)?;
        let event_time = event_time(self.year, hours)
            .ok_or_else(|| format!("timestamp_hours '{hours}' is not a time of the year"))?;
        let value = text(value)?;
        let value = nature.value(value).ok_or_else(|| format!("value '{value}' does not fit {signal}"))?;
        Ok(Row { signal, event_time, value })
    }
}

/// The text of a recording, or of any other file: zstd or plain.
///
/// # Errors
/// If it cannot be read.
pub fn decompressed(file: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    let mut file = BufReader::with_capacity(BUFFER_BYTES, file);
    let mut first = Vec::with_capacity(ZSTD_MAGIC.len());
    file.by_ref().take(ZSTD_MAGIC.len() as u64).read_to_end(&mut first)?;
    let is_compressed = first == ZSTD_MAGIC;
    let whole = io::Cursor::new(first).chain(file);
    Ok(if is_compressed { Box::new(zstd::Decoder::new(whole)?) } else { Box::new(whole) })
}

/// How many lines a recording has, its header among them.
pub fn lines(file: impl Read + Send + 'static) -> io::Result<u64> {
    let (mut text, mut buffer, mut lines) = (decompressed(file)?, vec![0; BUFFER_BYTES], 0);
    loop {
        match text.read(&mut buffer)? {
            0 => return Ok(lines),
            count => lines += buffer[..count].iter().filter(|byte| **byte == b'\n').count() as u64,
        }
    }
}

fn text(cell: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(cell).map_err(|_| "not UTF-8".to_owned())
}

/// An item's name, if the log takes such names.
fn item_name<'a>(pui: &'a [u8], prefix: &str) -> Result<&'a str, String> {
    let name = text(pui)?;
    if name.is_empty() || name.len() + prefix.len() > 255 || name.contains(char::is_control) {
        return Err(format!("pui '{}' is not a signal's name", name.escape_debug()));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::rfc3339;

    fn rows(file: &[u8]) -> Vec<Result<(String, String, Kind), String>> {
        let mut recording = Recording::open(io::Cursor::new(file.to_vec()), 2018, "iss/").unwrap();
        let mut rows = vec![];
        while let Some(row) = recording.next_row().unwrap() {
            rows.push(match row {
                Ok(row) => Ok((row.signal.to_string(), rfc3339(&row.event_time), row.value)),
                Err(bad) => Err(bad.to_string()),
            });
        }
        rows
    }

    #[test]
    fn columns_are_found_by_name() {
        let file = b"pui,ops_nom,timestamp_hours,value\nNODE3000005,TANK,6844.9875,12\n";
        let expected =
            ("iss/NODE3000005".to_owned(), "2018-10-12T04:59:15Z".to_owned(), Kind::DoubleValue(12.0));
        assert_eq!(rows(file), [Ok(expected)]);
    }

    #[test]
    fn compressed_is_the_same() {
        let file = b"timestamp_hours,pui,value\n25,NODE3000005,12\n26,NODE3000004,16\n";
        let compressed = zstd::encode_all(&file[..], 3).unwrap();
        assert_eq!(rows(&compressed), rows(file));
        assert_eq!(lines(io::Cursor::new(compressed)).unwrap(), 3);
    }

    #[test]
    fn a_bad_row_is_named_and_the_next_is_read() {
        let file = b"timestamp_hours,pui,value\n0,P1,1\n25,P1\nx,P1,1\n25,,1\n25,NODE3000005,full\n25,P1,7\n";
        let rows = rows(file);
        let bad: Vec<_> = rows.iter().filter_map(|row| row.as_ref().err()).collect();
        let expected = [
            "line 2: timestamp_hours '0' is not a time of the year",
            "line 3: too few cells",
            "line 4: timestamp_hours 'x' is not a time of the year",
            "line 5: pui '' is not a signal's name",
            "line 6: value 'full' does not fit iss/NODE3000005",
        ];
        assert_eq!(bad, expected);
        assert_eq!(rows.len(), 6);
    }

    #[test]
    fn what_is_not_a_recording_is_refused() {
        let open = |file: &'static [u8]| Recording::open(file, 2018, "").err().map(|error| error.to_string());
        assert!(open(b"time,pui,value\n").unwrap().contains("timestamp_hours"));
        assert!(open(b"").unwrap().contains("timestamp_hours"));
        let cut = zstd::encode_all(&b"timestamp_hours,pui,value\n25,P1,7\n"[..], 3).unwrap();
        let cut = cut[..cut.len() - 5].to_vec();
        let result = Recording::open(io::Cursor::new(cut), 2018, "").and_then(|mut recording| {
            while recording.next_row()?.is_some() {}
            Ok(())
        });
        assert!(result.is_err(), "a file that breaks off is not a whole one");
    }
}
