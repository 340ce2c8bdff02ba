//! Subscriptions against a server that breaks connections, dies and restarts.

use std::time::Duration;

use futures::StreamExt;

use super::*;
use crate::testing::Server;
use crate::{Client, event, v1};

fn from_oldest() -> SubscribeRequest {
    let start = Some(Position { at: Some(At::Edge(v1::Edge::Oldest.into())) });
    SubscribeRequest { start, ..SubscribeRequest::default() }
}

/// Offsets of so many events, and how often the server said `Started` meanwhile.
async fn take(subscription: &mut Subscription, count: usize) -> (Vec<u64>, usize) {
    let (mut offsets, mut started) = (vec![], 0);
    while offsets.len() < count {
        let delivery = tokio::time::timeout(Duration::from_secs(20), subscription.next()).await;
        let delivery = delivery.unwrap().unwrap().unwrap();
        if let Frame::Events(batch) = delivery.frame {
            offsets.extend(batch.events.iter().map(|event| event.offset));
            assert_eq!(delivery.next_offset, offsets.last().unwrap() + 1);
        } else if let Frame::Started(_) = delivery.frame {
            started += 1;
        }
    }
    (offsets, started)
}

async fn fill(client: &Client, count: usize) {
    let events = (0..count).map(|n| event("signal", n as i64)).collect();
    client.append_events(events).await.unwrap();
}

#[tokio::test]
async fn a_cut_subscription_goes_on_at_the_next_event() {
    let server = Server::start();
    let client = Client::connect(&server.url).await.unwrap();
    fill(&client, 100).await;
    server.log().cut_after_frames = Some(5);
    let mut subscription = client.subscribe(from_oldest()).await.unwrap();
    let (offsets, started) = take(&mut subscription, 50).await;
    assert_eq!(started, 2);
    server.log().cut_after_frames = Some(3);
    let (more, _) = take(&mut subscription, 100 - offsets.len()).await;
    assert_eq!([offsets, more].concat(), (1..=100).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_is_waited_for() {
    let mut server = Server::start();
    let client = Client::connect(&server.url).await.unwrap();
    fill(&client, 10).await;
    let mut subscription = client.subscribe(from_oldest()).await.unwrap();
    take(&mut subscription, 10).await;
    server.restart();
    fill(&client, 10).await;
    assert_eq!(take(&mut subscription, 10).await.0, (11..=20).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_made_anew_ends_the_subscription() {
    let mut server = Server::start();
    let client = Client::connect(&server.url).await.unwrap();
    fill(&client, 10).await;
    let mut subscription = client.subscribe(from_oldest()).await.unwrap();
    take(&mut subscription, 10).await;
    server.log().id = "log-2".to_owned();
    server.restart();
    let mut last = None;
    while let Some(delivery) = subscription.next().await {
        last = Some(delivery);
    }
    assert!(matches!(last, Some(Err(Error::LogReplaced { .. }))), "{last:?}");
}
