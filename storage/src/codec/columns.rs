//! The column sections: which signal each row is of and when, values, texts and bytes, and the rest.

use super::wire::{Reader, Writer};
use super::{DecodeError, Version, extras, integers, sequence, values};
use crate::block::{Columns, Kind, Span, Summary};

/// Writes the columns of a block with so many signals.
pub(super) fn put(writer: &mut Writer, version: Version, columns: &Columns, signals: usize) {
    sequence::put(writer, version, &columns.signal, &columns.event_time, signals);
    let (grouped, _) = grouped(&columns.signal, signals);
    values::put(writer, &columns.signal, &grouped, &columns.kind, &columns.bits);
    put_blobs(writer, columns, Kind::String, columns.text.as_bytes());
    put_blobs(writer, columns, Kind::Bytes, &columns.bytes);
    extras::put(writer, columns);
}

/// Reads the columns of a block with so many rows and signals.
pub(super) fn read(
    reader: &mut Reader<'_>,
    version: Version,
    rows: usize,
    signals: usize,
) -> Result<Columns, DecodeError> {
    let (signal, event_time) = sequence::read(reader, version, rows, signals)?;
    let (grouped, ends) = grouped(&signal, signals);
    check_order(&grouped, &ends)?;
    let (kind, mut bits) = values::read(reader, &signal, &grouped)?;
    let text = read_blobs(reader, &kind, &mut bits, Kind::String)?;
    let text = String::from_utf8(text).map_err(|_| DecodeError::Malformed("text is not UTF-8"))?;
    let is_text = |(kind, bits): (&Kind, &u64)| {
        *kind != Kind::String || text.is_char_boundary(Span::from_bits(*bits).range().start)
    };
    if !kind.iter().zip(&bits).all(is_text) {
        return Err(DecodeError::Malformed("text is cut inside a character"));
    }
    let bytes = read_blobs(reader, &kind, &mut bits, Kind::Bytes)?;
    let mut columns = Columns { signal, event_time, kind, bits, text, bytes, ..Columns::default() };
    extras::read(reader, rows, &mut columns)?;
    Ok(columns)
}

/// Refuses columns that are not as the header says.
pub(super) fn check(columns: &Columns, summary: &Summary) -> Result<(), DecodeError> {
    if columns.event_time.iter().min() != Some(&summary.event_time_min)
        || columns.event_time.iter().max() != Some(&summary.event_time_max)
    {
        return Err(DecodeError::Malformed("event times other than the header says"));
    }
    if columns.ingest_time.get(0) != summary.ingest_time_first
        || columns.ingest_time.last() != Some(summary.ingest_time_last)
    {
        return Err(DecodeError::Malformed("ingest times other than the header says"));
    }
    Ok(())
}

/// Refuses signals without rows, or in another order than that of their first rows; the rows are [`grouped`].
fn check_order(grouped: &[u32], ends: &[u32]) -> Result<(), DecodeError> {
    let (mut start, mut before) = (0, None);
    let is_ordered = ends.iter().all(|&end| {
        let rows = std::mem::replace(&mut start, end as usize)..end as usize;
        let first = grouped[rows].first();
        first > std::mem::replace(&mut before, first)
    });
    if is_ordered {
        Ok(())
    } else {
        Err(DecodeError::Malformed("signals in another order than their events"))
    }
}

/// All rows, signal by signal, each signal's in their order; and where those of each signal end.
pub(super) fn grouped(signal: &[u32], signals: usize) -> (Vec<u32>, Vec<u32>) {
    let mut places = vec![0_u32; signals + 1];
    for &signal in signal {
        places[signal as usize + 1] += 1;
    }
    for signal in 0..signals {
        places[signal + 1] += places[signal];
    }
    let mut grouped = vec![0; signal.len()];
    for (row, &signal) in signal.iter().enumerate() {
        let place = &mut places[signal as usize];
        grouped[*place as usize] = row as u32;
        *place += 1;
    }
    places.truncate(signals);
    (grouped, places)
}

/// The texts, or the bytes: the length of each, then all of them together.
fn put_blobs(writer: &mut Writer, columns: &Columns, kind: Kind, blobs: &[u8]) {
    let rows = columns.kind.iter().zip(&columns.bits).filter(|(of, _)| **of == kind);
    let lengths: Vec<u64> = rows.map(|(_, bits)| Span::from_bits(*bits).range().len() as u64).collect();
    if !lengths.is_empty() {
        integers::put(writer, &lengths);
        writer.put_sized_section(blobs);
    }
}

/// Passes over what [`put_blobs`] wrote, `count` texts or bytes.
pub(super) fn skip_blobs(reader: &mut Reader<'_>, count: usize) -> Result<(), DecodeError> {
    if count == 0 {
        return Ok(());
    }
    integers::read_part::<u64>(reader, count, 0..0)?;
    reader.skip_sized_section()
}

/// Reads what [`put_blobs`] wrote, and fills in the bits of the rows of that kind.
fn read_blobs(
    reader: &mut Reader<'_>,
    kinds: &[Kind],
    bits: &mut [u64],
    kind: Kind,
) -> Result<Vec<u8>, DecodeError> {
    let count = kinds.iter().filter(|of| **of == kind).count();
    if count == 0 {
        return Ok(Vec::new());
    }
    let lengths: Vec<u64> = integers::read(reader, count)?;
    let blobs = reader.sized_section()?;
    let rows = kinds.iter().zip(bits).filter(|(of, _)| **of == kind);
    let mut start = 0;
    for ((_, bits), length) in rows.zip(lengths) {
        let rest = (blobs.len() - start) as u64;
        let span = Span::new(start, length.min(rest) as usize).filter(|_| length <= rest);
        let span = span.ok_or(DecodeError::Malformed("a value beyond the end"))?;
        start = span.range().end;
        *bits = span.to_bits();
    }
    if start == blobs.len() { Ok(blobs) } else { Err(DecodeError::Malformed("bytes of no value")) }
}
