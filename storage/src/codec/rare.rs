//! The events of rare signals once more, in a section of their own: who wants no others needs nothing else of the block.
//!
//! Which rows they are, then their columns as those of a block, compressed together. Whoever wants the whole block
//! passes over them.

use super::wire::{Reader, Writer};
use super::{DecodeError, Version, columns, integers, pick};
use crate::block::{Block, Columns, Kind, Span, map_bytes};

/// Of all bytes of events, as they are in memory, those of rare signals are at most one in so many. Measured on the
/// recorded day: they take 0.13 bytes an event, a seventeenth of the block.
const SHARE: usize = 64;
/// What an event takes beside texts and attributes, about.
const EVENT_BYTES: usize = 16;

const BAD_ROWS: DecodeError = DecodeError::Malformed("rows of rare signals beyond the end");

/// Writes the copy of the events of the signals that are rare in `block`.
pub(super) fn put(writer: &mut Writer, block: &Block) {
    let is_rare = find(block);
    let rows: Vec<u32> = (0..)
        .zip(&block.columns.signal)
        .filter(|(_, of)| is_rare[**of as usize])
        .map(|(row, _)| row)
        .collect();
    writer.put_u64(is_rare.iter().filter(|is_rare| **is_rare).count() as u64);
    if rows.is_empty() {
        return;
    }
    // In both they are in the order of their first events.
    let mut next = 0;
    for (signal, _) in (0..).zip(&is_rare).filter(|(_, is_rare)| **is_rare) {
        writer.put_u64(signal - std::mem::replace(&mut next, signal + 1));
    }
    let copy = block.gather(&rows);
    let mut section = Writer::plain();
    let mut next = 0;
    let steps = rows.iter().map(|&row| u64::from(row - std::mem::replace(&mut next, row + 1)));
    section.put_u64(rows.len() as u64);
    integers::put(&mut section, &steps.collect::<Vec<_>>());
    columns::put(&mut section, Version::Committed, &copy.columns, copy.header.signals.len());
    writer.put_sized_section(&section.into_bytes());
}

/// Which signals are rare: those with the fewest bytes of events, as many as do not take more than their share.
fn find(block: &Block) -> Vec<bool> {
    let columns = &block.columns;
    let mut bytes = vec![0; block.header.signals.len()];
    for ((signal, kind), bits) in columns.signal.iter().zip(&columns.kind).zip(&columns.bits) {
        let blob = match kind {
            Kind::String | Kind::Bytes => Span::from_bits(*bits).range().len(),
            Kind::Double | Kind::Int | Kind::Bool => 0,
        };
        bytes[*signal as usize] += EVENT_BYTES + blob;
    }
    for (row, attributes) in &columns.attributes {
        bytes[columns.signal[*row as usize] as usize] += map_bytes(attributes);
    }
    let mut left = bytes.iter().sum::<usize>() / SHARE;
    let mut signals: Vec<usize> = (0..bytes.len()).collect();
    signals.sort_by_key(|signal| bytes[*signal]);
    let mut is_rare = vec![false; bytes.len()];
    for signal in signals {
        let Some(rest) = left.checked_sub(bytes[signal]) else { break };
        left = rest;
        is_rare[signal] = true;
    }
    is_rare
}

/// Reads which of so many signals there is a copy of, in ascending order. The section follows, if there are any.
pub(super) fn read_signals(reader: &mut Reader<'_>, signals: usize) -> Result<Vec<u32>, DecodeError> {
    let mut rare = Vec::new();
    let mut next = 0_u64;
    for _ in 0..reader.count()? {
        let signal = next.checked_add(reader.u64()?).filter(|signal| *signal < signals as u64);
        let signal = signal.ok_or(DecodeError::Malformed("a rare signal that is none"))?;
        next = signal + 1;
        rare.push(signal as u32);
    }
    Ok(rare)
}

/// Passes over what [`put`] wrote for a block with so many signals.
pub(super) fn skip(reader: &mut Reader<'_>, signals: usize) -> Result<(), DecodeError> {
    if read_signals(reader, signals)?.is_empty() { Ok(()) } else { reader.skip_sized_section() }
}

/// Reads what [`put`] wrote for a block of so many rows, and gives at least the rows of the signals that are `wanted`;
/// `None` if not all of these are rare.
pub(super) fn read(
    reader: &mut Reader<'_>,
    block_rows: usize,
    wanted: &[bool],
) -> Result<Option<(Vec<u32>, Columns)>, DecodeError> {
    let rare = read_signals(reader, wanted.len())?;
    if rare.is_empty() {
        return Ok(None);
    }
    let is_wanted: Vec<bool> = rare.iter().map(|signal| wanted[*signal as usize]).collect();
    let count = |wanted: &[bool]| wanted.iter().filter(|is_wanted| **is_wanted).count();
    if count(&is_wanted) < count(wanted) {
        reader.skip_sized_section()?;
        return Ok(None);
    }
    let section = reader.sized_section()?;
    let mut section = Reader::new(&section);
    let rows = read_rows(&mut section, block_rows)?;
    let (rows, mut columns) = match pick::read(section.clone(), Version::Committed, rows.len(), &is_wanted)? {
        Some((places, columns)) => (places.iter().map(|place| rows[*place as usize]).collect(), columns),
        None => {
            let columns = columns::read(&mut section, Version::Committed, rows.len(), rare.len())?;
            section.finish()?;
            (rows, columns)
        }
    };
    columns.signal.iter_mut().for_each(|signal| *signal = rare[*signal as usize]);
    Ok(Some((rows, columns)))
}

fn read_rows(section: &mut Reader<'_>, block_rows: usize) -> Result<Vec<u32>, DecodeError> {
    let count = usize::try_from(section.u64()?).ok().filter(|&count| count <= block_rows).ok_or(BAD_ROWS)?;
    let mut rows: Vec<u32> = integers::read(section, count)?;
    let mut next = 0_u32;
    for row in &mut rows {
        *row = next.checked_add(*row).filter(|row| (*row as usize) < block_rows).ok_or(BAD_ROWS)?;
        next = *row + 1;
    }
    Ok(rows)
}
