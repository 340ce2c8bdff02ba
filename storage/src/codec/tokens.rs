//! Signals and event times as one sequence of tokens: a signal stands for an event of it, a step for time that passes.
//!
//! Telemetry comes in cycles, and of signals and steps together more repeats itself than of each alone. A step may need
//! many bytes, as times seldom are whole numbers of anything, but there are few different ones.

use super::times::{BAD_TIME, Clock, near_nanos};
use super::wire::{Reader, Writer, unzigzag, zigzag};
use super::{DecodeError, integers};
use crate::event::Timestamp;

const BAD_TOKENS: DecodeError = DecodeError::Malformed("other tokens than rows");

/// Each step is there so many times or more, on the average: others are better written one by one.
const PASSED_PER_STEP_MIN: usize = 8;

/// The rows of a block as tokens: those below the number of its signals stand for these, the others for steps.
pub(super) struct Tokens {
    first: Timestamp,
    /// Nanoseconds, the shortest steps first: the rare ones tend to be long, so that the first 256 tokens are frequent.
    steps: Vec<i64>,
    tokens: Vec<u32>,
}

impl Tokens {
    /// Those of the rows of a block with so many signals; `None` if too many steps are different, or too long.
    pub(super) fn new(signal: &[u32], times: &[Timestamp], signals: usize) -> Option<Self> {
        let runs = times.chunk_by(|a, b| a == b);
        let nanos = near_nanos(&runs.clone().map(|run| run[0]).collect::<Vec<_>>())?;
        let passed: Vec<u64> = nanos.windows(2).map(|pair| zigzag(pair[1] - pair[0])).collect();
        let mut steps = passed.clone();
        steps.sort_unstable();
        steps.dedup();
        if steps.len() > passed.len() / PASSED_PER_STEP_MIN {
            return None;
        }
        let token = |step: &u64| (signals + steps.partition_point(|shorter| shorter < step)) as u32;
        let mut tokens = Vec::with_capacity(signal.len() + passed.len());
        let (mut signal, mut passed) = (signal.iter(), passed.iter());
        for run in runs {
            tokens.extend(signal.by_ref().take(run.len()));
            tokens.extend(passed.next().map(token));
        }
        Some(Self { first: times[0], steps: steps.into_iter().map(unzigzag).collect(), tokens })
    }

    /// Writes those of so many rows.
    pub(super) fn put(&self, writer: &mut Writer, rows: usize) {
        writer.put_u64(zigzag(self.first.seconds()));
        writer.put_u64(u64::from(self.first.nanos()));
        writer.put_u64(self.steps.len() as u64);
        let mut shorter = 0;
        let longer =
            self.steps.iter().map(|&step| zigzag(step) - std::mem::replace(&mut shorter, zigzag(step)));
        integers::put(writer, &longer.collect::<Vec<_>>());
        writer.put_u64((self.tokens.len() - rows) as u64);
        integers::put(writer, &self.tokens.iter().map(|&token| u64::from(token)).collect::<Vec<_>>());
    }

    /// Reads those of so many rows.
    fn read(reader: &mut Reader<'_>, rows: usize) -> Result<Self, DecodeError> {
        let first = reader.time()?;
        let below_rows =
            |count: u64| usize::try_from(count).ok().filter(|&count| count < rows).ok_or(BAD_TOKENS);
        let steps = below_rows(reader.u64()?)?;
        let mut step = 0_u64;
        let longer = integers::read::<u64>(reader, steps)?.into_iter().map(|longer| {
            step = step.wrapping_add(longer);
            unzigzag(step)
        });
        let steps = longer.collect();
        let passed = below_rows(reader.u64()?)?;
        Ok(Self { first, steps, tokens: integers::read(reader, rows + passed)? })
    }
}

/// Reads signal and event time of `rows` rows, of so many signals.
pub(super) fn read(
    reader: &mut Reader<'_>,
    rows: usize,
    signals: usize,
) -> Result<(Vec<u32>, Vec<Timestamp>), DecodeError> {
    let Tokens { first, steps, tokens } = Tokens::read(reader, rows)?;
    let (mut signal, mut event_time) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
    let (mut clock, mut now, mut since_first) = (Clock::new(first), first, 0_i64);
    for token in tokens {
        match (token as usize).checked_sub(signals) {
            None => {
                signal.push(token);
                event_time.push(now);
            }
            Some(step) => {
                let step = *steps.get(step).ok_or(BAD_TOKENS)?;
                // Beyond, it would be another time for who adds up to the rows that are wanted only.
                since_first = since_first.checked_add(step).ok_or(BAD_TIME)?;
                now = clock.step(step)?;
            }
        }
    }
    if signal.len() == rows { Ok((signal, event_time)) } else { Err(BAD_TOKENS) }
}

/// What one token means to a reader of some signals.
struct Meaning {
    nanos: i64,
    count: u32,
    rows: u8,
    is_wanted: bool,
}

/// Rows of some signals.
#[derive(Default)]
pub(super) struct Picked {
    /// Which they are.
    pub(super) rows: Vec<u32>,
    /// The signal of each.
    pub(super) signal: Vec<u32>,
    /// When each was.
    pub(super) event_time: Vec<Timestamp>,
    /// How many rows each signal has, wanted or not.
    pub(super) counts: Vec<usize>,
}

/// Reads those of `rows` rows whose signals are `wanted`.
pub(super) fn read_some(
    reader: &mut Reader<'_>,
    rows: usize,
    wanted: &[bool],
) -> Result<Picked, DecodeError> {
    let Tokens { first, steps, tokens } = Tokens::read(reader, rows)?;
    let signals = wanted.iter().map(|&is_wanted| Meaning { nanos: 0, count: 0, rows: 1, is_wanted });
    let steps = steps.iter().map(|&nanos| Meaning { nanos, count: 0, rows: 0, is_wanted: false });
    let mut meanings: Vec<Meaning> = signals.chain(steps).collect();
    let mut picked = Picked::default();
    let (mut row, mut since_first) = (0_u32, 0_i64);
    for &token in &tokens {
        let meaning = meanings.get_mut(token as usize).ok_or(BAD_TOKENS)?;
        meaning.count += 1;
        if meaning.is_wanted {
            picked.rows.push(row);
            picked.signal.push(token);
            picked.event_time.push(Clock::new(first).step(since_first)?);
        }
        row += u32::from(meaning.rows);
        since_first = since_first.wrapping_add(meaning.nanos);
    }
    check_sums(&tokens, &meanings)?;
    picked.counts = meanings.iter().take(wanted.len()).map(|meaning| meaning.count as usize).collect();
    if row as usize == rows { Ok(picked) } else { Err(BAD_TOKENS) }
}

/// Refuses steps whose sum is beyond 64 bits anywhere. That is looked at one by one only if it may be.
#[inline(never)]
fn check_sums(tokens: &[u32], meanings: &[Meaning]) -> Result<(), DecodeError> {
    let nanos = |meaning: &Meaning| u128::from(meaning.nanos.unsigned_abs()) * u128::from(meaning.count);
    if meanings.iter().map(nanos).sum::<u128>() <= i64::MAX as u128 {
        return Ok(());
    }
    let mut steps = tokens.iter().map(|token| meanings[*token as usize].nanos);
    steps.try_fold(0_i64, i64::checked_add).map(|_| ()).ok_or(BAD_TIME)
}
