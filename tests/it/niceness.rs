//! Which threads of a server give way to the others.

use std::fs;

use downlink_proto::v1::RollSegmentRequest;
use downlink_proto::v1::admin_service_client::AdminServiceClient;

use crate::append::numbered;
use crate::harness::Server;
use crate::kafka::Broker;
use crate::mirror::{caught_up, mirrored};

/// Name and niceness of each thread of a process, by `/proc`.
fn threads(pid: u32) -> Vec<(String, i32)> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let stats = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("stat")).ok());
    stats.map(|stat| thread(&stat)).collect()
}

fn thread(stat: &str) -> (String, i32) {
    let (name, rest) = stat.split_once('(').unwrap().1.rsplit_once(')').unwrap();
    // The 19th field; the first of the rest is the 3rd.
    let niceness = rest.split_whitespace().nth(16).unwrap().parse().unwrap();
    (name.to_owned(), niceness)
}

#[tokio::test]
#[cfg_attr(not(target_os = "linux"), ignore = "only Linux has nice threads")]
async fn sealing_and_rollups_give_way_and_what_appends_wait_for_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    server.append(numbered("a", 100)).await;
    let mut admin = AdminServiceClient::new(server.channel().await);
    admin.roll_segment(RollSegmentRequest { wait_until_sealed: true }).await.unwrap();
    are_nicer(
        &server,
        &[
            ("downlink-seal", 10),
            ("downlink-rollup", 10),
            ("downlink-chain", 10),
            ("downlink-write", 0),
            ("sled-io-", 0),
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(target_os = "linux"), ignore = "only Linux has nice threads")]
async fn the_mirror_gives_way_and_so_does_its_client() {
    let dir = tempfile::tempdir().unwrap();
    let topic = Broker::shared().topic();
    let server = mirrored(dir.path(), &topic, &[]);
    server.append(numbered("a", 100)).await;
    caught_up(&server).await;
    are_nicer(&server, &[("mirror", 10), ("rdk:", 10), ("downlink-write", 0), ("sled-io-", 0)]);
}

/// That the server's threads whose names begin so are nicer than this process by so much.
fn are_nicer(server: &Server, wanted: &[(&str, i32)]) {
    let own = thread(&fs::read_to_string("/proc/self/stat").unwrap()).1;
    let found = threads(server.pid());
    for (begins, by) in wanted {
        let wanted = (own + by).min(19);
        let those: Vec<_> = found.iter().filter(|(name, _)| name.starts_with(begins)).collect();
        assert!(!those.is_empty(), "{begins} in {found:?}");
        assert!(those.iter().all(|(_, niceness)| *niceness == wanted), "{those:?}, not {wanted}");
    }
}
