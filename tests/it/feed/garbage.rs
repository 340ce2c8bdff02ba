//! What a server may send that makes no sense: it never ends the feed.

use downlink_proto::v1::value::Kind;
use futures::StreamExt as _;

use crate::harness::{Server, soon};
use crate::http::wait_for;
use crate::lightstreamer::{Plan, StandIn, Trouble, update};

/// How many servers run at once.
const AT_ONCE: usize = 4;
const TANK: &str = "NODE3000005";

/// Lines cut short, fields without end, counts that are none, words that nobody knows, bytes that are no text. The tank is the
/// third item, behind the station's clock, in the first subscription.
fn garbage() -> Vec<Trouble> {
    let lines = [
        "U",
        "U,",
        "U,1",
        "U,1,3",
        "U,1,3,",
        "U,1,3,6844.3",
        "U,,,",
        "U,1,3,6844.3|full|24",
        // Too many fields, too few, and more unchanged ones than there are.
        "U,1,3,6844.3|9|24|$|#|#|7|8|9",
        "U,1,3,^99",
        "U,1,3,^-1",
        "U,1,3,^99999999999999999999",
        "U,1,3,^x|1",
        // No such subscription, no such item, no number.
        "U,77,3,6844.3|9",
        "U,1,9999,6844.3|9",
        "U,1,0,6844.3|9",
        "U,-1,3,6844.3|9",
        "U,one,two,three",
        "U,99999999999999999999,3,6844.3|9",
        // What is no percent-encoding, and what decodes to no text.
        "U,1,3,%|9|24|#|#|#",
        "U,1,3,%zz|9|24|#|#|#",
        "U,1,3,%ff%fe|9|24|#|#|#",
        // Differences from what is not JSON, or that nobody asked for.
        "U,1,3,^Pnonsense|9|24|#|#|#",
        "U,1,3,^Tzzzz|9|24|#|#|#",
        "U,1,3,^P[]|^T",
        // Words of the protocol that say nothing here, and words of none.
        "",
        ",,,",
        "SUBOK",
        "SUBOK,1,0,0",
        "SUBOK,2,3,6",
        "CONF,1",
        "CS,1,x",
        "EOS,1,3",
        "OV,1,3,many",
        "PROG,-5",
        "PROG,999999",
        "SYNC,x",
        "CONS,fast",
        "LOOP,soon",
        "END",
        "END,x,y",
        "REQERR,x",
        "ERROR",
        "ERROR,1",
        "CONOK",
        "CONERR,x",
        "UNSUB,1",
        "NEWS,1,2",
        "HTTP/1.1 500 Internal Server Error",
        "<html>",
        "\u{0}\u{1}\u{7f}",
    ];
    let huge = format!("U,1,3,6844.3|{}|24|#|#|#", "9".repeat(2 << 20));
    let wide = format!("U,1,3,{}", "|".repeat(1 << 20));
    let lines = lines.map(str::to_owned).into_iter().chain([huge, wide]).map(Trouble::Line);
    let bytes = [b"U,1,3,6844.3|\xff\xfe|24|#|#|#\r\n".to_vec(), b"\xc3(\r\n".to_vec()];
    lines.chain(bytes.map(Trouble::Bytes)).collect()
}

/// A feed that is sent garbage between two updates gets both of them into the log.
async fn survives(garbage: Trouble) {
    let shown: String = format!("{garbage:?}").chars().take(100).collect();
    let tank = ["1", "2"].map(|value| update(TANK, &format!("6844.{value}"), value));
    let plan = Plan::new(tank.into_iter()).awaiting_items(3).with_troubles([(1, garbage)]);
    let stand_in = StandIn::start(plan).await;
    let url = format!("feed_server_url={}", stand_in.url());
    let settings = ["--feed", "iss", "--set", &url, "--set", "feed_items=NODE3000005"];
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(dir.path(), settings);
    let both_are_there = async {
        loop {
            let values: Vec<_> = server
                .read_of(&["iss/NODE3000005"])
                .await
                .into_iter()
                .map(|event| event.value.unwrap().kind)
                .collect();
            let count =
                |value| values.iter().filter(|found| **found == Some(Kind::DoubleValue(value))).count();
            if count(2.) > 0 {
                assert_eq!((count(1.), count(2.)), (1, 1), "{shown}: {values:?}");
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    soon(&shown, both_are_there).await;
}

#[tokio::test]
async fn what_is_rejected_is_shown_with_its_text_and_counted() {
    let updates = ["full", "1"].map(|value| update(TANK, "6844.3", value));
    let stand_in = StandIn::start(Plan::new(updates.into_iter()).awaiting_items(3)).await;
    let url = format!("feed_server_url={}", stand_in.url());
    let dir = tempfile::tempdir().unwrap();
    let settings = ["--feed", "iss", "--set", &url, "--set", "feed_items=NODE3000005"];
    let server = Server::start_with(dir.path(), settings);
    server.says(&["an update of the feed was rejected", TANK, "6844.3", "full"]).await;
    let rejected = "downlink_feed_left_out_total{feed=\"iss\",reason=\"rejected\"} 1\n";
    wait_for(server.http(), "/metrics", |answer| answer.body.contains(rejected));
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_never_ends_the_feed() {
    let lives = futures::stream::iter(garbage()).map(survives);
    lives.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await;
}
