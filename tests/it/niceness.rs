//! Which threads of a server give way to the others.

use std::fs;

use downlink_proto::v1::RollSegmentRequest;
use downlink_proto::v1::admin_service_client::AdminServiceClient;

use crate::append::numbered;
use crate::harness::Server;

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
    let own = thread(&fs::read_to_string("/proc/self/stat").unwrap()).1;
    let found = threads(server.pid());
    for (begins, wanted) in [
        ("downlink-seal", own + 10),
        ("downlink-rollup", own + 10),
        ("downlink-chain", own + 10),
        ("downlink-write", own),
        ("sled-io-", own),
    ] {
        let those: Vec<_> = found.iter().filter(|(name, _)| name.starts_with(begins)).collect();
        assert!(!those.is_empty(), "{begins} in {found:?}");
        assert!(those.iter().all(|(_, niceness)| *niceness == wanted.min(19)), "{those:?}, not {wanted}");
    }
}
