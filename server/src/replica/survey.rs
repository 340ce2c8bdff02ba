//! What a topic lacks, all of it: read once more for nothing but the offsets.

use downlink_storage::Offset;

use super::failure::Failure;
use crate::kafka::{Received, Topic};
use crate::offsets::{Offsets, SCATTERED_MAX};

/// What to do about what is missing from `first` on: how much that is in all, and from where on nothing is.
pub(super) fn hint(topic: &Topic, first: Offset) -> Result<String, Failure> {
    let held = offsets(topic, first)?;
    if held.is_too_large() {
        return Ok(": so are others, too many to tell them all".to_owned());
    }
    let end = held.end().max(first);
    let (mut lacking, mut whole_from) = (0, first);
    for hole in held.holes(first..end) {
        lacking += hole.end.since(hole.start);
        whole_from = hole.end;
    }
    if lacking == 0 {
        return Ok(
            ": it has them all, but other partitions are too far ahead: raise follow_buffer_events_max or \
                   follow_buffer_bytes_max"
                .to_owned(),
        );
    }
    let (of, all) = (end.minus(1), if lacking == 1 { "event is" } else { "events are" });
    Ok(format!(
        ": {lacking} {all} missing in all of those from {first} to {of}. What is there before {first} has been restored. From \
         {whole_from} on none is missing: a restore with --first-offset {whole_from} begins there"
    ))
}

/// The offsets from `first` on that the topic has at present.
fn offsets(topic: &Topic, first: Offset) -> Result<Offsets, Failure> {
    let ends = topic.ends()?;
    let from: Vec<_> = ends.iter().map(|ends| ends.first).collect();
    let mut held = Offsets::new(SCATTERED_MAX);
    let each = |message: &Received<'_>| {
        if let Some(offset) = Offset::new(message.offset).filter(|offset| *offset >= first) {
            held.insert(offset);
        }
        Ok::<_, Failure>(!held.is_too_large())
    };
    topic.read(&from, &ends, &|| false, each)?;
    Ok(held)
}
