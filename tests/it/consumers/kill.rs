//! kill -9 between commits: an answered checkpoint is there afterwards, and none is made up.

use std::time::Duration;

use super::*;
use crate::random::Random;

const ROUNDS: u64 = 15;
const CONSUMERS: u64 = 3;
const EVENTS: usize = 1_000;
/// The longest life of a server.
const LIFE_MS_MAX: u64 = 150;

/// Commits one offset after the other until the server is gone; gives back the last that was answered and the last
/// that was asked for.
async fn commit_until_broken(consumers: Consumers, name: String, mut answered: u64) -> (u64, u64) {
    loop {
        let next = answered % EVENTS as u64 + 1;
        let request = CommitCheckpointRequest { allow_rewind: true, ..checkpoint(&name, next) };
        match consumers.try_commit(request).await {
            Ok(stored) => {
                assert_eq!((stored.name, stored.next_offset), (name.clone(), next));
                answered = next;
            }
            Err(_) => return (answered, next),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answered_checkpoint_outlives_kill_9() {
    let mut random = Random::announced("kill_9_consumers");
    let dir = tempfile::tempdir().unwrap();
    let settings = ["--set", "segment_blocks_max=20", "--set", "snapshot_every_events=300"];
    let server = Server::start_with(dir.path(), settings);
    server.append(numbered("a", EVENTS)).await;
    drop(server);
    let (mut places, mut commits) = ([(0, 0); CONSUMERS as usize], 0);
    for round in 0..ROUNDS {
        let server = Server::start_with(dir.path(), settings);
        let consumers = Consumers::of(&server).await;
        for (number, (answered, asked)) in places.iter_mut().enumerate() {
            let found =
                consumers.try_get(&number.to_string()).await.map_or(0, |consumer| consumer.next_offset);
            assert!(
                found == *answered || found == *asked,
                "round {round}: {found}, not {answered} or {asked}"
            );
            *answered = found;
        }
        let mut committing = JoinSet::new();
        for (number, (answered, _)) in places.into_iter().enumerate() {
            let consumers = consumers.clone();
            committing.spawn(async move {
                (number, commit_until_broken(consumers, number.to_string(), answered).await)
            });
        }
        tokio::time::sleep(Duration::from_millis(random.below(LIFE_MS_MAX))).await;
        server.kill();
        for (number, place) in committing.join_all().await {
            commits += u64::from(place.0 != places[number].0);
            places[number] = place;
        }
    }
    assert!(commits > ROUNDS, "kills that hit nothing prove nothing: {commits}");
}
