//! Consumers of the client library: whoever takes the name on goes on where it was left.

use downlink_client::{Client, ErrorKind, Frame, v1};
use tokio_stream::StreamExt as _;

use super::*;

fn from_oldest() -> v1::SubscribeRequest {
    let oldest = v1::position::At::Edge(v1::Edge::Oldest.into());
    v1::SubscribeRequest { start: Some(v1::Position { at: Some(oldest) }), ..Default::default() }
}

/// The offsets delivered until history ends, and where the subscription is then.
async fn history(consumer: &downlink_client::Consumer) -> (Vec<u64>, u64) {
    let mut subscription = consumer.subscribe(from_oldest()).await.unwrap();
    let mut offsets = Vec::new();
    loop {
        let delivery = subscription.next().await.unwrap().unwrap();
        match delivery.frame {
            Frame::Events(batch) => offsets.extend(batch.events.iter().map(|event| event.offset)),
            Frame::CaughtUp(_) => return (offsets, delivery.next_offset),
            Frame::Started(_)
            | Frame::FellBehind(_)
            | Frame::Heartbeat(_)
            | Frame::Gap(_)
            | Frame::Draining(_) => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_of_a_consumer_goes_on_where_it_committed() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    server.append(numbered("a", 10)).await;
    let client = Client::connect(server.url()).await.unwrap();
    let bot = client.consumer("bot");
    assert_eq!(bot.get().await.unwrap(), None);
    assert_eq!(history(&bot).await, ((1..=10).collect(), 11));
    // Nothing was committed: it begins where the request says.
    assert_eq!(history(&bot).await.0.len(), 10);
    bot.commit(5).await.unwrap();
    assert_eq!(history(&bot).await.0, (5..=10).collect::<Vec<_>>());

    let stored = bot.commit(11).await.unwrap();
    server.append(numbered("b", 2)).await;
    let other = Client::connect(server.url()).await.unwrap();
    assert_eq!(history(&other.consumer("bot")).await.0.len(), 2);
    let listed = other.consumers(Default::default()).await.unwrap().consumers;
    assert_eq!(listed.iter().map(place).collect::<Vec<_>>(), [place(&stored)]);

    let back = bot.commit(4).await.unwrap_err();
    assert_eq!(back.reason(), Some(v1::ErrorReason::CheckpointRewind));
    let taken = CommitCheckpointRequest { next_offset: 12, etag: "1".to_owned(), ..Default::default() };
    let taken = bot.commit_with(taken).await.unwrap_err();
    assert_eq!((taken.kind(), taken.is_retryable()), (ErrorKind::Conflict, false));
    bot.delete().await.unwrap();
    assert_eq!(bot.delete().await.unwrap_err().kind(), ErrorKind::Missing);
    assert_eq!(history(&bot).await.0.len(), 12);
}
