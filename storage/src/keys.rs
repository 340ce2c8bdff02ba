//! Every store's name and every key in it. What is written here is on people's disks: it may be added to, never changed.

use crate::event::{Offset, SignalId};

/// The version of everything on disk that is not versioned by itself.
pub(crate) const FORMAT_VERSION: u8 = 1;

/// The version of the headers of segments in a log that does not begin at its first offset.
pub(crate) const HEADER_VERSION: u8 = 2;

/// Beside the stores: room to open the log with when the disk is full. Not a store.
pub(crate) const BALLAST: &str = "BALLAST";

/// The store of derived state: removing it costs time, not data.
pub(crate) const DERIVED: &str = "derived";

/// The store of rollups: removing it costs time, not data.
pub(crate) const ROLLUPS: &str = "rollups";

/// In a segment: who it belongs to.
pub(crate) const HEADER: &[u8] = &[0x00];

/// In a sealed segment: its index.
pub(crate) const FOOTER: &[u8] = &[0x02];

const BLOCK: u8 = 0x01;
const SNAPSHOT_MANIFEST: u8 = 0x00;
const SNAPSHOT_PART: u8 = 0x01;
const FACTS: u8 = 0x02;
const LINK: u8 = 0x03;
const UNIT: u8 = 0x00;
const UNIT_SERIES: u8 = 0x01;

/// In a segment: the block whose first event is `offset`. Orders as offsets do.
pub(crate) fn block(offset: Offset) -> [u8; 9] {
    let mut key = [BLOCK; 9];
    key[1..].copy_from_slice(&offset.get().to_be_bytes());
    key
}

/// The offset in a block's key; `None` for any other key.
pub(crate) fn block_offset(key: &[u8]) -> Option<Offset> {
    let (kind, number) = key.split_first()?;
    (*kind == BLOCK).then_some(())?;
    Offset::new(u64::from_be_bytes(number.try_into().ok()?))
}

/// In the derived store: what the snapshot in `slot` consists of.
pub(crate) fn snapshot_manifest(slot: u8) -> [u8; 2] {
    [SNAPSHOT_MANIFEST, slot]
}

/// In the derived store: one part of the snapshot in `slot`.
pub(crate) fn snapshot_part(slot: u8, part: u32) -> [u8; 6] {
    let mut key = [SNAPSHOT_PART, slot, 0, 0, 0, 0];
    key[2..].copy_from_slice(&part.to_be_bytes());
    key
}

/// In the derived store: what is remembered of the sealed segment that begins at `first`. Orders as offsets do.
pub(crate) fn facts(first: Offset) -> [u8; 9] {
    let mut key = [FACTS; 9];
    key[1..].copy_from_slice(&first.get().to_be_bytes());
    key
}

/// The offset in such a key; `None` for any other key.
pub(crate) fn facts_offset(key: &[u8]) -> Option<Offset> {
    let (kind, number) = key.split_first()?;
    (*kind == FACTS).then_some(())?;
    Offset::new(u64::from_be_bytes(number.try_into().ok()?))
}

/// In the derived store: the hash after link `number` of the chain. Orders as the numbers do.
pub(crate) fn link(number: u64) -> [u8; 9] {
    let mut key = [LINK; 9];
    key[1..].copy_from_slice(&number.to_be_bytes());
    key
}

/// The number in such a key; `None` for any other key.
pub(crate) fn link_number(key: &[u8]) -> Option<u64> {
    let (kind, number) = key.split_first()?;
    (*kind == LINK).then_some(())?;
    Some(u64::from_be_bytes(number.try_into().ok()?))
}

/// In the store of rollups: what is known of the unit that begins at `first`. Orders as offsets do.
pub(crate) fn unit(first: Offset) -> [u8; 9] {
    let mut key = [UNIT; 9];
    key[1..].copy_from_slice(&first.get().to_be_bytes());
    key
}

/// The offset in a unit's key; `None` for any other key.
pub(crate) fn unit_offset(key: &[u8]) -> Option<Offset> {
    let (kind, number) = key.split_first()?;
    (*kind == UNIT).then_some(())?;
    Offset::new(u64::from_be_bytes(number.try_into().ok()?))
}

/// In the store of rollups: those of a signal in the unit between two offsets. A unit that is made again with another end
/// has other keys, so that whoever still has the one before does not take the new rollups for those of the old.
pub(crate) fn unit_series((first, end): (Offset, Offset), signal: SignalId) -> [u8; 21] {
    let mut key = [UNIT_SERIES; 21];
    key[1..9].copy_from_slice(&first.get().to_be_bytes());
    key[9..17].copy_from_slice(&end.get().to_be_bytes());
    key[17..].copy_from_slice(&signal.0.to_be_bytes());
    key
}

/// What a segment is at present; part of its store's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As committed. Its store is named by its first offset alone.
    Raw,
    /// Being rewritten: worthless until renamed.
    Sealing,
    /// Rewritten compactly; never changes again.
    Sealed,
}

/// The name of a segment's store.
pub(crate) fn segment(first: Offset, form: Form) -> String {
    let suffix = match form {
        Form::Raw => "",
        Form::Sealing => ".sealing",
        Form::Sealed => ".sealed",
    };
    format!("{:020}{suffix}", first.get())
}

/// What a store's name says; `None` if it is not a segment's.
pub(crate) fn parse_segment(name: &str) -> Option<(Offset, Form)> {
    let (digits, form) = match name.split_once('.') {
        None => (name, Form::Raw),
        Some((digits, "sealing")) => (digits, Form::Sealing),
        Some((digits, "sealed")) => (digits, Form::Sealed),
        Some(_) => return None,
    };
    let first = Offset::new(digits.parse().ok()?)?;
    (segment(first, form) == name).then_some((first, form))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_keys_round_trip_and_order_as_their_offsets() {
        for number in [1, 2, 255, 256, u64::MAX - 1, u64::MAX] {
            let offset = Offset::new(number).expect("not 0");
            assert_eq!(block_offset(&block(offset)), Some(offset));
            if let Some(next) = number.checked_add(1).and_then(Offset::new) {
                assert!(block(offset) < block(next));
            }
        }
        assert_eq!(block_offset(HEADER), None);
        assert_eq!(block_offset(FOOTER), None);
        assert!(HEADER < block(Offset::FIRST).as_slice() && FOOTER > block(Offset::FIRST).as_slice());
    }

    #[test]
    fn segment_names_round_trip_and_nothing_else_is_one() {
        for form in [Form::Raw, Form::Sealing, Form::Sealed] {
            let first = Offset::new(1234).expect("not 0");
            assert_eq!(parse_segment(&segment(first, form)), Some((first, form)));
        }
        for name in ["", "derived", "1", "00000000000000000000", "00000000000000000001.other", "LOCK"] {
            assert_eq!(parse_segment(name), None, "{name}");
        }
    }
}
