//! What a topic lacks, all of it: read once more for nothing but the offsets.

use std::time::{Duration, Instant};

use downlink_storage::Offset;

use super::failure::Failure;
use super::{STALL, settings};
use crate::config::Config;
use crate::mirror::HeldOffsets;
use crate::mirror::reader::{Next, Reader};

/// The most offsets that are looked for: a bit of memory for each.
const OFFSETS_MAX: u64 = 1 << 33;

/// What to do about what is missing from `first` on: how much that is in all, and from where on nothing is.
pub(super) fn hint(reader: &Reader, config: &Config, first: Offset) -> Result<String, Failure> {
    let held = offsets(reader, config, first)?;
    let lacking = held.end().since(first) - held.len();
    if lacking == 0 {
        return Ok(
            ": it has them all, but other partitions are too far ahead: raise follow_buffer_events_max or \
                   follow_buffer_bytes_max"
                .to_owned(),
        );
    }
    let mut whole_from = held.end();
    while whole_from > first && held.contains(whole_from.minus(1)) {
        whole_from = whole_from.minus(1);
    }
    let (of, all) = (held.end().minus(1), if lacking == 1 { "event is" } else { "events are" });
    Ok(format!(
        ": {lacking} {all} missing in all of those from {first} to {of}. What is there before {first} has been restored. From \
         {whole_from} on none is missing: a restore with --first-offset {whole_from} begins there"
    ))
}

/// The offsets from `first` on that the topic has at present.
fn offsets(reader: &Reader, config: &Config, first: Offset) -> Result<HeldOffsets, Failure> {
    let ends = reader.ends()?;
    let mut again = Reader::connect(settings(config)?)?;
    again.read_from(&ends.iter().map(|ends| ends.first).collect::<Vec<_>>())?;
    let mut held = HeldOffsets::from(first);
    let mut heard = Instant::now();
    for (partition, ends) in ends.iter().enumerate() {
        let mut position = ends.first;
        while position < ends.end {
            let read = again.next(partition, |message| (message.position, message.offset))?;
            match read {
                Next::Message((read, offset)) => {
                    position = read + 1;
                    if let Some(offset) =
                        Offset::new(offset).filter(|offset| offset.since(first) < OFFSETS_MAX)
                    {
                        held.insert(offset);
                    }
                }
                Next::End => break,
                Next::Nothing if heard.elapsed() > STALL => {
                    return Err(Failure::Stalled { topic: reader.topic().to_owned() });
                }
                Next::Nothing => {
                    again.wait(Duration::from_millis(50));
                    continue;
                }
            }
            heard = Instant::now();
        }
    }
    Ok(held)
}
