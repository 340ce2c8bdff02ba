//! What callers may send to do harm, and what callers may send by mistake.

use bytes::{BufMut as _, Bytes, BytesMut};
use downlink_proto::v1::GetLatestRequest;
use http_body_util::{BodyExt as _, StreamBody};
use tokio_stream::{StreamExt as _, iter, pending};
use tonic::Code;
use tonic::body::Body;
use tonic::client::GrpcService as _;
use tonic::codec::CompressionEncoding;
use tonic::codegen::http;

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

/// A call that sends `pieces` and then leaves its side open. Completes when the server answers.
async fn left_open(mut channel: Channel, path: String, pieces: Vec<Bytes>) -> http::Response<Body> {
    let frames = iter(pieces).map(|piece| Ok::<_, Status>(http_body::Frame::data(piece)));
    let request = http::Request::post(path)
        .version(http::Version::HTTP_2)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::new(StreamBody::new(frames.chain(pending()))))
        .unwrap();
    std::future::poll_fn(|context| channel.poll_ready(context)).await.unwrap();
    channel.call(request).await.unwrap()
}

fn framed(length: u32, message: &[u8]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(length);
    bytes.put_slice(message);
    bytes.freeze()
}

/// What the server makes of a call, which it must end by itself.
async fn judged(channel: Channel, path: &str, pieces: Vec<Bytes>) -> Code {
    let judging = async {
        let response = left_open(channel, path.to_owned(), pieces).await;
        if let Some(status) = Status::from_header_map(response.headers()) {
            return status.code();
        }
        let ended = response.into_body().collect().await;
        let trailers = ended.map(|ended| ended.trailers().cloned().unwrap_or_default());
        trailers.map_or_else(
            |status| status.code(),
            |trailers| Status::from_header_map(&trailers).unwrap().code(),
        )
    };
    tokio::time::timeout(PATIENCE, judging).await.unwrap()
}

#[tokio::test]
async fn a_unary_call_with_more_than_a_message_is_refused_and_holds_nobody_up() {
    let server = Fixture::start(|_| {}).await;
    let surplus = Bytes::from_static(&[0, 0, 0, 0, 0, 9]);
    let two = Bytes::from_static(&[0; 10]);
    for path in ["/downlink.v1.IngestService/Append", "/downlink.v1.QueryService/GetLatest"] {
        for pieces in [surplus.clone(), two.clone()] {
            // More than there are turns at decoding.
            for _ in 0..10 {
                let code = judged(server.channel().await, path, vec![pieces.clone()]).await;
                assert_eq!(code, Code::Unimplemented, "{path}");
            }
        }
    }
    server.ingest().await.append(append(vec![event("a", 1)])).await.unwrap();
}

#[tokio::test]
async fn who_asks_for_reflection_and_reads_no_answers_holds_nobody_up() {
    let server = Fixture::start(|_| {}).await;
    // All services, over and over.
    let asked = framed(2, &[0x3a, 0]);
    let mut unread = Vec::new();
    for _ in 0..20 {
        let pieces = vec![asked.clone(); 200];
        let path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo".to_owned();
        unread.push(left_open(server.channel().await, path, pieces).await);
    }
    server.ingest().await.append(append(vec![event("a", 1)])).await.unwrap();
    server.query().await.get_latest(GetLatestRequest::default()).await.unwrap();
}

#[tokio::test]
async fn no_method_takes_a_large_message_without_room_for_it() {
    let server = Fixture::start(|_| {}).await;
    // Reflection ends without saying why.
    for (path, expected) in [
        ("/grpc.health.v1.Health/Check", Code::ResourceExhausted),
        ("/grpc.health.v1.Health/Watch", Code::ResourceExhausted),
        ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Code::Ok),
        ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Code::Ok),
    ] {
        // The rest of it never comes: whoever waits for that waits for ever.
        let code = judged(server.channel().await, path, vec![framed(1 << 20, &[])]).await;
        assert_eq!(code, expected, "{path}");
    }
}
