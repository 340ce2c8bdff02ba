//! The events of rare signals are there once more: found without the others, the same, and small.

use super::*;

/// Where the columns of all rows begin in a block of version 2, behind the events of rare signals.
fn columns_begin(bytes: &[u8]) -> usize {
    let (_, mut reader) = open(bytes).unwrap();
    let header = header::read(&mut reader).unwrap();
    rare::skip(&mut reader, header.signals.len()).unwrap();
    (0..).find(|length| reader.clone().bytes(length + 1).is_err()).map(|left| bytes.len() - left).unwrap()
}

#[test]
fn rare_signals_need_nothing_of_the_others() {
    let rare = block_of(varied_values()).events().map(|event| event.to_event()).collect::<Vec<_>>();
    for (signals, is_enough) in [([0], true), ([1], false)] {
        let rare = rare.iter().cloned().map(|event| Event { signal: "iss/0".to_owned(), ..event });
        let block = among_others(rare, 6_000);
        let mut bytes = block.encode(Effort::Compact);
        let begin = columns_begin(&bytes);
        bytes[begin..].fill(0xff);
        reseal(&mut bytes);
        assert!(Block::decode(&bytes).is_err());
        let some = Block::decode_some(&bytes, &signals.map(SignalId));
        assert_eq!(some.is_ok(), is_enough);
        for event in some.iter().flat_map(Block::events) {
            assert_eq!(event, block.event(event.offset.since(block.first_offset()) as usize));
        }
    }
}

/// What is said twice is compared at sealing: these columns are right, the copy of the rare signal's event is not.
#[test]
fn a_copy_that_differs_is_noticed() {
    let event = block_of(varied_values()).event(0).to_event();
    let [other, right] = [Value::Int(1), Value::Int(2)]
        .map(|value| among_others([Event { signal: "iss/0".to_owned(), value, ..event.clone() }], 500));
    let [other, bytes] = [&other, &right].map(|block| block.encode(Effort::Compact));
    let mut mixed = [&other[..columns_begin(&other)], &bytes[columns_begin(&bytes)..]].concat();
    reseal(&mut mixed);
    assert_eq!(Block::decode(&mixed).as_ref(), Ok(&right));
    assert_eq!(decode_compared(&bytes).as_ref(), Ok(&right));
    assert!(matches!(decode_compared(&mixed), Err(DecodeError::Malformed(_))));
}

/// Bytes that cannot be compressed.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    });
    noise.take(bytes).collect()
}

/// The same as text, of six bits a byte.
fn noisy_text(bytes: usize) -> String {
    noise(bytes).into_iter().map(|byte| char::from(b' ' + byte % 64)).collect()
}

/// What is said twice is little: an event alone on its signal may be as large as all others, wherever it is large.
#[test]
fn a_large_event_is_kept_once() {
    let small = Event { signal: "iss/0".to_owned(), ..block_of(varied_values()).event(0).to_event() };
    for (large, bytes_max) in [
        (Event { value: Value::Bytes(noise(100_000)), ..small.clone() }, 110_000),
        (Event { trace_context: noise(100_000), ..small.clone() }, 110_000),
        (Event { source: noisy_text(100_000), ..small.clone() }, 85_000),
        (
            Event { attributes: BTreeMap::from([("a".to_owned(), noisy_text(100_000))]), ..small.clone() },
            85_000,
        ),
    ] {
        let bytes = among_others([large], 6_000).encode(Effort::Compact);
        assert!(bytes.len() < bytes_max, "{} bytes", bytes.len());
    }
}

/// What is large in memory but repeats itself leaves no more room for the copy.
#[test]
fn the_copy_is_small_for_the_number_of_events_whatever_is_in_them() {
    let small = Event { signal: "iss/1".to_owned(), ..block_of(varied_values()).event(0).to_event() };
    let long = "a".repeat(1_000);
    for frequent in [
        Event { value: Value::String(long.clone()), ..small.clone() },
        Event { attributes: BTreeMap::from([("a".to_owned(), long.clone())]), ..small.clone() },
    ] {
        let rare = Event { signal: "iss/0".to_owned(), value: Value::Bytes(noise(20_000)), ..small.clone() };
        let events = std::iter::repeat_n(frequent, 2_000).chain([rare]);
        let bytes = among_others(events, 0).encode(Effort::Compact);
        assert!(bytes.len() < 25_000, "{} bytes", bytes.len());
    }
}

/// Whoever reads a copy has its section expanded, and nothing in it once more.
#[test]
fn a_copy_in_which_anything_is_compressed_again_is_refused() {
    let event = block_of(varied_values()).event(0).to_event();
    let source = "a".repeat(300);
    let block = among_others([Event { signal: "iss/0".to_owned(), source, ..event }], 6_000);
    let row = block.len() as u32 - 1;
    let with_copy = |mut copy: Writer| {
        copy.put_u64(1);
        integers::put(&mut copy, &[u64::from(row)]);
        columns::put(&mut copy, Version::Committed, &block.columns.gather(&[row], |_| 0), 1);
        let mut writer = Writer::new(Effort::Compact, 0);
        writer.put_bytes(&[0; PREFIX_BYTES]);
        header::put(&mut writer, &block.header);
        // One rare signal, the second.
        [1, 1].into_iter().for_each(|number| writer.put_u64(number));
        writer.put_sized_section(&copy.into_bytes());
        columns::put(&mut writer, Version::Sealed, &block.columns, 2);
        let mut bytes = writer.into_bytes();
        bytes[0] = Version::Sealed as u8;
        reseal(&mut bytes);
        bytes
    };
    assert_eq!(with_copy(Writer::plain()), block.encode(Effort::Compact));
    let again = with_copy(Writer::new(Effort::Compact, 0));
    assert_eq!(Block::decode(&again).as_ref(), Ok(&block));
    assert!(Block::decode_some(&again, &[SignalId(0)]).is_err());
    assert!(decode_compared(&again).is_err());
}
