//! Random places in the recorded hour, of every kind, as `Read` (both ways), `Subscribe` and `LookupOffset` see them,
//! compared with its CSV.

use std::fs::File;

use downlink_proto::v1::consumer_service_client::ConsumerServiceClient;
use downlink_proto::v1::position::At;
use downlink_proto::v1::value::Kind;
use downlink_proto::v1::{
    CommitCheckpointRequest, Edge, Event, Filter, LookupOffsetRequest, Position, ReadRequest,
    SubscribeRequest,
};
use prost_types::Timestamp;
use tonic::Code;

use crate::day::{HOUR, PREFIX, bits, recorded_nanos, replay};
use crate::harness::{Server, root, slow, succeed};
use crate::random::Random;
use crate::read::{end, try_read};
use crate::refusal::Refusal;
use crate::subscribe::Subscription;

const SECOND_NANOS: i128 = 1_000_000_000;

/// A row of the CSV, at the offset of its place; or what the log itself has added behind them.
struct Row {
    nanos: i128,
    signal: String,
    bits: u64,
}

fn rows() -> Vec<Row> {
    let file = File::open(root().join(HOUR)).expect("the recording");
    let mut recorded = csv::Reader::from_reader(zstd::Decoder::new(file).expect("zstd"));
    let row = |record: csv::StringRecord| Row {
        nanos: recorded_nanos(&record[0]),
        signal: format!("{PREFIX}{}", &record[1]),
        bits: bits(&record[2]),
    };
    recorded.records().map(|record| row(record.expect("a row"))).collect()
}

fn wire_time(nanos: i128) -> Timestamp {
    let seconds = nanos.div_euclid(SECOND_NANOS) as i64;
    Timestamp { seconds, nanos: nanos.rem_euclid(SECOND_NANOS) as i32 }
}

fn unix_nanos(time: Timestamp) -> i128 {
    i128::from(time.seconds) * SECOND_NANOS + i128::from(time.nanos)
}

/// What is asked of the log, and of the rows.
struct World {
    rows: Vec<Row>,
    names: Vec<String>,
    /// The source of all events.
    source: String,
    /// Ingest time of each row, which the server gave.
    ingest_nanos: Vec<i128>,
    /// By name, where it goes on.
    consumers: Vec<(String, u64)>,
}

/// Which signals a filter wants, by our own reading of its patterns.
struct Wanted {
    filter: Filter,
    wants: Box<dyn Fn(&str) -> bool>,
}

fn is_telemetry(name: &str) -> bool {
    !name.starts_with('_')
}

fn everything() -> Wanted {
    Wanted { filter: Filter::default(), wants: Box::new(is_telemetry) }
}

impl World {
    fn head(&self) -> u64 {
        self.rows.len() as u64 + 1
    }

    fn offset(&self, random: &mut Random) -> u64 {
        1 + random.below(self.head())
    }

    fn filter(&self, random: &mut Random) -> Wanted {
        let signals = |patterns: &[&str]| patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        let named = |patterns: &[&str], wants: Box<dyn Fn(&str) -> bool>| Wanted {
            filter: Filter { signals: signals(patterns), ..Filter::default() },
            wants,
        };
        let (one, other) = (self.name(random), self.name(random));
        match random.below(6) {
            0 => everything(),
            1 => named(&[&one.clone()], Box::new(move |name| name == one)),
            2 => named(&[&one.clone(), &other.clone()], Box::new(move |name| name == one || name == other)),
            3 => named(&["iss/NODE3*"], Box::new(|name| name.starts_with("iss/NODE3"))),
            4 => named(
                &["**0000?5", &one.clone()],
                Box::new(move |name| {
                    let tail: Vec<char> = name.chars().rev().take(6).collect();
                    name == one || (tail[0] == '5' && tail[2..] == ['0'; 4])
                }),
            ),
            _ => {
                let is_known = random.below(4) > 0;
                let sources = vec![if is_known { self.source.clone() } else { "nobody".to_owned() }];
                Wanted {
                    filter: Filter { sources, ..Filter::default() },
                    wants: Box::new(move |name| is_known && is_telemetry(name)),
                }
            }
        }
    }

    fn name(&self, random: &mut Random) -> String {
        self.names[random.below(self.names.len() as u64) as usize].clone()
    }

    /// A position of any kind, and the offset it names by going through all rows.
    fn position(&self, random: &mut Random, wanted: &Wanted) -> (Position, u64) {
        let first = |holds: &dyn Fn(usize) -> bool| {
            (0..self.rows.len()).find(|&row| holds(row)).map_or(self.head(), |row| row as u64 + 1)
        };
        let near = |random: &mut Random, nanos: &dyn Fn(usize) -> i128| {
            let row = random.below(self.rows.len() as u64) as usize;
            nanos(row) + [0, 0, 1, -1, SECOND_NANOS / 2, -SECOND_NANOS][random.below(6) as usize]
        };
        let (at, offset) = match random.below(8) {
            0 => (At::Edge(Edge::Oldest.into()), 1),
            1 => (At::Edge(Edge::Head.into()), self.head()),
            2 => {
                let time = near(random, &|row| self.rows[row].nanos);
                (At::EventTime(wire_time(time)), first(&|row| self.rows[row].nanos >= time))
            }
            3 => {
                let time = near(random, &|row| self.ingest_nanos[row]);
                (At::IngestTime(wire_time(time)), first(&|row| self.ingest_nanos[row] >= time))
            }
            4 => {
                let magnitude = 1 + random.below(5) as u32;
                let events = random.below(10_u64.pow(magnitude));
                let matching =
                    (0..self.rows.len()).rev().filter(|&row| (wanted.wants)(&self.rows[row].signal));
                let place = match events {
                    0 => self.head(),
                    _ => matching.map(|row| row as u64 + 1).nth(events as usize - 1).unwrap_or(1),
                };
                (At::LastEvents(events), place)
            }
            // All of the recording is longer ago than this, but not what the log has added; none is longer ago than that.
            5 if random.below(2) == 0 => {
                let place = first(&|row| !is_telemetry(&self.rows[row].signal));
                (At::Ago(prost_types::Duration { seconds: 3_600, nanos: 0 }), place)
            }
            5 => (At::Ago(prost_types::Duration { seconds: 10_000_000_000, nanos: 0 }), 1),
            6 => {
                let (name, offset) = &self.consumers[random.below(self.consumers.len() as u64) as usize];
                (At::Consumer(name.clone()), *offset)
            }
            _ => {
                let offset = self.offset(random);
                (At::Offset(offset), offset)
            }
        };
        (Position { at: Some(at) }, offset)
    }

    /// The offsets that a range has for who wants these, in order.
    fn expected(&self, (start, end): (u64, u64), backwards: bool, wanted: &Wanted) -> Vec<u64> {
        let wants = |offset: &u64| (wanted.wants)(&self.rows[*offset as usize - 1].signal);
        if backwards {
            (end..start).rev().filter(wants).collect()
        } else {
            (start..end).filter(wants).collect()
        }
    }

    fn is_row(&self, event: &Event) -> bool {
        let row = &self.rows[event.offset as usize - 1];
        let value = match event.value.as_ref().and_then(|value| value.kind.clone()) {
            Some(Kind::DoubleValue(value)) => value.to_bits(),
            Some(Kind::IntValue(value)) => (value as f64).to_bits(),
            other => panic!("the recording has numbers only: {other:?}"),
        };
        event.signal == row.signal && unix_nanos(event.event_time.unwrap()) == row.nanos && value == row.bits
    }
}

/// One random read, compared.
async fn check(server: &Server, world: &World, random: &mut Random) {
    let wanted = world.filter(random);
    let backwards = random.below(2) == 0;
    let (mut start, mut end_place) = (world.position(random, &wanted), world.position(random, &wanted));
    // Mostly ranges that make sense.
    if (start.1 < end_place.1) == backwards && random.below(10) > 0 {
        std::mem::swap(&mut start, &mut end_place);
    }
    let request = ReadRequest {
        start: Some(start.0),
        end: Some(end_place.0),
        filter: Some(wanted.filter.clone()),
        backwards,
        max_events: [0, 0, 1, 7, 5_000][random.below(5) as usize],
        max_batch_events: [0, 1_000, 10_000, 33][random.below(4) as usize],
        ..Default::default()
    };
    let (from, until) = (start.1, end_place.1);
    let said = format!("{request:?}, from {from} to {until}");
    let answer = try_read(server, request.clone()).await;
    if if backwards { from < until } else { until < from } {
        let refusal = Refusal::read(&answer.expect_err(&said));
        refusal.is(Code::InvalidArgument, "INVALID_REQUEST").names(&["end"]);
        return;
    }
    let (batches, ended) = answer.unwrap_or_else(|status| panic!("{status}: {said}"));
    let mut expected = world.expected((from, until), backwards, &wanted);
    let is_cut = request.max_events > 0 && expected.len() as u64 >= request.max_events;
    if is_cut {
        let next = expected.get(request.max_events as usize).copied();
        expected.truncate(request.max_events as usize);
        let last = expected.last().copied().unwrap_or(from);
        // Behind the last one delivered, and not behind the next.
        let (low, high) = if backwards {
            (next.map_or(until, |next| next + 1), last)
        } else {
            (last + 1, next.unwrap_or(until))
        };
        assert!((low..=high).contains(&ended.next_offset), "{ended:?}: {said}");
    } else {
        assert_eq!(ended, end(until, world.head(), from.abs_diff(until)), "{said}");
    }
    let events = batches.concat();
    assert!(events.iter().map(|event| event.offset).eq(expected), "{said}");
    assert!(events.iter().all(|event| world.is_row(event)), "{said}");
}

/// One random place, as `LookupOffset` finds it.
async fn check_lookup(server: &Server, world: &World, random: &mut Random) {
    let (position, offset) = world.position(random, &everything());
    let request = LookupOffsetRequest { position: Some(position) };
    let found = server.query().await.lookup_offset(request.clone()).await.unwrap().into_inner();
    let time = world.rows.get(offset as usize - 1).map(|row| row.nanos);
    assert_eq!((found.offset, found.event_time.map(unix_nanos)), (offset, time), "{request:?}");
}

/// One random subscription, up to the head.
async fn check_subscribe(server: &Server, world: &World, random: &mut Random) {
    let wanted = world.filter(random);
    let (position, start) = world.position(random, &wanted);
    let request = SubscribeRequest {
        start: Some(position),
        filter: Some(wanted.filter.clone()),
        max_batch_events: [0, 10_000, 333][random.below(3) as usize],
        ..Default::default()
    };
    let mut subscription = Subscription::to(server, request.clone()).await;
    assert_eq!(subscription.next, start, "{request:?}");
    let (offsets, _) = subscription.caught_up().await;
    assert!(offsets.into_iter().eq(world.expected((start, world.head()), false, &wanted)), "{request:?}");
    assert_eq!(subscription.next, world.head(), "{request:?}");
}

/// Some consumers, each somewhere, which the log keeps as events of its own behind the recording.
async fn place_consumers(server: &Server, rows: &mut Vec<Row>, random: &mut Random) -> Vec<(String, u64)> {
    let recorded = rows.len() as u64;
    let mut consumers = Vec::new();
    for name in ["a", "b", "c", "d"] {
        let (consumer, next_offset) = (name.to_owned(), 1 + random.below(recorded + 1));
        let request = CommitCheckpointRequest { consumer, next_offset, ..Default::default() };
        ConsumerServiceClient::new(server.channel().await).commit_checkpoint(request).await.unwrap();
        consumers.push((name.to_owned(), next_offset));
    }
    let added = server.read_everything().await.split_off(rows.len());
    rows.extend(added.into_iter().map(|event| Row {
        nanos: unix_nanos(event.event_time.unwrap()),
        signal: event.signal,
        bits: 0,
    }));
    consumers
}

#[tokio::test]
async fn random_places_in_the_recorded_hour_are_where_its_csv_says() {
    let mut random = Random::announced("random_places_in_the_recorded_hour_are_where_its_csv_says");
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(dir.path(), ["--set", "segment_payload_bytes_max=150000"]);
    succeed(&mut replay(&server.url(), &root().join(HOUR), "max"));
    let mut rows = rows();
    let mut names: Vec<_> = rows.iter().map(|row| row.signal.clone()).collect();
    names.sort();
    names.dedup();
    let consumers = place_consumers(&server, &mut rows, &mut random).await;
    let ingested = server.read_everything().await;
    assert_eq!(ingested.len(), rows.len());
    let ingest_nanos = ingested.iter().map(|event| unix_nanos(event.ingest_time.unwrap())).collect();
    let source = ingested[0].source.clone();
    let recorded = ingested.iter().filter(|event| is_telemetry(&event.signal));
    assert!(!source.is_empty() && recorded.clone().all(|event| event.source == source));
    assert_eq!(recorded.count() + consumers.len(), rows.len());
    let world = World { rows, names, source, ingest_nanos, consumers };
    for number in 0..if slow() { 5_000 } else { 200 } {
        check(&server, &world, &mut random).await;
        check_lookup(&server, &world, &mut random).await;
        if number % 4 == 0 {
            check_subscribe(&server, &world, &mut random).await;
        }
    }
}
