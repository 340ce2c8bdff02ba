//! The column sections: which signal each row is of, event times, values, texts and bytes, and the rest.

use super::header::BlockHeader;
use super::wire::{Reader, Writer};
use super::{DecodeError, extras, integers, times, values};
use crate::block::{Columns, Kind, Span};

pub(super) const NO_SIGNAL: DecodeError = DecodeError::Malformed("a row of no signal");

/// Writes the columns of a block with so many signals.
pub(super) fn put(writer: &mut Writer, columns: &Columns, signals: usize) {
    let order: Vec<u64> = columns.signal.iter().map(|&signal| u64::from(signal)).collect();
    integers::put(writer, &order);
    times::put(writer, &columns.event_time);
    values::put(writer, &columns.signal, &grouped(&columns.signal, signals), &columns.kind, &columns.bits);
    put_blobs(writer, columns, Kind::String, columns.text.as_bytes());
    put_blobs(writer, columns, Kind::Bytes, &columns.bytes);
    extras::put(writer, columns);
}

/// Reads the columns of the block with this header.
pub(super) fn read(reader: &mut Reader<'_>, header: &BlockHeader) -> Result<Columns, DecodeError> {
    let rows = header.rows();
    let signal = read_order(reader, rows, header.signals.len())?;
    let event_time = times::read(reader, rows)?;
    let summary = header.summary;
    if event_time.iter().min() != Some(&summary.event_time_min)
        || event_time.iter().max() != Some(&summary.event_time_max)
    {
        return Err(DecodeError::Malformed("event times other than the header says"));
    }
    let (kind, mut bits) = values::read(reader, &signal, &grouped(&signal, header.signals.len()))?;
    let text = read_blobs(reader, &kind, &mut bits, Kind::String)?;
    let text = String::from_utf8(text).map_err(|_| DecodeError::Malformed("text is not UTF-8"))?;
    let is_text = |(kind, bits): (&Kind, &u64)| {
        *kind != Kind::String || text.is_char_boundary(Span::from_bits(*bits).range().start)
    };
    if !kind.iter().zip(&bits).all(is_text) {
        return Err(DecodeError::Malformed("text is cut inside a character"));
    }
    let bytes = read_blobs(reader, &kind, &mut bits, Kind::Bytes)?;
    let columns = Columns { signal, event_time, kind, bits, text, bytes, ..Columns::default() };
    extras::read(reader, rows, columns, &summary)
}

fn read_order(reader: &mut Reader<'_>, rows: usize, signals: usize) -> Result<Vec<u32>, DecodeError> {
    let order = integers::read(reader, rows)?;
    if order.iter().any(|&signal| signal >= signals as u64) {
        return Err(NO_SIGNAL);
    }
    Ok(order.into_iter().map(|signal| signal as u32).collect())
}

/// All rows, signal by signal, each signal's in their order.
pub(super) fn grouped(signal: &[u32], signals: usize) -> Vec<u32> {
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
    grouped
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
    integers::read_part(reader, count, 0..0)?;
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
    let lengths = integers::read(reader, count)?;
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
