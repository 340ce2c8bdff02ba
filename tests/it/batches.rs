//! The size of batches and messages: at a limit, one over it, and what only looks small.

use downlink_proto::v1::append_stream_request::{Batch, Open};
use downlink_proto::v1::value::Kind;
use downlink_proto::v1::{AppendRequest, ErrorReason, Event, Value};
use prost::Message as _;
use tonic::Code;
use tonic::codec::CompressionEncoding;

use crate::append::numbered;
use crate::harness::{Server, event, soon};
use crate::producer::{Producer, named};
use crate::refusal::{Books, refused};

const MIB: usize = 1 << 20;

fn blob(bytes: usize) -> Event {
    Event { value: Some(Value { kind: Some(Kind::BytesValue(vec![7; bytes])) }), ..event("blob", 0.0) }
}

/// Two events that as a request have this size.
fn request_of(bytes: usize) -> AppendRequest {
    let of = |second| AppendRequest { events: vec![blob(MIB / 2), blob(second)], ..Default::default() };
    let request = of(MIB / 4 + bytes - of(MIB / 4).encoded_len());
    assert_eq!(request.encoded_len(), bytes);
    request
}

/// Two events that as a batch of a stream have this size.
fn batch_of(bytes: usize) -> Vec<Event> {
    let of = |second| Batch { sequence: 1, events: vec![blob(MIB / 2), blob(second)], columns: None };
    let batch = of(MIB / 4 + bytes - of(MIB / 4).encoded_len());
    assert_eq!(batch.encoded_len(), bytes);
    batch.events
}

#[tokio::test]
async fn a_batch_of_1000_events_is_good_and_one_of_1001_is_too_large() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut books = Books::default();
    for size in [999, 1_000, 1_001, 50_000] {
        let request =
            AppendRequest { events: numbered("a", size), allow_partial: true, ..Default::default() };
        let result = server.ingest().await.append(request).await;
        if size <= 1_000 {
            result.unwrap();
            books = books.plus(size as u64, 0, 0);
        } else {
            let refusal = refused(result).is(Code::InvalidArgument, "BATCH_TOO_LARGE");
            assert_eq!(
                (&*refusal.metadata["found"], &*refusal.metadata["most"]),
                (&*size.to_string(), "1000")
            );
            books = books.plus(0, 0, size as u64);
        }
        assert_eq!(Books::of(&server).await, books, "{size} events");
    }
}

#[tokio::test]
async fn a_batch_of_1_mib_is_good_and_one_byte_more_is_too_large() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = server.ingest().await;
    client.append(request_of(MIB - 1)).await.unwrap();
    client.append(request_of(MIB)).await.unwrap();
    let refusal =
        refused(client.append(request_of(MIB + 1)).await).is(Code::InvalidArgument, "BATCH_TOO_LARGE");
    assert_eq!(refusal.metadata["most"], MIB.to_string());
    assert_eq!(Books::of(&server).await, Books::default().plus(4, 0, 2));
}

#[tokio::test]
async fn on_a_stream_the_limits_are_the_same_and_the_next_batch_is_welcome() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    for open in [Open::default(), named("p", 1)] {
        let (mut producer, _) = Producer::open(&server, open).await;
        let before = Books::of(&server).await;
        producer.send(1, batch_of(MIB));
        assert_eq!(producer.ack().await.through_sequence, 1);
        for (sequence, events) in [(2, batch_of(MIB + 1)), (3, numbered("a", 1_001))] {
            producer.send(sequence, events);
            let reject = producer.reject().await;
            let problem = reject.problem.unwrap();
            assert_eq!((reject.sequence, reject.fatal), (sequence, false));
            assert_eq!((problem.code, problem.reason()), (3, ErrorReason::BatchTooLarge));
            assert_eq!(producer.ack().await.through_sequence, sequence);
        }
        producer.send(4, numbered("a", 1_000));
        assert_eq!(producer.ack().await.through_sequence, 4);
        assert_eq!(Books::of(&server).await, before.plus(1_002, 0, 1_003));
    }
}

#[tokio::test]
async fn limits_are_settings() {
    let dir = tempfile::tempdir().unwrap();
    let settings = ["batch_events_max=3", "batch_bytes_max=2000", "signal_bytes_max=5", "value_bytes_max=9"];
    let server = Server::start_with(dir.path(), settings.iter().flat_map(|setting| ["--set", setting]));
    let append =
        async |events| server.ingest().await.append(AppendRequest { events, ..Default::default() }).await;
    append(numbered("five5", 3)).await.unwrap();
    refused(append(numbered("a", 4)).await).is(Code::InvalidArgument, "BATCH_TOO_LARGE");
    refused(append(vec![blob(1_000), blob(1_000)]).await).is(Code::InvalidArgument, "BATCH_TOO_LARGE");
    refused(append(numbered("sixsix", 1)).await).is(Code::InvalidArgument, "INVALID_EVENT");
    append(vec![Event { signal: "blob".to_owned(), ..blob(9) }]).await.unwrap();
    refused(append(vec![blob(10)]).await)
        .is(Code::InvalidArgument, "INVALID_EVENT")
        .names(&["events[0].value.bytes_value"]);
    assert_eq!(Books::of(&server).await, Books::default().plus(4, 0, 8));
}

#[tokio::test]
async fn a_message_over_4_mib_is_batch_too_large() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = server.ingest().await;
    let request = |bytes| AppendRequest { events: vec![blob(bytes)], ..Default::default() };
    refused(client.append(request(4 * MIB - 100)).await).is(Code::InvalidArgument, "INVALID_EVENT");
    refused(client.append(request(4 * MIB + 100)).await).is(Code::InvalidArgument, "BATCH_TOO_LARGE");
    refused(client.append(request(20 * MIB)).await).is(Code::InvalidArgument, "BATCH_TOO_LARGE");
    client.append(request(10)).await.unwrap();

    let (mut producer, _) = Producer::open(&server, Open::default()).await;
    producer.send(1, numbered("a", 1));
    producer.send(2, vec![blob(5 * MIB)]);
    assert_eq!(producer.ack().await.through_sequence, 1, "what was good before is acknowledged");
    let status = producer.try_answer().await.unwrap_err();
    crate::refusal::Refusal::read(&status).is(Code::InvalidArgument, "BATCH_TOO_LARGE");
    assert_eq!(Books::of(&server).await, Books::default().plus(2, 0, 1));
}

/// The most memory a process has ever had resident, in MiB.
fn peak_mib(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("VmHWM");
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() >> 10
}

#[tokio::test]
async fn a_decompression_bomb_is_refused_in_bounded_memory_and_the_next_call_works() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    server.append(numbered("a", 1)).await;
    let before = peak_mib(&server);
    // A few hundred KiB with gzip, a few KiB with zstd.
    let bomb = AppendRequest { events: vec![blob(300 * MIB)], ..Default::default() };
    for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Zstd] {
        let mut client = server.ingest().await.send_compressed(encoding);
        let result = soon("the bomb", client.append(bomb.clone())).await;
        refused(result).is(Code::InvalidArgument, "BATCH_TOO_LARGE");
        let after = peak_mib(&server);
        assert!(after < before + 24, "{encoding:?}: from {before} to {after} MiB");
        let answer = client.append(AppendRequest { events: numbered("a", 1), ..Default::default() }).await;
        answer.expect("the next call on the same connection");
    }
    assert_eq!(Books::of(&server).await, Books::default().plus(3, 0, 0), "what it was is not known");
}

#[tokio::test]
async fn a_small_message_that_would_be_large_in_memory_is_refused_without_decoding_it() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    server.append(numbered("a", 1)).await;
    let before = peak_mib(&server);
    // An empty event takes two bytes on the wire, and hundreds in memory.
    let events = vec![Event::default(); 2_000_000];
    let refusal = refused(server.ingest().await.append(AppendRequest { events, ..Default::default() }).await);
    refusal.is(Code::InvalidArgument, "BATCH_TOO_LARGE");
    let after = peak_mib(&server);
    assert!(after < before + 24, "from {before} to {after} MiB");
    assert_eq!(Books::of(&server).await, Books::default().plus(1, 0, 2_000_000));
}

#[tokio::test]
async fn compressed_batches_are_as_good_as_others() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Zstd] {
        let mut client = server.ingest().await.send_compressed(encoding).accept_compressed(encoding);
        client.append(AppendRequest { events: numbered("a", 1_000), ..Default::default() }).await.unwrap();
    }
    assert_eq!(server.read_all().await.len(), 2_000);
}
