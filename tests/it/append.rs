//! `Append`: offsets, retries, conditions, partial batches.

use downlink_proto::v1::{AppendRequest, AppendResponse, ErrorReason, Event};
use tonic::Code;
use uuid::Uuid;

use crate::harness::{Server, event};
use crate::refusal::{Books, refused};

/// So many events on one signal, numbered from 0.
pub(crate) fn numbered(signal: &str, count: usize) -> Vec<Event> {
    (0_u32..).take(count).map(|number| event(signal, f64::from(number))).collect()
}

/// An event without a value.
fn bad() -> Event {
    Event { value: None, ..event("bad", 0.0) }
}

async fn append(server: &Server, request: AppendRequest) -> Result<AppendResponse, tonic::Status> {
    server.ingest().await.append(request).await.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn offsets_are_dense_from_one_whatever_the_sizes_of_the_batches() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut head = 1;
    for size in [1, 2, 1_000, 7] {
        let answer = server.append(numbered("dense", size as usize)).await;
        let expected = AppendResponse {
            first_offset: head,
            last_offset: head + size - 1,
            head_offset: head + size,
            ..AppendResponse::default()
        };
        assert_eq!(answer, expected);
        head += size;
    }
    let events = server.read_all().await;
    assert!(events.iter().map(|event| event.offset).eq(1..head));
    let times: Vec<_> = events.iter().map(|event| event.ingest_time.unwrap()).collect();
    assert!(times.is_sorted_by_key(|time| (time.seconds, time.nanos)), "ingest time never runs backwards");
    assert_eq!(Books::of(&server).await, Books::default().plus(head - 1, 0, 0));
}

#[tokio::test]
async fn a_retried_request_id_answers_the_first_offsets_also_after_kill_and_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path());
    let request = AppendRequest {
        events: numbered("once", 3),
        request_id: Uuid::new_v4().into(),
        ..Default::default()
    };
    server.append(numbered("before", 2)).await;
    let first = append(&server, request.clone()).await.unwrap();
    assert_eq!((first.first_offset, first.last_offset, first.duplicate), (3, 5, false));
    server.append(numbered("after", 4)).await;

    for restarts in 0..3 {
        let again = append(&server, request.clone()).await.unwrap();
        assert_eq!((again.first_offset, again.last_offset), (3, 5), "after {restarts} restarts");
        assert_eq!((again.head_offset, again.duplicate), (10, true));
        let books = Books::of(&server).await;
        assert_eq!((books.appended, books.rejected), (9, 0), "after {restarts} restarts");
        server.kill();
        server = Server::start(dir.path());
    }
    assert_eq!(server.read_all().await.len(), 9);
}

#[tokio::test]
async fn the_same_id_counts_its_events_as_duplicates() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let request = AppendRequest {
        events: numbered("once", 3),
        request_id: Uuid::new_v4().into(),
        ..Default::default()
    };
    for _ in 0..3 {
        append(&server, request.clone()).await.unwrap();
    }
    let other = AppendRequest { request_id: Uuid::new_v4().into(), ..request };
    assert_eq!(append(&server, other).await.unwrap().first_offset, 4, "another id is another batch");
    assert_eq!(Books::of(&server).await, Books::default().plus(6, 6, 0));
}

#[tokio::test]
async fn a_retry_is_recognised_while_the_first_try_is_still_on_its_way() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let request = AppendRequest {
        events: numbered("race", 5),
        request_id: Uuid::new_v4().into(),
        ..Default::default()
    };
    let mut tries = tokio::task::JoinSet::new();
    let client = server.ingest().await;
    for _ in 0..16 {
        let (mut client, request) = (client.clone(), request.clone());
        tries.spawn(async move { client.append(request).await.unwrap().into_inner() });
    }
    let answers = tries.join_all().await;
    assert!(answers.iter().all(|answer| (answer.first_offset, answer.last_offset) == (1, 5)), "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| !answer.duplicate).count(), 1);
    assert_eq!(Books::of(&server).await, Books::default().plus(5, 75, 0));
}

#[tokio::test]
async fn expected_head_lets_through_only_who_knows_where_the_log_ends() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let at =
        |head| AppendRequest { events: numbered("cas", 2), expected_head: Some(head), ..Default::default() };
    assert_eq!(append(&server, at(1)).await.unwrap().head_offset, 3);

    for wrong in [1, 2, 4, u64::MAX] {
        let refusal = refused(append(&server, at(wrong)).await).is(Code::Aborted, "EXPECTED_HEAD_MISMATCH");
        assert_eq!((&*refusal.metadata["head"], &*refusal.metadata["expected"]), ("3", &*wrong.to_string()));
    }
    refused(append(&server, at(0)).await)
        .is(Code::InvalidArgument, "INVALID_REQUEST")
        .names(&["expected_head"]);
    assert_eq!(append(&server, at(3)).await.unwrap().first_offset, 3);
    assert_eq!(Books::of(&server).await, Books::default().plus(4, 0, 10));
}

#[tokio::test]
async fn of_many_callers_with_the_same_expected_head_one_wins() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let client = server.ingest().await;
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let mut client = client.clone();
        let request =
            AppendRequest { events: numbered("cas", 1), expected_head: Some(1), ..Default::default() };
        callers.spawn(async move { client.append(request).await });
    }
    let (won, lost): (Vec<_>, Vec<_>) = callers.join_all().await.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    for result in lost {
        refused(result).is(Code::Aborted, "EXPECTED_HEAD_MISMATCH");
    }
    assert_eq!(Books::of(&server).await, Books::default().plus(1, 0, 15));
}

#[tokio::test]
async fn a_retry_with_its_old_expected_head_is_still_a_duplicate() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let request = AppendRequest {
        events: numbered("once", 1),
        request_id: Uuid::new_v4().into(),
        expected_head: Some(1),
        ..Default::default()
    };
    append(&server, request.clone()).await.unwrap();
    let again = append(&server, request).await.unwrap();
    assert_eq!((again.first_offset, again.duplicate), (1, true));
}

#[tokio::test]
async fn without_allow_partial_one_bad_event_keeps_the_whole_batch_out() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let events = vec![event("a", 1.0), bad(), event("b", 2.0), bad()];
    let result = append(&server, AppendRequest { events, ..Default::default() }).await;
    refused(result).is(Code::InvalidArgument, "INVALID_EVENT").names(&["events[1].value", "events[3].value"]);
    assert_eq!(Books::of(&server).await, Books::default().plus(0, 0, 4));
    assert_eq!(server.info().await.signals, 0);
}

#[tokio::test]
async fn allow_partial_keeps_the_good_events_and_names_each_bad_one() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let events =
        vec![bad(), event("a", 1.0), Event { signal: "x\u{7}".into(), ..event("b", 0.0) }, event("b", 2.0)];
    let request = AppendRequest { events, allow_partial: true, ..Default::default() };
    let answer = append(&server, request).await.unwrap();
    assert_eq!((answer.first_offset, answer.last_offset, answer.head_offset), (1, 2, 3));
    let named: Vec<_> = answer
        .rejections
        .iter()
        .map(|rejection| {
            let problem = rejection.problem.as_ref().unwrap();
            assert_eq!((problem.code, problem.reason()), (3, ErrorReason::InvalidEvent), "{problem:?}");
            (rejection.index, problem.field.as_str())
        })
        .collect();
    assert_eq!(named, [(0, "events[0].value"), (2, "events[2].signal")]);
    let kept: Vec<_> =
        server.read_all().await.into_iter().map(|event| (event.offset, event.signal)).collect();
    assert_eq!(kept, [(1, "a".to_owned()), (2, "b".to_owned())]);
    assert_eq!(Books::of(&server).await, Books::default().plus(2, 0, 2));
}

#[tokio::test]
async fn allow_partial_with_nothing_good_keeps_nothing_and_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let request = AppendRequest { events: vec![bad(), bad()], allow_partial: true, ..Default::default() };
    let answer = append(&server, request).await.unwrap();
    assert_eq!((answer.first_offset, answer.last_offset, answer.head_offset), (0, 0, 1));
    assert_eq!(answer.rejections.iter().map(|rejection| rejection.index).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(Books::of(&server).await, Books::default().plus(0, 0, 2));
}

#[tokio::test]
async fn an_unnamed_event_time_is_the_servers_clock() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let before = now();
    server.append(numbered("clock", 1)).await;
    let after = now();
    let event = &server.read_all().await[0];
    for time in [event.event_time.unwrap(), event.ingest_time.unwrap()] {
        let time =
            u128::try_from(time.seconds).unwrap() * 1_000_000_000 + u128::try_from(time.nanos).unwrap();
        assert!((before..=after).contains(&time), "{before} <= {time} <= {after}");
    }
}
