//! `VerifyLog` with the mirror: the topic is compared with the log, and whatever is not the same is named.

use downlink_proto::v1::verify_log_response::difference::{Kind, Place};
use downlink_proto::v1::verify_log_response::{Difference, Frame, Summary};
use downlink_proto::v1::{Event, VerifyLogRequest};
use prost::Message as _;
use tonic::Code;

use super::{caught_up, is_mirrored, mirrored};
use crate::chain::{hashed, recompute_from};
use crate::harness::{Server, downlink, event, run, succeed};
use crate::kafka::{Broker, Message};
use crate::refusal::refused;
use crate::verify::verify;

fn with_mirror() -> VerifyLogRequest {
    VerifyLogRequest { check_mirror: true, ..VerifyLogRequest::default() }
}

/// What is not the same, and the sum of it.
async fn compared(server: &Server) -> (Vec<Difference>, Summary) {
    let (found, summary) = verify(server, with_mirror()).await.unwrap();
    let differences = found.into_iter().map(|frame| {
        let Frame::Difference(difference) = frame else { panic!("{frame:?}") };
        difference
    });
    (differences.collect(), summary)
}

fn offset(message: &Message) -> u64 {
    message.headers["offset"].parse().unwrap()
}

fn about(kind: Kind, message: &Message, position: u64, part: &str) -> Difference {
    Difference {
        kind: kind.into(),
        first_offset: offset(message),
        last_offset: offset(message),
        place: Some(Place { partition: message.partition as u32, position }),
        part: part.to_owned(),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_the_same_in_log_and_topic_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let topic = Broker::shared().topic();
    // Its own checkpoints would move the end.
    let server = mirrored(dir.path(), &topic, &["mirror_checkpoint_ms=3600000"]);
    for batch in 0..20 {
        let events =
            (0..50).map(|number| event(&format!("s/{}", number % 7), f64::from(batch * 50 + number)));
        server.append(events.collect()).await;
    }
    caught_up(&server).await;
    let (differences, whole) = compared(&server).await;
    assert_eq!((differences, whole.events, whole.compared_offset), (Vec::new(), 1_000, 1_001));
    succeed(downlink(&server.url()).args(["verify", "--mirror"]));

    // The hash of the log is that of the topic, as another program finds it.
    let lines = dir.path().join("topic.jsonl");
    std::fs::write(&lines, topic.lines()).unwrap();
    recompute_from(&server, &hashed(&server).await, &[&lines]);

    let (_, messages) = is_mirrored(&server, &topic).await;
    let ends = topic.ends();
    let partition = messages[500].partition;
    let mut end = ends[partition as usize].1;
    let here: Vec<_> = messages.iter().filter(|message| message.partition == partition).collect();
    // Twice; once more with another value; of another log; of an event that never was.
    let (twice, altered, foreign, never) = (here[5], here[6], here[7], here[8]);
    topic.repeat(twice, &[]);
    let mut changed = Event::decode(&*altered.value).unwrap();
    changed.source = "elsewhere".to_owned();
    topic.repeat(altered, &[&format!("value={}", hexadecimal(&changed.encode_to_vec()))]);
    topic.repeat(foreign, &["log_id=another"]);
    topic.repeat(never, &["offset=5000"]);
    topic.repeat(never, &["content-type=text/plain"]);
    let mut wanted = Vec::new();
    let mut next = || {
        end += 1;
        end - 1
    };
    wanted.push(about(Kind::Doubled, twice, next(), ""));
    let position = next();
    wanted.push(about(Kind::Doubled, altered, position, ""));
    wanted.push(about(Kind::Altered, altered, position, "source"));
    wanted.push(about(Kind::Foreign, foreign, next(), "log_id"));
    let position = next();
    wanted.push(Difference {
        first_offset: 5_000,
        last_offset: 5_000,
        ..about(Kind::Foreign, never, position, "offset")
    });
    let position = next();
    wanted.push(about(Kind::Doubled, never, position, ""));
    wanted.push(about(Kind::Altered, never, position, "header content-type"));
    // The brokers remove what is old.
    topic.truncate(partition, here[2].position);
    let (differences, summary) = compared(&server).await;
    let (missing, others): (Vec<_>, Vec<_>) =
        differences.into_iter().partition(|difference| difference.kind() == Kind::Missing);
    assert_eq!(others, wanted);
    let missing: Vec<u64> =
        missing.iter().flat_map(|missing| missing.first_offset..=missing.last_offset).collect();
    assert_eq!(missing, [offset(here[0]), offset(here[1])]);
    let counts =
        Summary { missing_events: 2, doubled_messages: 3, altered_messages: 2, foreign_messages: 2, ..whole };
    assert_eq!(summary, counts);

    // Only what was asked for.
    let few = VerifyLogRequest { last_offset: offset(here[0]), ..with_mirror() };
    let (_, summary) = verify(&server, few).await.unwrap();
    assert_eq!((summary.compared_offset, summary.missing_events), (offset(here[0]) + 1, 1));
    let output = run(downlink(&server.url()).args(["verify", "--mirror"]));
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("source is another in the mirror") && said.contains("2 events missing"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_mirror_or_its_brokers_nothing_is_compared_and_the_reason_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    refused(verify(&server, with_mirror()).await).is(Code::FailedPrecondition, "NO_MIRROR");
    drop(server);

    let topic = Broker::shared().topic();
    let server = mirrored(dir.path(), &topic, &["mirror_bootstrap_servers=127.0.0.1:9"]);
    let refusal = refused(verify(&server, with_mirror()).await).is(Code::Unavailable, "MIRROR_UNAVAILABLE");
    assert!(refusal.retry_after.is_some());
}
