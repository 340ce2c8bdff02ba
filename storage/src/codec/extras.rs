//! The section of what seldom changes from row to row: ingest time, quality, source, trace context; and attributes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::DecodeError;
use super::wire::{Buffer, Reader, Writer};
use crate::block::{BLOCK_BYTES_MAX, Columns, Runs, pairs_bytes};
use crate::event::Quality;

/// The qualities by their number in the format.
const QUALITIES: [Quality; 4] = [Quality::Good, Quality::Stale, Quality::Uncertain, Quality::Bad];

/// Writes them.
pub(super) fn put(writer: &mut Writer, columns: &Columns) {
    let mut buffer = Buffer::default();
    put_runs(&mut buffer, &columns.ingest_time, Buffer::put_time);
    put_runs(&mut buffer, &columns.quality, |buffer, quality| {
        buffer.put_u64(quality_number(quality));
    });
    buffer.put_u64(columns.sources.len() as u64);
    columns.sources.iter().for_each(|source| buffer.put_blob(source.as_bytes()));
    put_runs(&mut buffer, &columns.source, |buffer, source| buffer.put_u64(u64::from(source)));
    put_runs(&mut buffer, &columns.trace, |buffer, trace| buffer.put_blob(&columns.traces[trace as usize]));
    put_attributes(&mut buffer, columns);
    writer.put_sized_section(&buffer.0);
}

/// Reads those of `rows` rows into `columns`.
pub(super) fn read(reader: &mut Reader<'_>, rows: usize, columns: &mut Columns) -> Result<(), DecodeError> {
    let bytes = reader.sized_section()?;
    let mut reader = Reader::inside(&bytes);
    columns.ingest_time = read_runs(&mut reader, rows, Reader::time)?;
    columns.quality = read_runs(&mut reader, rows, |reader| {
        let number = usize::try_from(reader.u64()?).unwrap_or(usize::MAX);
        QUALITIES.get(number).copied().ok_or(DecodeError::Malformed("an unknown quality"))
    })?;
    let sources = reader.count_to(rows)?;
    columns.sources = (0..sources).map(|_| reader.text().map(Arc::from)).collect::<Result<_, _>>()?;
    columns.source = read_runs(&mut reader, rows, |reader| {
        let source = reader.u32()?;
        if (source as usize) < sources {
            Ok(source)
        } else {
            Err(DecodeError::Malformed("an event of no source"))
        }
    })?;
    let traces = &mut columns.traces;
    columns.trace = read_runs(&mut reader, rows, |reader| {
        traces.push(reader.blob()?.into());
        Ok((traces.len() - 1) as u32)
    })?;
    columns.attributes = read_attributes(&mut reader, rows)?;
    reader.finish()
}

const fn quality_number(quality: Quality) -> u64 {
    match quality {
        Quality::Good => 0,
        Quality::Stale => 1,
        Quality::Uncertain => 2,
        Quality::Bad => 3,
    }
}

/// The number of runs, then for each how many rows after the one before it begins, and its value.
fn put_runs<T: Copy + PartialEq>(buffer: &mut Buffer, runs: &Runs<T>, put_value: impl Fn(&mut Buffer, T)) {
    buffer.put_u64(runs.runs().len() as u64);
    let mut previous = 0;
    for (row, value) in runs.runs() {
        buffer.put_u64(u64::from(row - std::mem::replace(&mut previous, row)));
        put_value(buffer, value);
    }
}

fn read_runs<'a, T: Copy + PartialEq>(
    reader: &mut Reader<'a>,
    rows: usize,
    mut read_value: impl FnMut(&mut Reader<'a>) -> Result<T, DecodeError>,
) -> Result<Runs<T>, DecodeError> {
    let mut runs = Runs::default();
    let mut next = 0;
    for run in 0..reader.count_to(rows)? {
        let before = next;
        let row = read_row(reader, &mut next, rows)?;
        // The first begins with the first row, each other one behind the one before.
        if (run == 0 && row > 0) || (run > 0 && row == before) {
            return Err(DecodeError::Malformed("a run without rows"));
        }
        runs.push(row, read_value(reader)?);
    }
    runs.last().ok_or(DecodeError::Malformed("rows without a run"))?;
    Ok(runs)
}

/// A row as the distance from the one before, which is moved on.
fn read_row(reader: &mut Reader<'_>, previous: &mut u32, rows: usize) -> Result<u32, DecodeError> {
    let row = previous.checked_add(reader.u32()?).filter(|&row| (row as usize) < rows);
    *previous = row.ok_or(DecodeError::Malformed("a row beyond the end"))?;
    Ok(*previous)
}

fn put_attributes(buffer: &mut Buffer, columns: &Columns) {
    buffer.put_u64(columns.attributes.len() as u64);
    let mut previous = 0;
    for (row, attributes) in &columns.attributes {
        buffer.put_u64(u64::from(row - std::mem::replace(&mut previous, *row)));
        buffer.put_u64(attributes.len() as u64);
        for (key, value) in attributes {
            buffer.put_blob(key.as_bytes());
            buffer.put_blob(value.as_bytes());
        }
    }
}

type Attributes = Vec<(u32, BTreeMap<String, String>)>;

fn read_attributes(reader: &mut Reader<'_>, rows: usize) -> Result<Attributes, DecodeError> {
    let count = reader.count_to(rows)?;
    let mut attributes: Attributes = Vec::with_capacity(count);
    let mut previous = 0;
    let mut room = BLOCK_BYTES_MAX;
    for _ in 0..count {
        let row = read_row(reader, &mut previous, rows)?;
        if attributes.last().is_some_and(|(before, _)| *before == row) {
            return Err(DecodeError::Malformed("attributes twice for one row"));
        }
        let mut map = BTreeMap::new();
        let pairs = reader.count()?;
        let left = room.checked_sub(pairs_bytes(pairs));
        room = left.ok_or(DecodeError::Malformed("more attributes than a block holds"))?;
        for _ in 0..pairs {
            map.insert(reader.text()?.to_owned(), reader.text()?.to_owned());
        }
        if map.is_empty() || map.len() != pairs {
            return Err(DecodeError::Malformed("attributes of the same name, or none"));
        }
        attributes.push((row, map));
    }
    Ok(attributes)
}
