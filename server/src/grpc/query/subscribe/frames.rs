//! Notices as frames.

use downlink_proto::v1::subscribe_response::{CaughtUp, Draining, FellBehind, Frame, Heartbeat, Started};
use downlink_storage::{Offset, Timestamp};
use uuid::Uuid;

use crate::follow::Notice;
use crate::grpc::Shared;
use crate::grpc::convert::{since, wire_duration, wire_time};
use crate::grpc::query::pieces::wire_gap;
use crate::shutdown::RETRY_AFTER;

/// `notice` on the wire, for a reader who has got what was ingested until `ingest_time`.
pub(super) fn wire(shared: &Shared, notice: Notice, head: Offset, ingest_time: Option<Timestamp>) -> Frame {
    let now = shared.clock.now();
    let time = Some(wire_time(now));
    match notice {
        Notice::Started => Frame::Started(Started {
            subscription_id: Uuid::new_v4().to_string(),
            log_id: shared.log.id().to_string(),
            oldest_offset: shared.log.oldest().get(),
            head_offset: head.get(),
        }),
        Notice::CaughtUp => Frame::CaughtUp(CaughtUp { time }),
        Notice::FellBehind { events } => Frame::FellBehind(FellBehind {
            events_behind: events,
            time_behind: ingest_time.map(|then| wire_duration(since(now, then))),
        }),
        Notice::Heartbeat { suppressed_events } => {
            Frame::Heartbeat(Heartbeat { time, head_offset: head.get(), suppressed_events })
        }
        Notice::Gap { first, end, reason } => Frame::Gap(wire_gap(first, end, reason)),
        Notice::Draining => Frame::Draining(Draining { retry_after: Some(wire_duration(RETRY_AFTER)) }),
    }
}
