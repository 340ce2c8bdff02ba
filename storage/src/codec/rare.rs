//! The events of rare signals once more, in a section of their own: who wants no others needs nothing else of the block.
//!
//! Which rows they are, then their columns as those of a block, compressed together. Whoever wants the whole block
//! passes over them.

use super::wire::{Reader, Writer};
use super::{DecodeError, Version, columns, integers, pick};
use crate::block::{Columns, Kind, Span, map_bytes};

/// What an event takes beside texts and tables, about.
const EVENT_BYTES: usize = 16;
/// Of what all events take, those of rare signals take at most one in so many, with all their texts and tables. Measured on
/// the recorded day: they take 0.13 bytes an event, a seventeenth of the block.
const SHARE: usize = 64;

const BAD_ROWS: DecodeError = DecodeError::Malformed("rows of rare signals beyond the end");

/// Writes the copy of the events of the signals that are rare in a block with so many signals.
pub(super) fn put(writer: &mut Writer, columns: &Columns, signals: usize) {
    let (rare, rows) = find(columns, signals);
    writer.put_u64(rare.len() as u64);
    if rare.is_empty() {
        return;
    }
    // In both they are in the order of their first events.
    let mut next = 0;
    let mut numbers = vec![0; signals];
    for (number, signal) in (0..).zip(&rare) {
        writer.put_u64(u64::from(signal - std::mem::replace(&mut next, signal + 1)));
        numbers[*signal as usize] = number;
    }
    let mut section = Writer::plain();
    let mut next = 0;
    let steps = rows.iter().map(|&row| u64::from(row - std::mem::replace(&mut next, row + 1)));
    section.put_u64(rows.len() as u64);
    integers::put(&mut section, &steps.collect::<Vec<_>>());
    let copy = columns.gather(&rows, |signal| numbers[signal as usize]);
    columns::put(&mut section, Version::Committed, &copy, rare.len());
    writer.put_sized_section(&section.into_bytes());
}

/// Which signals are rare, and their rows: those that take the fewest bytes, as many as do not take more than their share.
/// Both ascend.
fn find(columns: &Columns, signals: usize) -> (Vec<u32>, Vec<u32>) {
    let bytes = signal_bytes(columns, signals);
    let (grouped, ends) = columns::grouped(&columns.signal, signals);
    let mut by_bytes: Vec<usize> = (0..signals).collect();
    by_bytes.sort_by_key(|signal| bytes[*signal]);
    let mut tables = Tables::new(columns);
    let mut left = columns.signal.len() * EVENT_BYTES / SHARE;
    let (mut rare, mut rows) = (Vec::new(), Vec::new());
    for signal in by_bytes {
        let Some(rest) = left.checked_sub(bytes[signal]) else { break };
        let begin = signal.checked_sub(1).map_or(0, |before| ends[before]);
        let of_signal = &grouped[begin as usize..ends[signal] as usize];
        let Some(rest) = rest.checked_sub(of_signal.iter().map(|row| tables.take(*row)).sum()) else { break };
        left = rest;
        rare.push(signal as u32);
        rows.extend_from_slice(of_signal);
    }
    rare.sort_unstable();
    rows.sort_unstable();
    (rare, rows)
}

/// What the events of each signal take, without what they have in common with others.
fn signal_bytes(columns: &Columns, signals: usize) -> Vec<usize> {
    let mut bytes = vec![0; signals];
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
    bytes
}

/// Which sources and trace contexts the copy has already: each is there once.
struct Tables<'a> {
    columns: &'a Columns,
    sources: Vec<bool>,
    traces: Vec<bool>,
}

impl<'a> Tables<'a> {
    fn new(columns: &'a Columns) -> Self {
        let [sources, traces] = [columns.sources.len(), columns.traces.len()].map(|all| vec![false; all]);
        Self { columns, sources, traces }
    }

    /// Adds those of a row; gives the bytes that this takes.
    fn take(&mut self, row: u32) -> usize {
        let Self { columns, sources, traces } = self;
        let source = columns.source.get(row as usize) as usize;
        let trace = columns.trace.get(row as usize) as usize;
        let has_source = std::mem::replace(&mut sources[source], true);
        let has_trace = std::mem::replace(&mut traces[trace], true);
        let source = if has_source { 0 } else { columns.sources[source].len() };
        source + if has_trace { 0 } else { columns.traces[trace].len() }
    }
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
    let mut section = Reader::inside(&section);
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

/// Refuses a copy that is not what [`put`] would write for these columns of a block with so many signals.
pub(super) fn check(reader: &mut Reader<'_>, columns: &Columns, signals: usize) -> Result<(), DecodeError> {
    let mut is_rare = vec![false; signals];
    read_signals(&mut reader.clone(), signals)?.iter().for_each(|signal| is_rare[*signal as usize] = true);
    let Some((rows, copy)) = read(reader, columns.signal.len(), &is_rare)? else { return Ok(()) };
    let rare = (0..).zip(&columns.signal).filter(|(_, signal)| is_rare[**signal as usize]);
    let rare: Vec<u32> = rare.map(|(row, _)| row).collect();
    if rows == rare && copy == columns.gather(&rare, |signal| signal) {
        Ok(())
    } else {
        Err(DecodeError::Malformed("a copy of rare signals' events that is none"))
    }
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
