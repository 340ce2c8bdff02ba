//! The hash depends on every bit of every event, and on nothing else.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::event::encode;
use super::*;
use crate::block::tests::{any_commits, build_all};
use crate::event::{Event, EventRef, Quality, SignalId, Timestamp, Value, ValueRef};

/// Reads what [`encode`] wrote: that this can be done shows that no two events are written alike.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> [u8; N] {
        let (array, rest) = self.0.split_first_chunk().unwrap();
        self.0 = rest;
        *array
    }

    fn time(&mut self) -> Timestamp {
        Timestamp::new(i64::from_le_bytes(self.array()), u32::from_le_bytes(self.array())).unwrap()
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = u32::from_le_bytes(self.array()) as usize;
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        bytes.to_vec()
    }

    fn text(&mut self) -> String {
        String::from_utf8(self.bytes()).unwrap()
    }

    fn event(&mut self) -> (u64, SignalId, Timestamp, Event) {
        let (offset, signal_id) =
            (u64::from_le_bytes(self.array()), SignalId(u32::from_le_bytes(self.array())));
        let (ingest_time, event_time) = (self.time(), self.time());
        let [quality, kind] = self.array();
        let quality =
            [Quality::Good, Quality::Stale, Quality::Uncertain, Quality::Bad][usize::from(quality) - 1];
        let value = match kind {
            1 => Value::Double(f64::from_bits(u64::from_le_bytes(self.array()))),
            2 => Value::Int(i64::from_le_bytes(self.array())),
            3 => Value::Bool(self.array() == [1]),
            4 => Value::String(self.text()),
            _ => Value::Bytes(self.bytes()),
        };
        let (signal, source, trace_context) = (self.text(), self.text(), self.bytes());
        let attributes = u32::from_le_bytes(self.array());
        let attributes = (0..attributes).map(|_| (self.text(), self.text())).collect();
        (
            offset,
            signal_id,
            ingest_time,
            Event { signal, event_time, value, quality, source, attributes, trace_context },
        )
    }
}

/// The hash of blocks that begin anywhere.
fn hash_of(blocks: &[Block]) -> Hashed {
    let first = blocks[0].first_offset();
    let mut chain = Chain::new(first);
    blocks.iter().for_each(|block| chain.take(block, Offset::MAX, |_, _| ()));
    chain.hashed()
}

proptest! {
    #[test]
    fn an_event_can_be_read_back_from_what_is_hashed_of_it(commits in any_commits()) {
        for block in build_all(&commits) {
            let mut written = Vec::new();
            block.events().for_each(|event| encode(&mut written, &event));
            let mut reader = Reader(&written);
            for event in block.events() {
                let expected = (event.offset.get(), event.signal_id, event.ingest_time, event.to_event());
                prop_assert_eq!(reader.event(), expected);
            }
            prop_assert!(reader.0.is_empty());
        }
    }

    #[test]
    fn how_events_lie_in_blocks_makes_no_difference(commits in any_commits(), cut in any::<prop::sample::Index>()) {
        let blocks = build_all(&commits);
        let whole = Block::merge(&blocks);
        let hashed = hash_of(&blocks);
        prop_assert_eq!(hashed.end, whole.end_offset());
        let cut = cut.index(whole.len());
        if cut > 0 {
            // The second piece begins before what comes next, as a block does that was sealed meanwhile.
            let pieces = [whole.slice(0..cut), whole.slice(cut / 2..whole.len())];
            prop_assert_eq!(hash_of(&pieces), hashed);
        }
        prop_assert_eq!(hash_of(&[whole]), hashed);
    }
}

/// Hands out an event with all there is.
fn with_event(look: impl FnOnce(&EventRef<'_>)) {
    let attributes =
        BTreeMap::from([("unit", "°C"), ("a", "")].map(|(name, value)| (name.to_owned(), value.to_owned())));
    look(&EventRef {
        offset: Offset::new(7).unwrap(),
        signal_id: SignalId(3),
        signal: &"iss/NODE3000005".into(),
        event_time: Timestamp::new(-1, 250_000_000).unwrap(),
        ingest_time: Timestamp::new(1_700_000_000, 5).unwrap(),
        value: ValueRef::Double(f64::from_bits(0x7ff0_0000_0000_0001)),
        quality: Quality::Stale,
        source: &"replay".into(),
        attributes: Some(&attributes),
        trace_context: &[1, 2, 3],
    });
}

#[test]
fn an_event_is_written_as_it_is_documented() {
    let wanted = concat!(
        "0700000000000000",
        "03000000",
        "00f1536500000000",
        "05000000",
        "ffffffffffffffff",
        "80b2e60e",
        "02",
        "01",
        "010000000000f07f",
        "0f000000",
        "6973732f4e4f444533303030303035",
        "06000000",
        "7265706c6179",
        "03000000",
        "010203",
        "02000000",
        "01000000",
        "61",
        "00000000",
        "04000000",
        "756e6974",
        "03000000",
        "c2b043",
    );
    with_event(|event| {
        let mut written = Vec::new();
        encode(&mut written, event);
        let written: String = written.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(written, wanted);
    });
}

#[test]
fn the_chain_is_made_as_it_is_documented() {
    let hash = |bytes: &[u8]| Digest(blake3::hash(bytes).into());
    let nothing = hash(b"downlink chain 1");
    assert_eq!(Chain::new(Offset::FIRST).hashed(), Hashed { end: Offset::FIRST, digest: nothing });

    // Two links, and one event of the third.
    let commits: Vec<Vec<Event>> = (0..2 * LINK_EVENTS + 1)
        .map(|number| Event {
            signal: "iss/0".to_owned(),
            event_time: Timestamp::EPOCH,
            value: Value::Int(number as i64),
            quality: Quality::Good,
            source: String::new(),
            attributes: BTreeMap::new(),
            trace_context: Vec::new(),
        })
        .collect::<Vec<_>>()
        .chunks(50_000)
        .map(<[Event]>::to_vec)
        .collect();
    let mut blocks = build_all(&commits);
    blocks.iter_mut().fold(Offset::FIRST, |first, block| {
        block.header.summary.first_offset = first;
        block.end_offset()
    });
    let mut expected = vec![nothing];
    for link in 0..3 {
        let mut written = expected[link].as_bytes().to_vec();
        let events = blocks.iter().flat_map(|block| block.events());
        for event in events.skip(link * LINK_EVENTS as usize).take(LINK_EVENTS as usize) {
            encode(&mut written, &event);
        }
        expected.push(hash(&written));
    }

    let mut chain = Chain::new(Offset::FIRST);
    let mut links = Vec::new();
    blocks.iter().for_each(|block| chain.take(block, Offset::MAX, |link, digest| links.push((link, digest))));
    assert_eq!(links, [(1, expected[1]), (2, expected[2])]);
    assert_eq!(chain.hashed(), Hashed { end: blocks[2].end_offset(), digest: expected[3] });

    // Up to any place, and on from any link.
    for until in [1, 2, LINK_EVENTS, LINK_EVENTS + 1, LINK_EVENTS + 2] {
        let until = Offset::new(until).unwrap();
        let (mut part, mut later) = (Chain::new(Offset::FIRST), Chain::after(1, expected[1]));
        for block in &blocks {
            if part.next() < until {
                part.take(block, until, |_, _| ());
            }
            if block.end_offset() > later.next() {
                later.take(block, Offset::MAX, |_, _| ());
            }
        }
        assert_eq!(part.hashed().end, until);
        assert_eq!(until == end_of(1), part.hashed().digest == expected[1]);
        assert_eq!(later.hashed(), chain.hashed());
    }
}
