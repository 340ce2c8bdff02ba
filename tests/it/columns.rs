//! Events in columns, from the outside: in and out, live and from disk, by hand and by the library.

use downlink_client::columns::{ColumnsBuilder, rows};
use downlink_client::{AppenderOptions, Client, Encoding, Frame};
use downlink_proto::v1::append_stream_request::{Batch, Message};
use downlink_proto::v1::append_stream_response::Message as Answer;
use downlink_proto::v1::{self, Event, EventColumns, ReadRequest, SubscribeRequest, position, read_response};
use prost_types::Timestamp;
use tokio_stream::StreamExt as _;

use crate::append::numbered;
use crate::harness::{Server, downlink, event, succeed};
use crate::producer::{Producer, named};
use crate::refusal::Books;

/// These events, in columns.
pub(crate) fn columns_of(events: &[Event]) -> Option<EventColumns> {
    let mut builder = ColumnsBuilder::default();
    events.iter().for_each(|event| builder.push(event));
    Some(builder.take())
}

/// The whole log, asked for in columns.
async fn read_columns(server: &Server) -> Vec<Event> {
    let request = ReadRequest { encoding: v1::Encoding::Columns.into(), ..ReadRequest::default() };
    let mut frames = server.query().await.read(request).await.unwrap().into_inner();
    let mut events = Vec::new();
    while let Some(frame) = frames.message().await.unwrap() {
        if let Some(read_response::Frame::Events(batch)) = frame.frame {
            assert!(batch.events.is_empty());
            events.extend(rows(batch.columns.unwrap()).unwrap());
        }
    }
    events
}

#[tokio::test]
async fn a_producer_may_mix_rows_and_columns_and_a_bad_batch_of_columns_ends_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path());
    let (mut producer, _) = Producer::open(&server, named("p", 1)).await;
    let good = [numbered("rows", 3), numbered("columns", 5)];
    let torn = EventColumns { qualities: vec![1; 2], ..columns_of(&good[1]).unwrap() };
    let batches = [
        Batch { sequence: 1, events: good[0].clone(), columns: None },
        Batch { sequence: 2, events: Vec::new(), columns: columns_of(&good[1]) },
        Batch { sequence: 3, events: Vec::new(), columns: Some(torn) },
        Batch { sequence: 4, events: good[0].clone(), columns: columns_of(&good[1]) },
    ];
    let (mut through, mut refused) = (0, Vec::new());
    for batch in batches {
        let sequence = batch.sequence;
        producer.say(Message::Batch(batch));
        while through < sequence {
            match producer.answer().await {
                Answer::Ack(ack) => through = ack.through_sequence,
                Answer::Reject(reject) => refused.push((reject.sequence, reject.problem.unwrap().field)),
                other @ (Answer::Opened(_) | Answer::Draining(_)) => panic!("unexpected {other:?}"),
            }
        }
    }
    assert_eq!(refused, [(3, "columns.qualities".to_owned()), (4, "columns".to_owned())]);
    assert_eq!(Books::of(&server).await, Books::default().plus(8, 0, 5 + 8));
    for _ in 0..2 {
        let events = server.read_all().await;
        assert_eq!(events.len(), 8);
        assert_eq!(read_columns(&server).await, events);
        server.kill();
        server = Server::start(dir.path());
    }
}

#[tokio::test]
async fn the_library_takes_and_gives_events_whichever_way_they_travel() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let client = Client::connect(server.url()).await.unwrap();
    let options = AppenderOptions { encoding: Encoding::Columns, ..AppenderOptions::new("p") };
    let mut appender = client.appender(options).await.unwrap();
    // With a time of their own and without, in turn: they cannot share a batch.
    for number in 0..20_u32 {
        let event_time = (number % 5 > 2).then_some(Timestamp { seconds: i64::from(number), nanos: 7 });
        appender.append(&Event { event_time, ..event("mixed", f64::from(number)) }).await.unwrap();
    }
    assert_eq!(appender.finish().await.unwrap().durable_events, 20);
    let stored = server.read_all().await;
    let own = stored.iter().filter(|event| event.event_time.is_some_and(|time| time.nanos == 7)).count();
    assert_eq!((stored.len(), own), (20, 8));

    let start = Some(v1::Position { at: Some(position::At::Offset(1)) });
    let encoding = v1::Encoding::Columns.into();
    let request = SubscribeRequest { start, encoding, ..SubscribeRequest::default() };
    let mut subscription = client.subscribe(request.clone()).await.unwrap();
    let mut delivered = Vec::new();
    while delivered.len() < stored.len() {
        if let Frame::Events(batch) = subscription.next().await.unwrap().unwrap().frame {
            assert!(batch.columns.is_none());
            delivered.extend(batch.events);
        }
    }
    assert_eq!(delivered, stored);
    let mut raw = client.subscribe_raw(request).await.unwrap();
    loop {
        if let Frame::Events(batch) = raw.next().await.unwrap().unwrap().frame {
            assert!(batch.columns.is_some() && batch.events.is_empty());
            break;
        }
    }
}

#[tokio::test]
async fn the_bench_sends_and_reads_columns() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let bench = |arguments: &[&str]| {
        let said = succeed(downlink(&server.url()).args(["--output", "json", "bench"]).args(arguments));
        serde_json::from_str::<serde_json::Value>(&said).unwrap()
    };
    let ingest = ["ingest", "--encoding", "columns", "--events", "2500", "--signals", "7", "--runs", "1"];
    assert_eq!(bench(&ingest)["conditions"]["encoding"], "columns");
    let events = server.read_all().await;
    assert_eq!(events.len(), 2500);
    assert_eq!(read_columns(&server).await, events);
    let replay = bench(&["replay", "--encoding", "columns", "--runs", "1"]);
    assert_eq!(replay["conditions"]["events_per_run"], 2500);
}
