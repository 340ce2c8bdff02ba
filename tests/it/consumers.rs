//! `ConsumerService`: where consumers have got to, as durable and as exact as the log itself.

mod client;
mod errors;
mod kill;

use downlink_proto::v1::consumer_service_client::ConsumerServiceClient;
use downlink_proto::v1::value::Kind;
use downlink_proto::v1::{
    CommitCheckpointRequest, Consumer, DeleteConsumerRequest, Event, GetConsumerRequest,
    ListConsumersRequest, ListConsumersResponse,
};
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::append::numbered;
use crate::harness::Server;
use crate::refusal::{Refusal, refused};

/// The calls, without their wrapping.
#[derive(Clone)]
struct Consumers(ConsumerServiceClient<Channel>);

impl Consumers {
    async fn of(server: &Server) -> Self {
        Self(ConsumerServiceClient::new(server.channel().await))
    }

    async fn try_commit(&self, request: CommitCheckpointRequest) -> Result<Consumer, Status> {
        let answer = self.0.clone().commit_checkpoint(request).await?;
        Ok(answer.into_inner().consumer.expect("the consumer"))
    }

    async fn commit(&self, consumer: &str, next_offset: u64) -> Consumer {
        self.try_commit(checkpoint(consumer, next_offset)).await.expect("a checkpoint is stored")
    }

    async fn try_get(&self, consumer: &str) -> Result<Consumer, Status> {
        let request = GetConsumerRequest { consumer: consumer.to_owned() };
        Ok(self.0.clone().get_consumer(request).await?.into_inner().consumer.expect("the consumer"))
    }

    async fn get(&self, consumer: &str) -> Consumer {
        self.try_get(consumer).await.expect("the consumer is known")
    }

    async fn try_list(&self, request: ListConsumersRequest) -> Result<ListConsumersResponse, Status> {
        Ok(self.0.clone().list_consumers(request).await?.into_inner())
    }

    async fn list(&self) -> Vec<Consumer> {
        self.try_list(ListConsumersRequest::default()).await.expect("a list").consumers
    }

    async fn try_delete(&self, consumer: &str) -> Result<(), Status> {
        let request = DeleteConsumerRequest { consumer: consumer.to_owned() };
        self.0.clone().delete_consumer(request).await.map(drop)
    }
}

fn checkpoint(consumer: &str, next_offset: u64) -> CommitCheckpointRequest {
    let consumer = consumer.to_owned();
    CommitCheckpointRequest { consumer, next_offset, ..CommitCheckpointRequest::default() }
}

/// What does not change with the log: lags do.
fn place(consumer: &Consumer) -> (&str, u64, &str) {
    (&consumer.name, consumer.next_offset, &consumer.etag)
}

#[tokio::test]
async fn the_first_commit_creates_a_consumer_and_it_is_there_after_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    server.append(numbered("a", 10)).await;
    let consumers = Consumers::of(&server).await;
    let stored = [consumers.commit("bot", 4).await, consumers.commit("archive é", 11).await];
    assert_eq!(place(&stored[0]), ("bot", 4, "11"));
    let moved = consumers.commit("bot", 7).await;
    assert!(moved.etag != stored[0].etag && moved.update_time.is_some(), "{moved:?}");
    server.kill();

    let server = Server::start(dir.path());
    let consumers = Consumers::of(&server).await;
    assert_eq!(consumers.get("bot").await, moved);
    assert_eq!(consumers.list().await, [stored[1].clone(), moved]);
}

#[tokio::test]
async fn a_checkpoint_is_an_event_on_the_consumers_own_signal_seen_by_those_who_name_it() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    server.append(numbered("a", 3)).await;
    let consumers = Consumers::of(&server).await;
    for next in [2, 3] {
        consumers.commit("bot", next).await;
    }
    consumers.try_delete("bot").await.unwrap();
    let values = |events: Vec<Event>| {
        events.into_iter().map(|event| event.value.unwrap().kind.unwrap()).collect::<Vec<_>>()
    };
    let checkpoints = server.read_of(&["_consumer/bot"]).await;
    assert_eq!(checkpoints.iter().map(|event| event.offset).collect::<Vec<_>>(), [4, 5, 6]);
    assert_eq!(values(checkpoints), [2, 3, 0].map(Kind::IntValue));
    assert_eq!(server.read_all().await.len(), 3, "not delivered to those who do not");
}

#[tokio::test]
async fn the_same_offset_again_stores_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    server.append(numbered("a", 10)).await;
    let consumers = Consumers::of(&server).await;
    let stored = consumers.commit("bot", 5).await;
    let head = server.info().await.head_offset;
    assert_eq!(consumers.commit("bot", 5).await, stored);
    let conditional = CommitCheckpointRequest { etag: stored.etag.clone(), ..checkpoint("bot", 5) };
    assert_eq!(consumers.try_commit(conditional).await.unwrap(), stored);
    assert_eq!(server.info().await.head_offset, head);
}

#[tokio::test]
async fn a_deleted_consumer_is_gone_until_it_commits_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path());
    server.append(numbered("a", 10)).await;
    let consumers = Consumers::of(&server).await;
    let before = consumers.commit("bot", 9).await;
    consumers.try_delete("bot").await.unwrap();
    assert_eq!(consumers.list().await, []);
    server.kill();
    server = Server::start(dir.path());
    let consumers = Consumers::of(&server).await;
    refused(consumers.try_get("bot").await).is(Code::NotFound, "CONSUMER_UNKNOWN");
    // A new consumer: nothing to go back from, and another etag.
    let after = consumers.commit("bot", 2).await;
    assert!(after.next_offset == 2 && after.etag != before.etag, "{after:?}");
}

#[tokio::test]
async fn lag_is_measured_to_the_newest_event_that_is_not_the_systems_own() {
    let dir = tempfile::tempdir().unwrap();
    // So that ingest times come from disk as well.
    let server = Server::start_with(dir.path(), ["--set", "tail_cache_bytes_max=0"]);
    for _ in 0..10 {
        server.append(numbered("a", 3)).await;
    }
    let consumers = Consumers::of(&server).await;
    let events = server.read_all().await;
    let nanos = |event: &Event| {
        let time = event.ingest_time.unwrap();
        i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos)
    };
    for next in 1..=31 {
        let consumer = consumers.commit(&format!("{next}"), next).await;
        let time = consumer.time_behind.unwrap();
        let found = i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos);
        let expected = events.get(next as usize - 1).map_or(0, |event| nanos(&events[29]) - nanos(event));
        assert_eq!((consumer.events_behind, found), (31 - next, expected), "at {next}");
        assert_eq!(consumers.get(&consumer.name).await, consumer);
    }
    // Who has read everything is not late, whatever is committed.
    let done = consumers.commit("31", server.info().await.head_offset).await;
    assert_eq!((done.events_behind, done.time_behind), (0, Some(Default::default())));
    server.append(numbered("b", 1)).await;
    assert_eq!(consumers.get("30").await.events_behind, server.info().await.head_offset - 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_consumers_commit_at_once_and_are_listed_by_pages() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    server.append(numbered("a", 1_000)).await;
    let consumers = Consumers::of(&server).await;
    let mut commits = JoinSet::new();
    for number in 0..1_000_u64 {
        let consumers = consumers.clone();
        commits.spawn(async move { consumers.commit(&format!("c/{number:04}"), number + 1).await });
    }
    let mut stored = commits.join_all().await;
    stored.sort_by(|a, b| a.name.cmp(&b.name));
    consumers.try_delete("c/0500").await.unwrap();
    stored.remove(500);
    for page_size in [0, 1, 333, 999, 5_000] {
        // Pages of one are many calls: some of them are enough.
        let pages_max = if page_size == 1 { 20 } else { usize::MAX };
        let (mut seen, mut token, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let page =
                consumers.try_list(ListConsumersRequest { page_size, page_token: token }).await.unwrap();
            assert!(page_size == 0 || page.consumers.len() <= page_size as usize);
            seen.extend(page.consumers);
            (token, pages) = (page.next_page_token, pages + 1);
            if token.is_empty() || pages == pages_max {
                break;
            }
        }
        let expected: Vec<_> = stored.iter().take(seen.len()).map(place).collect();
        assert_eq!(seen.iter().map(place).collect::<Vec<_>>(), expected, "pages of {page_size}");
        assert_eq!(seen.len(), if page_size == 1 { 20 } else { 999 });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_those_who_commit_with_the_same_etag_exactly_one_wins() {
    const ROUNDS: u64 = 100;
    const COMMITTERS: u64 = 4;
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    server.append(numbered("a", 1_000)).await;
    let consumers = [Consumers::of(&server).await, Consumers::of(&server).await];
    let mut winner = consumers[0].commit("bot", 1).await;
    for round in 0..ROUNDS {
        let mut race = JoinSet::new();
        for committer in 0..COMMITTERS {
            let consumers = consumers[(committer % 2) as usize].clone();
            let next = 2 + round * COMMITTERS + committer;
            let request = CommitCheckpointRequest { etag: winner.etag.clone(), ..checkpoint("bot", next) };
            race.spawn(async move { consumers.try_commit(request).await });
        }
        let (won, lost): (Vec<_>, Vec<_>) = race.join_all().await.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1, "round {round}: {won:?}");
        winner = won.into_iter().next().unwrap().unwrap();
        for status in lost {
            let refusal = Refusal::read(&status.unwrap_err()).is(Code::Aborted, "ETAG_MISMATCH");
            assert_eq!(refusal.metadata["etag"], winner.etag);
        }
        assert_eq!(place(&consumers[1].get("bot").await), place(&winner));
    }
    assert_eq!(server.read_of(&["_consumer/bot"]).await.len() as u64, ROUNDS + 1, "who lost stored nothing");
}
