//! A column of integers as byte planes, lowest first, as many as the largest integer needs.
//!
//! Each plane is a section of its own, since each has statistics of its own. The planes of a short column share one:
//! there the time and the bytes each section costs weigh more.

use std::ops::{BitOrAssign, Range, Shl};

use super::DecodeError;
use super::wire::{Reader, Writer};

/// Fewer values than these have their planes in one section: part of the format.
const OWN_SECTION_VALUES_MIN: usize = 4096;

/// Writes `values`.
pub(super) fn put(writer: &mut Writer, values: &[u64]) {
    let all = values.iter().fold(0, |all, value| all | value);
    let width = (u64::BITS - all.leading_zeros()).div_ceil(8);
    writer.put_u8(width as u8);
    let mut planes = Vec::with_capacity(values.len());
    for shift in (0..width * 8).step_by(8) {
        planes.extend(values.iter().map(|value| (value >> shift) as u8));
        if values.len() >= OWN_SECTION_VALUES_MIN {
            writer.put_section(&planes);
            planes.clear();
        }
    }
    writer.put_section(&planes);
}

/// What values are read into.
pub(super) trait Word: Copy + Default + From<u8> + BitOrAssign + Shl<usize, Output = Self> {}

impl Word for u32 {}
impl Word for u64 {}

/// Reads as many values as were written, `count`.
pub(super) fn read<T: Word>(reader: &mut Reader<'_>, count: usize) -> Result<Vec<T>, DecodeError> {
    read_part(reader, count, 0..count)
}

/// Reads a part of the `count` values that were written; an empty one is not even decompressed.
pub(super) fn read_part<T: Word>(
    reader: &mut Reader<'_>,
    count: usize,
    part: Range<usize>,
) -> Result<Vec<T>, DecodeError> {
    let width = usize::from(reader.u8()?);
    if width > size_of::<T>() {
        return Err(DecodeError::Malformed("integers of too many bits"));
    }
    let own_section = count >= OWN_SECTION_VALUES_MIN;
    let (sections, length) = if own_section { (width, count) } else { (1, count * width) };
    if part.is_empty() {
        (0..sections).try_for_each(|_| reader.skip_section(length))?;
        return Ok(Vec::new());
    }
    let mut values = Vec::new();
    let mut planes = Vec::new();
    for number in 0..width {
        if own_section || number == 0 {
            reader.section(length, &mut planes)?;
        }
        let plane = if own_section { &planes } else { &planes[number * count..][..count] };
        let bytes = plane[part.clone()].iter().map(|byte| T::from(*byte));
        if number == 0 {
            values.extend(bytes);
        } else {
            values.iter_mut().zip(bytes).for_each(|(value, byte)| *value |= byte << (8 * number));
        }
    }
    values.resize(part.len(), T::default());
    Ok(values)
}
