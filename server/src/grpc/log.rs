//! `LogService`: facts about the log.

use std::sync::Arc;
use std::time::Duration;

use downlink_proto::v1::get_log_info_response::State as WireState;
use downlink_proto::v1::log_service_server::LogService;
use downlink_proto::v1::{GetLogInfoRequest, GetLogInfoResponse, IngestTotals, Replica};
use downlink_storage::{Info, State, Timestamp};
use tonic::{Request, Response, Status};

use super::Shared;
use super::convert::{wire_duration, wire_time};
use super::status::status;
use crate::replica;

/// Tells about the log.
pub(crate) struct LogFacts {
    /// What the services share.
    pub(crate) shared: Arc<Shared>,
}

#[tonic::async_trait]
impl LogService for LogFacts {
    async fn get_log_info(
        &self,
        _: Request<GetLogInfoRequest>,
    ) -> Result<Response<GetLogInfoResponse>, Status> {
        let log = self.shared.log.clone();
        let info = self.shared.unary("info", move || log.info()).await?.map_err(status)?;
        let mirror = self.shared.mirror.as_ref();
        let replica =
            self.shared.replica.as_ref().map(|status| wire_replica(status, &info, self.shared.clock.now()));
        let mut answer = wire_info(&info);
        if replica.is_some() && answer.state() == WireState::Serving {
            answer.set_state(WireState::Following);
        }
        Ok(Response::new(GetLogInfoResponse {
            mirrored_offset: mirror.map_or(0, |mirror| mirror.next_offset()),
            mirror_problem: mirror.and_then(|mirror| mirror.problem()).unwrap_or_default(),
            replica,
            ..answer
        }))
    }
}

fn wire_replica(status: &replica::Status, info: &Info, now: Timestamp) -> Replica {
    let events_behind = status.events_behind();
    let nanos = info.newest_time.map(|newest| now.unix_nanos() - newest.unix_nanos());
    let behind = nanos.map(|nanos| Duration::from_nanos(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX)));
    Replica {
        primary_url: status.primary_url().to_owned(),
        topic: status.topic().to_owned(),
        events_behind,
        time_behind: behind.filter(|_| events_behind > 0).map(wire_duration),
        problem: status.problem().unwrap_or_default(),
        duplicate_events: status.duplicates(),
    }
}

fn wire_info(info: &Info) -> GetLogInfoResponse {
    let (state, state_reason) = match &info.state {
        State::Serving => (WireState::Serving, String::new()),
        State::DiskFull(reason) => (WireState::DiskFull, reason.clone()),
        State::ReadOnly(reason) => (WireState::ReadOnly, reason.clone()),
    };
    GetLogInfoResponse {
        log_id: info.id.to_string(),
        oldest_offset: info.oldest.get(),
        head_offset: info.head.get(),
        // Readers see durable events only, and so does the head.
        durable_offset: info.head.get(),
        head_hash: info.hashed.map(|hashed| hashed.digest.as_bytes().to_vec()).unwrap_or_default(),
        hash_offset: info.hashed.map_or(0, |hashed| hashed.end.get()),
        bytes_on_disk: info.bytes_on_disk,
        payload_bytes: info.payload_bytes,
        oldest_time: info.oldest_time.map(wire_time),
        newest_time: info.newest_time.map(wire_time),
        totals: Some(IngestTotals {
            received_events: info.totals.received,
            appended_events: info.totals.appended,
            duplicate_events: info.totals.duplicates,
            rejected_events: info.totals.rejected,
        }),
        server_version: env!("CARGO_PKG_VERSION").to_owned(),
        signals: info.signals,
        segments: info.segments,
        sealed_segments: info.sealed_segments,
        state: state.into(),
        state_reason,
        commits: info.commits,
        ..GetLogInfoResponse::default()
    }
}
