//! Lengths of time that are none: refused by every method that takes one, with the name of the field.

use downlink_proto::v1::aggregate_request::Resolution;
use downlink_proto::v1::position::At;
use downlink_proto::v1::report::Mode;
use downlink_proto::v1::{
    AggregateRequest, DefineSignalsRequest, LookupOffsetRequest, Pacing, Position, ReadRequest, Report,
    Signal, SubscribeRequest,
};
use prost_types::Duration;
use tonic::{Code, Status};

use crate::harness::Server;
use crate::refusal::refused;

const fn length(seconds: i64, nanos: i32) -> Duration {
    Duration { seconds, nanos }
}

/// Below 0, longer than any, with nanoseconds of a second and more, of two signs.
const NONE: [Duration; 9] = [
    length(-1, 0),
    length(0, -1),
    length(i64::MIN, i32::MIN),
    length(i64::MAX, i32::MAX),
    length(315_576_000_001, 0),
    length(0, 1_000_000_000),
    length(1, i32::MAX),
    length(1, -1),
    length(-1, 1),
];

fn ago(length: Duration) -> Option<Position> {
    Some(Position { at: Some(At::Ago(length)) })
}

async fn read(server: &Server, request: ReadRequest) -> Result<(), Status> {
    server.query().await.read(request).await.map(drop)
}

async fn subscribe(server: &Server, request: SubscribeRequest) -> Result<(), Status> {
    server.query().await.subscribe(request).await.map(drop)
}

async fn report(server: &Server, report: Report) -> Result<(), Status> {
    subscribe(server, SubscribeRequest { report: Some(report), ..Default::default() }).await
}

/// What each field that takes a length of time says to this one.
async fn answers(server: &Server, length: Duration) -> [(&'static str, Result<(), Status>); 11] {
    let some = Some(length);
    let position = LookupOffsetRequest { position: ago(length) };
    let signal = Signal { name: "a".to_owned(), expected_period: some, ..Default::default() };
    let define = DefineSignalsRequest { signals: vec![signal] };
    let step = AggregateRequest { resolution: Some(Resolution::Step(length)), ..Default::default() };
    let sampled = Report { mode: Mode::Sample.into(), min_interval: some, ..Default::default() };
    [
        ("start.ago", read(server, ReadRequest { start: ago(length), ..Default::default() }).await),
        ("end.ago", read(server, ReadRequest { end: ago(length), ..Default::default() }).await),
        (
            "pacing.max_gap",
            read(
                server,
                ReadRequest { pacing: Some(Pacing { speed: 1.0, max_gap: some }), ..Default::default() },
            )
            .await,
        ),
        ("start.ago", subscribe(server, SubscribeRequest { start: ago(length), ..Default::default() }).await),
        (
            "max_batch_delay",
            subscribe(server, SubscribeRequest { max_batch_delay: some, ..Default::default() }).await,
        ),
        ("report.min_interval", report(server, Report { min_interval: some, ..Default::default() }).await),
        ("report.min_interval", report(server, sampled).await),
        (
            "report.resend_interval",
            report(server, Report { resend_interval: some, ..Default::default() }).await,
        ),
        ("step", server.query().await.aggregate(step).await.map(drop)),
        ("position.ago", server.query().await.lookup_offset(position).await.map(drop)),
        ("signals[0].expected_period", server.ingest().await.define_signals(define).await.map(drop)),
    ]
}

#[tokio::test]
async fn what_is_no_length_of_time_is_refused_by_every_field_that_takes_one() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    for none in NONE {
        for (field, answer) in answers(&server, none).await {
            refused(answer).is(Code::InvalidArgument, "INVALID_REQUEST").names(&[field]);
        }
    }
    for (field, answer) in answers(&server, length(1, 999_999_999)).await {
        answer.unwrap_or_else(|status| panic!("{field}: {status}"));
    }
}

#[tokio::test]
async fn a_heartbeat_interval_is_clamped_and_only_what_is_no_length_of_time_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let with = |length| SubscribeRequest { heartbeat_interval: Some(length), ..Default::default() };
    for out_of_bounds in [length(0, 0), length(-1, -1), length(i64::MIN, 0), length(i64::MAX, 999_999_999)] {
        subscribe(&server, with(out_of_bounds)).await.unwrap();
    }
    for none in [length(i64::MIN, i32::MIN), length(1, -1), length(-1, 1), length(0, 1_000_000_000)] {
        refused(subscribe(&server, with(none)).await)
            .is(Code::InvalidArgument, "INVALID_REQUEST")
            .names(&["heartbeat_interval"]);
    }
}
