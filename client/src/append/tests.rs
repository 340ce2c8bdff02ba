//! The appender against a server that breaks connections, dies, restarts and refuses.

use std::time::Duration;

use super::*;
use crate::testing::Server;
use crate::{ErrorKind, event};

fn options() -> AppenderOptions {
    AppenderOptions { batch_events_max: 10, window_batches: 4, ..AppenderOptions::new("producer") }
}

async fn appender(server: &Server, options: AppenderOptions) -> Appender {
    Client::connect(&server.url).await.unwrap().appender(options).await.unwrap()
}

fn names(count: usize) -> Vec<String> {
    (1..=count).map(|n| format!("signal/{n}")).collect()
}

async fn append_all(appender: &mut Appender, names: &[String]) {
    for name in names {
        appender.append(&event(name, 1.0)).await.unwrap();
    }
}

#[tokio::test]
async fn events_arrive_once_and_in_order() {
    let server = Server::start();
    let mut appender = appender(&server, options()).await;
    append_all(&mut appender, &names(1234)).await;
    let totals = appender.finish().await.unwrap();
    assert_eq!((totals.durable_events, totals.last_offset, totals.reconnects), (1234, 1234, 0));
    assert_eq!(server.log().names(), names(1234));
    assert_eq!(server.log().batch_events_max_seen, 10);
}

#[tokio::test]
async fn a_broken_stream_is_resumed_without_doubles() {
    let server = Server::start();
    server.log().cut_after_batches = Some(7);
    let mut appender = appender(&server, options()).await;
    append_all(&mut appender, &names(100)).await;
    appender.flush().await.unwrap();
    server.log().cut_after_batches = Some(2);
    append_all(&mut appender, &names(200)[100..]).await;
    let totals = appender.finish().await.unwrap();
    assert_eq!((totals.durable_events, totals.reconnects), (200, 2));
    assert_eq!(server.log().names(), names(200));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_is_waited_for() {
    let mut server = Server::start();
    let mut appender = appender(&server, options()).await;
    for round in 0..5 {
        append_all(&mut appender, &names(500)[round * 100..round * 100 + 100]).await;
        server.kill();
        tokio::time::sleep(Duration::from_millis(20)).await;
        server.restart();
    }
    let totals = appender.finish().await.unwrap();
    assert_eq!(totals.durable_events, 500);
    assert_eq!(server.log().names(), names(500));
}

#[tokio::test]
async fn the_next_process_goes_on_where_the_last_one_stopped() {
    let server = Server::start();
    let mut first = appender(&server, options()).await;
    append_all(&mut first, &names(25)).await;
    first.finish().await.unwrap();
    let mut second = appender(&server, options()).await;
    let durable = second.resume_point().durable_events as usize;
    assert_eq!((durable, second.resume_point().last_sequence), (25, 3));
    append_all(&mut second, &names(40)[durable..]).await;
    assert_eq!(second.finish().await.unwrap().durable_events, 15);
    assert_eq!(server.log().names(), names(40));
}

#[tokio::test]
async fn a_lone_event_does_not_wait_long_for_company() {
    let server = Server::start();
    let mut appender = appender(&server, options()).await;
    appender.append(&event("alone", 1.0)).await.unwrap();
    let mut progress = appender.progress();
    let settled = progress.wait_for(|progress| progress.totals.durable_events == 1);
    tokio::time::timeout(Duration::from_secs(10), settled).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_full_window_holds_the_caller_back() {
    let server = Server::start();
    let mut appender = appender(&server, options()).await;
    server.log().is_stuck = true;
    let mut taken = 0;
    let name = names(1).remove(0);
    while let Ok(result) =
        tokio::time::timeout(Duration::from_millis(200), appender.append(&event(&name, 1.0))).await
    {
        result.unwrap();
        taken += 1;
    }
    assert_eq!(taken, (4 + 1) * 10, "a window and the batch in the making");
    server.log().is_stuck = false;
    assert_eq!(appender.finish().await.unwrap().durable_events, taken);
}

#[tokio::test]
async fn a_refusal_is_an_error_or_a_value() {
    let server = Server::start();
    let mut strict = appender(&server, options()).await;
    strict.append(&event("bad", 1.0)).await.unwrap();
    let error = strict.flush().await.unwrap_err();
    assert!(matches!(&error, Error::Rejected(batch) if batch.events == 1), "{error}");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(error.to_string(), "1 events of batch 1 were refused: a bad event [INVALID_EVENT]");

    let collecting = AppenderOptions { on_reject: OnReject::Collect, producer_epoch: 1, ..options() };
    let mut lenient = appender(&server, collecting).await;
    for name in ["bad", "good"] {
        lenient.append(&event(name, 1.0)).await.unwrap();
        lenient.flush().await.unwrap();
    }
    assert_eq!(lenient.take_rejections().len(), 1);
    let totals = lenient.finish().await.unwrap();
    assert_eq!((totals.durable_events, totals.rejected_events), (1, 1));
    assert_eq!(server.log().names(), ["good"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stays_away_is_given_up() {
    let mut server = Server::start();
    let options = AppenderOptions { retry_for: Duration::from_millis(300), ..options() };
    let mut appender = appender(&server, options).await;
    server.kill();
    appender.append(&event("late", 1.0)).await.unwrap();
    let error = appender.finish().await.unwrap_err();
    assert!(matches!(error, Error::GaveUp { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_made_anew_is_not_taken_for_the_old_one() {
    let mut server = Server::start();
    let mut appender = appender(&server, options()).await;
    append_all(&mut appender, &names(5)).await;
    appender.flush().await.unwrap();
    server.kill();
    server.log().replace("log-2");
    server.restart();
    appender.append(&event("more", 1.0)).await.unwrap();
    let error = appender.finish().await.unwrap_err();
    assert!(matches!(error, Error::LogReplaced { .. }), "{error}");
}

#[tokio::test]
async fn a_unary_append_is_retried_and_kept_once() {
    let server = Server::start();
    server.log().unanswered_appends = 3;
    let client = Client::connect(&server.url).await.unwrap();
    let answer = client.append_events(vec![event("once", true)]).await.unwrap();
    assert!(answer.duplicate);
    assert_eq!(server.log().names(), ["once"]);
}

#[tokio::test]
async fn nobody_there_is_said_plainly() {
    let mut server = Server::start();
    server.kill();
    let error = tokio::time::timeout(Duration::from_secs(10), Client::connect(&server.url)).await.unwrap();
    let text = error.unwrap_err().to_string();
    assert_eq!(text, format!("cannot reach {}: connection refused; is the server running?", server.url));
    let error = Client::connect("ftp://x").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sequences_of_refused_batches_are_used_again_after_a_restart() {
    let mut server = Server::start();
    let options = AppenderOptions { on_reject: OnReject::Collect, ..options() };
    let mut appender = appender(&server, options).await;
    for round in 0..3 {
        append_all(&mut appender, &names(2)).await;
        appender.flush().await.unwrap();
        for _ in 0..=round {
            append_all(&mut appender, &["bad".to_owned()]).await;
            appender.flush().await.unwrap();
        }
        server.restart();
    }
    append_all(&mut appender, &names(1)).await;
    let totals = appender.finish().await.unwrap();
    assert_eq!((totals.durable_events, totals.rejected_events), (7, 6));
    assert_eq!(server.log().events.len(), 7);
}
