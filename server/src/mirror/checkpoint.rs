//! Where the mirror is, kept in the log as a consumer's checkpoint is: `_consumer/_mirror`.

use downlink_storage::{Append, Appended, Error, Event, Identity, Log, Offset, Timestamp, Value};

use super::progress::Checkpoint;
use crate::consumers;

/// The consumer: a name that callers cannot take.
const NAME: &str = "_mirror";
/// Its signal.
pub(super) const SIGNAL: &str = "_consumer/_mirror";
/// The attributes that a consumer's checkpoint does not have.
const TOPIC: &str = "topic";
const POSITIONS: &str = "positions";

/// Where the mirror in `topic` is; at the oldest event if it has not begun.
pub(super) fn find(log: &Log, topic: &str) -> Result<Checkpoint, Error> {
    let found = log.with_latest(SIGNAL, |latest| read(&latest.event, topic))?.flatten();
    Ok(found.unwrap_or_else(|| Checkpoint { next_offset: log.oldest(), positions: Vec::new() }))
}

fn read(event: &Event, topic: &str) -> Option<Checkpoint> {
    let Value::Int(next) = event.value else { return None };
    let next_offset = Offset::new(u64::try_from(next).ok()?)?;
    let positions =
        event.attributes.get(TOPIC).filter(|kept| *kept == topic).and(event.attributes.get(POSITIONS))?;
    let positions = positions.split_terminator(',').map(str::parse).collect::<Result<_, _>>().ok()?;
    Some(Checkpoint { next_offset, positions })
}

/// Keeps a checkpoint of the mirror in `topic`; calls `done` once it is on disk, or cannot be.
pub(super) fn append(
    log: &Log,
    topic: &str,
    checkpoint: &Checkpoint,
    time: Timestamp,
    done: impl FnOnce(Result<Appended, Error>) + Send + 'static,
) {
    let events = vec![event(topic, checkpoint, time)].into();
    log.append(Append { events, identity: Identity::Anonymous, expected_head: None, note: None }, done);
}

fn event(topic: &str, checkpoint: &Checkpoint, time: Timestamp) -> Event {
    let positions: Vec<_> = checkpoint.positions.iter().map(ToString::to_string).collect();
    let mut event = consumers::event(NAME, Some(checkpoint.next_offset), time, Vec::new());
    event.attributes.insert(TOPIC.to_owned(), topic.to_owned());
    event.attributes.insert(POSITIONS.to_owned(), positions.join(","));
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_found_again_for_its_own_topic() {
        let checkpoint =
            Checkpoint { next_offset: Offset::new(42).unwrap(), positions: vec![3, 0, 7_000_000_000] };
        let event = event("a.topic", &checkpoint, Timestamp::new(1, 0).unwrap());
        assert_eq!(event.signal, SIGNAL);
        assert_eq!(read(&event, "a.topic"), Some(checkpoint));
        assert_eq!(read(&event, "another.topic"), None);
    }
}
