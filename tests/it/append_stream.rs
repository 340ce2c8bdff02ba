//! `AppendStream` without a producer's name: order, acknowledgements, refusals, the end of a stream.

use downlink_proto::v1::append_stream_request::{self, Batch, Open};
use downlink_proto::v1::append_stream_response::{Ack, Message};
use downlink_proto::v1::{ErrorReason, Event};
use tonic::Code;

use crate::append::numbered;
use crate::harness::{Server, event};
use crate::producer::Producer;
use crate::refusal::{Books, Refusal};

/// An event without a value.
fn bad() -> Event {
    Event { value: None, ..event("bad", 0.0) }
}

fn ack(through_sequence: u64, last_offset: u64) -> Message {
    Message::Ack(Ack { through_sequence, last_offset, duplicate: false })
}

#[tokio::test]
async fn an_anonymous_stream_begins_at_sequence_1_and_tells_the_limits() {
    let dir = tempfile::tempdir().unwrap();
    let server =
        Server::start_with(dir.path(), ["--set", "batch_events_max=77", "--set", "batch_bytes_max=5555"]);
    for _ in 0..2 {
        let (producer, opened) = Producer::open(&server, Open::default()).await;
        assert_eq!((opened.last_durable_sequence, opened.last_offset, opened.durable_events), (0, 0, 0));
        assert_eq!((opened.max_batch_events, opened.max_batch_bytes), (77, 5555));
        assert_eq!(opened.log_id, server.info().await.log_id);
        producer.send(1, numbered("a", 3));
        assert!(matches!(&producer.finish().await[..], [Message::Ack(Ack { through_sequence: 1, .. })]));
    }
    assert_eq!(Books::of(&server).await, Books::default().plus(6, 0, 0));
}

#[tokio::test]
async fn cumulative_acknowledgements_never_run_backwards_and_reach_the_last_batch() {
    const BATCHES: u64 = 2_000;
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let (mut producer, _) = Producer::open(&server, Open::default()).await;
    for sequence in 1..=BATCHES {
        producer.send(sequence, numbered("pipe", 3));
    }
    let acks = producer.acks_through(BATCHES).await;
    assert!(acks.is_sorted_by(|one, next| one.through_sequence < next.through_sequence));
    for ack in &acks {
        assert_eq!(ack.last_offset, 3 * ack.through_sequence, "{ack:?}");
    }
    assert!(producer.finish().await.is_empty());
    let events = server.read_all().await;
    assert!(events.iter().map(|event| event.offset).eq(1..=3 * BATCHES));
}

#[tokio::test]
async fn what_is_acknowledged_can_be_read_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let (mut producer, _) = Producer::open(&server, Open::default()).await;
    for sequence in 1..=20 {
        producer.send(sequence, numbered("now", 1));
        assert_eq!(producer.ack().await.last_offset, sequence);
        assert_eq!(server.read_all().await.len() as u64, sequence);
    }
}

#[tokio::test]
async fn a_rejected_batch_in_the_middle_of_a_pipeline_does_not_stop_it() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let (mut producer, _) = Producer::open(&server, Open::default()).await;
    for sequence in 1..=9 {
        let events = match sequence {
            3 => vec![event("a", 0.0), bad()],
            6 => numbered("many", 1_001),
            _ => numbered("a", 2),
        };
        producer.send(sequence, events);
    }
    producer.close();
    let answers = producer.rest().await;
    let (mut settled, mut rejects) = (0, Vec::new());
    for answer in &answers {
        match answer {
            Message::Ack(ack) => {
                assert!(ack.through_sequence > settled, "{answers:?}");
                settled = ack.through_sequence;
            }
            Message::Reject(reject) => {
                assert_eq!(
                    settled,
                    reject.sequence - 1,
                    "before it everything was acknowledged: {answers:?}"
                );
                assert!(!reject.fatal && reject.rejections.is_empty(), "{reject:?}");
                let problem = reject.problem.as_ref().unwrap();
                rejects.push((reject.sequence, problem.code, problem.reason(), problem.field.as_str()));
            }
            Message::Opened(_) | Message::Draining(_) => panic!("{answer:?}"),
        }
    }
    let expected =
        [(3, 3, ErrorReason::InvalidEvent, "events[1].value"), (6, 3, ErrorReason::BatchTooLarge, "")];
    assert_eq!((settled, &rejects[..]), (9, &expected[..]));
    assert_eq!(answers.last(), Some(&ack(9, 14)));
    assert_eq!(Books::of(&server).await, Books::default().plus(14, 0, 1_003));
}

#[tokio::test]
async fn allow_partial_keeps_the_good_events_of_a_batch() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let (mut producer, _) = Producer::open(&server, Open { allow_partial: true, ..Open::default() }).await;
    producer.send(1, vec![bad(), event("a", 1.0), bad(), event("a", 2.0)]);
    let reject = producer.reject().await;
    assert_eq!((reject.sequence, reject.fatal), (1, false));
    let rejected: Vec<_> = reject.rejections.iter().map(|rejection| rejection.index).collect();
    assert_eq!(rejected, [0, 2]);
    let problem = reject.rejections[1].problem.as_ref().unwrap();
    assert_eq!((problem.reason(), problem.field.as_str()), (ErrorReason::InvalidEvent, "events[2].value"));
    assert_eq!(Message::Ack(producer.ack().await), ack(1, 2));

    producer.send(2, vec![bad()]);
    assert_eq!(producer.reject().await.rejections.len(), 1);
    assert_eq!(Message::Ack(producer.ack().await), ack(2, 0));

    producer.send(3, vec![event("a", 3.0)]);
    assert_eq!(Message::Ack(producer.ack().await), ack(3, 3));
    let values: Vec<_> = server.read_all().await.into_iter().map(|event| event.value).collect();
    assert_eq!(values, [1.0, 2.0, 3.0].map(|number| event("a", number).value));
    assert_eq!(Books::of(&server).await, Books::default().plus(3, 0, 3));
}

#[tokio::test]
async fn an_empty_batch_uses_its_sequence_up() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let (mut producer, _) = Producer::open(&server, Open::default()).await;
    producer.send(1, Vec::new());
    assert_eq!(Message::Ack(producer.ack().await), ack(1, 0));
    producer.send(2, numbered("a", 2));
    assert_eq!(Message::Ack(producer.ack().await), ack(2, 2));
    producer.send(3, Vec::new());
    assert_eq!(Message::Ack(producer.ack().await), ack(3, 0));
    assert_eq!(Books::of(&server).await, Books::default().plus(2, 0, 0));
}

#[tokio::test]
async fn a_half_closed_stream_still_gets_every_acknowledgement_and_a_good_end() {
    const BATCHES: u64 = 200;
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let (mut producer, _) = Producer::open(&server, Open::default()).await;
    for sequence in 1..=BATCHES {
        producer.send(sequence, numbered("a", 5));
    }
    producer.close();
    assert_eq!(producer.rest().await.last(), Some(&ack(BATCHES, 5 * BATCHES)));
}

#[tokio::test]
async fn a_gap_in_an_anonymous_stream_ends_it_after_what_was_good() {
    for (wrong, expected) in [(1, "2"), (3, "2"), (0, "2"), (u64::MAX, "2")] {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(dir.path());
        let (mut producer, _) = Producer::open(&server, Open::default()).await;
        producer.send(1, numbered("a", 2));
        producer.send(wrong, numbered("a", 3));
        assert_eq!(Message::Ack(producer.ack().await), ack(1, 2));
        let reject = producer.reject().await;
        let problem = reject.problem.unwrap();
        assert_eq!((reject.sequence, reject.fatal), (wrong, true));
        assert_eq!((problem.code, problem.reason()), (9, ErrorReason::SequenceGap));
        assert_eq!(problem.metadata["expected"], expected);
        assert!(producer.rest().await.is_empty(), "the stream ends after a fatal Reject");
        assert_eq!(Books::of(&server).await, Books::default().plus(2, 0, 3));
    }
}

#[tokio::test]
async fn open_must_come_first_and_only_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let batch = Batch { sequence: 1, events: numbered("a", 4), columns: None };
    let mut hasty = Producer::begin(&server, [append_stream_request::Message::Batch(batch)]).await.unwrap();
    let status = hasty.try_answer().await.unwrap_err();
    Refusal::read(&status).is(Code::InvalidArgument, "INVALID_REQUEST").names(&["open"]);

    let (mut twice, _) = Producer::open(&server, Open::default()).await;
    twice.send(1, numbered("a", 1));
    twice.say(append_stream_request::Message::Open(Open::default()));
    assert_eq!(Message::Ack(twice.ack().await), ack(1, 1), "what was good before is acknowledged");
    let status = twice.try_answer().await.unwrap_err();
    Refusal::read(&status).is(Code::InvalidArgument, "INVALID_REQUEST").names(&["open"]);
    assert_eq!(Books::of(&server).await, Books::default().plus(1, 0, 4));
}

#[tokio::test]
async fn a_stream_that_says_nothing_ends_well() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let silent = Producer::begin(&server, []).await.unwrap();
    assert!(silent.finish().await.is_empty());
}
