//! What callers may send to do harm, and what callers may send by mistake.

use tonic::Code;
use tonic::codec::CompressionEncoding;

use super::*;

#[tokio::test]
async fn a_decompression_bomb_is_refused() {
    let server = Fixture::start(|_| {}).await;
    for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Zstd] {
        let mut client = server.ingest().await.send_compressed(encoding);
        client.append(append(vec![event("fine", 1); 100])).await.unwrap();
        let value = Some(Value { kind: Some(Kind::BytesValue(vec![0; 64 << 20])) });
        let bomb = append(vec![Event { signal: "bomb".to_owned(), value, ..Event::default() }]);
        let status = client.append(bomb).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "BATCH_TOO_LARGE"));
        client.append(append(vec![event("fine", 1)])).await.unwrap();
    }
    assert_eq!(server.totals().await.appended_events, 202);
}

#[tokio::test]
async fn two_million_events_of_two_bytes_are_counted_not_decoded() {
    let server = Fixture::start(|_| {}).await;
    let status = server.ingest().await.append(append(vec![Event::default(); 2_000_000])).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "BATCH_TOO_LARGE"));
    assert_eq!(server.totals().await.rejected_events, 2_000_000);
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused_by_name() {
    let server = Fixture::start(|_| {}).await;
    let mut client = server.ingest().await;
    let one = || append(vec![event("a", 1)]);
    let cases = [
        (append(Vec::new()), "INVALID_REQUEST"),
        (AppendRequest { request_id: "x".to_owned(), ..one() }, "INVALID_REQUEST"),
        (AppendRequest { expected_head: Some(0), ..one() }, "INVALID_REQUEST"),
        (AppendRequest { expected_head: Some(7), ..one() }, "EXPECTED_HEAD_MISMATCH"),
        (append(vec![event("a", 1), event("_a", 1)]), "INVALID_EVENT"),
        (AppendRequest { columns: Some(Default::default()), ..one() }, "INVALID_REQUEST"),
    ];
    for (request, expected) in cases {
        let status = client.append(request).await.unwrap_err();
        assert_eq!(reason(&status), expected, "{status:?}");
    }
    let totals = server.totals().await;
    assert_eq!((totals.received_events, totals.appended_events), (6, 0));
}

#[tokio::test]
async fn the_good_events_of_a_partial_batch_are_kept() {
    let server = Fixture::start(|_| {}).await;
    let events = vec![event("a", 1), event("", 2), event("b", 3)];
    let request = AppendRequest { allow_partial: true, ..append(events) };
    let response = server.ingest().await.append(request).await.unwrap().into_inner();
    assert_eq!((response.first_offset, response.last_offset), (1, 2));
    assert_eq!(response.rejections[0].index, 1);
    assert_eq!(response.rejections[0].problem.as_ref().unwrap().field, "events[1].signal");
    let totals = server.totals().await;
    assert_eq!((totals.received_events, totals.appended_events, totals.rejected_events), (3, 2, 1));
}

#[tokio::test]
async fn connections_beyond_the_bound_are_closed() {
    let server = Fixture::start(|config| config.connections_max = 1).await;
    let mut first = server.ingest().await;
    first.append(append(vec![event("a", 1)])).await.unwrap();
    let channel = Channel::from_shared(format!("http://{}", server.address)).unwrap().connect_lazy();
    assert!(IngestServiceClient::new(channel).append(append(vec![event("a", 1)])).await.is_err());
    first.append(append(vec![event("a", 2)])).await.unwrap();
}

#[tokio::test]
async fn a_retry_with_the_same_request_id_is_harmless() {
    let server = Fixture::start(|_| {}).await;
    let mut client = server.ingest().await;
    let request = AppendRequest {
        request_id: "4bf92f35-77b3-4da6-a3ce-929d0e0e4736".to_owned(),
        ..append(vec![event("a", 1), event("a", 2)])
    };
    let first = client.append(request.clone()).await.unwrap().into_inner();
    let again = client.append(request).await.unwrap().into_inner();
    assert_eq!((first.first_offset, first.last_offset, first.duplicate), (1, 2, false));
    assert_eq!((again.first_offset, again.last_offset, again.duplicate), (1, 2, true));
    assert_eq!(server.totals().await.duplicate_events, 2);
}
