//! Subscribers in bad conditions: cut connections, killed servers, readers that do not read.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use downlink_proto::v1::append_stream_request::Open;
use downlink_proto::v1::query_service_client::QueryServiceClient;
use downlink_proto::v1::subscribe_response::Frame;
use downlink_proto::v1::{SubscribeRequest, SubscribeResponse};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tonic::Streaming;
use tonic::transport::Channel;

use crate::append::numbered;
use crate::harness::{Server, soon};
use crate::producer::Producer;
use crate::read::at;
use crate::subscribe::Subscription;

/// A relay that cuts each connection after so many bytes from the server.
async fn cutting_relay(target: String, bytes: Arc<AtomicU64>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&target).await.unwrap();
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            let up = tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
            let mut left = bytes.load(Ordering::Relaxed);
            tokio::spawn(async move {
                let mut buffer = [0; 1 << 12];
                while left > 0 {
                    let Ok(count @ 1..) = from_server.read(&mut buffer).await else { break };
                    let count = left.min(count as u64);
                    left -= count;
                    if to_client.write_all(&buffer[..count as usize]).await.is_err() {
                        break;
                    }
                }
                up.abort();
            });
        }
    });
    address
}

async fn subscribe_through(relay: SocketAddr, start: u64) -> Option<Streaming<SubscribeResponse>> {
    let channel = Channel::from_shared(format!("http://{relay}")).unwrap().connect().await.ok()?;
    let request = SubscribeRequest { start: at(start), max_batch_events: 10, ..Default::default() };
    Some(QueryServiceClient::new(channel).subscribe(request).await.ok()?.into_inner())
}

#[tokio::test]
async fn resuming_after_cut_connections_loses_and_repeats_nothing() {
    const EVENTS: u64 = 4_000;
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    server.append(numbered("a", 1_000)).await;
    let budget = Arc::new(AtomicU64::new(0));
    let relay = cutting_relay(server.address().to_owned(), budget.clone()).await;
    let (mut offsets, mut next, mut cuts) = (Vec::new(), 1, 0);
    while next <= EVENTS {
        // From a few bytes, in the middle of a handshake, to some messages.
        budget.store(10 + cuts * 397 % 20_000, Ordering::Relaxed);
        let head = server.info().await.head_offset;
        if head <= EVENTS {
            server.append(numbered("a", 100)).await;
        }
        cuts += 1;
        let Some(mut frames) = subscribe_through(relay, next).await else { continue };
        while let Ok(Some(response)) = soon("a frame or the cut", frames.message()).await {
            next = response.next_offset;
            if let Some(Frame::Events(batch)) = response.frame {
                offsets.extend(batch.events.iter().map(|event| event.offset));
            }
            if next > EVENTS {
                break;
            }
        }
    }
    assert!(cuts > 20, "{cuts} cuts prove little");
    assert!(offsets.iter().copied().eq(1..=EVENTS), "{cuts} cuts");
}

#[tokio::test]
async fn resuming_after_the_server_was_killed_loses_and_repeats_nothing() {
    const ROUNDS: u64 = 5;
    let dir = tempfile::tempdir().unwrap();
    let (mut offsets, mut next) = (Vec::new(), 1);
    for round in 1..=ROUNDS {
        let server = Server::start(dir.path());
        let request = SubscribeRequest { start: at(next), max_batch_events: 30, ..Default::default() };
        let mut subscription = Subscription::to(&server, request).await;
        server.append(numbered("a", 200)).await;
        let count = if round < ROUNDS { 100 } else { (ROUNDS * 200 + 1 - next) as usize };
        let events = subscription.events(count).await;
        offsets.extend(events.into_iter().map(|event| event.offset));
        next = subscription.next;
        assert!(next <= round * 200 + 1);
        server.kill();
        // Whatever was under way comes first, and then an end, not silence.
        while let Ok(Some(_)) = subscription.try_frame().await {}
    }
    assert!(offsets.iter().copied().eq(1..=ROUNDS * 200), "{offsets:?}");
}

#[tokio::test]
async fn a_reader_that_stops_reading_slows_nobody_and_gets_everything_in_the_end() {
    const BATCHES: u64 = 1_000;
    const EVENTS: u64 = BATCHES * 1_000;
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut lazy = Subscription::to(&server, SubscribeRequest::default()).await;
    lazy.caught_up().await;
    let mut eager = Subscription::to(&server, SubscribeRequest::default()).await;

    // While the lazy one reads nothing at all, a million events go in, and the eager one gets them.
    let (mut producer, _) = Producer::open(&server, Open::default()).await;
    let writing = async {
        for sequence in 1..=BATCHES {
            producer.send(sequence, numbered("flood", 1_000));
            if sequence % 16 == 0 {
                producer.acks_through(sequence - 8).await;
            }
        }
        producer.finish().await
    };
    let reading = async {
        let mut count = 0;
        while count < EVENTS {
            if let Frame::Events(batch) = eager.frame().await {
                assert_eq!(batch.events[0].offset, count + 1);
                count += batch.events.len() as u64;
            }
        }
    };
    soon("a million events", async { tokio::join!(writing, reading) }).await;
    assert_eq!(server.info().await.head_offset, EVENTS + 1);

    let (mut count, mut fell_behind) = (0, 0);
    loop {
        match lazy.frame().await {
            Frame::Events(batch) => {
                for event in &batch.events {
                    count += 1;
                    assert_eq!(event.offset, count, "nothing is lost, nothing comes twice");
                }
            }
            Frame::FellBehind(behind) => {
                assert!(behind.events_behind > 100_000, "{behind:?}");
                fell_behind += 1;
            }
            Frame::CaughtUp(_) => break,
            Frame::Heartbeat(_) => {}
            other @ (Frame::Started(_) | Frame::Gap(_) | Frame::Draining(_)) => panic!("{other:?}"),
        }
    }
    assert_eq!((count, fell_behind), (EVENTS, 1), "it is told once that it is behind");
}
