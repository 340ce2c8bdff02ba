//! What can be in the mirror's way: each is named, none holds ingestion up, and when it is gone the mirror goes on by itself.

use std::time::Duration;

use downlink_proto::v1::value::Kind;
use downlink_proto::v1::{Event, Value, VerifyLogRequest};

use super::{CHECKPOINTS, is_mirrored, mirrored, partitions_used};
use crate::append::numbered;
use crate::harness::{Server, event};
use crate::kafka::{Broker, PASSWORD};
use crate::random::Random;
use crate::verify::verify;

/// Appends are acknowledged, and nothing of them reaches the topic.
async fn only_ingests(server: &Server) {
    let before = server.info().await;
    server.append(numbered("meanwhile", 10)).await;
    let after = server.info().await;
    assert!(after.head_offset >= before.head_offset + 10);
    assert_eq!(after.mirrored_offset, before.mirrored_offset);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_with_what_is_not_of_this_log_is_left_alone_until_it_is_gone() {
    let cases: [(&[&str], &str); 3] = [
        (&["log_id=another", "offset=1"], "is an event of log \"another\""),
        (&[], "has a message without an offset"),
        (&["log_id=LOG", "offset=1000000"], "but the log ends at"),
    ];
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    server.append(numbered("before", 10)).await;
    let log_id = server.info().await.log_id;
    assert!(server.terminate().0.success());
    for (headers, problem) in cases {
        let topic = Broker::shared().topic();
        topic.create(2, &[]);
        let headers: Vec<_> = headers.iter().map(|header| header.replace("LOG", &log_id)).collect();
        topic.produce(&headers.iter().map(String::as_str).collect::<Vec<_>>());
        let server = mirrored(dir.path(), &topic, &[]);
        server
            .says(&["cannot be the mirror of this log", topic.name(), "position 0 of partition 0", problem])
            .await;
        only_ingests(&server).await;
        assert_eq!(topic.ends(), [(0, 1), (0, 0)], "nothing is added");
        topic.delete();
        is_mirrored(&server, &topic).await;
        assert!(server.terminate().0.success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_deleted_is_named_and_filled_again() {
    let dir = tempfile::tempdir().unwrap();
    let topic = Broker::shared().topic();
    let server = mirrored(dir.path(), &topic, &["mirror_checkpoint_ms=50"]);
    for round in 0..3 {
        server.append(numbered(&format!("round/{round}"), 1_000)).await;
        is_mirrored(&server, &topic).await;
        topic.delete();
        server.append(numbered("after", 10)).await;
        server.says(&["deleted", topic.name()]).await;
    }
    is_mirrored(&server, &topic).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_are_added_are_used_and_what_the_others_hold_is_not_sent_again() {
    let dir = tempfile::tempdir().unwrap();
    let topic = Broker::shared().topic();
    for (round, partitions) in [2, 5, 9].into_iter().enumerate() {
        if round == 0 {
            topic.create(partitions, &[])
        } else {
            topic.grow(partitions)
        }
        // Killed below: what lies behind the last checkpoint is looked for in all partitions.
        let server = mirrored(dir.path(), &topic, &["mirror_checkpoint_ms=100"]);
        for number in 0..50 {
            server.append(numbered(&format!("{round}/{number}"), 20)).await;
        }
        let (_, messages) = is_mirrored(&server, &topic).await;
        let used = partitions_used(&messages);
        assert_eq!(used, partitions as usize, "50 signals are spread over all partitions");
        topic.grow(partitions + 1);
        for number in 0..50 {
            server.append(numbered(&format!("{round}/grown/{number}"), 20)).await;
        }
        server.kill();
    }
    let server = mirrored(dir.path(), &topic, &[]);
    is_mirrored(&server, &topic).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_no_library_lets_one_make_is_named_like_any_other_and_stops_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let topic = Broker::shared().topic();
    topic.create(2, &[]);
    topic.produce_odd();
    let server = mirrored(dir.path(), &topic, &[]);
    server.says(&["cannot be the mirror of this log", "has a message without an offset"]).await;
    only_ingests(&server).await;
    topic.delete();
    is_mirrored(&server, &topic).await;
    // Also in a mirror that stands: it is named when the two are compared.
    topic.produce_odd();
    let verified = verify(&server, VerifyLogRequest { check_mirror: true, ..Default::default() }).await;
    assert_eq!(verified.expect("a summary").1.foreign_messages, 1);
    only_appends(&server).await;
}

/// Appends are acknowledged.
async fn only_appends(server: &Server) {
    let head = server.info().await.head_offset;
    assert!(server.append(numbered("afterwards", 10)).await.first_offset >= head);
}

/// An event that nothing makes small.
fn large() -> Event {
    let mut random = Random::seeded(1);
    let bytes = (0..100_000).map(|_| random.number() as u8).collect();
    Event { value: Some(Value { kind: Some(Kind::BytesValue(bytes)) }), ..event("large", 0.0) }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_too_large_for_the_topic_is_named_and_goes_once_the_topic_takes_it() {
    let dir = tempfile::tempdir().unwrap();
    let topic = Broker::shared().topic();
    topic.create(2, &["max.message.bytes=20000"]);
    let server = mirrored(dir.path(), &topic, &[]);
    server.append(numbered("before", 10)).await;
    is_mirrored(&server, &topic).await;
    let offset = server.append(vec![large()]).await.first_offset;
    server.append(numbered("after", 10)).await;
    server.says(&[&format!("event {offset} is refused"), topic.name(), "max.message.bytes"]).await;
    only_ingests(&server).await;
    topic.set("max.message.bytes=2000000");
    is_mirrored(&server, &topic).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_was_made_anew_and_holds_a_part_is_filled_on_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let topic = Broker::shared().topic();
    topic.create(2, &["max.message.bytes=2000000"]);
    let server = mirrored(dir.path(), &topic, &["mirror_checkpoint_ms=50"]);
    server.append(numbered("before", 10)).await;
    let offset = server.append(vec![large()]).await.first_offset;
    for _ in 0..5 {
        server.append(numbered("after", 1_000)).await;
    }
    is_mirrored(&server, &topic).await;
    while server.read_of(&[CHECKPOINTS]).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.kill();
    topic.delete();
    topic.create(2, &["max.message.bytes=20000"]);
    // It stops at what is too large, with less in the topic than there was.
    for _ in 0..2 {
        let server = mirrored(dir.path(), &topic, &["mirror_checkpoint_ms=3600000"]);
        server.says(&[&format!("event {offset} is refused"), topic.name()]).await;
        server.kill();
    }
    topic.set("max.message.bytes=2000000");
    let server = mirrored(dir.path(), &topic, &[]);
    is_mirrored(&server, &topic).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_password_is_named_and_the_right_one_is_read_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let topic = Broker::shared().topic();
    let file = dir.path().join("client.properties");
    let write = |password: &str| {
        let settings = "security.protocol=SASL_PLAINTEXT\nsasl.mechanisms=PLAIN\nsasl.username=mirror";
        std::fs::write(&file, format!("# for the mirror\n{settings}\nsasl.password={password}\n")).unwrap();
    };
    write("wrong");
    let brokers = format!("mirror_bootstrap_servers={}", Broker::shared().guarded_address());
    let file = format!("mirror_client_file={}", file.display());
    let server = mirrored(&dir.path().join("log"), &topic, &[&brokers, &file]);
    server.says(&["uthentication failed", "retry_in"]).await;
    only_ingests(&server).await;
    write(PASSWORD);
    is_mirrored(&server, &topic).await;
}
