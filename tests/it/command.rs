//! What the `downlink` command says when there is nothing to say, when it fails, and to whom.

use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, ExitStatus, Output, Stdio};

use downlink_proto::v1::{DefineSignalsRequest, Event, Quality, Signal};

use crate::harness::{Server, bare_server_command, binary, downlink, event, run, server_command, succeed};

/// A log with events of two signals, one of them not to be used, and a third signal that is defined only.
async fn three() -> (tempfile::TempDir, Server) {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let bad = Event { quality: Quality::Bad.into(), ..event("tank/b", 2.0) };
    server.append(vec![event("tank/a", 61.27000045776367), bad]).await;
    let signals = vec![Signal { name: "tank/c".to_owned(), ..Signal::default() }];
    server.ingest().await.define_signals(DefineSignalsRequest { signals }).await.unwrap();
    (dir, server)
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn printed(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_that_the_log_has_not_is_one_error_everywhere() {
    let (_dir, server) = three().await;
    for arguments in [
        &["read", "--signal", "tank/x"][..],
        &["read", "--signal", "tank/a", "--signal", "tank/x"],
        &["export", "--signal", "tank/x"],
        &["latest", "tank/x"],
        &["latest", "tank/a", "tank/x"],
        &["signals", "tank/x"],
        &["aggregate", "tank/x"],
        &["plot", "tank/x"],
        &["latest", "--as-of", "head", "tank/x"],
    ] {
        let output = run(downlink(&server.url()).args(arguments));
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let expected = "downlink: no signal matches 'tank/x'; 'downlink signals' lists them\n";
        assert_eq!(said(&output), expected, "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_that_is_only_defined_is_told_from_one_that_is_unknown() {
    let (_dir, server) = three().await;
    for arguments in [&["latest", "tank/c"][..], &["aggregate", "tank/c"], &["latest", "tank/c", "tank/a"]] {
        let output = run(downlink(&server.url()).args(arguments));
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", said(&output));
        assert_eq!(
            said(&output),
            "downlink: 'tank/c' is defined, but has had no event yet\n",
            "{arguments:?}"
        );
        assert_eq!(printed(&output).contains("tank/a"), arguments.contains(&"tank/a"), "{arguments:?}");
    }
    assert!(succeed(downlink(&server.url()).args(["signals"])).contains("defined, no events yet"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_anything_in_it_says_why() {
    let (_dir, server) = three().await;
    let empty_dir = tempfile::tempdir().unwrap();
    let empty = Server::start(empty_dir.path());
    for (server, arguments, expected) in [
        (&empty, &["read"][..], "the log is empty"),
        (&empty, &["latest"], "the log is empty"),
        (&empty, &["signals"], "the log is empty"),
        (&empty, &["consumers", "list"], "there are no consumers yet"),
        (&server, &["read", "--from", "head"], "no event matches"),
        (&server, &["read", "--signal", "tank/c"], "no event matches"),
        (&server, &["latest", "--as-of", "1", "tank/*"], "no signal had an event by then"),
        (&server, &["aggregate", "tank/a", "--to", "5 years ago"], "there are no events in this time"),
    ] {
        for format in ["human", "json"] {
            let output = run(downlink(&server.url()).args(["--output", format]).args(arguments));
            assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", said(&output));
            assert_eq!(said(&output), format!("downlink: {expected}\n"), "{arguments:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn times_are_written_the_same_way_everywhere() {
    let (_dir, server) = three().await;
    let count = |arguments: &[&str]| {
        let said = succeed(downlink(&server.url()).args(["--output", "json"]).args(arguments));
        let bucket: serde_json::Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
        bucket["count"].as_u64()
    };
    assert_eq!(count(&["aggregate", "tank/a", "--from", "2 hours ago"]), Some(1));
    assert_eq!(
        count(&["aggregate", "tank/a", "--from", "2018-10-12T11:42:08Z", "--step", "1000 days"]),
        Some(0)
    );
    succeed(downlink(&server.url()).args(["plot", "tank/a", "--from", "1h ago"]));
    succeed(downlink(&server.url()).args(["put", "tank/a", "5", "--time", "3 days ago"]));
    for arguments in
        [&["read", "--speed", "max"][..], &["read", "--speed", "100000"], &["read", "--from", "1h ago"]]
    {
        succeed(downlink(&server.url()).args(arguments));
    }
    for arguments in [
        &["aggregate", "--from", "last 5"][..],
        &["plot", "a", "--to", "yesterday"],
        &["put", "a", "1", "--time", "soon"],
        &["read", "--speed", "0"],
    ] {
        assert_eq!(run(downlink(&server.url()).args(arguments)).status.code(), Some(2), "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn colours_are_for_those_who_want_them() {
    let (_dir, server) = three().await;
    let latest = |color: &[&str]| succeed(downlink(&server.url()).arg("latest").args(color));
    assert!(!latest(&[]).contains('\x1b'), "a pipe has none");
    assert!(!latest(&["--color", "never"]).contains('\x1b'));
    let coloured = latest(&["--color", "always"]);
    assert!(coloured.contains("\x1b[31mbad\x1b[0m") && coloured.contains("good"), "{coloured:?}");
    let json = succeed(downlink(&server.url()).args(["--color", "always", "--output", "json", "latest"]));
    assert!(!json.contains('\x1b'), "{json}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_says_in_one_line_what_was_wrong_and_what_to_do() {
    let (dir, server) = three().await;
    let file = |name: &str| dir.path().join(name).display().to_string();
    std::fs::write(file("empty"), "").unwrap();
    let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut commands = Vec::new();
    for arguments in [&["read"][..], &["export"], &["latest"], &["completions", "bash"]] {
        let mut command = downlink(&server.url());
        command.args(arguments).stdout(full());
        commands.push((command, 1, "cannot write to standard output: No space left on device".to_owned()));
    }
    let mut define = downlink(&server.url());
    define.args(["signals", "define", "--file"]).arg(file("empty"));
    commands.push((define, 1, format!("{} has no definitions", file("empty"))));
    let mut missing = downlink(&server.url());
    missing.args(["signals", "define", "--file"]).arg(file("missing"));
    commands.push((missing, 1, format!("cannot read {}: No such file", file("missing"))));
    let mut url = Command::new(binary("downlink"));
    url.arg("info").env("DOWNLINK_URL", "");
    commands.push((url, 2, "write it like http://127.0.0.1:50051, as --url or in DOWNLINK_URL".to_owned()));
    let mut listen = Command::new(binary("downlink-server"));
    listen.args(["--data-dir", &file("data"), "--listen", "foo"]);
    commands.push((
        listen,
        2,
        "'foo' is not an address and a port; write it like 127.0.0.1:50051".to_owned(),
    ));
    let mut unwritable = server_command(&dir.path().join("empty"));
    unwritable.env("RUST_LOG", "off");
    commands.push((unwritable, 1, format!("cannot open the log in {} (choose another", file("empty"))));
    for (mut command, code, expected) in commands {
        let output = run_with_output_elsewhere(&mut command);
        assert_eq!(output.status.code(), Some(code), "{command:?}: {}", said(&output));
        let said = said(&output);
        let last = said.lines().last().unwrap_or_default();
        assert!(last.contains(&expected) && last.starts_with("downlink"), "{command:?}: {said}");
    }
}

/// Runs a command whose standard output goes where it was sent.
fn run_with_output_elsewhere(command: &mut Command) -> Output {
    let child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn();
    child.unwrap().wait_with_output().unwrap()
}

#[test]
fn a_server_that_everybody_may_reach_says_so() {
    for (address, expected) in [("0.0.0.0:0", true), ("127.0.0.1:0", false)] {
        let dir = tempfile::tempdir().unwrap();
        let mut command = bare_server_command();
        command.arg("--data-dir").arg(dir.path()).args(["--listen", address]).stderr(Stdio::piped());
        let (status, said) = started_and_stopped(command);
        assert!(
            status.success() && said.contains("no TLS or authentication") == expected,
            "{address}: {said}"
        );
    }
}

/// What a server logs that is stopped as soon as it listens.
fn started_and_stopped(mut command: Command) -> (ExitStatus, String) {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let stop = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    assert!(line.contains("listening") && stop.unwrap().success(), "{line}");
    let output = child.wait_with_output().unwrap();
    (output.status, said(&output))
}
