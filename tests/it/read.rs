//! `Read`: ranges, bounds, filters, the frame that ends it.

use downlink_proto::v1::position::At;
use downlink_proto::v1::read_response::{End, Frame};
use downlink_proto::v1::{
    Edge, Event, Filter, GetLatestRequest, ListSignalsRequest, Position, Quality, ReadRequest,
};
use downlink_storage::{Append, Identity, Log, Options, Timestamp};
use tonic::{Code, Status};

use crate::append::numbered;
use crate::harness::{Server, event, soon};
use crate::refusal::{Refusal, refused};

/// The place of an offset.
pub(crate) fn at(offset: u64) -> Option<Position> {
    Some(Position { at: Some(At::Offset(offset)) })
}

/// An end of the log.
pub(crate) fn edge(edge: Edge) -> Option<Position> {
    Some(Position { at: Some(At::Edge(edge.into())) })
}

/// Those signals.
pub(crate) fn signals(patterns: &[&str]) -> Option<Filter> {
    let signals = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
    Some(Filter { signals, ..Filter::default() })
}

/// What a `Read` gives: its batches and its end.
pub(crate) async fn try_read(
    server: &Server,
    request: ReadRequest,
) -> Result<(Vec<Vec<Event>>, End), Status> {
    let mut stream = server.query().await.read(request).await?.into_inner();
    let (mut batches, mut end) = (Vec::new(), None);
    while let Some(response) = soon("a frame", stream.message()).await? {
        assert_eq!(end, None, "End is the last frame");
        match response.frame.unwrap() {
            Frame::Events(batch) => batches.push(batch.events),
            Frame::End(found) => end = Some(found),
            Frame::Gap(gap) => panic!("{gap:?}"),
        }
    }
    Ok((batches, end.expect("every replay ends with End")))
}

/// The offsets that a `Read` gives.
pub(crate) async fn offsets(server: &Server, request: ReadRequest) -> Vec<u64> {
    read(server, request).await.0
}

/// The offsets that a `Read` gives, and its end.
pub(crate) async fn read(server: &Server, request: ReadRequest) -> (Vec<u64>, End) {
    let (batches, end) = try_read(server, request).await.unwrap();
    (batches.concat().into_iter().map(|event| event.offset).collect(), end)
}

pub(crate) fn end(next_offset: u64, head_offset: u64, scanned_events: u64) -> End {
    End { next_offset, head_offset, scanned_events }
}

/// Ten events in four commits.
async fn ten(server: &Server) {
    for size in [1, 4, 2, 3] {
        server.append(numbered("ten", size)).await;
    }
}

#[tokio::test]
async fn an_empty_log_is_read_to_its_end_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    for request in [
        ReadRequest::default(),
        ReadRequest { start: edge(Edge::Head), ..Default::default() },
        ReadRequest { start: at(1), end: at(1), ..Default::default() },
    ] {
        assert_eq!(read(&server, request).await, (vec![], end(1, 1, 0)));
    }
}

#[tokio::test]
async fn a_range_begins_at_its_start_and_ends_before_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    ten(&server).await;
    let range = |start, end| ReadRequest { start, end, ..Default::default() };
    for first in 1..=11 {
        for last in first..=11 {
            let expected = ((first..last).collect(), end(last, 11, last - first));
            assert_eq!(read(&server, range(at(first), at(last))).await, expected);
        }
        let expected = ((first..11).collect(), end(11, 11, 11 - first));
        assert_eq!(read(&server, range(at(first), None)).await, expected);
        let expected = ((1..first).collect(), end(first, 11, first - 1));
        assert_eq!(read(&server, range(edge(Edge::Oldest), at(first))).await, expected);
    }
    assert_eq!(read(&server, range(edge(Edge::Head), None)).await, (vec![], end(11, 11, 0)));
    assert_eq!(read(&server, range(None, edge(Edge::Oldest))).await, (vec![], end(1, 11, 0)));
    assert_eq!(read(&server, range(Some(Position::default()), edge(Edge::Head))).await.0.len(), 10);
}

#[tokio::test]
async fn max_events_stops_a_replay_which_can_go_on_from_there() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    ten(&server).await;
    for max_events in 1..=12 {
        let (mut next, mut seen) = (1, Vec::new());
        while next < 11 {
            let request = ReadRequest { start: at(next), max_events, ..Default::default() };
            let (offsets, end) = read(&server, request).await;
            assert!(offsets.len() as u64 == max_events.min(11 - next), "{offsets:?}");
            seen.extend(offsets);
            next = end.next_offset;
        }
        assert!(seen.iter().copied().eq(1..=10), "{seen:?}");
    }
}

#[tokio::test]
async fn a_message_has_at_most_the_events_asked_for_and_no_more_than_the_server_allows() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(
        dir.path(),
        ["--set", "read_batch_events=50", "--set", "read_batch_events_max=70"],
    );
    server.append(numbered("bounds", 300)).await;
    server.append(numbered("bounds", 7)).await;
    for (asked, most) in [(0, 50), (1, 1), (49, 49), (70, 70), (71, 70), (u32::MAX, 70)] {
        let request = ReadRequest { max_batch_events: asked, ..Default::default() };
        let (batches, _) = try_read(&server, request).await.unwrap();
        assert!(batches.iter().all(|batch| !batch.is_empty() && batch.len() <= most), "asked for {asked}");
        assert_eq!(batches[0].len(), most, "asked for {asked}");
        assert!(batches.concat().iter().map(|event| event.offset).eq(1..=307), "asked for {asked}");
    }
}

#[tokio::test]
async fn large_events_travel_in_messages_that_a_client_without_options_accepts() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let large = |number: u8| {
        let kind = downlink_proto::v1::value::Kind::BytesValue(vec![number; 1 << 20]);
        Event { value: Some(downlink_proto::v1::Value { kind: Some(kind) }), ..event("large", 0.0) }
    };
    for number in 0..9 {
        server.append(vec![large(number)]).await;
    }
    let (batches, _) = try_read(&server, ReadRequest::default()).await.unwrap();
    let found = batches.concat();
    assert_eq!(found.len(), 9);
    assert!((0..9).zip(&found).all(|(number, event)| event.value == large(number).value));
}

#[tokio::test]
async fn a_filter_lets_through_names_globs_sources_and_qualities() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let with = |signal: &str, source: &str, quality: Quality| Event {
        source: source.to_owned(),
        quality: quality.into(),
        ..event(signal, 1.0)
    };
    let events = vec![
        with("iss/a", "x", Quality::Good),
        with("iss/b", "y", Quality::Stale),
        with("iss/deep/a", "", Quality::Uncertain),
        with("iss/é", "x", Quality::Bad),
        with("moon", "y", Quality::Unspecified),
        with("a*c?", "x", Quality::Good),
    ];
    server.append(events).await;
    let names = |patterns: &[&str]| signals(patterns).unwrap();
    let sources = |sources: &[&str]| Filter {
        sources: sources.iter().map(|&source| source.to_owned()).collect(),
        ..Filter::default()
    };
    let quality = |quality: Quality| Filter { min_quality: quality.into(), ..Filter::default() };
    let cases: [(Filter, &[u64]); 22] = [
        (Filter::default(), &[1, 2, 3, 4, 5, 6]),
        (names(&["iss/a"]), &[1]),
        (names(&["iss/a", "moon", "nobody"]), &[1, 5]),
        (names(&["iss/a", "iss/*"]), &[1, 2, 4]),
        (names(&["nobody"]), &[]),
        (names(&["iss"]), &[]),
        (names(&["*"]), &[5, 6]),
        (names(&["iss/*"]), &[1, 2, 4]),
        (names(&["iss/**"]), &[1, 2, 3, 4]),
        (names(&["**"]), &[1, 2, 3, 4, 5, 6]),
        (names(&["**/a"]), &[1, 3]),
        (names(&["iss/*/a"]), &[3]),
        (names(&["iss/?"]), &[1, 2, 4]),
        (names(&["????"]), &[5, 6]),
        (names(&["ISS/a"]), &[]),
        (sources(&["x"]), &[1, 4, 6]),
        (sources(&["x", "y"]), &[1, 2, 4, 5, 6]),
        (sources(&["*"]), &[]),
        (quality(Quality::Good), &[1, 5, 6]),
        (quality(Quality::Stale), &[1, 2, 5, 6]),
        (quality(Quality::Uncertain), &[1, 2, 3, 5, 6]),
        (Filter { sources: vec!["x".to_owned()], min_quality: 1, ..names(&["iss/*"]) }, &[1]),
    ];
    for (filter, expected) in cases {
        let request = ReadRequest { filter: Some(filter.clone()), ..Default::default() };
        assert_eq!(read(&server, request).await, (expected.to_vec(), end(7, 7, 6)), "{filter:?}");
    }
    let request = ReadRequest { filter: Some(quality(Quality::Bad)), max_events: 4, ..Default::default() };
    assert_eq!(read(&server, request).await, (vec![1, 2, 3, 4], end(5, 7, 4)));
}

#[tokio::test]
async fn max_events_counts_what_matches_and_scanned_counts_what_was_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let events =
        (0..900).map(|number| event(if number % 300 == 299 { "rare" } else { "common" }, 0.0)).collect();
    server.append(events).await;
    let request = ReadRequest { filter: signals(&["rare"]), max_events: 2, ..Default::default() };
    let (offsets, end) = read(&server, request).await;
    assert_eq!((&offsets[..], end.head_offset), (&[300, 600][..], 901));
    assert_eq!(end.scanned_events, end.next_offset - 1);
    assert!((601..=900).contains(&end.next_offset), "behind the last and not behind the next: {end:?}");
}

/// Writes events on system signals, as a part of the server would.
fn append_system_signals(dir: &std::path::Path, names: &[&str]) {
    let log = Log::open_dir(dir, Options::standard()).unwrap();
    let named = |name: &&str| downlink_storage::Event {
        signal: (*name).to_owned(),
        event_time: Timestamp::new(0, 0).unwrap(),
        value: downlink_storage::Value::Bool(true),
        quality: downlink_storage::Quality::Good,
        source: String::new(),
        attributes: std::collections::BTreeMap::new(),
        trace_context: Vec::new(),
    };
    let events = names.iter().map(named).collect();
    let (sender, settled) = std::sync::mpsc::channel();
    let append = Append { events, identity: Identity::Anonymous, expected_head: None, note: None };
    log.append(append, move |result| sender.send(result).unwrap());
    settled.recv().unwrap().unwrap();
    log.close();
}

#[tokio::test]
async fn system_signals_are_delivered_only_to_those_who_name_them() {
    let dir = tempfile::tempdir().unwrap();
    append_system_signals(dir.path(), &["_signal/a", "a", "_feed/iss", "b_"]);
    let server = Server::start(dir.path());
    let cases: [(&[&str], &[u64]); 7] = [
        (&[], &[2, 4]),
        (&["**"], &[2, 4]),
        (&["?*/a"], &[]),
        (&["_signal/a"], &[1]),
        (&["_*/*"], &[1, 3]),
        (&["_**"], &[1, 3]),
        (&["_feed/*", "a"], &[2, 3]),
    ];
    for (patterns, expected) in cases {
        let request = ReadRequest { filter: signals(patterns), ..Default::default() };
        assert_eq!(read(&server, request).await, (expected.to_vec(), end(5, 5, 4)), "{patterns:?}");
    }
    let latest =
        server.query().await.get_latest(GetLatestRequest::default()).await.unwrap().into_inner().values;
    let listed =
        server.query().await.list_signals(ListSignalsRequest::default()).await.unwrap().into_inner().signals;
    assert!(latest.iter().map(|value| &value.event.as_ref().unwrap().signal).eq(["a", "b_"]));
    assert!(listed.iter().map(|signal| &signal.name).eq(["a", "b_"]));
}

#[tokio::test]
async fn a_place_beyond_the_head_is_out_of_range_and_says_where_the_head_is() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    ten(&server).await;
    for offset in [12, u64::MAX] {
        for request in [
            ReadRequest { start: at(offset), ..Default::default() },
            ReadRequest { end: at(offset), ..Default::default() },
        ] {
            let refusal =
                refused(try_read(&server, request).await).is(Code::OutOfRange, "OFFSET_BEYOND_HEAD");
            assert_eq!(refusal.metadata["head"], "11");
        }
    }
}

#[tokio::test]
async fn a_read_ends_at_the_head_as_of_the_call() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    server.append(numbered("a", 1_000)).await;
    let request = ReadRequest { max_batch_events: 1, ..Default::default() };
    let mut stream = server.query().await.read(request).await.unwrap().into_inner();
    server.append(numbered("later", 10)).await;
    let (mut count, mut end) = (0, None);
    while let Some(response) = soon("a frame", stream.message()).await.unwrap() {
        match response.frame.unwrap() {
            Frame::Events(batch) => count += batch.events.len(),
            Frame::End(found) => end = Some((found.next_offset, found.head_offset)),
            Frame::Gap(gap) => panic!("{gap:?}"),
        }
    }
    assert_eq!((count, end), (1_000, Some((1_001, 1_001))));
}

#[tokio::test]
async fn a_range_that_ends_before_it_begins_names_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    ten(&server).await;
    let request = ReadRequest { start: at(5), end: at(4), ..Default::default() };
    let status = try_read(&server, request).await.unwrap_err();
    Refusal::read(&status).is(Code::InvalidArgument, "INVALID_REQUEST").names(&["end"]);
}
