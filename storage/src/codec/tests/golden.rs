//! What each version wrote is read for ever, and what is written is what it ever was.

use super::*;

/// What version 1 wrote is read for ever: this file was written once.
#[test]
fn the_golden_file_of_version_1_is_read() {
    let golden = include_bytes!("../../../tests/golden/block-v1.bin");
    let mut values = varied_values();
    values.extend((0..200).map(|second| Value::Double(f64::from(second / 7) / 8.0)));
    assert_eq!(Block::decode(golden), Ok(block_of(values)));
}

/// Of version 2 too: with rows as tokens, with and without rare signals in their place; and with signals and times apart,
/// which are near each other or far.
#[test]
fn the_golden_files_of_version_2_are_read() {
    let varied = block_of(varied_values());
    let rare = varied.events().map(|event| Event { signal: "iss/0".to_owned(), ..event.to_event() });
    for (golden, block) in [
        (&include_bytes!("../../../tests/golden/block-v2.bin")[..], among_others(rare, 6_000)),
        (include_bytes!("../../../tests/golden/small-v2.bin"), varied),
        (include_bytes!("../../../tests/golden/apart-v2.bin"), irregular(300, 1_000_003)),
        (include_bytes!("../../../tests/golden/far-v2.bin"), irregular(100, 10_i128.pow(16))),
    ] {
        assert_eq!(golden[0], Version::Sealed as u8);
        assert_eq!(decode_compared(golden).as_ref(), Ok(&block));
    }
}

/// And they are still written so: blocks too small for compression are the same to the byte, of version 2 with signals and
/// times apart and as tokens.
#[test]
fn all_forms_are_written_as_ever() {
    let few = || block_of([Value::Double(62.5), Value::Int(-1), Value::String("A".into())]);
    let regular = block_of(std::iter::repeat_n(Value::Bool(true), 9));
    for (block, effort, golden) in [
        (few(), Effort::Fast, include_str!("../../../tests/golden/small-v1.hex")),
        (few(), Effort::Compact, include_str!("../../../tests/golden/apart-v2.hex")),
        (regular, Effort::Compact, include_str!("../../../tests/golden/tokens-v2.hex")),
    ] {
        let hex: String = block.encode(effort).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, golden.trim_end());
    }
}

/// From how many values on byte planes are kept one by one is part of the format.
#[test]
fn planes_have_sections_of_their_own_from_4096_values_on() {
    for (values, sections) in [(4_095, 1), (4_096, 2)] {
        let mut writer = Writer::plain();
        integers::put(&mut writer, &vec![0x0102; values]);
        let bytes = writer.into_bytes();
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.u8(), Ok(2));
        let mut planes = Vec::new();
        for _ in 0..sections {
            let mut section = Vec::new();
            reader.section(2 * values / sections, &mut section).unwrap();
            planes.extend(section);
        }
        reader.finish().unwrap();
        assert_eq!(planes, [vec![2; values], vec![1; values]].concat());
    }
}

/// Events no two of which are equally far apart, in nanoseconds `step` times an odd number: of two signals in turn, and one
/// of a third.
fn irregular(rows: u32, step: i128) -> Block {
    let start = Timestamp::new(1_539_320_355, 250_000_000).unwrap();
    let event = |row: u32| Event {
        signal: if row == rows / 2 { "iss/9".to_owned() } else { format!("iss/{}", row % 2) },
        event_time: Timestamp::from_unix_nanos(start.unix_nanos() + i128::from(row * row) * step).unwrap(),
        value: if row.is_multiple_of(3) {
            Value::Int(i64::from(row))
        } else {
            Value::Double(f64::from(row) / 8.0)
        },
        quality: Quality::Good,
        source: "isslive".to_owned(),
        attributes: BTreeMap::new(),
        trace_context: Vec::new(),
    };
    let mut builder = BlockBuilder::new(Offset::new(7).unwrap(), start);
    let known =
        |name: &Arc<str>| BlockSignal { id: SignalId(name[4..].parse().unwrap()), name: name.clone() };
    builder.push((0..rows).map(event).collect(), known);
    builder.finish(Tally::default())
}
