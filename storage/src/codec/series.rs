//! The rollups of one signal as bytes, column by column. Derived: only whether they are whole has to be told.

use std::sync::Arc;

use super::wire::{Reader, Writer, unzigzag, zigzag};
use super::{DecodeError, Effort, integers, values};
use crate::block::Kind;
use crate::event::{Offset, Timestamp};
use crate::rollup::{BASE_SECONDS, Extreme, Held, Point, Rollup, Sample, Series, Sum, Total};

/// The columns of values: first, last, least, greatest, sum, integral.
const COLUMNS: usize = 6;
/// The columns of times, from the beginning of the bucket or from the first event: first, last, least, greatest.
const TIMES: usize = 4;

/// The events were not joined in their order.
const DISORDERED: u64 = 1;
/// The sum is beyond the doubles, or the integral is.
const SUM_SCALED: u64 = 2;
const INTEGRAL_SCALED: u64 = 4;

const MALFORMED: DecodeError = DecodeError::Malformed("no series of rollups");

/// Writes `series`.
pub(crate) fn encode(series: &[(i64, Rollup)]) -> Vec<u8> {
    let mut writer = Writer::new(Effort::Compact, series.len() * 32);
    writer.put_u64(series.len() as u64);
    let mut before = 0;
    let bases = series.iter().map(|(base, _)| zigzag(base - std::mem::replace(&mut before, *base)));
    integers::put(&mut writer, &bases.collect::<Vec<_>>());
    let mut put = |column: &dyn Fn(&Rollup) -> u64| {
        integers::put(&mut writer, &series.iter().map(|(_, rollup)| column(rollup)).collect::<Vec<_>>());
    };
    put(&|rollup| rollup.count);
    put(&|rollup| rollup.count - rollup.numbers);
    put(&flags);
    put(&|rollup| rollup.held.map_or(0, |held| held.changes));
    put_times(&mut writer, series);
    put_values(&mut writer, series);
    writer.into_bytes()
}

/// What is out of the ordinary.
fn flags(rollup: &Rollup) -> u64 {
    let is_scaled = |sum: Sum| matches!(sum.total(), Total::Scaled(_));
    let mut flags = 0;
    flags |= if is_scaled(rollup.sum) { SUM_SCALED } else { 0 };
    match rollup.held {
        None => flags | DISORDERED,
        Some(held) if is_scaled(held.integral) => flags | INTEGRAL_SCALED,
        Some(_) => flags,
    }
}

/// Reads what [`encode`] wrote.
pub(crate) fn decode(bytes: &[u8]) -> Result<Series, DecodeError> {
    let mut reader = Reader::new(bytes);
    let rows = usize::try_from(reader.u64()?).ok().filter(|&rows| rows <= crate::block::BLOCK_ROWS_MAX);
    let rows = rows.ok_or(MALFORMED)?;
    let mut base = 0_i64;
    let bases: Vec<i64> = integers::read::<u64>(&mut reader, rows)?
        .into_iter()
        .map(|step| {
            base = base.wrapping_add(unzigzag(step));
            base
        })
        .collect();
    let counts: Vec<u64> = integers::read(&mut reader, rows)?;
    let others: Vec<u64> = integers::read(&mut reader, rows)?;
    let flags: Vec<u64> = integers::read(&mut reader, rows)?;
    let changes: Vec<u64> = integers::read(&mut reader, rows)?;
    let (times, nanos) = read_times(&mut reader, &bases)?;
    let samples = read_values(&mut reader, rows)?;
    reader.finish()?;
    let rollup = |row: usize| {
        let numbers = counts[row].checked_sub(others[row]).ok_or(MALFORMED)?;
        let double = |column: usize| match samples[column * rows + row] {
            Sample::Double(number) => Ok(number),
            Sample::Int(_) | Sample::Bool(_) | Sample::Text(_) | Sample::At(_) => Err(MALFORMED),
        };
        let extreme = |column: usize| {
            let time = times[column * rows + row];
            if numbers == 0 { Ok(None) } else { Ok(Some(Extreme { number: double(column)?, time })) }
        };
        let point = |column: usize| Point {
            time: times[column * rows + row],
            sample: samples[column * rows + row].clone(),
        };
        let sum = |column: usize, scaled: u64| match flags[row] & scaled {
            0 => Ok(Sum::from(Total::Plain(double(column)?))),
            _ => Ok(Sum::from(Total::Scaled(double(column)?))),
        };
        let integral = sum(5, INTEGRAL_SCALED)?;
        let held = Held { integral, nanos: u128::from(nanos[row]), changes: changes[row] };
        Ok(Rollup {
            count: counts[row],
            numbers,
            sum: sum(4, SUM_SCALED)?,
            min: extreme(2)?,
            max: extreme(3)?,
            first: point(0),
            last: point(1),
            held: (flags[row] & DISORDERED == 0).then_some(held),
        })
    };
    (0..rows).map(|row| Ok((bases[row], rollup(row)?))).collect()
}

/// The four times of each, in the largest unit that fits all, and for how long no number was held.
fn put_times(writer: &mut Writer, series: &[(i64, Rollup)]) {
    // Within one bucket of the rollups, so 64 bits are more than enough.
    let since = |from: Timestamp, to: Timestamp| crate::rollup::nanos_between(from, to) as u64;
    let mut times = Vec::with_capacity(series.len() * (TIMES + 1));
    let extreme = |rollup: &Rollup, extreme: Option<Extreme>| {
        extreme.map_or(0, |extreme| since(rollup.first.time, extreme.time))
    };
    times.extend(series.iter().map(|(base, rollup)| {
        let seconds = rollup.first.time.seconds() - base * BASE_SECONDS;
        seconds.unsigned_abs() * 1_000_000_000 + u64::from(rollup.first.time.nanos())
    }));
    times.extend(series.iter().map(|(_, rollup)| since(rollup.first.time, rollup.last.time)));
    times.extend(series.iter().map(|(_, rollup)| extreme(rollup, rollup.min)));
    times.extend(series.iter().map(|(_, rollup)| extreme(rollup, rollup.max)));
    times.extend(series.iter().map(|(_, rollup)| {
        let whole = since(rollup.first.time, rollup.last.time);
        rollup.held.map_or(0, |held| whole.saturating_sub(held.nanos as u64))
    }));
    let unit = [1_000_000_000, 1_000_000, 1_000]
        .into_iter()
        .find(|unit| times.iter().all(|time| time.is_multiple_of(*unit)))
        .unwrap_or(1);
    times.iter_mut().for_each(|time| *time /= unit);
    writer.put_u64(unit);
    integers::put(writer, &times);
}

/// First, last, least and greatest time, column by column; then for how long a number was held.
fn read_times(reader: &mut Reader<'_>, bases: &[i64]) -> Result<(Vec<Timestamp>, Vec<u64>), DecodeError> {
    let rows = bases.len();
    let unit = reader.u64()?;
    let mut steps: Vec<u64> = integers::read(reader, rows * (TIMES + 1))?;
    for step in &mut steps {
        *step = step.checked_mul(unit).ok_or(MALFORMED)?;
    }
    let later =
        |from: i128, nanos: u64| Timestamp::from_unix_nanos(from + i128::from(nanos)).ok_or(MALFORMED);
    let mut times = Vec::with_capacity(rows * TIMES);
    for row in 0..rows {
        times.push(later(i128::from(bases[row]) * crate::rollup::BASE_NANOS, steps[row])?);
    }
    for column in 1..TIMES {
        for row in 0..rows {
            times.push(later(times[row].unix_nanos(), steps[column * rows + row])?);
        }
    }
    let held = |row: usize| steps[rows + row].checked_sub(steps[TIMES * rows + row]).ok_or(MALFORMED);
    Ok((times, (0..rows).map(held).collect::<Result<_, _>>()?))
}

fn put_values(writer: &mut Writer, series: &[(i64, Rollup)]) {
    let rows = series.len();
    let (mut kinds, mut bits) = (Vec::with_capacity(rows * COLUMNS), Vec::with_capacity(rows * COLUMNS));
    let (mut lengths, mut texts, mut places) = (Vec::new(), Vec::new(), Vec::new());
    let mut put = |sample: &Sample| {
        let (kind, word) = match sample {
            Sample::Double(number) => (Kind::Double, number.to_bits()),
            Sample::Int(number) => (Kind::Int, number.cast_unsigned()),
            Sample::Bool(truth) => (Kind::Bool, u64::from(*truth)),
            Sample::Text(text) => {
                lengths.push(text.len() as u64);
                texts.extend_from_slice(text.as_bytes());
                (Kind::String, 0)
            }
            Sample::At(offset) => {
                places.push(offset.get());
                (Kind::Bytes, 0)
            }
        };
        kinds.push(kind);
        bits.push(word);
    };
    series.iter().for_each(|(_, rollup)| put(&rollup.first.sample));
    series.iter().for_each(|(_, rollup)| put(&rollup.last.sample));
    let number = |extreme: Option<Extreme>| Sample::Double(extreme.map_or(0.0, |extreme| extreme.number));
    series.iter().for_each(|(_, rollup)| put(&number(rollup.min)));
    series.iter().for_each(|(_, rollup)| put(&number(rollup.max)));
    let sum = |sum: Sum| match sum.total() {
        Total::Plain(total) | Total::Scaled(total) => Sample::Double(total),
    };
    series.iter().for_each(|(_, rollup)| put(&sum(rollup.sum)));
    series.iter().for_each(|(_, rollup)| put(&sum(rollup.held.unwrap_or_default().integral)));
    let (column, row) = columns(rows);
    values::put(writer, &column, &row, &kinds, &bits);
    integers::put(writer, &lengths);
    writer.put_sized_section(&texts);
    integers::put(writer, &places);
}

fn read_values(reader: &mut Reader<'_>, rows: usize) -> Result<Vec<Sample>, DecodeError> {
    let (column, row) = columns(rows);
    let (kinds, bits) = values::read(reader, &column, &row)?;
    let count = |wanted: Kind| kinds.iter().filter(|kind| **kind == wanted).count();
    let mut lengths = integers::read::<u64>(reader, count(Kind::String))?.into_iter();
    let texts = reader.sized_section()?;
    let mut texts = texts.as_slice();
    let mut places = integers::read(reader, count(Kind::Bytes))?.into_iter();
    let samples = kinds.iter().zip(bits).map(|(kind, bits)| {
        Ok(match kind {
            Kind::Double => Sample::Double(f64::from_bits(bits)),
            Kind::Int => Sample::Int(bits.cast_signed()),
            Kind::Bool => Sample::Bool(bits != 0),
            Kind::String => {
                let length =
                    lengths.next().and_then(|length| usize::try_from(length).ok()).ok_or(MALFORMED)?;
                let (text, rest) = texts.split_at_checked(length).ok_or(MALFORMED)?;
                texts = rest;
                Sample::Text(Arc::from(std::str::from_utf8(text).map_err(|_| MALFORMED)?))
            }
            Kind::Bytes => Sample::At(places.next().and_then(Offset::new).ok_or(MALFORMED)?),
        })
    });
    samples.collect()
}

/// The column of each value, and its place: each column is coded as a signal of its own.
fn columns(rows: usize) -> (Vec<u32>, Vec<u32>) {
    let column = (0..COLUMNS as u32).flat_map(|column| std::iter::repeat_n(column, rows)).collect();
    (column, (0..(rows * COLUMNS) as u32).collect())
}
