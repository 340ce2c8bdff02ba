//! The values, signal by signal: a tag each, and the bits that the tag leaves open as a step from the signal's
//! previous value with such bits.

use std::ops::Range;
use std::slice;

use super::wire::{Reader, Writer, unzigzag, zigzag};
use super::{DecodeError, float, integers};
use crate::block::Kind;

/// A double that is a 32-bit float times the first of [`float::FACTORS`], printed; the next tag means the second.
const PRINTED: u8 = 0;
const PRINTED_LAST: u8 = PRINTED + float::FACTORS.len() as u8 - 1;
const _: () = assert!(PRINTED_LAST < WIDENED);
/// A double that is a 32-bit float.
const WIDENED: u8 = 8;
/// Any other double.
const RAW: u8 = 9;
/// An integer.
const INT: u8 = 10;
/// False.
const FALSE: u8 = 11;
/// True.
const TRUE: u8 = 12;
/// Text; its length is elsewhere.
const STRING: u8 = 13;
/// Bytes; their length is elsewhere.
const BYTES: u8 = 14;
/// A double that is a decimal with no digit after the point; the next tag means one digit, and so on.
const DECIMAL: u8 = 16;
const DECIMAL_LAST: u8 = DECIMAL + float::SCALE_MAX;

/// The streams of words, one for each width they come in.
const NARROW: usize = 0;
const DECIMALS: usize = 1;
const WIDE: usize = 2;
const INTS: usize = 3;
const STREAMS: usize = 4;

/// Kind and bits of every row.
pub(super) type Values = (Vec<Kind>, Vec<u64>);

/// Maps the bits of a float to an integer in the order of the floats.
const fn order_narrow(bits: u32) -> u32 {
    bits ^ (((bits.cast_signed() >> 31).cast_unsigned()) | 1 << 31)
}

/// Undoes [`order_narrow`].
const fn disorder_narrow(order: u32) -> u32 {
    order ^ (((!order.cast_signed() >> 31).cast_unsigned()) | 1 << 31)
}

/// What the coding of a value takes from the signal's earlier ones.
struct Coder {
    factor: u8,
    scale: u8,
    previous: [u64; STREAMS],
}

impl Coder {
    const fn new() -> Self {
        Self { factor: 0, scale: 0, previous: [0; STREAMS] }
    }

    /// The step from the stream's previous word.
    #[inline]
    fn step(&mut self, stream: usize, word: u64) -> u64 {
        zigzag(word.wrapping_sub(std::mem::replace(&mut self.previous[stream], word)).cast_signed())
    }

    /// Undoes [`Self::step`].
    #[inline]
    fn word(&mut self, stream: usize, step: u64) -> u64 {
        let word = self.previous[stream].wrapping_add(unzigzag(step).cast_unsigned());
        self.previous[stream] = word;
        word
    }
}

/// Tag and words of the values so far.
struct Streams {
    tags: Vec<u8>,
    words: [Vec<u64>; STREAMS],
}

impl Streams {
    #[inline]
    fn push(&mut self, coder: &mut Coder, tag: u8, stream: usize, word: u64) {
        self.tags.push(tag);
        self.words[stream].push(coder.step(stream, word));
    }

    #[inline]
    fn push_double(&mut self, coder: &mut Coder, bits: u64) {
        let value = f64::from_bits(bits);
        let widened = value as f32;
        if let Some((narrow, factor)) = float::to_printed(value, coder.factor) {
            coder.factor = factor;
            self.push(coder, PRINTED + factor, NARROW, u64::from(order_narrow(narrow.to_bits())));
        } else if f64::from(widened).to_bits() == bits && !value.is_nan() {
            self.push(coder, WIDENED, NARROW, u64::from(order_narrow(widened.to_bits())));
        } else if let Some((mantissa, scale)) = float::to_decimal(value, coder.scale) {
            coder.scale = scale;
            self.push(coder, DECIMAL + scale, DECIMALS, mantissa.cast_unsigned());
        } else {
            self.push(coder, RAW, WIDE, bits);
        }
    }
}

/// Writes the values; `grouped` are all rows, signal by signal.
pub(super) fn put(writer: &mut Writer, signal: &[u32], grouped: &[u32], kinds: &[Kind], bits: &[u64]) {
    let rows = grouped.len();
    let mut streams = Streams {
        tags: Vec::with_capacity(rows),
        words: [Vec::with_capacity(rows), Vec::new(), Vec::new(), Vec::new()],
    };
    let mut coder = Coder::new();
    let mut current = u32::MAX;
    for &row in grouped {
        let row = row as usize;
        if signal[row] != current {
            current = signal[row];
            coder = Coder::new();
        }
        let bits = bits[row];
        match kinds[row] {
            Kind::Double => streams.push_double(&mut coder, bits),
            Kind::Int => streams.push(&mut coder, INT, INTS, bits),
            Kind::Bool => streams.tags.push(if bits == 0 { FALSE } else { TRUE }),
            Kind::String => streams.tags.push(STRING),
            Kind::Bytes => streams.tags.push(BYTES),
        }
    }
    writer.put_section(&streams.tags);
    for words in &streams.words {
        integers::put(writer, words);
    }
}

/// Reads what [`put`] wrote. The bits of texts and bytes are left 0.
pub(super) fn read(reader: &mut Reader<'_>, signal: &[u32], grouped: &[u32]) -> Result<Values, DecodeError> {
    let rows = grouped.len();
    let (values, _) = read_spans(reader, rows, slice::from_ref(&(0..rows)), signal, grouped)?;
    Ok(values)
}

/// How many values of each sort there are.
#[derive(Clone, Copy, Default)]
pub(super) struct Counts {
    words: [usize; STREAMS],
    pub(super) texts: usize,
    pub(super) bytes: usize,
}

impl Counts {
    fn add(&mut self, tags: &[u8]) {
        self.words[NARROW] += count(tags, |tag| matches!(tag, PRINTED..=PRINTED_LAST | WIDENED));
        self.words[DECIMALS] += count(tags, |tag| matches!(tag, DECIMAL..=DECIMAL_LAST));
        self.words[WIDE] += count(tags, |tag| tag == RAW);
        self.words[INTS] += count(tags, |tag| tag == INT);
        self.texts += count(tags, |tag| tag == STRING);
        self.bytes += count(tags, |tag| tag == BYTES);
    }
}

/// How many of the tags are such. In sums so small that a vector instruction adds many of them.
fn count(tags: &[u8], is_such: impl Fn(u8) -> bool) -> usize {
    let of = |tags: &[u8]| tags.iter().map(|&tag| u8::from(is_such(tag))).sum::<u8>();
    tags.chunks(usize::from(u8::MAX)).map(|tags| usize::from(of(tags))).sum()
}

/// Of the `rows` values that were written, reads those in `spans`, which ascend: `grouped` are their rows, of all that
/// are read, and `signal` those rows' signals. Gives as well how many values there are in all.
pub(super) fn read_spans(
    reader: &mut Reader<'_>,
    rows: usize,
    spans: &[Range<usize>],
    signal: &[u32],
    grouped: &[u32],
) -> Result<(Values, Counts), DecodeError> {
    let mut tags = Vec::new();
    reader.section(rows, &mut tags)?;
    let mut counts = Counts::default();
    let mut starts = Vec::with_capacity(spans.len());
    let mut place = 0;
    for span in spans {
        counts.add(&tags[place..span.start]);
        starts.push(counts.words);
        counts.add(&tags[span.clone()]);
        place = span.end;
    }
    let (first, last) = (starts.first().copied().unwrap_or_default(), counts.words);
    counts.add(&tags[place..]);
    let mut words = Vec::with_capacity(STREAMS);
    for stream in 0..STREAMS {
        words.push(integers::read_part::<u64>(reader, counts.words[stream], first[stream]..last[stream])?);
    }
    let (mut kinds, mut bits) = (vec![Kind::Double; grouped.len()], vec![0; grouped.len()]);
    let mut rows = grouped.iter();
    let mut coder = Coder::new();
    let mut current = u32::MAX;
    for (span, start) in spans.iter().zip(starts) {
        let mut words: [_; STREAMS] =
            std::array::from_fn(|stream| words[stream][start[stream] - first[stream]..].iter());
        for (&tag, &row) in tags[span.clone()].iter().zip(rows.by_ref()) {
            let row = row as usize;
            if signal[row] != current {
                current = signal[row];
                coder = Coder::new();
            }
            let word = match stream_of(tag)? {
                Some(stream) => coder.word(stream, words[stream].next().copied().unwrap_or_default()),
                None => 0,
            };
            (kinds[row], bits[row]) = value(tag, word);
        }
    }
    Ok(((kinds, bits), counts))
}

/// Which stream has the words of values with this tag.
#[inline]
fn stream_of(tag: u8) -> Result<Option<usize>, DecodeError> {
    match tag {
        PRINTED..=PRINTED_LAST | WIDENED => Ok(Some(NARROW)),
        DECIMAL..=DECIMAL_LAST => Ok(Some(DECIMALS)),
        RAW => Ok(Some(WIDE)),
        INT => Ok(Some(INTS)),
        FALSE | TRUE | STRING | BYTES => Ok(None),
        _ => Err(DecodeError::Malformed("an unknown tag of a value")),
    }
}

#[inline]
fn value(tag: u8, word: u64) -> (Kind, u64) {
    match tag {
        PRINTED..=PRINTED_LAST => {
            let narrow = f32::from_bits(disorder_narrow(word as u32));
            (Kind::Double, float::printed(narrow, tag - PRINTED).to_bits())
        }
        WIDENED => (Kind::Double, f64::from(f32::from_bits(disorder_narrow(word as u32))).to_bits()),
        RAW => (Kind::Double, word),
        INT => (Kind::Int, word),
        FALSE => (Kind::Bool, 0),
        TRUE => (Kind::Bool, 1),
        STRING => (Kind::String, 0),
        BYTES => (Kind::Bytes, 0),
        _ => (Kind::Double, float::from_decimal(word.cast_signed(), tag - DECIMAL).to_bits()),
    }
}
