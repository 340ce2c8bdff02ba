//! Positions: places in the log as callers name them, where they are, and `LookupOffset`.

use std::sync::Arc;
use std::time::Duration;

use downlink_proto::v1::{self, LookupOffsetRequest, LookupOffsetResponse, position::At};
use downlink_storage::{Chunk, Error, Offset, Seek, Timestamp};
use tonic::Status;

use super::request::{choice, filter, invalid};
use crate::config::Config;
use crate::consumers;
use crate::grpc::Shared;
use crate::grpc::consumer::known;
use crate::grpc::convert::{duration, timestamp, wire_time};
use crate::grpc::status::{Refusal, status};
use crate::query::filter::Filter;
use crate::query::{Found, PieceMax, Reach, Scan, Way};

/// A place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// This very offset.
    Offset(Offset),
    /// The oldest event kept.
    Oldest,
    /// What comes next.
    Head,
    /// The first event of a moment.
    Moment(Seek),
    /// The first event so long before the present, by event time.
    Ago(Duration),
    /// The last so many events that the filter wants.
    LastEvents(u64),
    /// Where this consumer has got to.
    Consumer(String),
}

/// The place that `position` names; `None` where it is left to the method.
pub(crate) fn place(
    position: Option<v1::Position>,
    field: &str,
    config: &Config,
) -> Result<Option<Place>, Refusal> {
    let Some(at) = position.and_then(|position| position.at) else { return Ok(None) };
    let refused = |kind: &str, problem: &str| Err(invalid(format!("{field}.{kind}"), problem));
    Ok(Some(match at {
        At::Offset(offset) => match Offset::new(offset) {
            Some(offset) => Place::Offset(offset),
            None => return refused("offset", "offsets begin at 1"),
        },
        At::Edge(edge) => match choice::<v1::Edge>(edge, &format!("{field}.edge"))? {
            v1::Edge::Unspecified => return Ok(None),
            v1::Edge::Oldest => Place::Oldest,
            v1::Edge::Head => Place::Head,
        },
        At::EventTime(time) => {
            Place::Moment(Seek::EventTime(timestamp(time, &format!("{field}.event_time"))?))
        }
        At::IngestTime(time) => {
            Place::Moment(Seek::IngestTime(timestamp(time, &format!("{field}.ingest_time"))?))
        }
        At::LastEvents(events) if events > config.position_events_max => {
            return refused("last_events", &format!("is more than {}", config.position_events_max));
        }
        At::LastEvents(events) => Place::LastEvents(events),
        At::Ago(ago) => Place::Ago(duration(ago, &format!("{field}.ago"))?),
        At::Consumer(name) => match consumers::check_name(&name) {
            Ok(()) => Place::Consumer(name),
            Err(problem) => return refused("consumer", &problem),
        },
    }))
}

/// Where `place` is in the log as it was when it ended at `head`, for a reader of what `filter` wants. What has to be
/// looked up on disk takes no longer than a unary call may.
pub(crate) async fn resolve(
    shared: &Arc<Shared>,
    place: Place,
    filter: &Filter,
    head: Offset,
) -> Result<Offset, Status> {
    let offset = match place {
        Place::Offset(offset) => offset,
        Place::Oldest => shared.log.oldest(),
        Place::Head => head,
        Place::Moment(moment) => seek(shared, moment).await?.min(head),
        Place::Ago(ago) => seek(shared, Seek::EventTime(before(shared.clock.now(), ago))).await?.min(head),
        Place::LastEvents(events) => {
            shared.in_time(last_events(shared, events, filter.clone(), head)).await??
        }
        Place::Consumer(name) => {
            let log = shared.log.clone();
            shared.unary("position", move || known(&log, &name, "consumer")).await??.next_offset
        }
    };
    if offset > head { Err(status(Error::BeyondHead { offset, head })) } else { Ok(offset) }
}

async fn seek(shared: &Arc<Shared>, moment: Seek) -> Result<Offset, Status> {
    let log = shared.log.clone();
    shared.in_time(shared.disk("position", move || log.seek(moment))).await??.map_err(status)
}

/// The moment `ago` before `now`, or the first there is.
fn before(now: Timestamp, ago: Duration) -> Timestamp {
    let nanos = i128::try_from(ago.as_nanos()).unwrap_or(i128::MAX);
    Timestamp::from_unix_nanos(now.unix_nanos().saturating_sub(nanos)).unwrap_or(Timestamp::MIN)
}

/// Where the last `events` events before `head` that `filter` wants begin: at the oldest if there are fewer.
async fn last_events(
    shared: &Arc<Shared>,
    events: u64,
    filter: Filter,
    head: Offset,
) -> Result<Offset, Status> {
    let oldest = shared.log.oldest();
    let mut scan = Scan::new(shared.log.clone(), filter, Way::Backwards);
    let (mut next, mut left) = (head, usize::try_from(events).unwrap_or(usize::MAX));
    while left > 0 && next > oldest {
        let most = PieceMax { events: left, bytes: usize::MAX, alone: usize::MAX };
        let counting = move || (scan.read((next, oldest), most, Reach::Disk, &mut |_| Some(0)), scan);
        let (found, given_back) = shared.disk("position", counting).await?;
        scan = given_back;
        match found.map_err(status)? {
            Found::Events { matched, end } => {
                next = end;
                left -= usize::try_from(matched).unwrap_or(left).min(left);
            }
            Found::Gap { first, .. } => next = first,
        }
    }
    Ok(if left == 0 { next } else { oldest })
}

/// `LookupOffset`.
pub(crate) async fn lookup_offset(
    shared: &Arc<Shared>,
    request: LookupOffsetRequest,
) -> Result<LookupOffsetResponse, Status> {
    let place = place(request.position, "position", &shared.config)?.unwrap_or(Place::Head);
    let head = shared.log.head();
    let offset = resolve(shared, place, &filter(None, &shared.config)?, head).await?;
    if offset == head {
        return Ok(LookupOffsetResponse { offset: offset.get(), event_time: None });
    }
    let log = shared.log.clone();
    let found = shared.in_time(shared.disk("position", move || log.read(offset, None))).await??;
    let event_time = match found.map_err(status)? {
        Chunk::Block(block) => {
            let row = usize::try_from(offset.since(block.first_offset())).unwrap_or(usize::MAX);
            Some(wire_time(block.event(row).event_time))
        }
        Chunk::Gap { .. } | Chunk::Skipped { .. } | Chunk::Head => None,
    };
    Ok(LookupOffsetResponse { offset: offset.get(), event_time })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_understood_or_refused() {
        let config = Config { position_events_max: 5, ..Config::standard() };
        let parsed = |at| place(Some(v1::Position { at }), "start", &config);
        let time = |seconds, nanos| prost_types::Timestamp { seconds, nanos };
        let length = |seconds, nanos| prost_types::Duration { seconds, nanos };
        assert_eq!(place(None, "start", &config).unwrap(), None);
        assert_eq!(parsed(None).unwrap(), None);
        assert_eq!(parsed(Some(At::Edge(0))).unwrap(), None);
        assert_eq!(parsed(Some(At::LastEvents(5))).unwrap(), Some(Place::LastEvents(5)));
        let half = Timestamp::new(7, 500_000_000).unwrap();
        assert_eq!(
            parsed(Some(At::EventTime(time(7, 500_000_000)))).unwrap(),
            Some(Place::Moment(Seek::EventTime(half)))
        );
        assert_eq!(parsed(Some(At::Ago(length(1, 0)))).unwrap(), Some(Place::Ago(Duration::from_secs(1))));
        for at in [
            At::Offset(0),
            At::Edge(7),
            At::LastEvents(6),
            At::EventTime(time(0, -1)),
            At::IngestTime(time(i64::MAX, 0)),
            At::Ago(length(-1, 0)),
            At::Ago(length(0, -1)),
            At::Consumer(String::new()),
        ] {
            assert!(parsed(Some(at.clone())).is_err(), "{at:?}");
        }
    }

    #[test]
    fn a_moment_before_time_begins_is_its_beginning() {
        let now = Timestamp::new(100, 1).unwrap();
        assert_eq!(before(now, Duration::from_secs(1)), Timestamp::new(99, 1).unwrap());
        assert_eq!(before(now, Duration::from_nanos(2)), Timestamp::new(99, 999_999_999).unwrap());
        assert_eq!(before(now, Duration::MAX), Timestamp::MIN);
    }
}
