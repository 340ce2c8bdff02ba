//! A read replica: the log of its primary at all times, whatever is killed, and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use downlink_proto::v1::admin_service_client::AdminServiceClient;
use downlink_proto::v1::consumer_service_client::ConsumerServiceClient;
use downlink_proto::v1::get_log_info_response::State;
use downlink_proto::v1::subscribe_response::Frame;
use downlink_proto::v1::{
    AppendRequest, AppendStreamRequest, CommitCheckpointRequest, DefineSignalsRequest, DeleteConsumerRequest,
    Replica, RollSegmentRequest, SubscribeRequest,
};
use tonic::Code;

use super::{Origin, append_all_kinds, fails, filled, follower, follower_command, hash, mirrored_log};
use crate::append::numbered;
use crate::harness::{Server, event, server_command, soon};
use crate::kafka::{Broker, Message};
use crate::kill::source::{Source, Way};
use crate::mirror::{CATCH_UP, caught_up, mirrored};
use crate::random::Random;
use crate::read::signals;
use crate::refusal::refused;
use crate::subscribe::Subscription;

const ROUNDS: u64 = 4;
const ROUNDS_SLOW: u64 = 100;

/// Waits until a replica has come so far.
pub(super) async fn reaches(replica: &Server, head: u64) {
    let reached = async {
        while replica.info().await.head_offset < head {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(CATCH_UP, reached).await;
    assert!(waited.is_ok(), "it does not come to {head}: {:?}", replica.info().await);
}

/// Waits until a replica says this of itself.
pub(super) async fn shows(replica: &Server, what: &str, is_shown: impl Fn(&Replica) -> bool) -> Replica {
    let shown = async {
        loop {
            let replica = replica.info().await.replica.expect("it is one");
            if is_shown(&replica) {
                break replica;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(CATCH_UP, shown).await;
    waited.unwrap_or_else(|_| panic!("{what} is not shown"))
}

/// Waits until a replica is where its primary is, and compares what they have.
async fn is_identical(primary: &Server, replica: &Server) {
    let compared = async {
        loop {
            let (of_primary, of_replica) = (hash(primary).await, hash(replica).await);
            if of_primary.0 == of_replica.0 {
                assert_eq!(of_primary, of_replica);
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon("the head of the primary", compared).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_serves_what_its_primary_has_live_and_refuses_everything_that_would_change_it() {
    let dir = tempfile::tempdir().unwrap();
    let topic = Broker::shared().topic();
    let primary = mirrored(&dir.path().join("primary"), &topic, &[]);
    append_all_kinds(&primary).await;
    caught_up(&primary).await;
    let replica = follower(&dir.path().join("replica"), &topic, &[]);
    let end = primary.info().await.head_offset;
    reaches(&replica, end).await;

    let request = SubscribeRequest { filter: signals(&["live"]), ..SubscribeRequest::default() };
    let mut live = Subscription::to(&replica, request).await;
    for number in 0..5 {
        primary.append(vec![event("live", f64::from(number))]).await;
        let got = loop {
            if let Frame::Events(batch) = live.frame().await {
                break batch.events;
            }
        };
        assert_eq!(got[0].signal, "live");
    }

    let mut ingest = replica.ingest().await;
    let mut consumers = ConsumerServiceClient::new(replica.channel().await);
    let messages = tokio_stream::iter([AppendStreamRequest::default()]);
    let refusals = [
        refused(ingest.append(AppendRequest { events: numbered("a", 1), ..AppendRequest::default() }).await),
        refused(ingest.append_stream(messages).await),
        refused(ingest.define_signals(DefineSignalsRequest::default()).await),
        refused(consumers.commit_checkpoint(CommitCheckpointRequest::default()).await),
        refused(consumers.delete_consumer(DeleteConsumerRequest::default()).await),
    ];
    for refusal in refusals {
        let refusal = refusal.is(Code::FailedPrecondition, "READ_REPLICA");
        assert_eq!(refusal.metadata["primary_url"], "http://primary");
        assert!(refusal.message.contains("http://primary"), "{refusal:?}");
    }
    let mut admin = AdminServiceClient::new(replica.channel().await);
    admin.roll_segment(RollSegmentRequest::default()).await.expect("segments are its own");

    caught_up(&primary).await;
    let origin = Origin::of(&primary).await;
    reaches(&replica, end + 5).await;
    origin.is_copied(&replica, 1, end + 5).await;
    is_identical(&primary, &replica).await;
    let info = replica.info().await;
    assert_eq!((info.state(), info.mirrored_offset), (State::Following, 0));
    let shown = shows(&replica, "that nothing is missing", |replica| replica.events_behind == 0).await;
    assert_eq!((&*shown.primary_url, &*shown.topic, &*shown.problem), ("http://primary", topic.name(), ""));
    assert_eq!(shown.duplicate_events, 0);

    // Not a server of its own without being told so.
    assert!(replica.terminate().0.success());
    let alone = Server::spawn(server_command(&dir.path().join("replica"))).err().expect("it does not start");
    assert!(alone.contains("is a read replica's") && alone.contains("REPLICA"), "{alone}");
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_the_replica_and_of_its_primary_under_load_makes_it_no_other_log() {
    let mut random = Random::announced("replica kill");
    let dir = tempfile::tempdir().unwrap();
    let topic = Broker::shared().topic();
    let (primary_dir, replica_dir) = (dir.path().join("primary"), dir.path().join("replica"));
    let settings = ["mirror_checkpoint_ms=50", "commit_events_max=256", "segment_blocks_max=50"];
    let mut primary = mirrored(&primary_dir, &topic, &settings);
    primary.append(numbered("first", 1)).await;
    let mut sources: Vec<_> =
        (0..6).map(|number| Source::new(format!("load/{number}"), Way::Stream, random.number())).collect();
    for round in 0..if crate::harness::slow() { ROUNDS_SLOW } else { ROUNDS } {
        let replica = follower(&replica_dir, &topic, &["segment_blocks_max=50"]);
        let before = replica.info().await.head_offset;
        let loads = sources.into_iter().map(|mut source| {
            let (url, batches) = (primary.url(), 100 + random.below(200));
            tokio::spawn(async move {
                source.append_more(&url, batches).await;
                source
            })
        });
        let loads: Vec<_> = loads.collect();
        // It is at work when it dies.
        reaches(&replica, before + 1 + random.below(300)).await;
        replica.kill();
        if round % 2 == 1 {
            primary.kill();
            primary = mirrored(&primary_dir, &topic, &settings);
        }
        sources = Vec::new();
        for load in loads {
            sources.push(load.await.unwrap());
        }
        // Kept beside the log, and not needed.
        if round % 3 == 2 {
            std::fs::remove_file(replica_dir.join("REPLICA")).unwrap();
        }
    }
    for source in &mut sources {
        source.settle(&primary.url()).await;
    }
    caught_up(&primary).await;
    let origin = Origin::of(&primary).await;
    let end = primary.info().await.mirrored_offset;
    let replica = follower(&replica_dir, &topic, &[]);
    reaches(&replica, end).await;
    origin.is_copied(&replica, 1, end).await;
    let copied = replica.read_everything().await;
    is_identical(&primary, &replica).await;
    let appended: u64 = sources.iter().map(|source| source.check(&copied)).sum();
    println!("{appended} events appended, {} in the replica", copied.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_names_what_is_missing_and_goes_on_when_it_comes() {
    let log = mirrored_log(20).await;
    let (all, _) = log.topic.read();
    let offset = |message: &Message| message.headers["offset"].parse::<u64>().unwrap();
    let (lacking, there): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|message| (50..=51).contains(&offset(message)));
    let topic = filled(4, &there);
    let dir = tempfile::tempdir().unwrap();
    let replica = follower(dir.path(), &topic, &[]);
    reaches(&replica, 50).await;
    let is_named = |replica: &Replica| replica.problem.contains("lacks the 2 events from 50 to 51");
    let shown = shows(&replica, "what is missing", is_named).await;
    // What has been in the way for longer is told as what has been for longer.
    let has_lasted = |replica: &Replica| is_named(replica) && !replica.problem.ends_with("(for 0 s)");
    shows(&replica, "how long it has been missing", has_lasted).await;
    assert!(shown.problem.ends_with(" s)"), "{shown:?}");
    let shown = shows(&replica, "how much waits", |replica| replica.events_behind == 349).await;
    assert!(shown.time_behind.is_some(), "{shown:?}");
    assert_eq!(replica.info().await.head_offset, 50, "nothing is taken before its turn");
    topic.fill(&lacking);
    reaches(&replica, log.end).await;
    log.origin.is_copied(&replica, 1, log.end).await;
    // And twice is once.
    topic.fill(&lacking);
    shows(&replica, "duplicates", |replica| replica.duplicate_events == 2 && replica.problem.is_empty())
        .await;
    assert_eq!(replica.info().await.head_offset, log.end);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_follows_partitions_that_are_added_and_a_topic_that_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let topic = Broker::shared().topic();
    let primary = mirrored(&dir.path().join("primary"), &topic, &["mirror_checkpoint_ms=50"]);
    primary.append(numbered("before", 100)).await;
    caught_up(&primary).await;
    let replica = follower(&dir.path().join("replica"), &topic, &[]);
    for round in 0..2 {
        topic.grow(8 + round);
        for number in 0..40 {
            primary.append(numbered(&format!("{round}/{number}"), 20)).await;
        }
        caught_up(&primary).await;
        reaches(&replica, primary.info().await.mirrored_offset).await;
    }
    topic.delete();
    primary.append(numbered("after", 100)).await;
    caught_up(&primary).await;
    reaches(&replica, primary.info().await.mirrored_offset).await;
    let origin = Origin::of(&primary).await;
    origin.is_copied(&replica, 1, 1_000).await;

    // Also while nobody is there to see it, and although each partition has more in it than where the replica had come to.
    assert!(replica.terminate().0.success());
    assert!(primary.terminate().0.success());
    topic.delete();
    topic.create(5, &["retention.ms=-1"]);
    let primary = mirrored(&dir.path().join("primary"), &topic, &["mirror_checkpoint_ms=50"]);
    for number in 0..40 {
        primary.append(numbered(&format!("anew/{number}"), 50)).await;
    }
    caught_up(&primary).await;
    let replica = follower(&dir.path().join("replica"), &topic, &[]);
    reaches(&replica, primary.info().await.mirrored_offset).await;
    Origin::of(&primary).await.is_copied(&replica, 1, 3_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_can_begin_before_there_is_a_topic_and_where_it_is_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let topic = Broker::shared().topic();
    let command = follower_command(&dir.path().join("replica"), &topic, &["follow_first_offset=11"]);
    let starting = tokio::task::spawn_blocking(move || Server::spawn(command));
    let primary = mirrored(&dir.path().join("primary"), &topic, &[]);
    primary.append(numbered("a", 30)).await;
    caught_up(&primary).await;
    let replica = starting.await.unwrap().unwrap_or_else(|said| panic!("it does not start: {said}"));
    reaches(&replica, 31).await;
    Origin::of(&primary).await.is_copied(&replica, 11, 31).await;

    // Told otherwise later, it does not pretend to.
    assert!(replica.terminate().0.success());
    let other = follower_command(&dir.path().join("replica"), &topic, &["follow_first_offset=5"]);
    let said = Server::spawn(other).err().expect("it does not start");
    assert!(said.contains("has a copy of the log from offset 11 on, not 5"), "{said}");
    let same = follower_command(&dir.path().join("replica"), &topic, &["follow_first_offset=11"]);
    assert!(Server::spawn(same).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_its_own_does_not_become_a_copy_of_another_one_by_mistake() {
    let dir = tempfile::tempdir().unwrap();
    let topic = Broker::shared().topic();
    let other = mirrored(&dir.path().join("other"), &topic, &[]);
    other.append(numbered("a", 30)).await;
    caught_up(&other).await;
    let own = dir.path().join("own");
    let server = Server::start(&own);
    server.append(numbered("b", 5)).await;
    assert!(server.terminate().0.success());
    let said = Server::spawn(follower_command(&own, &topic, &[])).err().expect("it does not start");
    assert!(said.contains("is the mirror of log") && said.contains(topic.name()), "{said}");
    let server = Server::start(&own);
    assert_eq!(server.append(numbered("b", 5)).await.first_offset, 6);
}

#[test]
fn a_replica_without_a_primary_or_with_a_mirror_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let topic = Broker::shared().topic();
    for (setting, word) in
        [("follow_primary_url=", "set follow_primary_url"), ("mirror_bootstrap_servers=x", "replica")]
    {
        let said =
            Server::spawn(follower_command(dir.path(), &topic, &[setting])).err().expect("it does not start");
        assert!(said.contains(word), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_named_also_while_other_events_keep_coming() {
    let log = mirrored_log(20).await;
    let (all, _) = log.topic.read();
    let (lacking, there): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|message| message.headers["offset"] == "50");
    let topic = Arc::new(filled(4, &there));
    let is_over = Arc::new(AtomicBool::new(false));
    let (busy, until) = (topic.clone(), is_over.clone());
    let coming = std::thread::spawn(move || {
        while !until.load(Ordering::Relaxed) {
            busy.fill(&there[there.len() - 1..]);
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let replica = follower(&dir.path().join("replica"), &topic, &[]);
    let is_named = |replica: &Replica| replica.problem.contains("lacks event 50");
    shows(&replica, "what is missing", is_named).await;
    let restored = dir.path().join("restored");
    fails(&topic, &restored, &[], &["lacks event 50", "1 event is missing in all"]);
    is_over.store(true, Ordering::Relaxed);
    coming.join().unwrap();
    topic.fill(&lacking);
    reaches(&replica, log.end).await;
    log.origin.is_copied(&replica, 1, log.end).await;
}
