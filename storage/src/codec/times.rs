//! The event times: how many rows have the same, and the step to the next, in the largest unit that fits all steps.

use super::wire::{Reader, Writer, unzigzag, zigzag};
use super::{DecodeError, integers};
use crate::event::Timestamp;

pub(super) const BAD_TIME: DecodeError = DecodeError::Malformed("an event time outside the years 1 to 9999");
const BAD_RUNS: DecodeError = DecodeError::Malformed("other event times than rows");
/// All times are so near the first that nanoseconds fit 63 bits.
const NEAR: u8 = 0;
/// They are not: seconds and nanoseconds are kept apart.
const FAR: u8 = 1;

/// Writes the event times of at least one row.
pub(super) fn put(writer: &mut Writer, times: &[Timestamp]) {
    let runs = times.chunk_by(|a, b| a == b);
    let lengths: Vec<u64> = runs.clone().map(|run| run.len() as u64).collect();
    writer.put_u64(lengths.len() as u64);
    integers::put(writer, &lengths);
    put_steps(writer, &runs.map(|run| run[0]).collect::<Vec<_>>());
}

fn put_steps(writer: &mut Writer, times: &[Timestamp]) {
    let Some(nanos) = near_nanos(times) else {
        writer.put_u8(FAR);
        let mut previous = 0;
        let seconds = times
            .iter()
            .map(|time| zigzag(time.seconds() - std::mem::replace(&mut previous, time.seconds())));
        integers::put(writer, &seconds.collect::<Vec<_>>());
        integers::put(writer, &times.iter().map(|time| u64::from(time.nanos())).collect::<Vec<_>>());
        return;
    };
    writer.put_u8(NEAR);
    let mut previous = 0;
    let mut steps: Vec<i64> =
        nanos.iter().map(|&nanos| nanos - std::mem::replace(&mut previous, nanos)).collect();
    let unit = steps.iter().fold(0, |unit, step| greatest_common_divisor(unit, step.unsigned_abs())).max(1);
    writer.put_u64(zigzag(times[0].seconds()));
    writer.put_u64(u64::from(times[0].nanos()));
    writer.put_u64(unit);
    let unit = unit.cast_signed();
    if unit > 1 {
        steps.iter_mut().for_each(|step| *step /= unit);
    }
    integers::put(writer, &steps.into_iter().map(zigzag).collect::<Vec<_>>());
}

/// Nanoseconds since the first of these times, if all are within about a century of it.
pub(super) fn near_nanos(times: &[Timestamp]) -> Option<Vec<i64>> {
    const NEAR_SECONDS: u64 = 1 << 31;
    let first = times[0];
    let since = |time: &Timestamp| {
        let seconds = time.seconds() - first.seconds();
        (seconds.unsigned_abs() < NEAR_SECONDS)
            .then(|| seconds * 1_000_000_000 + i64::from(time.nanos()) - i64::from(first.nanos()))
    };
    times.iter().map(since).collect()
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    if a == 1 {
        return 1;
    }
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Reads what [`put`] wrote for `rows` rows.
pub(super) fn read(reader: &mut Reader<'_>, rows: usize) -> Result<Vec<Timestamp>, DecodeError> {
    let (lengths, runs) = read_runs(reader, rows)?;
    let mut times = Vec::with_capacity(rows);
    for (time, length) in runs.into_iter().zip(lengths) {
        if length > (rows - times.len()) as u64 {
            return Err(BAD_RUNS);
        }
        times.resize(times.len() + length as usize, time);
    }
    if times.len() == rows { Ok(times) } else { Err(BAD_RUNS) }
}

/// Reads the times of those of `rows` rows that are `wanted`, which ascend.
pub(super) fn read_some(
    reader: &mut Reader<'_>,
    rows: usize,
    wanted: &[u32],
) -> Result<Vec<Timestamp>, DecodeError> {
    let (lengths, runs) = read_runs(reader, rows)?;
    let mut times = Vec::with_capacity(wanted.len());
    let mut wanted = wanted.iter().map(|row| u64::from(*row)).peekable();
    let mut end = 0_u64;
    for (time, length) in runs.into_iter().zip(lengths) {
        end = end.saturating_add(length);
        while wanted.next_if(|row| *row < end).is_some() {
            times.push(time);
        }
    }
    if end == rows as u64 { Ok(times) } else { Err(BAD_RUNS) }
}

/// How many rows each run of equal times has, and those times.
fn read_runs(reader: &mut Reader<'_>, rows: usize) -> Result<(Vec<u64>, Vec<Timestamp>), DecodeError> {
    let runs = usize::try_from(reader.u64()?).ok().filter(|&runs| runs <= rows).ok_or(BAD_RUNS)?;
    Ok((integers::read(reader, runs)?, read_steps(reader, runs)?))
}

fn read_steps(reader: &mut Reader<'_>, count: usize) -> Result<Vec<Timestamp>, DecodeError> {
    match reader.u8()? {
        NEAR => read_near(reader, count),
        FAR => {
            let seconds: Vec<u64> = integers::read(reader, count)?;
            let nanos: Vec<u32> = integers::read(reader, count)?;
            let mut second = 0_i64;
            let times = seconds.into_iter().zip(nanos).map(|(step, nanos)| {
                second = second.wrapping_add(unzigzag(step));
                Timestamp::new(second, nanos)
            });
            times.collect::<Option<_>>().ok_or(BAD_TIME)
        }
        _ => Err(DecodeError::Malformed("an unknown form of times")),
    }
}

fn read_near(reader: &mut Reader<'_>, count: usize) -> Result<Vec<Timestamp>, DecodeError> {
    let first = reader.time()?;
    let unit = reader.u64()?.cast_signed();
    let steps: Vec<u64> = integers::read(reader, count)?;
    let mut clock = Clock::new(first);
    let times = steps.into_iter().map(|step| clock.step(unzigzag(step).wrapping_mul(unit)));
    times.collect()
}

/// Adds up steps of time.
pub(super) struct Clock {
    second: i64,
    nano: i64,
}

impl Clock {
    /// Begins at this time.
    pub(super) fn new(time: Timestamp) -> Self {
        Self { second: time.seconds(), nano: i64::from(time.nanos()) }
    }

    /// The time so many nanoseconds after the last.
    #[inline]
    pub(super) fn step(&mut self, nanos: i64) -> Result<Timestamp, DecodeError> {
        self.nano = self.nano.checked_add(nanos).ok_or(BAD_TIME)?;
        if !(0..1_000_000_000).contains(&self.nano) {
            self.second = self.second.wrapping_add(self.nano.div_euclid(1_000_000_000));
            self.nano = self.nano.rem_euclid(1_000_000_000);
        }
        Timestamp::new(self.second, self.nano as u32).ok_or(BAD_TIME)
    }
}
