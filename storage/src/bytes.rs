//! Small binary values: a version, fields, a checksum. For everything on disk but the blocks themselves.

use std::sync::Arc;

use crate::event::{Offset, Timestamp};

/// Why bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The checksum does not fit.
    Checksum,
    /// The checksum fits, but a newer version wrote them.
    Newer(u8),
    /// They end too early, or say something impossible.
    Malformed,
}

/// Writes fields one after the other.
#[derive(Debug)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn new(version: u8) -> Self {
        Self(vec![version])
    }

    pub(crate) fn u64(&mut self, value: u64) -> &mut Self {
        let mut rest = value;
        while rest >= 0x80 {
            self.0.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        self.0.push(rest as u8);
        self
    }

    pub(crate) fn i64(&mut self, value: i64) -> &mut Self {
        self.u64(((value << 1) ^ (value >> 63)) as u64)
    }

    pub(crate) fn time(&mut self, time: Timestamp) -> &mut Self {
        self.i64(time.seconds()).u64(u64::from(time.nanos()))
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.u64(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    /// The fields with their checksum.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        let checksum = crc32fast::hash(&self.0);
        self.0.extend_from_slice(&checksum.to_le_bytes());
        self.0
    }
}

/// Reads them back.
#[derive(Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Checks the checksum first, then the version.
    pub(crate) fn new(bytes: &'a [u8], version: u8) -> Result<Self, Fault> {
        let (content, checksum) = bytes.split_last_chunk::<4>().ok_or(Fault::Malformed)?;
        if crc32fast::hash(content).to_le_bytes() != *checksum {
            return Err(Fault::Checksum);
        }
        let (found, rest) = content.split_first().ok_or(Fault::Malformed)?;
        if *found > version {
            return Err(Fault::Newer(*found));
        }
        Ok(Self(rest))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Fault> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or(Fault::Malformed)?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Fault::Malformed)
    }

    /// Whether there are no more fields.
    pub(crate) const fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Fault> {
        u32::try_from(self.u64()?).map_err(|_| Fault::Malformed)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, Fault> {
        let raw = self.u64()?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    /// A number of elements that at least one byte each must follow: bounds every allocation by the input.
    pub(crate) fn count(&mut self) -> Result<usize, Fault> {
        let count = usize::try_from(self.u64()?).map_err(|_| Fault::Malformed)?;
        if count > self.0.len() { Err(Fault::Malformed) } else { Ok(count) }
    }

    pub(crate) fn offset(&mut self) -> Result<Offset, Fault> {
        Offset::new(self.u64()?).ok_or(Fault::Malformed)
    }

    pub(crate) fn time(&mut self) -> Result<Timestamp, Fault> {
        let seconds = self.i64()?;
        Timestamp::new(seconds, self.u32()?).ok_or(Fault::Malformed)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Fault> {
        let length = self.count()?;
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        Ok(bytes)
    }

    pub(crate) fn text(&mut self) -> Result<Arc<str>, Fault> {
        std::str::from_utf8(self.bytes()?).map(Arc::from).map_err(|_| Fault::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_round_trip_and_every_flipped_bit_is_noticed() {
        let mut writer = Writer::new(1);
        writer.u64(0).u64(u64::MAX).i64(i64::MIN).i64(-1).time(Timestamp::MAX).bytes(b"signal");
        let bytes = writer.finish();

        let mut reader = Reader::new(&bytes, 1).expect("whole");
        assert_eq!((reader.u64(), reader.u64()), (Ok(0), Ok(u64::MAX)));
        assert_eq!((reader.i64(), reader.i64()), (Ok(i64::MIN), Ok(-1)));
        assert_eq!(reader.time(), Ok(Timestamp::MAX));
        assert_eq!(reader.text().as_deref(), Ok("signal"));
        assert_eq!(reader.u64(), Err(Fault::Malformed));

        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(Reader::new(&flipped, 1), Err(Fault::Checksum)), "bit {bit}");
        }
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        assert!(matches!(Reader::new(&Writer::new(2).finish(), 1), Err(Fault::Newer(2))));
        assert!(matches!(Reader::new(&[], 1), Err(Fault::Malformed)));
    }
}
