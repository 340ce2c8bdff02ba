//! `Aggregate` from the outside: random requests over the recorded hour against brute force, and every refusal.

use std::collections::BTreeMap;

use downlink_proto::v1::aggregate_request::{Function, Resolution};
use downlink_proto::v1::value::Kind;
use downlink_proto::v1::{
    AggregateRequest, AggregateResponse, Bucket, Event, RollSegmentRequest, StateRange, Value,
    admin_service_client::AdminServiceClient,
};
use prost_types::{Duration, Timestamp};
use tonic::{Code, Status};

use crate::harness::{Server, downlink, event, root, succeed};
use crate::random::Random;
use crate::refusal::refused;

pub(crate) const HOUR: &str = "tests/data/2018-10-12_tank_hour.csv.zst";
const QUERIES: usize = 60;
const SECOND: i128 = 1_000_000_000;
/// As the servers of these tests are set.
const STATES_MAX: usize = 10_000;
pub(crate) const ALL: [Function; 8] = [
    Function::Min,
    Function::Max,
    Function::Mean,
    Function::First,
    Function::Last,
    Function::Count,
    Function::TimeWeightedMean,
    Function::StateRanges,
];

pub(crate) async fn ask(server: &Server, request: AggregateRequest) -> Result<(Vec<Bucket>, u64), Status> {
    let mut stream = server.query().await.aggregate(request).await?.into_inner();
    let (mut buckets, mut as_of) = (Vec::new(), 0);
    while let Some(AggregateResponse { buckets: more, as_of_offset }) = stream.message().await? {
        buckets.extend(more);
        as_of = as_of_offset;
    }
    Ok((buckets, as_of))
}

fn nanos(time: Option<Timestamp>) -> i128 {
    let time = time.expect("a time");
    i128::from(time.seconds) * SECOND + i128::from(time.nanos)
}

pub(crate) fn time(nanos: i128) -> Option<Timestamp> {
    let seconds = i64::try_from(nanos.div_euclid(SECOND)).unwrap();
    Some(Timestamp { seconds, nanos: i32::try_from(nanos.rem_euclid(SECOND)).unwrap() })
}

fn number(value: &Value) -> Option<f64> {
    match value.kind {
        Some(Kind::DoubleValue(number)) => Some(number),
        Some(Kind::IntValue(number)) => Some(number as f64),
        _ => None,
    }
}

/// The values of one signal in the order of their event times.
pub(crate) type Series = Vec<(i128, Value)>;

pub(crate) fn by_signal(events: Vec<Event>) -> BTreeMap<String, Series> {
    let mut series: BTreeMap<String, Series> = BTreeMap::new();
    for event in events {
        series.entry(event.signal).or_default().push((nanos(event.event_time), event.value.unwrap()));
    }
    series.values_mut().for_each(|series| series.sort_by_key(|(time, _)| *time));
    series
}

/// What the bucket should say, from all events of its signal.
fn brute_force(series: &[(i128, Value)], found: &Bucket, functions: &[Function], range_end: i128) -> Bucket {
    let (start, end) = (nanos(found.start_time), nanos(found.end_time));
    let inside: Vec<_> = series.iter().filter(|(time, _)| (start..end).contains(time)).collect();
    let numbers: Vec<(i128, f64)> =
        inside.iter().filter_map(|(time, value)| Some((*time, number(value)?))).collect();
    let least = numbers.iter().copied().reduce(|a, b| if b.1 < a.1 { b } else { a });
    let most = numbers.iter().copied().reduce(|a, b| if b.1 > a.1 { b } else { a });
    let mean = numbers.iter().map(|(_, number)| number).sum::<f64>() / numbers.len() as f64;
    let (mut integral, mut held, mut ranges) = (0.0, 0.0, Vec::<StateRange>::new());
    for (place, (from, value)) in series.iter().enumerate().filter(|(_, (from, _))| *from < end) {
        let next = series.get(place + 1).map_or(range_end, |(next, _)| *next);
        let (from, until) = (start.max(*from), end.min(next));
        if from < until {
            if let Some(number) = number(value) {
                integral += number * (until - from) as f64;
                held += (until - from) as f64;
            }
            match ranges.last_mut() {
                Some(last) if last.value.as_ref() == Some(value) => last.end_time = time(until),
                Some(_) | None => ranges.push(StateRange {
                    value: Some(value.clone()),
                    start_time: time(from),
                    end_time: time(until),
                }),
            }
        }
    }
    let has_more = ranges.len() > STATES_MAX;
    ranges.truncate(STATES_MAX);
    let wants = |function| functions.contains(&function);
    let value = |function, found: Option<&&(i128, Value)>| {
        found.filter(|_| wants(function)).map(|(at, value)| (*at, value.clone())).unzip()
    };
    let (min_time, min) = least.filter(|_| wants(Function::Min)).unzip();
    let (max_time, max) = most.filter(|_| wants(Function::Max)).unzip();
    let (first_time, first) = value(Function::First, inside.first());
    let (last_time, last) = value(Function::Last, inside.last());
    Bucket {
        signal: found.signal.clone(),
        start_time: found.start_time,
        end_time: found.end_time,
        count: inside.len() as u64,
        min,
        max,
        mean: (wants(Function::Mean) && !numbers.is_empty()).then_some(mean),
        min_time: min_time.and_then(time),
        max_time: max_time.and_then(time),
        first,
        last,
        time_weighted_mean: (wants(Function::TimeWeightedMean) && held > 0.0).then_some(integral / held),
        state_ranges: if wants(Function::StateRanges) { ranges } else { Vec::new() },
        incomplete: false,
        state_ranges_left_out: wants(Function::StateRanges) && has_more,
        first_time: first_time.and_then(time),
        last_time: last_time.and_then(time),
    }
}

/// The same, but for the last digits of what was added up in another order.
#[track_caller]
fn assert_same(mut found: Bucket, expected: &Bucket, request: &AggregateRequest) {
    let near = |found: &mut Option<f64>, expected: Option<f64>| {
        if let (Some(found), Some(expected)) = (found, expected)
            && (*found - expected).abs() <= 1e-9 * expected.abs().max(1.0)
        {
            *found = expected;
        }
    };
    near(&mut found.mean, expected.mean);
    near(&mut found.time_weighted_mean, expected.time_weighted_mean);
    assert_eq!(&found, expected, "{request:?}");
}

fn random_request(random: &mut Random, series: &BTreeMap<String, Series>) -> AggregateRequest {
    let names: Vec<&String> = series.keys().collect();
    let name = names[random.below(names.len() as u64) as usize];
    let signals = match random.below(8) {
        0 => vec![format!("{}*", &name[..name.len() - 2])],
        1 => vec![name.clone(), names[0].clone(), name.clone()],
        _ => vec![name.clone()],
    };
    let all = series.values().flatten().map(|(time, _)| *time);
    let (first, last) = (all.clone().min().unwrap(), all.max().unwrap());
    let edge = |random: &mut Random| {
        let minute = 60 * SECOND;
        let at = first - 20 * minute
            + i128::from(random.below(((last - first + 40 * minute) / 1_000) as u64)) * 1_000;
        let round = [1, SECOND, minute, 10 * minute][random.below(4) as usize];
        at / round * round
    };
    let (a, b) = (edge(random), edge(random));
    let resolution = match random.below(3) {
        0 => None,
        1 => Some(Resolution::MaxPoints(1 + random.below(100) as u32)),
        _ => {
            let seconds = [7, 60, 300, 600, 1_200, 1_500][random.below(6) as usize];
            Some(Resolution::Step(Duration { seconds, nanos: random.below(2) as i32 }))
        }
    };
    let functions = match random.below(4) {
        0 => Vec::new(),
        1 => ALL.map(i32::from).to_vec(),
        _ => ALL.into_iter().filter(|_| random.below(2) == 0).map(i32::from).collect(),
    };
    AggregateRequest {
        signals,
        start_time: time(a.min(b)),
        end_time: time(a.max(b) + 1),
        resolution,
        functions,
    }
}

async fn compare(server: &Server, random: &mut Random) {
    compare_with(server, random, &by_signal(server.read_all().await), QUERIES).await;
}

/// The events of a series that a bucket depends on: its own, and the one before and the one behind them.
fn around<'a>(series: &'a Series, bucket: &Bucket) -> &'a [(i128, Value)] {
    let before = |time| series.partition_point(|(at, _)| *at < time);
    let first = before(nanos(bucket.start_time)).saturating_sub(1);
    &series[first..series.len().min(before(nanos(bucket.end_time)) + 1)]
}

/// Random requests, compared with what brute force makes of all events of a log.
pub(crate) async fn compare_with(
    server: &Server,
    random: &mut Random,
    series: &BTreeMap<String, Series>,
    queries: usize,
) {
    for _ in 0..queries {
        let request = random_request(random, series);
        let (found, as_of) = ask(server, request.clone()).await.unwrap();
        assert_eq!(as_of, server.info().await.head_offset);
        let mut functions: Vec<Function> =
            request.functions.iter().map(|function| Function::try_from(*function).unwrap()).collect();
        if functions.is_empty() {
            functions = ALL[..6].to_vec();
        }
        let (start, end) = (nanos(request.start_time), nanos(request.end_time));
        // By signal, then by time; each signal's buckets cover the range once.
        let mut next: Option<(String, i128)> = None;
        for bucket in found {
            let from = nanos(bucket.start_time);
            if let Some((signal, before)) = next.filter(|(signal, _)| *signal == bucket.signal) {
                assert_eq!((from, &signal), (before, &bucket.signal), "{request:?}");
            } else {
                assert_eq!(from, start, "{request:?}");
            }
            next = Some((bucket.signal.clone(), nanos(bucket.end_time)));
            let expected = brute_force(around(&series[&bucket.signal], &bucket), &bucket, &functions, end);
            assert_same(bucket, &expected, &request);
        }
        assert_eq!(next.map(|(_, to)| to), Some(end), "{request:?}");
    }
}

/// Settings that make an hour many stretches and segments, and leave no state range out.
pub(crate) fn small() -> impl Iterator<Item = &'static str> {
    let settings = ["rollup_events=10000", "segment_payload_bytes_max=100000", "aggregate_states_max=10000"];
    settings.into_iter().flat_map(|setting| ["--set", setting])
}

#[tokio::test]
async fn aggregates_of_the_recorded_hour_are_what_brute_force_makes_of_it() {
    let mut random = Random::announced("aggregates");
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start_with(dir.path(), small());
    let recording = root().join(HOUR);
    succeed(downlink(&server.url()).args(["feed", "replay"]).arg(&recording).args(["--speed", "max"]));
    compare(&server, &mut random).await;

    // Late events, among the others and before all of them; then all of it sealed.
    let late = server
        .read_all()
        .await
        .into_iter()
        .step_by(5_000)
        .map(|event| Event { event_time: time(nanos(event.event_time) - 900 * SECOND + 1), ..event });
    server
        .append(late.map(|event| Event { offset: 0, signal_id: 0, ingest_time: None, ..event }).collect())
        .await;
    compare(&server, &mut random).await;
    let roll = RollSegmentRequest { wait_until_sealed: true };
    AdminServiceClient::new(server.channel().await).roll_segment(roll).await.unwrap();
    compare(&server, &mut random).await;

    // What is derived may be gone after a restart.
    server.kill();
    std::fs::remove_dir_all(dir.path().join("segments/rollups")).unwrap();
    server = Server::start_with(dir.path(), small());
    compare(&server, &mut random).await;
    server.kill();
    server = Server::start_with(dir.path(), small());
    compare(&server, &mut random).await;
}

pub(crate) fn at(seconds: i64, signal: &str, number: f64) -> Event {
    Event { event_time: Some(Timestamp { seconds, nanos: 0 }), ..event(signal, number) }
}

#[tokio::test]
async fn an_empty_request_is_one_bucket_for_each_signal_over_all_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    assert_eq!(ask(&server, AggregateRequest::default()).await.unwrap(), (vec![], 1));
    server.append(vec![at(50, "b", 1.0), at(10, "a", 2.0), at(40, "a", 4.0), at(30, "a", f64::NAN)]).await;
    let (buckets, as_of) = ask(&server, AggregateRequest::default()).await.unwrap();
    assert_eq!(as_of, 5);
    let [a, b] = &buckets[..] else { panic!("{buckets:?}") };
    assert_eq!((a.signal.as_str(), a.count, a.mean, a.min, a.max), ("a", 3, Some(3.0), Some(2.0), Some(4.0)));
    assert_eq!((a.min_time.unwrap().seconds, a.max_time.unwrap().seconds), (10, 40));
    assert_eq!((&a.first, &a.last), (&event("", 2.0).value, &event("", 4.0).value));
    assert_eq!((a.time_weighted_mean, a.state_ranges.len()), (None, 0));
    assert_eq!((b.signal.as_str(), b.count), ("b", 1));
    for bucket in &buckets {
        assert_eq!((bucket.start_time, bucket.end_time), (time(10 * SECOND), time(50 * SECOND + 1)));
    }
    // A beginning beyond all events leaves nothing.
    let later = AggregateRequest { start_time: time(60 * SECOND), ..Default::default() };
    assert_eq!(ask(&server, later).await.unwrap(), (vec![], 5));
}

#[tokio::test]
async fn a_gap_is_a_bucket_without_events_and_what_held_goes_through_it() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    server.append(vec![at(5, "a", 2.0), at(35, "a", 4.0)]).await;
    let request = AggregateRequest {
        signals: vec!["a".to_owned()],
        start_time: time(10 * SECOND),
        end_time: time(50 * SECOND),
        resolution: Some(Resolution::Step(Duration { seconds: 10, nanos: 0 })),
        functions: ALL.map(i32::from).to_vec(),
    };
    let (buckets, _) = ask(&server, request).await.unwrap();
    let counts: Vec<_> = buckets.iter().map(|bucket| (bucket.count, bucket.time_weighted_mean)).collect();
    assert_eq!(counts, [(0, Some(2.0)), (0, Some(2.0)), (1, Some(3.0)), (0, Some(4.0))]);
    assert_eq!((buckets[0].mean, buckets[0].min, &buckets[0].first), (None, None, &None));
    let ranges: Vec<usize> = buckets.iter().map(|bucket| bucket.state_ranges.len()).collect();
    assert_eq!(ranges, [1, 1, 2, 1]);
}

#[tokio::test]
async fn the_newest_value_holds_until_now_and_not_beyond() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let far = 4_000_000_000;
    server.append(vec![at(far, "a", 2.0), at(far + 10, "a", 4.0)]).await;
    let request = AggregateRequest {
        signals: vec!["a".to_owned()],
        start_time: time(i128::from(far) * SECOND),
        end_time: time(i128::from(far + 100) * SECOND),
        functions: vec![Function::TimeWeightedMean.into()],
        ..Default::default()
    };
    let (buckets, _) = ask(&server, request).await.unwrap();
    assert_eq!((buckets[0].time_weighted_mean, buckets[0].count, buckets[0].min), (Some(2.0), 2, None));
}

#[tokio::test]
async fn what_makes_no_sense_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let limits = ["--set", "aggregate_buckets_max=100", "--set", "aggregate_signals_max=2"];
    let server = Server::start_with(dir.path(), limits);
    server.append(vec![at(1, "a", 1.0), at(2, "b", 1.0)]).await;
    let hour = AggregateRequest {
        start_time: time(0),
        end_time: time(3_600 * SECOND),
        ..AggregateRequest::default()
    };
    let step = |seconds, nanos| Some(Resolution::Step(Duration { seconds, nanos }));
    let bad = Some(Timestamp { seconds: 0, nanos: -1 });
    let cases = [
        (AggregateRequest { end_time: time(0), ..hour.clone() }, "end_time"),
        (AggregateRequest { start_time: bad, ..hour.clone() }, "start_time"),
        (AggregateRequest { end_time: bad, ..hour.clone() }, "end_time"),
        (AggregateRequest { resolution: step(0, 0), ..hour.clone() }, "step"),
        (AggregateRequest { resolution: step(-1, 0), ..hour.clone() }, "step"),
        (AggregateRequest { resolution: step(71, 0), ..hour.clone() }, "step"),
        (AggregateRequest { resolution: Some(Resolution::MaxPoints(0)), ..hour.clone() }, "max_points"),
        (AggregateRequest { resolution: Some(Resolution::MaxPoints(80)), ..hour.clone() }, "max_points"),
        (AggregateRequest { functions: vec![1, 9], ..hour.clone() }, "functions[1]"),
        (AggregateRequest { functions: vec![0], ..hour.clone() }, "functions[0]"),
    ];
    for (request, field) in cases {
        refused(ask(&server, request).await).is(Code::InvalidArgument, "INVALID_REQUEST").names(&[field]);
    }
    let of = |signals: &[&str]| AggregateRequest {
        signals: signals.iter().map(|&signal| signal.to_owned()).collect(),
        ..hour.clone()
    };
    refused(ask(&server, of(&[""])).await).is(Code::InvalidArgument, "INVALID_FILTER").names(&["signals[0]"]);
    refused(ask(&server, of(&["a", "c"])).await).is(Code::NotFound, "SIGNAL_UNKNOWN");
    assert_eq!(ask(&server, of(&["c*"])).await.unwrap().0, []);
    assert_eq!(ask(&server, of(&["a", "*"])).await.unwrap().0.len(), 2);
    server.append(vec![at(2, "c", 1.0)]).await;
    refused(ask(&server, of(&[])).await).is(Code::InvalidArgument, "INVALID_REQUEST").names(&["signals"]);
    let step_of_the_log =
        AggregateRequest { signals: vec!["?".to_owned()], resolution: step(0, 1), ..hour.clone() };
    refused(ask(&server, step_of_the_log).await).is(Code::InvalidArgument, "INVALID_REQUEST");
}
