//! The hash over the log's contents, from the outside: computed again by another program, and the same whatever happens.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use downlink_proto::v1::admin_service_client::AdminServiceClient;
use downlink_proto::v1::{Event, GetLogInfoResponse, Quality, RollSegmentRequest, Value, value};
use serde_json::Value as Json;

use crate::harness::{Server, event, peer, root, soon, succeed};

/// Facts about a log that is hashed up to its head.
pub(crate) async fn hashed(server: &Server) -> GetLogInfoResponse {
    let hashed = async {
        loop {
            let info = server.info().await;
            if info.hash_offset == info.head_offset {
                assert_eq!(info.head_hash.len(), 32);
                return info;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon("the hash of the head", hashed).await
}

/// Has another program compute the hash from what it reads; it must be the server's.
fn recompute(server: &Server, info: &GetLogInfoResponse) {
    recompute_from(server, info, &[]);
}

/// The same from the topic of the mirror, as `Topic::lines` has it, if there are such.
pub(crate) fn recompute_from(server: &Server, info: &GetLogInfoResponse, lines: &[&Path]) {
    let mut python = Command::new(peer("DOWNLINK_PYTHON"));
    let said = succeed(python.arg(root().join("tests/clients/hash_chain.py")).arg(server.url()).args(lines));
    let said: Json = serde_json::from_str(&said).unwrap();
    assert_eq!(said["hash_offset"], info.head_offset);
    assert_eq!((&said["computed"], &said["head_hash"]), (&said["head_hash"], &hexadecimal(&info.head_hash)));
}

fn hexadecimal(bytes: &[u8]) -> Json {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

/// Every kind of value, and all that an event can have.
fn rich_events() -> Vec<Event> {
    use value::Kind::{BoolValue, BytesValue, DoubleValue, IntValue, StringValue};
    let doubles = [0.0, -0.0, f64::NAN, f64::from_bits(0x7ff8_0000_dead_beef), f64::NEG_INFINITY, 5e-324];
    let mut kinds: Vec<_> = doubles.map(DoubleValue).into();
    kinds.extend([i64::MIN, -1, i64::MAX].map(IntValue));
    kinds.extend([
        BoolValue(true),
        BoolValue(false),
        StringValue(String::new()),
        StringValue("°C\0".to_owned()),
    ]);
    kinds.extend([BytesValue(Vec::new()), BytesValue((0..=255).collect())]);
    let qualities = [Quality::Good, Quality::Stale, Quality::Uncertain, Quality::Bad];
    let attributes = ["unit", "ä", "Z", "a"].map(|name| (name.to_owned(), name.repeat(3)));
    let rich =
        kinds.into_iter().zip(qualities.into_iter().cycle()).enumerate().map(|(number, (kind, quality))| {
            Event {
                signal: format!("rich/{}", number % 5),
                event_time: Some(prost_types::Timestamp {
                    seconds: -62_135_596_800 + number as i64,
                    nanos: 999_999_999,
                }),
                value: Some(Value { kind: Some(kind) }),
                quality: quality.into(),
                source: if number % 2 == 0 { "replay".to_owned() } else { String::new() },
                attributes: BTreeMap::from_iter(attributes[..number % 5].to_vec()),
                trace_context: vec![7; if number % 3 == 0 { 25 } else { 0 }],
                ..Event::default()
            }
        });
    rich.collect()
}

#[tokio::test]
async fn another_program_finds_the_same_hash_before_and_after_sealing_and_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let empty = hashed(&server).await;
    recompute(&server, &empty);
    server.append(rich_events()).await;
    recompute(&server, &hashed(&server).await);
    // More than a link, and something of the next.
    for batch in 0..70 {
        let numbers = (0..1_000).map(|number| event("plain", f64::from(batch * 1_000 + number) / 8.0));
        server.append(numbers.collect()).await;
    }
    let before = hashed(&server).await;
    recompute(&server, &before);
    assert_ne!(before.head_hash, empty.head_hash);

    let roll = RollSegmentRequest { wait_until_sealed: true };
    AdminServiceClient::new(server.channel().await).roll_segment(roll).await.unwrap();
    assert_eq!(hashed(&server).await.head_hash, before.head_hash, "sealed");
    server.kill();
    let server = Server::start(dir.path());
    assert_eq!(hashed(&server).await.head_hash, before.head_hash, "started again");
    server.kill();
    std::fs::remove_dir_all(dir.path().join("segments/derived")).unwrap();
    let server = Server::start(dir.path());
    let after = hashed(&server).await;
    assert_eq!((after.head_offset, after.head_hash), (before.head_offset, before.head_hash), "made again");
    server.append(vec![event("plain", 0.0)]).await;
    recompute(&server, &hashed(&server).await);
}
