//! Which signal each row is of, and when its event was. Version 1 writes the two apart; version 2 as tokens, unless times
//! are too irregular.

use super::times;
use super::tokens::{self, Picked, Tokens};
use super::wire::{Reader, Writer};
use super::{DecodeError, Version, integers};
use crate::event::Timestamp;

const NO_SIGNAL: DecodeError = DecodeError::Malformed("a row of no signal");

/// The signals, then the times.
const APART: u8 = 0;
/// As tokens.
const TOKENS: u8 = 1;

/// Writes them for a block with so many signals.
pub(super) fn put(
    writer: &mut Writer,
    version: Version,
    signal: &[u32],
    times: &[Timestamp],
    signals: usize,
) {
    if version == Version::Committed {
        return put_apart(writer, signal, times);
    }
    match Tokens::new(signal, times, signals) {
        Some(tokens) => {
            writer.put_u8(TOKENS);
            tokens.put(writer, signal.len());
        }
        None => {
            writer.put_u8(APART);
            put_apart(writer, signal, times);
        }
    }
}

fn put_apart(writer: &mut Writer, signal: &[u32], times: &[Timestamp]) {
    let order: Vec<u64> = signal.iter().map(|&signal| u64::from(signal)).collect();
    integers::put(writer, &order);
    times::put(writer, times);
}

/// Reads those of `rows` rows, of so many signals.
pub(super) fn read(
    reader: &mut Reader<'_>,
    version: Version,
    rows: usize,
    signals: usize,
) -> Result<(Vec<u32>, Vec<Timestamp>), DecodeError> {
    if is_tokens(reader, version)? {
        return tokens::read(reader, rows, signals);
    }
    let signal: Vec<u32> = integers::read(reader, rows)?;
    if signal.iter().any(|&signal| signal as usize >= signals) {
        return Err(NO_SIGNAL);
    }
    Ok((signal, times::read(reader, rows)?))
}

/// Reads those of `rows` rows whose signals are `wanted`.
pub(super) fn read_some(
    reader: &mut Reader<'_>,
    version: Version,
    rows: usize,
    wanted: &[bool],
) -> Result<Picked, DecodeError> {
    if is_tokens(reader, version)? {
        return tokens::read_some(reader, rows, wanted);
    }
    let order: Vec<u32> = integers::read(reader, rows)?;
    let mut picked = Picked { counts: vec![0; wanted.len()], ..Picked::default() };
    for (row, &signal) in (0..).zip(&order) {
        *picked.counts.get_mut(signal as usize).ok_or(NO_SIGNAL)? += 1;
        if wanted[signal as usize] {
            picked.rows.push(row);
            picked.signal.push(signal);
        }
    }
    picked.event_time = times::read_some(reader, rows, &picked.rows)?;
    Ok(picked)
}

fn is_tokens(reader: &mut Reader<'_>, version: Version) -> Result<bool, DecodeError> {
    match version {
        Version::Committed => Ok(false),
        Version::Sealed => match reader.u8()? {
            APART => Ok(false),
            TOKENS => Ok(true),
            _ => Err(DecodeError::Malformed("an unknown form of rows")),
        },
    }
}
