//! `Subscribe`: from history into life, without a pause that is not explained.

use downlink_proto::v1::subscribe_response::Frame;
use downlink_proto::v1::{Edge, Event, SubscribeRequest, SubscribeResponse};
use prost_types::Duration;
use tonic::{Code, Status, Streaming};

use crate::append::numbered;
use crate::harness::{Server, event, soon};
use crate::read::{at, edge, signals};
use crate::refusal::{Refusal, refused};

/// One subscription; every frame is checked for its resume token.
pub(crate) struct Subscription {
    frames: Streaming<SubscribeResponse>,
    /// Where to resume.
    pub(crate) next: u64,
    /// A plain one gets each event once, in order.
    is_plain: bool,
}

impl Subscription {
    /// Subscribes, and reads `Started`.
    pub(crate) async fn to(server: &Server, request: SubscribeRequest) -> Self {
        let mut subscription = Self::try_to(server, request).await.unwrap();
        let started = subscription.frame().await;
        assert!(matches!(started, Frame::Started(_)), "{started:?} is not Started");
        subscription
    }

    /// Subscribes.
    pub(crate) async fn try_to(server: &Server, request: SubscribeRequest) -> Result<Self, Status> {
        let is_plain = request.report.is_none() && request.on_slow == 0;
        let frames = soon("Subscribe", server.query().await.subscribe(request)).await?.into_inner();
        Ok(Self { frames, next: 0, is_plain })
    }

    /// The next frame, or what ended the stream.
    pub(crate) async fn try_frame(&mut self) -> Result<Option<Frame>, Status> {
        let Some(response) = soon("a frame", self.frames.message()).await? else { return Ok(None) };
        assert!(response.next_offset >= self.next.max(1), "the resume token goes on: {response:?}");
        let frame = response.frame.expect("never an empty frame");
        if let Frame::Events(batch) = &frame {
            assert!(!batch.events.is_empty() || batch.conflated_events > 0);
            assert!(batch.events.is_sorted_by(|one, next| one.offset < next.offset));
            if self.is_plain {
                assert_eq!(batch.conflated_events, 0);
                assert!(batch.events[0].offset >= self.next, "not before the token of the frame before");
                let last = batch.events.last().unwrap().offset;
                assert!(last < response.next_offset, "the token is behind its events");
            }
        }
        self.next = response.next_offset;
        Ok(Some(frame))
    }

    /// The next frame, which must come.
    pub(crate) async fn frame(&mut self) -> Frame {
        self.try_frame().await.expect("a frame").expect("a subscription goes on for ever")
    }

    /// At least so many events, whatever else is said meanwhile.
    pub(crate) async fn events(&mut self, count: usize) -> Vec<Event> {
        let mut events = Vec::new();
        while events.len() < count {
            if let Frame::Events(batch) = self.frame().await {
                events.extend(batch.events);
            }
        }
        events
    }

    /// Up to `CaughtUp`: the offsets on the way, and the other frames.
    pub(crate) async fn caught_up(&mut self) -> (Vec<u64>, Vec<Frame>) {
        let (mut offsets, mut others) = (Vec::new(), Vec::new());
        loop {
            match self.frame().await {
                Frame::Events(batch) => offsets.extend(batch.events.iter().map(|event| event.offset)),
                Frame::CaughtUp(caught_up) => {
                    assert!(caught_up.time.is_some());
                    return (offsets, others);
                }
                other @ (Frame::Started(_)
                | Frame::FellBehind(_)
                | Frame::Heartbeat(_)
                | Frame::Gap(_)
                | Frame::Draining(_)) => others.push(other),
            }
        }
    }
}

fn from(start: u64) -> SubscribeRequest {
    SubscribeRequest { start: at(start), ..Default::default() }
}

#[tokio::test]
async fn history_comes_first_then_caught_up_then_what_is_appended() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    server.append(numbered("a", 10)).await;
    let head = SubscribeRequest { start: edge(Edge::Head), ..Default::default() };
    let oldest = SubscribeRequest { start: edge(Edge::Oldest), ..Default::default() };
    for (request, first) in
        [(from(1), 1), (from(4), 4), (oldest, 1), (from(11), 11), (head, 11), (Default::default(), 11)]
    {
        let before = server.info().await.head_offset;
        let first = if first == 11 && request.start != at(11) { before } else { first };
        let mut subscription = Subscription::to(&server, request.clone()).await;
        let (history, others) = subscription.caught_up().await;
        assert!(history.iter().copied().eq(first..before), "{request:?}: {history:?}");
        assert!(others.is_empty(), "{others:?}");
        assert_eq!(subscription.next, before);
        for offset in before..before + 3 {
            server.append(vec![event("live", offset as f64)]).await;
            let Frame::Events(batch) = subscription.frame().await else { panic!("no events") };
            assert_eq!(batch.events.len(), 1);
            assert_eq!((batch.events[0].offset, subscription.next), (offset, offset + 1));
            assert_eq!(batch.events[0].value, event("", offset as f64).value);
        }
    }
}

#[tokio::test]
async fn started_comes_at_once_and_describes_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    server.append(numbered("a", 3)).await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let mut subscription = Subscription::try_to(&server, from(2)).await.unwrap();
        let Frame::Started(started) = subscription.frame().await else { panic!("not Started") };
        assert_eq!((started.oldest_offset, started.head_offset, subscription.next), (1, 4, 2));
        assert_eq!(started.log_id, server.info().await.log_id);
        ids.push(started.subscription_id);
    }
    assert!(!ids[0].is_empty() && ids[0] != ids[1], "{ids:?}");
}

#[tokio::test]
async fn silence_is_broken_by_heartbeats_that_carry_the_head_and_a_resume_token() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let heartbeat_interval = Some(Duration { seconds: 0, nanos: 150_000_000 });
    let request = SubscribeRequest { filter: signals(&["wanted"]), heartbeat_interval, ..Default::default() };
    let mut subscription = Subscription::to(&server, request).await;
    subscription.caught_up().await;
    server.append(numbered("unwanted", 5)).await;
    let mut last = (0, 0);
    for _ in 0..100 {
        let Frame::Heartbeat(heartbeat) = subscription.frame().await else { panic!("no heartbeat") };
        assert!(heartbeat.time.is_some());
        last = (heartbeat.head_offset, heartbeat.suppressed_events);
        if last == (6, 5) {
            break;
        }
    }
    assert_eq!((last, subscription.next), ((6, 5), 6), "what does not match is passed over and counted");
    server.append(numbered("wanted", 1)).await;
    assert_eq!(subscription.events(1).await[0].offset, 6);
}

#[tokio::test]
async fn heartbeats_come_no_more_often_than_every_100_ms() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    for heartbeat_interval in [Duration::default(), Duration { seconds: -5, nanos: 0 }] {
        let request = SubscribeRequest { heartbeat_interval: Some(heartbeat_interval), ..Default::default() };
        let mut subscription = Subscription::to(&server, request).await;
        subscription.caught_up().await;
        let started = std::time::Instant::now();
        for _ in 0..3 {
            assert!(matches!(subscription.frame().await, Frame::Heartbeat(_)));
        }
        // The first may have been on its way before the clock was read.
        assert!(started.elapsed().as_millis() >= 200, "{:?}", started.elapsed());
    }
}

#[tokio::test]
async fn a_filter_applies_to_history_and_life() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mixed =
        || vec![event("iss/a", 1.0), event("moon/a", 2.0), event("iss/b", 3.0), event("iss/c/d", 4.0)];
    server.append(mixed()).await;
    let request = SubscribeRequest { filter: signals(&["iss/*"]), ..from(1) };
    let mut subscription = Subscription::to(&server, request).await;
    assert_eq!(subscription.caught_up().await.0, [1, 3]);
    assert_eq!(subscription.next, 5, "also what does not match is behind it");
    server.append(mixed()).await;
    let live: Vec<_> = subscription.events(2).await.into_iter().map(|event| event.offset).collect();
    assert_eq!(live, [5, 7]);
}

#[tokio::test]
async fn a_message_has_at_most_the_events_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    server.append(numbered("a", 100)).await;
    let mut subscription =
        Subscription::to(&server, SubscribeRequest { max_batch_events: 7, ..from(1) }).await;
    let mut sizes = Vec::new();
    while let Frame::Events(batch) = subscription.frame().await {
        sizes.push(batch.events.len());
    }
    assert_eq!((sizes.iter().sum::<usize>(), sizes.iter().max()), (100, Some(&7)));
}

#[tokio::test]
async fn every_subscriber_gets_every_event_of_many_writers_in_the_same_order() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut subscribers = Vec::new();
    for _ in 0..8 {
        subscribers.push(Subscription::to(&server, from(1)).await);
    }
    let client = server.ingest().await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..4 {
        let mut client = client.clone();
        writers.spawn(async move {
            for _ in 0..50 {
                let events = numbered(&format!("writer/{writer}"), 5);
                client
                    .append(downlink_proto::v1::AppendRequest { events, ..Default::default() })
                    .await
                    .unwrap();
            }
        });
    }
    writers.join_all().await;
    let expected = server.read_all().await;
    assert_eq!(expected.len(), 1_000);
    for subscriber in &mut subscribers {
        assert_eq!(subscriber.events(1_000).await, expected);
    }
}

#[tokio::test]
async fn a_start_beyond_the_head_is_out_of_range() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let result = Subscription::try_to(&server, from(2)).await.map(|subscription| subscription.next);
    let refusal: Refusal = refused(result).is(Code::OutOfRange, "OFFSET_BEYOND_HEAD");
    assert_eq!(refusal.metadata["head"], "1");
}
