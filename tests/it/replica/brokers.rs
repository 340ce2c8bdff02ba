//! Brokers that go away while a topic is read: they are waited for, and nothing begins anew.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use super::follow::{reaches, shows};
use super::{Origin, follower, restore_command};
use crate::append::numbered;
use crate::harness::Server;
use crate::kafka::Broker;
use crate::mirror::{caught_up, mirrored};

/// Said when a session begins.
const BEGINS: &str = "the topic is read";

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_under_a_replica_and_under_a_restore_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start();
    let topic = broker.topic();
    let primary = mirrored(&dir.path().join("primary"), &topic, &["mirror_checkpoint_ms=3600000"]);
    for number in 0..20 {
        for _ in 0..5 {
            primary.append(numbered(&format!("numbered/{number}"), 1_000)).await;
        }
    }
    caught_up(&primary).await;
    let replica = follower(&dir.path().join("replica"), &topic, &[]);
    let end = primary.info().await.head_offset;
    reaches(&replica, end).await;

    // With so little room it has not read all before the broker is gone.
    let restored = dir.path().join("restored");
    let mut command = restore_command(&topic, &restored);
    command.args(["--set", "follow_buffer_bytes_max=1048576"]).stderr(Stdio::piped());
    let mut restore = command.spawn().unwrap();
    let mut said = BufReader::new(restore.stderr.take().expect("piped")).lines().map_while(Result::ok);
    assert!(said.any(|line| line.contains(BEGINS)), "it begins");
    broker.kill();
    assert!(said.any(|line| line.contains("waiting for events of the topic")), "it waits");
    shows(&replica, "that the broker is gone", |replica| !replica.problem.is_empty()).await;
    primary.append(numbered("meanwhile", 100)).await;
    broker.restart();

    let rest: Vec<_> = said.collect();
    assert!(restore.wait().unwrap().success(), "{rest:?}");
    caught_up(&primary).await;
    reaches(&replica, end + 100).await;
    shows(&replica, "that it is back", |replica| replica.problem.is_empty()).await;
    assert_eq!(replica.said().matches(BEGINS).count(), 1, "{}", replica.said());
    assert!(!rest.iter().any(|line| line.contains(BEGINS)), "{rest:?}");
    let origin = Origin::of(&primary).await;
    origin.is_copied(&replica, 1, end + 100).await;
    origin.is_copied(&Server::start(&restored), 1, end).await;
}
