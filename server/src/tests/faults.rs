//! A full disk, and a disk that has failed.

use downlink_proto::v1::append_stream_response::Message;
use downlink_proto::v1::{ErrorReason, ReadRequest};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::*;

async fn health(server: &Fixture, service: &str) -> i32 {
    let request = HealthCheckRequest { service: service.to_owned() };
    HealthClient::new(server.channel().await).check(request).await.unwrap().into_inner().status
}

#[tokio::test]
async fn a_full_disk_refuses_appends_until_there_is_room() {
    let server = Fixture::start(|_| {}).await;
    let mut client = server.ingest().await;
    client.append(append(vec![event("a", 1)])).await.unwrap();
    server.engine.set_free_bytes(0);
    let status = client.append(append(vec![event("a", 2)])).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "DISK_FULL"));
    assert!(status.get_details_retry_info().is_some());
    // Told by another task than the one that answers appends.
    while health(&server, "downlink.v1.IngestService").await != ServingStatus::NotServing as i32 {
        tokio::task::yield_now().await;
    }

    let requests =
        tokio_stream::iter([open("p", false), batch(1, vec![event("a", 3)]), batch(2, vec![event("a", 4)])]);
    let mut answers = client.append_stream(requests).await.unwrap().into_inner();
    assert!(matches!(answers.message().await.unwrap().unwrap().message, Some(Message::Opened(_))));
    let Some(Message::Reject(reject)) = answers.message().await.unwrap().unwrap().message else {
        panic!("a reject")
    };
    assert_eq!((reject.sequence, reject.fatal), (1, true));
    assert_eq!(reject.problem.unwrap().reason(), ErrorReason::DiskFull);
    assert!(answers.message().await.unwrap().is_none(), "nothing comes after a fatal reject");

    server.engine.set_free_bytes(1 << 30);
    let requests = tokio_stream::iter([open("p", false), batch(1, vec![event("a", 3)])]);
    let mut answers = client.append_stream(requests).await.unwrap().into_inner();
    let Some(Message::Opened(opened)) = answers.message().await.unwrap().unwrap().message else {
        panic!("opened")
    };
    assert_eq!(opened.last_durable_sequence, 0);
    let Some(Message::Ack(ack)) = answers.message().await.unwrap().unwrap().message else { panic!("an ack") };
    assert_eq!((ack.through_sequence, ack.last_offset), (1, 2));
    assert_eq!(server.totals().await.appended_events, 2);
}

#[tokio::test]
async fn room_on_a_disk_that_was_full_is_noticed_without_an_append() {
    let server = Fixture::start(|_| {}).await;
    server.engine.set_free_bytes(0);
    server.ingest().await.append(append(vec![event("a", 1)])).await.unwrap_err();
    let ingest = "downlink.v1.IngestService";
    while health(&server, ingest).await != ServingStatus::NotServing as i32 {
        tokio::task::yield_now().await;
    }
    server.engine.set_free_bytes(1 << 30);
    let noticed = async {
        while health(&server, ingest).await != ServingStatus::Serving as i32 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, noticed).await.unwrap();
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_acknowledged_but_reads_go_on() {
    let server = Fixture::start(|_| {}).await;
    let mut client = server.ingest().await;
    client.append(append(vec![event("a", 1)])).await.unwrap();
    server.engine.fail_next_sync();
    for _ in 0..2 {
        let status = client.append(append(vec![event("a", 2)])).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "READ_ONLY"));
    }
    let status = client
        .append_stream(tokio_stream::iter([open("p", false)]))
        .await
        .unwrap()
        .into_inner()
        .message()
        .await;
    assert_eq!(reason(&status.unwrap_err()), "READ_ONLY");
    // Told by another task than the one that answers appends.
    while health(&server, "downlink.v1.IngestService").await != ServingStatus::NotServing as i32 {
        tokio::task::yield_now().await;
    }
    assert_eq!(health(&server, "downlink.v1.QueryService").await, ServingStatus::Serving as i32);

    let mut frames = server.query().await.read(ReadRequest::default()).await.unwrap().into_inner();
    let mut events = 0;
    while let Some(frame) = frames.message().await.unwrap() {
        if let Some(downlink_proto::v1::read_response::Frame::Events(batch)) = frame.frame {
            events += batch.events.len();
        }
    }
    assert_eq!(events, 1);
    assert_eq!(server.totals().await.rejected_events, 2);
}
