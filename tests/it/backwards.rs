//! `Read` backwards: the same events as forwards, newest first, from a place that can be gone on from.

use downlink_proto::v1::admin_service_client::AdminServiceClient;
use downlink_proto::v1::position::At;
use downlink_proto::v1::read_response::Frame;
use downlink_proto::v1::{Edge, Event, OnDamage, Position, ReadRequest, RollSegmentRequest};
use tonic::Code;

use crate::append::numbered;
use crate::harness::{Server, event, soon};
use crate::read::{at, edge, end, read, signals, try_read};
use crate::refusal::{Refusal, refused};

fn back(start: Option<Position>, end: Option<Position>) -> ReadRequest {
    ReadRequest { start, end, backwards: true, ..Default::default() }
}

/// Ten events in four commits.
async fn ten(server: &Server) {
    for size in [1, 4, 2, 3] {
        server.append(numbered("ten", size)).await;
    }
}

/// Seals what has been appended so far.
async fn roll(server: &Server) {
    let request = RollSegmentRequest { wait_until_sealed: true };
    AdminServiceClient::new(server.channel().await).roll_segment(request).await.unwrap();
}

#[tokio::test]
async fn a_range_backwards_is_the_range_forwards_turned_round() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path());
    assert_eq!(read(&server, back(None, None)).await, (vec![], end(1, 1, 0)));
    ten(&server).await;
    for is_cached in [true, false] {
        for start in 1..=11 {
            for stop in 1..=start {
                let expected = ((stop..start).rev().collect(), end(stop, 11, start - stop));
                assert_eq!(read(&server, back(at(start), at(stop))).await, expected, "cached: {is_cached}");
            }
            let expected = ((1..start).rev().collect(), end(1, 11, start - 1));
            assert_eq!(read(&server, back(at(start), None)).await, expected);
            let expected = ((start..11).rev().collect(), end(start, 11, 11 - start));
            assert_eq!(read(&server, back(None, at(start))).await, expected);
        }
        let ends = (edge(Edge::Head), edge(Edge::Oldest));
        assert!(read(&server, back(ends.0, ends.1)).await.0.into_iter().eq((1..11).rev()));
        server.kill();
        server = Server::start_with(dir.path(), ["--set", "tail_cache_bytes_max=0"]);
    }
    let status = try_read(&server, back(at(4), at(5))).await.unwrap_err();
    Refusal::read(&status).is(Code::InvalidArgument, "INVALID_REQUEST").names(&["end"]);
    refused(try_read(&server, back(at(12), None)).await).is(Code::OutOfRange, "OFFSET_BEYOND_HEAD");
}

#[tokio::test]
async fn a_read_backwards_goes_on_where_the_one_before_has_ended() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    ten(&server).await;
    for max_events in 1..=11 {
        let (mut next, mut seen) = (11, Vec::new());
        while next > 1 {
            let request = ReadRequest { max_events, max_batch_events: 2, ..back(at(next), None) };
            let (offsets, found) = read(&server, request).await;
            assert_eq!(found.scanned_events, next - found.next_offset);
            seen.extend(offsets);
            next = found.next_offset;
        }
        assert!(seen.iter().copied().eq((1..11).rev()), "{max_events}: {seen:?}");
    }
}

#[tokio::test]
async fn a_filter_applies_backwards_in_sealed_segments_too() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    for number in 0..600 {
        let name = if number % 100 == 50 { "rare" } else { "often" };
        server.append(vec![event(name, 0.0), event("other/x", 1.0)]).await;
    }
    roll(&server).await;
    server.terminate();
    let server = Server::start(dir.path());
    server.append(numbered("often", 3)).await;
    let all: Vec<Event> = server.read_all().await;
    for patterns in [&["rare"][..], &["ra*", "other/*"], &["nobody"], &["*"], &["often"]] {
        let request = ReadRequest { filter: signals(patterns), ..back(None, None) };
        let forwards = ReadRequest { backwards: false, ..request.clone() };
        let (found, ended) = try_read(&server, request).await.unwrap();
        let mut expected = try_read(&server, forwards).await.unwrap().0.concat();
        expected.reverse();
        assert_eq!(found.concat(), expected, "{patterns:?}");
        assert_eq!(ended, end(1, all.len() as u64 + 1, all.len() as u64));
    }
}

#[tokio::test]
async fn gaps_are_told_in_the_order_of_the_way() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    for _ in 0..3 {
        server.append(numbered("a", 4)).await;
        roll(&server).await;
    }
    server.append(numbered("a", 4)).await;
    server.terminate();
    std::fs::remove_dir_all(dir.path().join("segments/00000000000000000005.sealed")).unwrap();
    let server = Server::start(dir.path());
    let mut stream = server.query().await.read(back(at(15), at(3))).await.unwrap().into_inner();
    let mut told = Vec::new();
    while let Some(response) = soon("a frame", stream.message()).await.unwrap() {
        match response.frame.unwrap() {
            Frame::Events(batch) => {
                told.extend(batch.events.iter().map(|event| (event.offset, event.offset)))
            }
            Frame::Gap(gap) => told.push((gap.first_offset, gap.last_offset)),
            Frame::End(found) => assert_eq!(found, end(3, 17, 12)),
        }
    }
    let expected: Vec<_> = (9..15).rev().map(|offset| (offset, offset)).collect();
    assert_eq!(told, [&expected[..], &[(5, 8), (4, 4), (3, 3)]].concat());
    let strict = ReadRequest { on_damage: OnDamage::Fail.into(), ..back(at(15), at(7)) };
    let refusal = refused(try_read(&server, strict).await).is(Code::DataLoss, "BLOCK_CORRUPT");
    assert_eq!((&*refusal.metadata["first_offset"], &*refusal.metadata["last_offset"]), ("7", "8"));
    let last = back(Some(Position { at: Some(At::LastEvents(5)) }), None);
    assert_eq!(offsets_to_the_gap(&server, last).await, [11, 10, 9]);
}

/// The offsets of the events up to the first gap.
async fn offsets_to_the_gap(server: &Server, request: ReadRequest) -> Vec<u64> {
    let mut stream = server.query().await.read(request).await.unwrap().into_inner();
    let mut offsets = Vec::new();
    while let Some(response) = soon("a frame", stream.message()).await.unwrap() {
        let Frame::Events(batch) = response.frame.unwrap() else { break };
        offsets.extend(batch.events.iter().map(|event| event.offset));
    }
    offsets
}
