//! Producers with a name: what they resume from, what is a duplicate, who is fenced.

use downlink_proto::v1::append_stream_request::Open;
use downlink_proto::v1::append_stream_response::{Ack, Message, Opened};
use downlink_proto::v1::{ErrorReason, Event, value};
use tonic::Code;

use crate::append::numbered;
use crate::harness::{Server, event, soon};
use crate::producer::{Producer, named};
use crate::refusal::{Books, Refusal};

/// What a producer learns of its past: the last sequence, its last offset, its events.
fn past(opened: &Opened) -> (u64, u64, u64) {
    (opened.last_durable_sequence, opened.last_offset, opened.durable_events)
}

fn duplicate(through_sequence: u64, last_offset: u64) -> Ack {
    Ack { through_sequence, last_offset, duplicate: true }
}

/// The last answer of a stream: a fatal `Reject` for this reason.
async fn fatal(producer: &mut Producer, sequence: u64, reason: ErrorReason) -> downlink_proto::v1::Problem {
    let reject = producer.reject().await;
    let problem = reject.problem.unwrap();
    assert_eq!((reject.sequence, reject.fatal, problem.reason()), (sequence, true, reason), "{problem:?}");
    assert_eq!(problem.code, 9, "FAILED_PRECONDITION");
    assert!(producer.rest().await.is_empty(), "the stream ends after a fatal Reject");
    problem
}

#[tokio::test]
async fn a_producer_that_returns_learns_where_it_was_also_after_kill_and_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path());
    server.append(numbered("other", 5)).await;
    let (mut producer, opened) = Producer::open(&server, named("p", 7)).await;
    assert_eq!(past(&opened), (0, 0, 0));
    producer.send(1, numbered("a", 2));
    producer.send(2, numbered("a", 3));
    producer.acks_through(2).await;
    server.append(numbered("other", 5)).await;

    for _ in 0..2 {
        assert_eq!(past(&Producer::open(&server, named("p", 7)).await.1), (2, 10, 5));
        server.kill();
        server = Server::start(dir.path());
    }
    let (mut producer, opened) = Producer::open(&server, named("p", 7)).await;
    assert_eq!(past(&opened), (2, 10, 5));
    producer.send(3, numbered("a", 1));
    assert_eq!(producer.ack().await, Ack { through_sequence: 3, last_offset: 16, duplicate: false });
}

#[tokio::test]
async fn a_batch_sent_again_is_acknowledged_with_its_first_offsets_and_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path());
    let (mut producer, _) = Producer::open(&server, named("p", 1)).await;
    for sequence in 1..=3 {
        producer.send(sequence, numbered("a", 2));
        producer.ack().await;
        server.append(numbered("between", 1)).await;
    }
    for _ in 0..2 {
        let (mut producer, _) = Producer::open(&server, named("p", 1)).await;
        for (sequence, last_offset) in [(1, 2), (2, 5), (3, 8)] {
            producer.send(sequence, numbered("a", 2));
            assert_eq!(producer.ack().await, duplicate(sequence, last_offset));
        }
        let books = Books::of(&server).await;
        assert_eq!((books.appended, books.duplicates, books.rejected), (9, 6, 0));
        server.kill();
        server = Server::start(dir.path());
    }
    assert_eq!(server.read_all().await.len(), 9);
}

#[tokio::test]
async fn a_batch_is_recognised_however_long_ago_it_was() {
    const BATCHES: u64 = 500;
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let (mut producer, _) = Producer::open(&server, named("p", 1)).await;
    for sequence in 1..=BATCHES {
        producer.send(sequence, numbered("a", 2));
    }
    producer.acks_through(BATCHES).await;
    for sequence in [1, 2, BATCHES / 2, BATCHES] {
        producer.send(sequence, numbered("a", 2));
        assert_eq!(producer.ack().await, duplicate(sequence, 2 * sequence));
    }
    producer.send(BATCHES + 1, numbered("a", 1));
    assert_eq!(producer.ack().await.last_offset, 2 * BATCHES + 1, "and the stream goes on where it was");
    assert_eq!(Books::of(&server).await, Books::default().plus(2 * BATCHES + 1, 8, 0));
}

#[tokio::test]
async fn a_gap_in_the_sequence_is_fatal_and_names_what_was_expected() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let (mut producer, _) = Producer::open(&server, named("p", 1)).await;
    producer.send(1, numbered("a", 2));
    producer.send(3, numbered("a", 4));
    assert_eq!(producer.ack().await.through_sequence, 1);
    let problem = fatal(&mut producer, 3, ErrorReason::SequenceGap).await;
    assert_eq!(problem.metadata["expected"], "2");

    let (mut producer, opened) = Producer::open(&server, named("p", 1)).await;
    assert_eq!(past(&opened), (1, 2, 2), "nothing of the refused batch is kept");
    producer.send(0, numbered("a", 1));
    fatal(&mut producer, 0, ErrorReason::SequenceGap).await;
    assert_eq!(Books::of(&server).await, Books::default().plus(2, 0, 5));
}

#[tokio::test]
async fn a_gap_leaves_no_hole_in_the_sequence_of_what_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let (mut producer, _) = Producer::open(&server, named("p", 1)).await;
    producer.send(1, numbered("good", 1));
    producer.send(3, numbered("gap", 1));
    for sequence in [2, 3, 4, 5] {
        producer.send(sequence, numbered("behind", 1));
    }
    producer.ack().await;
    fatal(&mut producer, 3, ErrorReason::SequenceGap).await;
    let (_, opened) = Producer::open(&server, named("p", 1)).await;
    // Whether what follows the gap is still taken is a race; that the sequence has no holes is not.
    let kept = server.read_all().await;
    assert_eq!(past(&opened), (kept.len() as u64, kept.len() as u64, kept.len() as u64));
    assert_eq!(kept[0].signal, "good");
    assert!(kept[1..].iter().all(|event| event.signal == "behind"), "{kept:?}");
}

#[tokio::test]
async fn a_newer_epoch_starts_over_at_1_and_fences_the_older_one_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path());
    let (mut old, _) = Producer::open(&server, named("p", 4)).await;
    old.send(1, numbered("old", 2));
    old.ack().await;

    let (mut new, opened) = Producer::open(&server, named("p", 5)).await;
    assert_eq!(past(&opened), (0, 0, 0));
    old.send(2, numbered("old", 3));
    fatal(&mut old, 2, ErrorReason::ProducerFenced).await;
    new.send(1, numbered("new", 1));
    assert_eq!(new.ack().await, Ack { through_sequence: 1, last_offset: 3, duplicate: false });
    assert_eq!(Books::of(&server).await, Books::default().plus(3, 0, 3));

    for _ in 0..2 {
        let status = Producer::try_open(&server, named("p", 4)).await.err().expect("fenced");
        Refusal::read(&status).is(Code::FailedPrecondition, "PRODUCER_FENCED");
        assert_eq!(past(&Producer::open(&server, named("p", 5)).await.1), (1, 3, 1));
        server.kill();
        server = Server::start(dir.path());
    }
}

#[tokio::test]
async fn a_newer_stream_of_the_same_epoch_fences_the_older_one() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let (mut old, _) = Producer::open(&server, named("p", 1)).await;
    old.send(1, numbered("a", 2));
    old.ack().await;
    let (mut new, opened) = Producer::open(&server, named("p", 1)).await;
    assert_eq!(past(&opened), (1, 2, 2));

    old.send(2, numbered("zombie", 3));
    fatal(&mut old, 2, ErrorReason::ProducerFenced).await;
    new.send(2, numbered("a", 1));
    assert_eq!(new.ack().await, Ack { through_sequence: 2, last_offset: 3, duplicate: false });
    assert!(server.read_all().await.iter().all(|event| event.signal == "a"));
}

#[tokio::test]
async fn producers_do_not_fence_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut producers = Vec::new();
    for (id, epoch) in [("p", 9), ("P", 1), ("p ", 1), ("é", 0)] {
        producers.push(Producer::open(&server, named(id, epoch)).await.0);
    }
    for sequence in 1..=3 {
        for producer in &mut producers {
            producer.send(sequence, numbered("a", 1));
            assert_eq!(producer.ack().await.through_sequence, sequence);
        }
    }
    assert_eq!(Books::of(&server).await, Books::default().plus(12, 0, 0));
}

/// Sends batches of one event, numbered like their sequences, taking the name over whenever it is fenced.
async fn write_until(server: &Server, last: u64) -> u64 {
    let mut taken_over = 0;
    loop {
        let (mut producer, opened) = Producer::open(server, named("shared", 1)).await;
        for sequence in opened.last_durable_sequence + 1..=last {
            producer.send(sequence, vec![event("shared", sequence as f64)]);
        }
        producer.close();
        let answers = producer.rest().await;
        if !matches!(answers.last(), Some(Message::Reject(_))) {
            return taken_over;
        }
        taken_over += 1;
    }
}

#[tokio::test]
async fn two_writers_with_one_name_never_write_a_sequence_twice_or_out_of_order() {
    const LAST: u64 = 3_000;
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let writers = async { tokio::join!(write_until(&server, LAST), write_until(&server, LAST)) };
    soon("both writers", writers).await;
    let number = |event: &Event| match event.value.as_ref().and_then(|value| value.kind.as_ref()) {
        Some(value::Kind::DoubleValue(number)) => *number as u64,
        other => panic!("{other:?}"),
    };
    let numbers: Vec<u64> = server.read_all().await.iter().map(number).collect();
    assert!(numbers.iter().copied().eq(1..=LAST), "{} events", numbers.len());
    assert_eq!(Books::of(&server).await.appended, LAST);
}

#[tokio::test]
async fn a_refused_batch_uses_a_producers_sequence_up() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let (mut producer, _) = Producer::open(&server, named("p", 1)).await;
    producer.send(1, vec![Event::default()]);
    producer.send(2, Vec::new());
    producer.send(3, numbered("a", 1));
    assert_eq!(producer.reject().await.sequence, 1);
    let acks = producer.acks_through(3).await;
    assert_eq!(acks.last().unwrap().last_offset, 1);
    assert_eq!(past(&Producer::open(&server, named("p", 1)).await.1), (3, 1, 1));
    assert_eq!(Books::of(&server).await, Books::default().plus(1, 0, 1));
}

#[tokio::test]
async fn an_empty_batch_of_a_new_epoch_is_not_taken_for_one_of_the_old_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let (mut producer, _) = Producer::open(&server, named("p", 1)).await;
    producer.send(1, numbered("old", 2));
    producer.ack().await;
    let (mut producer, _) = Producer::open(&server, named("p", 2)).await;
    producer.send(1, Vec::new());
    producer.send(2, numbered("new", 1));
    assert_eq!(producer.acks_through(2).await.last().unwrap().last_offset, 3);
    producer.send(1, Vec::new());
    // Settled before, but nothing of it is in the log.
    assert_eq!(producer.ack().await, Ack { duplicate: false, ..duplicate(1, 0) });
}

#[tokio::test]
async fn after_a_restart_a_producer_can_go_on_from_what_it_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path());
    for round in 0..3 {
        let (mut producer, opened) = Producer::open(&server, named("p", 1)).await;
        assert_eq!(opened.durable_events, round);
        let next = opened.last_durable_sequence + 1;
        producer.send(next, Vec::new());
        producer.send(next + 1, numbered("a", 1));
        producer.send(next + 2, vec![Event::default()]);
        producer.send(next + 3, Vec::new());
        producer.close();
        let last = producer.rest().await.pop();
        assert!(matches!(last, Some(Message::Ack(ack)) if ack.through_sequence == next + 3), "{last:?}");
        server.kill();
        server = Server::start(dir.path());
    }
}

#[tokio::test]
async fn the_name_of_a_producer_is_at_most_255_bytes_without_control_characters() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    for good in ["x".repeat(255), "x".repeat(254)] {
        Producer::open(&server, named(&good, 1)).await;
    }
    for bad in ["x".repeat(256), "é".repeat(128), "a\nb".to_owned(), "\u{7f}".to_owned()] {
        let open = Open { producer_id: bad, ..Open::default() };
        let status = Producer::try_open(&server, open).await.err().expect("refused");
        Refusal::read(&status).is(Code::InvalidArgument, "INVALID_REQUEST").names(&["open.producer_id"]);
    }
}
