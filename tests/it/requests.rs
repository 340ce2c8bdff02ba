//! Requests that make no sense are refused, with the name of the field.

use downlink_proto::v1::position::At;
use downlink_proto::v1::{self, ReadRequest, SubscribeRequest};
use tonic::Code;

use crate::append::numbered;
use crate::harness::Server;
use crate::read::signals;
use crate::refusal::refused;

#[tokio::test]
async fn a_filter_that_makes_no_sense_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    server.append(numbered("a", 1)).await;
    let mut query = server.query().await;
    let quality = Some(v1::Filter { min_quality: 9, ..Default::default() });
    for (filter, field) in [(signals(&["a", ""]), "filter.signals[1]"), (quality, "filter.min_quality")] {
        let read = ReadRequest { filter: filter.clone(), ..Default::default() };
        refused(query.read(read).await).is(Code::InvalidArgument, "INVALID_FILTER").names(&[field]);
        let subscribe = SubscribeRequest { filter, ..Default::default() };
        refused(query.subscribe(subscribe).await).is(Code::InvalidArgument, "INVALID_FILTER").names(&[field]);
    }
    let latest = v1::GetLatestRequest { signals: vec![String::new()], ..Default::default() };
    refused(query.get_latest(latest).await)
        .is(Code::InvalidArgument, "INVALID_FILTER")
        .names(&["signals[0]"]);
}

#[tokio::test]
async fn numbers_that_mean_nothing_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut query = server.query().await;
    let place = |at| Some(v1::Position { at: Some(at) });
    let cases = [
        (ReadRequest { start: place(At::Offset(0)), ..Default::default() }, "start.offset"),
        (ReadRequest { end: place(At::Offset(0)), ..Default::default() }, "end.offset"),
        (ReadRequest { start: place(At::Edge(9)), ..Default::default() }, "start.edge"),
        (ReadRequest { encoding: 9, ..Default::default() }, "encoding"),
        (ReadRequest { on_damage: 9, ..Default::default() }, "on_damage"),
        (ReadRequest { on_truncated: -1, ..Default::default() }, "on_truncated"),
    ];
    for (request, field) in cases {
        refused(query.read(request).await).is(Code::InvalidArgument, "INVALID_REQUEST").names(&[field]);
    }
    let cases = [
        (SubscribeRequest { on_slow: 9, ..Default::default() }, "on_slow"),
        (SubscribeRequest { start: place(At::Offset(0)), ..Default::default() }, "start.offset"),
    ];
    for (request, field) in cases {
        refused(query.subscribe(request).await).is(Code::InvalidArgument, "INVALID_REQUEST").names(&[field]);
    }
}
