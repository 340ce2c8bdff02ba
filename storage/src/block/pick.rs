//! Blocks of which only the rows of some signals are there, for who wants no others.

use std::collections::HashSet;
use std::ops::Range;

use super::{Block, DecodeError};
use crate::event::{Offset, SignalId};

/// What a reader wants of a block.
#[derive(Clone, Copy)]
pub(crate) enum Part<'a> {
    /// All of it.
    Whole,
    /// All of it; the events of rare signals, which are there once more, must be the same both times.
    Compared,
    /// At least the events of these signals.
    Signals(&'a [SignalId]),
}

/// So many signals are compared one by one.
const FEW_SIGNALS: usize = 16;

impl Block {
    /// The block in `bytes`, with at least its events on these signals: it still begins and ends where it does, but
    /// [`Block::len`] and rows count only the events that are there, which are in the order of their offsets.
    ///
    /// # Errors
    /// As [`Block::decode`], except that what belongs to other signals is not looked at beyond the checksum.
    pub fn decode_some(bytes: &[u8], signals: &[SignalId]) -> Result<Self, DecodeError> {
        if signals.len() <= FEW_SIGNALS {
            return crate::codec::decode_some(bytes, |id| signals.contains(&id));
        }
        let signals: HashSet<_> = signals.iter().copied().collect();
        crate::codec::decode_some(bytes, |id| signals.contains(&id))
    }

    /// The part of the block in `bytes`.
    ///
    /// # Errors
    /// As [`Block::decode`] or [`Block::decode_some`]; or if it is not the same where it is there twice.
    pub(crate) fn decode_part(bytes: &[u8], part: Part<'_>) -> Result<Self, DecodeError> {
        match part {
            Part::Whole => Self::decode(bytes),
            Part::Compared => crate::codec::decode_compared(bytes),
            Part::Signals(signals) => Self::decode_some(bytes, signals),
        }
    }

    /// Those of the `rows`, which must end within [`Block::len`], whose signals are `wanted`: one for each of
    /// [`Block::signals`]. To pass over the others costs next to nothing.
    pub fn rows_of(&self, rows: Range<usize>, wanted: &[bool]) -> impl DoubleEndedIterator<Item = usize> {
        let signals = &self.columns.signal[rows.clone()];
        rows.zip(signals).filter(|(_, signal)| wanted[**signal as usize]).map(|(row, _)| row)
    }

    /// How many of its events are not there.
    #[must_use]
    pub fn rows_left_out(&self) -> usize {
        self.header.summary.events as usize - self.len()
    }

    /// The offset of the event in `row`.
    #[must_use]
    #[inline]
    pub fn offset(&self, row: usize) -> Offset {
        self.first_offset().plus(match &self.rows {
            None => row as u64,
            Some(rows) => u64::from(rows[row]),
        })
    }

    /// The rows of its events from `first` (inclusive) to `end` (exclusive).
    #[must_use]
    pub fn rows_between(&self, first: Offset, end: Offset) -> Range<usize> {
        let row = |offset: Offset| {
            let row = offset.since(self.first_offset()).min(self.header.summary.events) as usize;
            self.rows.as_ref().map_or(row, |rows| rows.partition_point(|there| (*there as usize) < row))
        };
        let end = row(end);
        row(first).min(end)..end
    }
}
