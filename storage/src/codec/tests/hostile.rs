//! Whatever is in a block whose checksum is right: it does no harm, and takes no more memory than a block may.

use proptest::sample::Index;

use super::wire::{Buffer, zigzag};
use super::*;
use crate::block::{BatchRecord, ProducerStamp, RequestRecord};

/// What happens to bytes.
#[derive(Clone, Debug)]
enum Damage {
    Change(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Cut(Index),
}

impl Damage {
    fn apply(self, bytes: &mut Vec<u8>) {
        match self {
            Self::Change(place, byte) => {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            Self::Insert(place, inserted) => {
                let place = place.index(bytes.len());
                bytes.splice(place..place, inserted);
            }
            Self::Remove(place, removed) => {
                let place = place.index(bytes.len());
                bytes.drain(place..bytes.len().min(place + removed));
            }
            Self::Cut(place) => bytes.truncate(place.index(bytes.len())),
        }
        bytes.resize(bytes.len().max(PREFIX_BYTES), 0);
    }
}

fn any_damage() -> impl Strategy<Value = Vec<Damage>> {
    // Small numbers, and one of 64 bits.
    let byte = || prop_oneof![any::<u8>(), 0..4_u8, Just(0xff)];
    let large = [vec![0xff; 9], vec![1]].concat();
    let inserted = prop_oneof![3 => prop::collection::vec(byte(), 1..3), 1 => Just(large)];
    let damage = prop_oneof![
        6 => (any::<Index>(), byte()).prop_map(|(place, byte)| Damage::Change(place, byte)),
        2 => (any::<Index>(), inserted).prop_map(|(place, bytes)| Damage::Insert(place, bytes)),
        2 => (any::<Index>(), 1..4_usize).prop_map(|(place, removed)| Damage::Remove(place, removed)),
        1 => any::<Index>().prop_map(Damage::Cut),
    ];
    prop::collection::vec(damage, 1..4)
}

proptest! {
    /// No bytes make the decoder panic, and next to none pass the checksum.
    #[test]
    fn arbitrary_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Block::decode(&bytes).is_err());
        prop_assert!(peek(&bytes).is_err());
    }

    /// Damage behind a right checksum never makes the decoder panic; what it takes can be read, as a whole and in part,
    /// and encoded. Where nothing is compressed, damage gets further.
    #[test]
    fn sealed_damage_does_no_harm(
        commits in any_commits(),
        others in prop_oneof![0..3_000_u32, Just(0)],
        version in prop::sample::select(vec![Version::Committed, Version::Sealed]),
        is_plain: bool,
        damage in any_damage(),
    ) {
        let block = among_others(commits.into_iter().flatten(), others);
        let writer = if is_plain { Writer::plain() } else { Writer::new(Effort::Compact, 0) };
        let mut bytes = write(writer, version, &block);
        damage.into_iter().for_each(|damage| damage.apply(&mut bytes));
        reseal(&mut bytes);
        check_harmless(&bytes);
        if let Ok(block) = Block::decode(&bytes)
            && is_plain
        {
            prop_assert!(block.memory_bytes() < 10_000 + 100 * (bytes.len() + block.len()));
        }
    }
}

/// Reads bytes in every way, and what was read.
fn check_harmless(bytes: &[u8]) {
    let _ = peek(bytes);
    let wanted = [SignalId(0), SignalId(800_000_000)];
    let some = Block::decode_some(bytes, &wanted);
    some.iter().for_each(check_readable);
    let Ok(block) = Block::decode(bytes) else { return };
    check_readable(&block);
    for effort in EFFORTS {
        assert_eq!(decode_compared(&block.encode(effort)).as_ref(), Ok(&block));
    }
    if decode_compared(bytes).is_ok() {
        let some = some.unwrap();
        let is_wanted = |event: &EventRef<'_>| wanted.contains(&event.signal_id);
        assert!(some.events().filter(is_wanted).eq(block.events().filter(is_wanted)));
    }
}

/// Its events are the same one by one and in a row, from any of them on; their offsets are its own and ascend.
fn check_readable(block: &Block) {
    for first in [0, block.len() / 2] {
        let rows = first..block.len();
        assert!(block.events_in(rows.clone()).eq(rows.map(|row| block.event(row))));
    }
    assert_eq!(block.events().count(), block.len());
    assert!(block.events().map(|event| event.offset).is_sorted_by(|a, b| a < b));
    let offsets = block.first_offset()..block.end_offset();
    assert!(block.events().all(|event| offsets.contains(&event.offset)));
}

#[test]
fn tables_that_do_not_fit_the_events_are_refused() {
    let stamp = || ProducerStamp { id: "p".into(), epoch: 1, sequence: 1 };
    type Change<'a> = (&'a str, &'a dyn Fn(&mut Block));
    let changes: [Change<'_>; 9] = [
        ("more sources than events", &|block| block.columns.sources.resize(3, "".into())),
        ("two runs of sources that begin with one event", &|block| {
            block.columns.sources.push("".into());
            block.columns.source.push(0, 1);
        }),
        ("two runs of qualities", &|block| block.columns.quality.push(0, Quality::Bad)),
        ("two runs of traces", &|block| assert_eq!(block.columns.push_trace(0, &[1]), 41)),
        ("attributes twice", &|block| {
            let attributes = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
            block.columns.attributes = vec![(1, attributes.clone()), (1, attributes)];
        }),
        ("more batches than events", &|block| {
            let first_offset = block.first_offset();
            block.header.batches.resize(3, BatchRecord { producer: stamp(), first_offset, events: 1 });
        }),
        ("more requests than events", &|block| {
            let first_offset = block.first_offset();
            block.header.requests.resize(3, RequestRecord { request_id: [1; 16], first_offset, events: 1 });
        }),
        ("a signal without events", &|block| {
            block.header.signals.pop();
            block.columns.signal.fill(0);
            block.header.signals.push(BlockSignal { id: SignalId(9), name: "iss/9".into() });
        }),
        ("signals in another order than their events", &|block| {
            block.header.signals.reverse();
            block.columns.signal.reverse();
        }),
    ];
    let event =
        |signal: &str| Event { signal: signal.to_owned(), ..block_of([Value::Int(1)]).event(0).to_event() };
    let block = || among_others([event("iss/0"), event("iss/1")], 0);
    for (what, change) in changes {
        let mut changed = block();
        assert_eq!(changed.len(), 2);
        // The same columns are read of each version.
        assert!(Block::decode(&changed.encode(Effort::Fast)).is_ok());
        change(&mut changed);
        let refused = Block::decode(&changed.encode(Effort::Fast));
        assert!(matches!(refused, Err(DecodeError::Malformed(_))), "{what}: {refused:?}");
    }
}

#[test]
fn more_attributes_than_a_block_holds_are_refused_before_they_are_read() {
    let block = block_of([Value::Int(1)]);
    let mut writer = Writer::plain();
    extras::put(&mut writer, &block.columns);
    let mut content = Reader::new(&writer.into_bytes()).sized_section().unwrap();
    assert_eq!(content.pop(), Some(0), "there were none");
    // Of one row, the first, eight million without name and value.
    let mut attributes = Buffer::default();
    [1, 0, 1 << 23].into_iter().for_each(|number| attributes.put_u64(number));
    content.extend(attributes.0);
    content.resize(content.len() + (1 << 24), 0);
    let mut writer = Writer::new(Effort::Fast, 0);
    writer.put_sized_section(&content);
    let bytes = writer.into_bytes();
    assert!(bytes.len() < 10_000);
    let refused = extras::read(&mut Reader::new(&bytes), 1, &mut crate::block::Columns::default());
    assert_eq!(refused, Err(DecodeError::Malformed("more attributes than a block holds")));
}

#[test]
fn sections_expand_to_no_more_than_there_is_room_for_all_of_them() {
    let mut writer = Writer::new(Effort::Fast, 0);
    let long = [7; 1_000];
    (0..2).for_each(|_| writer.put_sized_section(&long));
    writer.put_sized_section(&long[..9]);
    let bytes = writer.into_bytes();
    assert!(bytes.len() < 100);
    for (room, whole) in [(2_000, 2), (1_999, 1), (1_000, 1), (999, 0)] {
        let mut reader = Reader::with_room(&bytes, room);
        for number in 0..2 {
            let expected = if number < whole { Ok(long.to_vec()) } else { Err(()) };
            assert_eq!(reader.sized_section().map_err(|_| ()), expected);
        }
        assert_eq!(reader.sized_section().as_deref(), Ok(&long[..9]), "it is not compressed");
        assert_eq!(reader.finish(), Ok(()));
    }
    assert!(Reader::inside(&bytes).sized_section().is_err());
}

#[test]
fn times_further_apart_than_64_bits_are_refused_whether_all_are_wanted_or_some() {
    let first = Timestamp::MIN;
    for (step, is_taken) in [(i64::MAX / 2, true), (i64::MAX / 2 + 1, false), (i64::MAX, false)] {
        // One event, and two more after a step each.
        let mut writer = Writer::plain();
        [zigzag(first.seconds()), u64::from(first.nanos()), 1]
            .into_iter()
            .for_each(|number| writer.put_u64(number));
        integers::put(&mut writer, &[zigzag(step)]);
        writer.put_u64(2);
        integers::put(&mut writer, &[0, 1, 0, 1, 0]);
        let bytes = writer.into_bytes();
        let all = tokens::read(&mut Reader::new(&bytes), 3, 1);
        let some = tokens::read_some(&mut Reader::new(&bytes), 3, &[true]);
        assert_eq!((all.is_ok(), some.is_ok()), (is_taken, is_taken));
        if let (Ok((_, all)), Ok(some)) = (all, some) {
            assert_eq!(all, some.event_time);
        }
    }
}
