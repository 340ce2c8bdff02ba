//! What is encoded is decoded bit for bit, damage is seen, and no bytes do harm.

mod golden;
mod hostile;
mod rare_signals;

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::block::tests::{SIGNALS, any_commits, build_all};
use crate::block::{BlockBuilder, BlockSignal, Tally};
use crate::event::{Event, EventRef, Offset, Quality, SignalId, Timestamp, Value};

const EFFORTS: [Effort; 2] = [Effort::Fast, Effort::Compact];

proptest! {
    /// Any block comes back equal, and its header alone too, from each version.
    #[test]
    fn a_block_round_trips(commits in any_commits()) {
        let block = Block::merge(&build_all(&commits));
        for effort in EFFORTS {
            let bytes = block.encode(effort);
            let decoded = Block::decode(&bytes);
            prop_assert_eq!(decoded.as_ref(), Ok(&block));
            let header = peek(&bytes);
            prop_assert_eq!(header.as_ref(), Ok(&block.header));
        }
    }

    /// The events of any of its signals, decoded without the others, are those events.
    #[test]
    fn some_signals_are_decoded_as_with_all(mut commits in any_commits(), only_numbers: bool, cut in 0_u64..40) {
        if only_numbers {
            for event in commits.iter_mut().flatten() {
                if let Value::String(_) | Value::Bytes(_) = event.value {
                    event.value = Value::Bool(true);
                }
            }
        }
        let block = Block::merge(&build_all(&commits));
        for wanted in 0..1_u32 << SIGNALS {
            check_some(&block, |id| wanted >> (id.0 / 800_000_000) & 1 == 1, cut);
        }
    }

    /// The same where they are rare among others, which makes them found in a place of their own; and as a whole.
    #[test]
    fn rare_signals_are_decoded_as_with_all(commits in any_commits(), others in 1_000..6_000_u32, cut in 0_u64..6_000) {
        let block = among_others(commits.into_iter().flatten(), others);
        let bytes = block.encode(Effort::Compact);
        let decoded = decode_compared(&bytes);
        prop_assert_eq!(decoded.as_ref(), Ok(&block));
        for wanted in [&[0][..], &[1], &[0, 1], &[2, 5], &[0, 1, 2, 3, 4, 5], &[0, 1, 2, 3, 4, 5, 6], &[]] {
            let number = |id: SignalId| if id.0 == 1 { 6 } else { id.0 / 800_000_000 };
            check_some(&block, |id| wanted.contains(&number(id)), cut);
        }
    }

    /// Every double comes back with the same bits, also alone in its block.
    #[test]
    fn every_double_keeps_its_bits(bits in any::<u64>(), narrow in any::<u32>()) {
        for value in [f64::from_bits(bits), f64::from(f32::from_bits(narrow))] {
            let block = block_of([Value::Double(value)]);
            let decoded = Block::decode(&block.encode(Effort::Fast));
            prop_assert_eq!(decoded, Ok(block));
        }
    }
}

/// These events, with as many of another signal spread between them, which comes at one of few intervals. The numbers
/// of the signals are those of [`build_all`], of the other one 1.
fn among_others(events: impl IntoIterator<Item = Event>, others: u32) -> Block {
    let events: Vec<Event> = events.into_iter().collect();
    let start = 1_539_320_355_000_000_000;
    let other = |number: u32| Event {
        signal: "iss/other".to_owned(),
        event_time: Timestamp::from_unix_nanos(start + i128::from(number / 3) * 1_000_036).unwrap(),
        value: Value::Double(f64::from(number % 97) / 4.0),
        quality: Quality::Good,
        source: "isslive".to_owned(),
        attributes: BTreeMap::new(),
        trace_context: Vec::new(),
    };
    let known = |name: &Arc<str>| {
        let number = name.strip_prefix("iss/").and_then(|number| number.parse().ok());
        BlockSignal { id: SignalId(number.map_or(1, |number: u32| number * 800_000_000)), name: name.clone() }
    };
    let mut builder = BlockBuilder::new(Offset::new(1_000).unwrap(), Timestamp::EPOCH);
    let each = others / events.len() as u32;
    for (number, event) in (0..).zip(events) {
        let batch = (number * each..(number + 1) * each).map(other).chain([event]);
        builder.push(batch.collect(), known);
    }
    builder.finish(Tally::default())
}

/// Decodes the events of some signals, and compares them with what all of them hold, also from an offset on.
fn check_some(block: &Block, is_wanted: impl Fn(SignalId) -> bool, cut: u64) {
    let ids: Vec<_> = block.signals().iter().map(|signal| signal.id).filter(|id| is_wanted(*id)).collect();
    for effort in EFFORTS {
        let some = Block::decode_some(&block.encode(effort), &ids).unwrap();
        check_part(block, &some, &is_wanted, cut);
    }
}

fn check_part(block: &Block, some: &Block, is_wanted: impl Fn(SignalId) -> bool, cut: u64) {
    assert_eq!((some.first_offset(), some.end_offset()), (block.first_offset(), block.end_offset()));
    let of_wanted = |block: &Block| -> Vec<_> {
        let events = block.events().filter(|event| is_wanted(event.signal_id));
        events.map(|event| (event.offset, event.ingest_time, event.to_event())).collect()
    };
    let wanted = of_wanted(block);
    assert_eq!(of_wanted(some), wanted);
    let is_blob = |event: &Event| matches!(event.value, Value::String(_) | Value::Bytes(_));
    if !wanted.iter().any(|(_, _, event)| is_blob(event)) {
        assert_eq!((some.len(), some.rows_left_out()), (wanted.len(), block.len() - wanted.len()));
    }
    let from = block.first_offset().plus(cut);
    for block in [block, some] {
        let rows = block.rows_between(from, block.end_offset());
        let offset = |row: usize| block.event(row).offset;
        assert!(rows.clone().all(|row| offset(row) >= from && block.offset(row) == offset(row)));
        assert!((0..rows.start).all(|row| offset(row) < from) && rows.end == block.len());
    }
}

/// Where times are regular and where they are not, in each version.
#[test]
fn some_signals_of_a_large_block_are_all_that_is_decoded() {
    let regular = |row: u32| Timestamp::new(i64::from(row / 2), 0).unwrap();
    let irregular = |row: u32| Timestamp::from_unix_nanos(i128::from(row).pow(2) * 1_003).unwrap();
    for block in [large_block(regular), large_block(irregular)] {
        for wanted in 0..16_u32 {
            check_some(&block, |id| wanted >> id.0 & 1 == 1, 12_345);
        }
        for effort in EFFORTS {
            let some = Block::decode_some(&block.encode(effort), &[SignalId(3), SignalId(9)]).unwrap();
            assert_eq!(some.len(), 6);
        }
    }
}

/// Events of four signals, one of them rare, with values of every kind.
fn large_block(event_time: impl Fn(u32) -> Timestamp) -> Block {
    let event = |row: u32| {
        let id = if row % 5_000 == 77 { 3 } else { row % 3 };
        let value = match id {
            0 => Value::Double(f64::from(row) / 8.0),
            1 => Value::String(format!("{row}")),
            2 => Value::Int(i64::from(row) * 1_000_003),
            _ => Value::Double(f64::from(row).sqrt()),
        };
        Event {
            signal: format!("s{id}"),
            event_time: event_time(row),
            value,
            quality: if row % 3_000 < 5 { Quality::Bad } else { Quality::Good },
            source: if row < 9_999 { "a" } else { "b" }.to_owned(),
            attributes: BTreeMap::new(),
            trace_context: Vec::new(),
        }
    };
    let mut builder = BlockBuilder::new(Offset::new(1_000).unwrap(), Timestamp::EPOCH);
    let known =
        |name: &Arc<str>| BlockSignal { id: SignalId(name[1..].parse().unwrap()), name: name.clone() };
    builder.push((0..30_000).map(event).collect(), known);
    builder.finish(Tally::default())
}

fn reseal(bytes: &mut [u8]) {
    let checksum = checksum(bytes);
    bytes[1..PREFIX_BYTES].copy_from_slice(&checksum.to_le_bytes());
}

/// One event a second, one signal, each with one of these values.
fn block_of(values: impl IntoIterator<Item = Value>) -> Block {
    let start = Timestamp::new(1_539_320_355, 250_000_000).unwrap();
    let mut builder = BlockBuilder::new(Offset::new(7).unwrap(), start);
    let event = |(second, value)| Event {
        signal: "iss/NODE3000005".to_owned(),
        event_time: Timestamp::new(start.seconds() + second, start.nanos()).unwrap(),
        value,
        quality: if second == 2 { Quality::Stale } else { Quality::Good },
        source: "isslive".to_owned(),
        attributes: BTreeMap::new(),
        trace_context: Vec::new(),
    };
    let batch = (0..).zip(values).map(event).collect();
    builder.push(batch, |name| BlockSignal { id: SignalId(3), name: name.clone() });
    builder.finish(Tally { duplicate_events: 1, rejected_events: 300 })
}

/// Values of every kind and every tag.
fn varied_values() -> Vec<Value> {
    let doubles =
        [62.0, 62.5, 0.1, 138.440551757813, -3.91986771230936, 0.0646903189052828, -0.0, f64::NAN, 1e300];
    let widened = [f64::from(0.1_f32), f64::from(f32::MAX), f64::INFINITY];
    let mut values: Vec<Value> = doubles.into_iter().chain(widened).map(Value::Double).collect();
    values.extend([0, 1, -1, i64::MAX, i64::MIN].map(Value::Int));
    values.extend([
        Value::Bool(true),
        Value::Bool(false),
        Value::String(String::new()),
        Value::String("Aü☂".into()),
    ]);
    values.extend([Value::Bytes(vec![]), Value::Bytes(vec![0, 255])]);
    values
}

/// The checksum sees each single flipped bit, wherever it is.
#[test]
fn every_flipped_bit_is_seen() {
    let varied = block_of(varied_values());
    let rare = Event { signal: "iss/0".to_owned(), ..varied.event(3).to_event() };
    let blocks = [varied, among_others([rare], 500)];
    for mut bytes in
        EFFORTS.into_iter().flat_map(|effort| blocks.each_ref().map(|block| block.encode(effort)))
    {
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Block::decode(&bytes), Err(DecodeError::Checksum), "bit {bit}");
            assert_eq!(Block::decode_some(&bytes, &[]), Err(DecodeError::Checksum), "bit {bit}");
            assert_eq!(peek(&bytes), Err(DecodeError::Checksum), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

/// A newer version is told from damage.
#[test]
fn a_newer_version_is_named() {
    let mut bytes = block_of(varied_values()).encode(Effort::Fast);
    bytes[0] = VERSION_NEWEST + 1;
    assert_eq!(Block::decode(&bytes), Err(DecodeError::Checksum));
    reseal(&mut bytes);
    assert_eq!(Block::decode(&bytes), Err(DecodeError::NewerVersion { found: VERSION_NEWEST + 1 }));
    assert_eq!(Block::decode(&[]), Err(DecodeError::Checksum));
}

/// Long values come back, and take no more than they must.
#[test]
fn a_mebibyte_of_text_round_trips() {
    let long = "é".repeat(1 << 19);
    let block =
        block_of([Value::String(long.clone()), Value::Bytes(long.into_bytes()), Value::String("é".into())]);
    for effort in EFFORTS {
        let bytes = block.encode(effort);
        assert!(bytes.len() < 2000, "{} bytes", bytes.len());
        assert_eq!(Block::decode(&bytes).as_ref(), Ok(&block));
    }
}

/// A block of so many rows that byte planes have sections of their own.
#[test]
fn a_large_block_round_trips() {
    let values = (0..10_000_i64).map(|row| match row % 3 {
        0 => Value::Double(f64::from((row as f32).sqrt())),
        1 => Value::Int(row.pow(4)),
        _ => Value::Double(row as f64 / 1000.0),
    });
    let block = block_of(values);
    for effort in EFFORTS {
        assert_eq!(Block::decode(&block.encode(effort)).as_ref(), Ok(&block));
    }
}

/// 32-bit floats printed with 15 digits, converted or not, take four bytes and not eight.
#[test]
fn printed_floats_are_narrow() {
    for (text, factor) in [
        ("138.440551757813", 0),
        ("-0.0286679994314909", 0),
        ("0.0646903189052828", 1),
        ("4471.02302560352", 2),
    ] {
        let value: f64 = text.parse().unwrap();
        let (narrow, found) = float::to_printed(value, 0).unwrap();
        assert_eq!(found, factor, "{text}");
        assert_eq!(float::printed(narrow, found).to_bits(), value.to_bits(), "{text}");
    }
}
