//! Clients of other makers, made from the published proto or by reflection alone.

use std::path::Path;
use std::process::Command;

use crate::harness::{Server, peer, root, succeed};

/// Runs a client against a fresh server: it must succeed, and say how much it has checked.
fn checks(command: &mut Command, least: u32) {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let said = succeed(command.arg(server.url()));
    let passed = said.split_whitespace().find_map(|word| word.parse::<u32>().ok());
    assert!(passed.is_some_and(|passed| passed >= least) && said.contains("checks passed"), "{said}");
}

fn client(name: &str) -> std::path::PathBuf {
    root().join("tests/clients").join(name)
}

/// A peer that is missing is a failure, never a reason to skip.
fn must_exist(path: &Path) -> &Path {
    assert!(path.is_file(), "{} is not there: run the tests with tests/run", path.display());
    path
}

#[test]
fn a_python_client_made_from_the_published_proto_does_everything() {
    let python = peer("DOWNLINK_PYTHON");
    checks(Command::new(must_exist(&python)).arg(client("python_client.py")), 40);
}

#[test]
fn grpcurl_does_everything_through_reflection() {
    let grpcurl = peer("DOWNLINK_GRPCURL");
    checks(Command::new(client("grpcurl.sh")).env("DOWNLINK_GRPCURL", must_exist(&grpcurl)), 30);
}
