//! `Aggregate` at the edges of what there is: the last moment, the largest numbers, more states than memory.

use downlink_proto::v1::aggregate_request::{Function, Resolution};
use downlink_proto::v1::{AggregateRequest, Event};
use prost_types::{Duration, Timestamp};

use crate::aggregate::{ALL, ask, at, time};
use crate::harness::{Server, downlink, event, succeed};
use crate::memory::resident_most_mib;

/// What a server may come to that makes a single aggregate of many states.
const RESIDENT_MAX_MIB: usize = 160;

const LAST: Timestamp = Timestamp { seconds: 253_402_300_799, nanos: 999_999_999 };

#[tokio::test]
async fn an_event_at_the_last_moment_there_is_counts() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let last = |number| Event { event_time: Some(LAST), ..event("last", number) };
    server.append(vec![last(2.0), at(10, "both", 1.0)]).await;
    server.append(vec![Event { signal: "both".to_owned(), ..last(4.0) }]).await;
    for resolution in [
        None,
        Some(Resolution::MaxPoints(100)),
        Some(Resolution::Step(Duration { seconds: 30_000_000_000, nanos: 0 })),
    ] {
        for end_time in [None, Some(LAST)] {
            let functions = ALL.map(i32::from).to_vec();
            let request = AggregateRequest { resolution, end_time, functions, ..AggregateRequest::default() };
            let (buckets, _) = ask(&server, request).await.unwrap();
            let of = |signal: &str| {
                let buckets = buckets.iter().filter(|bucket| bucket.signal == signal);
                buckets
                    .map(|bucket| (bucket.count, bucket.max))
                    .fold((0, None), |all, bucket| (all.0 + bucket.0, bucket.1.or(all.1)))
            };
            assert_eq!(
                (of("both"), of("last")),
                ((2, Some(4.0)), (1, Some(2.0))),
                "{resolution:?} {end_time:?}"
            );
            assert_eq!(buckets.last().unwrap().end_time, Some(LAST));
        }
    }
    // Alone, it is a bucket of its own.
    let alone = AggregateRequest { signals: vec!["last".to_owned()], ..AggregateRequest::default() };
    let (buckets, _) = ask(&server, alone).await.unwrap();
    assert_eq!((buckets.len(), buckets[0].count, buckets[0].start_time), (1, 1, Some(LAST)));
}

#[tokio::test]
async fn the_mean_of_the_largest_numbers_is_one_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    server.append(vec![at(0, "a", 1.5e308), at(600, "a", 1.6e308), at(1_200, "a", 1.7e308)]).await;
    let request = AggregateRequest {
        start_time: time(0),
        end_time: time(1_800_000_000_000),
        functions: vec![Function::Mean.into(), Function::TimeWeightedMean.into()],
        ..AggregateRequest::default()
    };
    let (buckets, _) = ask(&server, request).await.unwrap();
    for mean in [buckets[0].mean, buckets[0].time_weighted_mean] {
        assert!((mean.unwrap() / 1.6e308 - 1.0).abs() < 1e-12, "{mean:?}");
    }
}

#[tokio::test]
async fn memory_does_not_grow_with_the_states_of_an_answer() {
    const EVENTS: usize = 2_000_000;
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    // No two values in a row are the same.
    let events = EVENTS.to_string();
    let ingest =
        ["bench", "ingest", "--runs", "1", "--encoding", "columns", "--signals", "4", "--events", &events];
    succeed(downlink(&server.url()).args(ingest));
    let request = AggregateRequest {
        resolution: Some(Resolution::Step(Duration { seconds: 500, nanos: 0 })),
        functions: vec![Function::StateRanges.into()],
        ..AggregateRequest::default()
    };
    let mut stream = server.query().await.aggregate(request).await.unwrap().into_inner();
    let (mut states, mut count) = (0, 0);
    while let Some(message) = stream.message().await.unwrap() {
        for bucket in message.buckets {
            assert!(!bucket.state_ranges_left_out);
            count += bucket.count;
            states += bucket.state_ranges.len();
        }
    }
    assert_eq!(count, EVENTS as u64);
    assert!(states >= EVENTS, "{states}");
    let most = resident_most_mib(&server);
    assert!(most <= RESIDENT_MAX_MIB, "{most} MiB");
    eprintln!("{most} MiB at most");
}
