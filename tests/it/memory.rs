//! The server's memory, with callers who send half a message, and callers who do not read.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use downlink_proto::v1::append_stream_request::{Message, Open};
use downlink_proto::v1::query_service_client::QueryServiceClient;
use downlink_proto::v1::read_response::Frame;
use downlink_proto::v1::{
    AppendRequest, AppendStreamRequest, Event, GetLatestRequest, ReadRequest, Value, value,
};
use http_body_util::{BodyExt, StreamBody};
use prost::Message as _;
use prost::bytes::{BufMut, Bytes, BytesMut};
use tokio::task::JoinSet;
use tokio_stream::{StreamExt, iter, pending};
use tonic::client::GrpcService;
use tonic::codegen::http;
use tonic::transport::Channel;
use tonic::{Request, Status, body::Body};

use crate::append::numbered;
use crate::harness::{Server, server_command, soon};

/// What no caller may make of the server, as ARCHITECTURE.md has it.
const RESIDENT_MAX_MIB: usize = 512;
/// The bound of messages on their way in, with everything that the tests' ordinary load takes besides.
const RESIDENT_WITHOUT_LARGE_READERS_MAX_MIB: usize = 256;

/// A server whose patience is short.
fn start(dir: &Path) -> Server {
    let mut command = server_command(dir);
    command.env("DOWNLINK_MESSAGE_STALL_MS_MAX", "300").env("DOWNLINK_READER_STALL_MS_MAX", "300");
    Server::spawn(command).unwrap()
}

/// The most memory the server has ever had.
pub(crate) fn resident_most_mib(server: &Server) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().trim().parse::<usize>().unwrap() / 1024
}

fn framed(length: usize, message: &[u8]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(length.try_into().unwrap());
    bytes.put_slice(message);
    bytes.freeze()
}

/// Begins a message of 4 MiB, sends 3.9 of it and then nothing, until the server ends the call.
async fn send_half(mut channel: Channel, method: &str) {
    const PIECE: Bytes = Bytes::from_static(&[0; 64 << 10]);
    let open = AppendStreamRequest { message: Some(Message::Open(Open::default())) }.encode_to_vec();
    let mut pieces = vec![framed(4 << 20, &[])];
    if method == "AppendStream" {
        pieces.insert(0, framed(open.len(), &open));
    }
    pieces.extend(std::iter::repeat_n(PIECE, 62));
    let frames = iter(pieces).map(|piece| Ok::<_, Status>(http_body::Frame::data(piece)));
    let request = http::Request::post(format!("/downlink.v1.IngestService/{method}"))
        .version(http::Version::HTTP_2)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::new(StreamBody::new(frames.chain(pending()))))
        .unwrap();
    std::future::poll_fn(|context| GrpcService::<Body>::poll_ready(&mut channel, context)).await.unwrap();
    if let Ok(response) = channel.call(request).await {
        // To its end, which the server makes.
        let _ = response.into_body().collect().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn half_sent_messages_take_bounded_memory_and_hold_nobody_up() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path());
    let ended = Arc::new(AtomicUsize::new(0));
    let mut hostile = JoinSet::new();
    for index in 0..20 {
        let channel = server.channel().await;
        for _ in 0..10 {
            let (channel, ended) = (channel.clone(), ended.clone());
            hostile.spawn(async move {
                send_half(channel, if index % 2 == 0 { "Append" } else { "AppendStream" }).await;
                ended.fetch_add(1, Ordering::Relaxed);
            });
        }
    }
    let mut good = server.ingest().await;
    let mut appended = 0;
    // Until some have been made to go, and the others have had their turn.
    while ended.load(Ordering::Relaxed) < 100 || appended < 20_000 {
        let request = AppendRequest { events: numbered("good", 1_000), ..AppendRequest::default() };
        soon("an append", good.append(request)).await.unwrap();
        appended += 1_000;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(soon("a replay", server.read_all()).await.len(), appended);
    let most = resident_most_mib(&server);
    assert!(most <= RESIDENT_WITHOUT_LARGE_READERS_MAX_MIB, "{most} MiB");
    eprintln!("{most} MiB at most, {appended} events appended meanwhile");
}

fn large(index: usize) -> Event {
    let kind = value::Kind::BytesValue(vec![u8::try_from(index % 251).unwrap(); 1 << 20]);
    Event { signal: "large".to_owned(), value: Some(Value { kind: Some(kind) }), ..Event::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_that_do_not_read_take_bounded_memory_and_hold_nobody_up() {
    const EVENTS: usize = 20;
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path());
    for index in 0..EVENTS {
        server.append(vec![large(index)]).await;
    }
    let mut stalled = Vec::new();
    for _ in 0..20 {
        let mut client = QueryServiceClient::new(server.channel().await);
        for _ in 0..10 {
            stalled.push(client.read(ReadRequest::default()).await.unwrap().into_inner());
        }
    }
    let mut good = QueryServiceClient::new(server.channel().await).max_decoding_message_size(4 << 20);
    let mut stream = good.read(Request::new(ReadRequest::default())).await.unwrap().into_inner();
    let mut values = Vec::new();
    while let Some(response) = soon("a large event", stream.message()).await.unwrap() {
        if let Some(Frame::Events(batch)) = response.frame {
            values.extend(batch.events.into_iter().map(|event| event.value));
        }
        server.append(numbered("meanwhile", 1_000)).await;
    }
    assert_eq!(values, (0..EVENTS).map(|index| large(index).value).collect::<Vec<_>>());
    let most = resident_most_mib(&server);
    assert!(most <= RESIDENT_MAX_MIB, "{most} MiB");
    eprintln!("{most} MiB at most");

    // All at once: streams of one connection share its window, so that one may wait for another to be read.
    let mut ends = JoinSet::new();
    for mut stream in stalled {
        ends.spawn(async move {
            loop {
                match stream.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => break false,
                    Err(status) => break status.code() == tonic::Code::ResourceExhausted,
                }
            }
        });
    }
    let mut slow = 0;
    while let Some(end) = soon("an end", ends.join_next()).await {
        slow += usize::from(end.unwrap());
    }
    assert!(slow > 0, "nobody was made to make room");
}

/// A mebibyte that is another one for each signal.
fn own(index: usize) -> Event {
    Event { signal: format!("own/{index:03}"), ..large(index) }
}

/// A page of newest events, and the token of the next.
async fn newest(server: &Server, signals: Vec<String>, page_token: String) -> (Vec<Event>, String) {
    let request = GetLatestRequest { signals, page_size: 10_000, page_token, ..GetLatestRequest::default() };
    let page = soon("a page", server.query().await.get_latest(request)).await.unwrap().into_inner();
    (page.values.into_iter().filter_map(|value| value.event).collect(), page.next_page_token)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_values_of_many_signals_take_bounded_memory_and_are_all_to_be_had() {
    const SIGNALS: usize = 300;
    let dir = tempfile::tempdir().unwrap();
    let mut server = start(dir.path());
    for index in 0..SIGNALS {
        server.append(vec![own(index)]).await;
    }
    for again in [false, true] {
        let (mut found, mut token) = (Vec::new(), String::new());
        for _ in 0..20 {
            let (page, next) = newest(&server, Vec::new(), token).await;
            found.extend(page);
            token = next;
        }
        let named: Vec<_> = (30..SIGNALS).step_by(30).collect();
        for index in &named {
            found.extend(newest(&server, vec![own(*index).signal], String::new()).await.0);
        }
        let expected: Vec<_> = (0..20).chain(named).collect();
        assert_eq!(found.len(), expected.len());
        for (event, index) in found.into_iter().zip(expected) {
            let expected = own(index);
            assert_eq!((event.signal, event.offset), (expected.signal, index as u64 + 1));
            assert!(event.value == expected.value, "another value");
        }
        let most = resident_most_mib(&server);
        assert!(most <= RESIDENT_WITHOUT_LARGE_READERS_MAX_MIB, "{most} MiB");
        eprintln!("{most} MiB at most, after a restart: {again}");
        if !again {
            assert!(server.terminate().0.success());
            server = start(dir.path());
        }
    }
}
