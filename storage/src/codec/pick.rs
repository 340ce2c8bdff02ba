//! Decoding the rows of some signals only: most of what belongs to the others is passed over.

use std::ops::Range;

use super::header::BlockHeader;
use super::wire::Reader;
use super::{DecodeError, columns, extras, integers, times, values};
use crate::block::{Columns, Kind};

/// Reads the rows of those signals of the block with this header that are `wanted`: which rows they are, and their
/// columns. `None` if texts or bytes are among them, of which one cannot be had without all, or if all are wanted.
pub(super) fn read(
    mut reader: Reader<'_>,
    header: &BlockHeader,
    wanted: &[bool],
) -> Result<Option<(Vec<u32>, Columns)>, DecodeError> {
    if !wanted.contains(&false) {
        return Ok(None);
    }
    let order = integers::read(&mut reader, header.rows())?;
    let (rows, spans) = find(&order, wanted)?;
    let signal: Vec<u32> = rows.iter().map(|row| order[*row as usize] as u32).collect();
    let event_time = times::read_some(&mut reader, header.rows(), &rows)?;
    let grouped = columns::grouped(&signal, wanted.len());
    let ((kind, bits), counts) = values::read_spans(&mut reader, header.rows(), &spans, &signal, &grouped)?;
    if kind.iter().any(|kind| matches!(kind, Kind::String | Kind::Bytes)) {
        return Ok(None);
    }
    for count in [counts.texts, counts.bytes] {
        columns::skip_blobs(&mut reader, count)?;
    }
    let columns = Columns { signal, event_time, kind, bits, ..Columns::default() };
    let mut columns = extras::read(&mut reader, header.rows(), columns, &header.summary)?;
    reader.finish()?;
    columns.ingest_time = columns.ingest_time.pick(&rows);
    columns.quality = columns.quality.pick(&rows);
    columns.source = columns.source.pick(&rows);
    columns.trace = columns.trace.pick(&rows);
    columns.attributes.retain_mut(|(row, _)| {
        let place = rows.binary_search(row);
        *row = place.unwrap_or_default() as u32;
        place.is_ok()
    });
    Ok(Some((rows, columns)))
}

/// Which rows are of a signal that is wanted; and which those are, by signal, where all rows are sorted by signal.
fn find(order: &[u64], wanted: &[bool]) -> Result<(Vec<u32>, Vec<Range<usize>>), DecodeError> {
    let mut lengths = vec![0; wanted.len()];
    let mut rows = Vec::new();
    for (row, &signal) in (0..).zip(order) {
        *lengths.get_mut(signal as usize).ok_or(columns::NO_SIGNAL)? += 1;
        if wanted[signal as usize] {
            rows.push(row);
        }
    }
    let mut end = 0;
    let spans = lengths.into_iter().map(|length| {
        end += length;
        end - length..end
    });
    Ok((rows, spans.zip(wanted).filter(|(_, is_wanted)| **is_wanted).map(|(span, _)| span).collect()))
}
