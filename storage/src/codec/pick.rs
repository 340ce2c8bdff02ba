//! Decoding the rows of some signals only: most of what belongs to the others is passed over.

use std::ops::Range;

use super::tokens::Picked;
use super::wire::Reader;
use super::{DecodeError, Version, columns, extras, sequence, values};
use crate::block::{Columns, Kind};

/// Reads the rows of those signals that are `wanted`, out of so many rows: which rows they are, and their columns. `None`
/// if texts or bytes are among them, of which one cannot be had without all, or if all signals are wanted.
pub(super) fn read(
    mut reader: Reader<'_>,
    version: Version,
    rows: usize,
    wanted: &[bool],
) -> Result<Option<(Vec<u32>, Columns)>, DecodeError> {
    if !wanted.contains(&false) {
        return Ok(None);
    }
    let picked = sequence::read_some(&mut reader, version, rows, wanted)?;
    let (grouped, _) = columns::grouped(&picked.signal, wanted.len());
    let spans = spans(&picked.counts, wanted);
    let ((kind, bits), counts) = values::read_spans(&mut reader, rows, &spans, &picked.signal, &grouped)?;
    if kind.iter().any(|kind| matches!(kind, Kind::String | Kind::Bytes)) {
        return Ok(None);
    }
    for count in [counts.texts, counts.bytes] {
        columns::skip_blobs(&mut reader, count)?;
    }
    let Picked { rows: wanted, signal, event_time, .. } = picked;
    let mut columns = Columns { signal, event_time, kind, bits, ..Columns::default() };
    extras::read(&mut reader, rows, &mut columns)?;
    reader.finish()?;
    columns.ingest_time = columns.ingest_time.pick(&wanted);
    columns.quality = columns.quality.pick(&wanted);
    columns.source = columns.source.pick(&wanted);
    columns.trace = columns.trace.pick(&wanted);
    columns.attributes.retain_mut(|(row, _)| {
        let place = wanted.binary_search(row);
        *row = place.unwrap_or_default() as u32;
        place.is_ok()
    });
    Ok(Some((wanted, columns)))
}

/// Where the rows of the wanted signals are if all rows are sorted by signal, of which each has so many.
fn spans(counts: &[usize], wanted: &[bool]) -> Vec<Range<usize>> {
    let mut end = 0;
    let spans = counts.iter().map(|count| {
        end += count;
        end - count..end
    });
    spans.zip(wanted).filter(|(_, is_wanted)| **is_wanted).map(|(span, _)| span).collect()
}
