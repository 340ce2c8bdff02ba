//! `VerifyLog` and `downlink verify`: what is whole is said to be, what is not is named.

use downlink_proto::v1::admin_service_client::AdminServiceClient;
use downlink_proto::v1::verify_log_response::{Frame, Summary};
use downlink_proto::v1::{Event, Gap, RollSegmentRequest, VerifyLogRequest, gap};
use serde_json::{Value as Json, json};
use tonic::{Code, Status};

use crate::chain::hashed;
use crate::harness::{Server, downlink, event, run, succeed};
use crate::refusal::refused;

/// Everything that a verification says but its progress, and the sum of it.
pub(crate) async fn verify(
    server: &Server,
    request: VerifyLogRequest,
) -> Result<(Vec<Frame>, Summary), Status> {
    let mut admin = AdminServiceClient::new(server.channel().await);
    let mut frames = admin.verify_log(request).await?.into_inner();
    let mut found = Vec::new();
    while let Some(response) = frames.message().await? {
        match response.frame.unwrap() {
            Frame::Progress(progress) => assert!(progress.verified_offset > 0),
            Frame::Summary(summary) => {
                assert_eq!(frames.message().await?, None, "the sum comes last");
                return Ok((found, summary));
            }
            frame @ (Frame::Damage(_) | Frame::Difference(_)) => found.push(frame),
        }
    }
    panic!("no summary, but {found:?}");
}

fn range(first_offset: u64, last_offset: u64) -> VerifyLogRequest {
    VerifyLogRequest { first_offset, last_offset, ..VerifyLogRequest::default() }
}

fn numbered(count: u32) -> Vec<Event> {
    (0..count).map(|number| event("a", f64::from(number))).collect()
}

async fn seal(server: &Server) {
    let roll = RollSegmentRequest { wait_until_sealed: true };
    AdminServiceClient::new(server.channel().await).roll_segment(roll).await.unwrap();
}

#[tokio::test]
async fn a_whole_log_is_said_to_be_whole_with_the_hash_that_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let (found, summary) = verify(&server, range(0, 0)).await.unwrap();
    assert_eq!((found, summary.events, summary.hash_offset), (Vec::new(), 0, 1));
    server.append(numbered(1_000)).await;
    seal(&server).await;
    server.append(numbered(500)).await;

    let info = hashed(&server).await;
    let whole =
        Summary { events: 1_500, head_hash: info.head_hash, hash_offset: 1_501, ..Summary::default() };
    assert_eq!(verify(&server, range(0, 0)).await.unwrap(), (Vec::new(), whole.clone()));
    assert_eq!(verify(&server, range(1, 1_500)).await.unwrap(), (Vec::new(), whole.clone()));
    let (found, part) = verify(&server, range(1, 700)).await.unwrap();
    assert_eq!((found, part.events, part.hash_offset), (Vec::new(), 700, 701));
    assert!(!part.head_hash.is_empty() && part.head_hash != whole.head_hash);
    let (found, part) = verify(&server, range(900, 1_100)).await.unwrap();
    assert_eq!((found, part), (Vec::new(), Summary { events: 201, ..Summary::default() }));

    let said = succeed(downlink(&server.url()).args(["verify", "--output", "json"]));
    let said: Json = serde_json::from_str(&said).unwrap();
    let hash: String = whole.head_hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let wanted = json!({
        "events": 1_500, "damaged_events": 0, "changed_events": 0, "hash_offset": 1_501, "head_hash": hash,
        "compared_offset": 0, "missing_events": 0, "doubled_messages": 0, "altered_messages": 0, "foreign_messages": 0,
    });
    assert_eq!(said, wanted);
    let said = succeed(downlink(&server.url()).args(["verify", "--from", "2"]));
    assert_eq!(said, "1,499 events read, nothing wrong\n");
}

#[tokio::test]
async fn a_range_that_makes_no_sense_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    server.append(numbered(3)).await;
    refused(verify(&server, range(3, 1)).await)
        .is(Code::InvalidArgument, "INVALID_REQUEST")
        .names(&["last_offset"]);
    for (first, last) in [(5, 0), (1, 4), (5, 9)] {
        refused(verify(&server, range(first, last)).await).is(Code::OutOfRange, "OFFSET_BEYOND_HEAD");
    }
    assert_eq!(
        verify(&server, range(4, 0)).await.unwrap(),
        (Vec::new(), Summary::default()),
        "nothing there yet"
    );
}

#[tokio::test]
async fn damage_is_named_and_the_command_ends_with_3() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    for _ in 0..3 {
        server.append(numbered(100)).await;
        seal(&server).await;
    }
    server.append(numbered(100)).await;
    server.kill();
    std::fs::remove_dir_all(dir.path().join("segments/00000000000000000101.sealed")).unwrap();

    let server = Server::start(dir.path());
    let lost = Gap { first_offset: 101, last_offset: 200, reason: gap::Reason::Corruption.into() };
    let (found, summary) = verify(&server, range(0, 0)).await.unwrap();
    assert_eq!(found, [Frame::Damage(lost)]);
    assert_eq!(summary, Summary { events: 300, damaged_events: 100, ..Summary::default() });
    let (found, summary) = verify(&server, range(0, 150)).await.unwrap();
    assert_eq!(found, [Frame::Damage(Gap { last_offset: 150, ..lost })]);
    assert_eq!((summary.events, summary.damaged_events), (100, 50));
    // The hash that the log has ends there, and says so.
    let info = server.info().await;
    assert!(info.hash_offset <= 101, "{info:?}");

    let output = run(downlink(&server.url()).arg("verify"));
    assert_eq!(output.status.code(), Some(3));
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(out, "300 events read, 100 events damaged\n");
    assert!(err.contains("101") && err.contains("200") && err.contains("100 events damaged"), "{err}");
}
