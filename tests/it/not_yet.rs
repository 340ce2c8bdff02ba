//! What the API describes and this version does not serve says so; what makes no sense is named.

use downlink_proto::v1::admin_service_client::AdminServiceClient;
use downlink_proto::v1::append_stream_request::{Batch, Message, Open};
use downlink_proto::v1::position::At;
use downlink_proto::v1::{self, AppendRequest, EventColumns, ReadRequest, SubscribeRequest};
use tonic::Code;

use crate::append::numbered;
use crate::harness::Server;
use crate::producer::Producer;
use crate::read::signals;
use crate::refusal::{Books, Refusal, refused};
use crate::subscribe::Subscription;

#[track_caller]
fn not_yet(refusal: Refusal) {
    refusal.is(Code::Unimplemented, "NOT_SERVED_YET");
}

#[tokio::test]
async fn batches_in_columns_are_not_served_yet_and_enter_the_books() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let columns = Some(EventColumns { signals: vec!["a".to_owned()], ..EventColumns::default() });
    for events in [vec![], numbered("a", 3)] {
        let request = AppendRequest { events, columns: columns.clone(), ..Default::default() };
        not_yet(refused(server.ingest().await.append(request).await));
    }
    let (mut producer, _) = Producer::open(&server, Open::default()).await;
    producer.say(Message::Batch(Batch { sequence: 1, events: numbered("a", 2), columns }));
    not_yet(Refusal::read(&producer.try_answer().await.unwrap_err()));
    assert_eq!(Books::of(&server).await, Books::default().plus(0, 0, 5));
}

#[tokio::test]
async fn options_of_read_that_are_not_served_yet_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let columns = ReadRequest { encoding: v1::Encoding::Columns.into(), ..Default::default() };
    not_yet(refused(server.query().await.read(columns).await));
}

#[tokio::test]
async fn options_of_subscribe_that_are_not_served_yet_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let requests = [SubscribeRequest { encoding: v1::Encoding::Columns.into(), ..Default::default() }];
    for request in requests {
        let result = Subscription::try_to(&server, request).await.map(|subscription| subscription.next);
        not_yet(refused(result));
    }
}

#[tokio::test]
async fn methods_that_are_not_served_yet_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut query = server.query().await;
    not_yet(refused(query.aggregate(v1::AggregateRequest::default()).await));

    let mut admin = AdminServiceClient::new(server.channel().await);
    not_yet(refused(admin.verify_log(v1::VerifyLogRequest::default()).await));
    not_yet(refused(admin.create_backup(v1::CreateBackupRequest::default()).await));
    not_yet(refused(admin.get_retention(v1::GetRetentionRequest {}).await));
    not_yet(refused(admin.set_retention(v1::SetRetentionRequest::default()).await));
    not_yet(refused(admin.truncate_log(v1::TruncateLogRequest::default()).await));
}

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
