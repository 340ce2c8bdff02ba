//! `downlink top`: a server's figures, on a terminal and in a pipe.

use std::io::{Read, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use crate::append::numbered;
use crate::harness::{PATIENCE, Server, binary, run};
use crate::http::free_address;

fn top(address: &str) -> Command {
    let mut command = Command::new(binary("downlink"));
    command.args(["top", "--metrics-url", &format!("http://{address}"), "--every", "100ms"]);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_are_of_the_time_between_two_looks() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    server.append(numbered("a", 41)).await;
    let mut command = top(server.http());
    let printing = command.args(["--count", "30"]).stdout(Stdio::piped()).spawn().expect("downlink");
    let printing = tokio::task::spawn_blocking(|| printing.wait_with_output());
    // From before its first look to after its last.
    while !printing.is_finished() {
        server.append(numbered("b", 100)).await;
    }
    let output = printing.await.unwrap().expect("an end");
    assert!(output.status.success());
    let lines = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 30);
    let heads: Vec<_> = lines.iter().map(|line| line["head_offset"].as_f64().expect("a number")).collect();
    assert!(heads.is_sorted() && heads[0] >= 42.0, "{heads:?}");
    let busy = lines.iter().find(|line| line["appended_per_second"].as_f64() > Some(0.0));
    let busy = busy.unwrap_or_else(|| panic!("nothing was ever appended: {lines:?}"));
    assert!(
        busy["commit_p99_seconds"].as_f64() > Some(0.0) && busy["events_per_commit"].as_f64() > Some(40.0),
        "{busy}"
    );
    assert_eq!(lines[29]["conditions"], Value::Array(vec![]));
}

#[test]
fn what_has_no_metrics_of_a_server_is_named() {
    let nobody = free_address();
    let output = run(&mut top(&nobody));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.starts_with(&format!("downlink: no metrics from http://{nobody}/metrics: ")), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");

    // Where gRPC is served, HTTP is not.
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let output = run(&mut top(server.address()));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.contains(server.address()), "{said}");

    let output = run(Command::new(binary("downlink")).args(["top", "--metrics-url", "127.0.0.1:9464"]));
    assert!(String::from_utf8(output.stderr).unwrap().contains("write it like http://127.0.0.1:9464"));
}

#[test]
fn a_server_that_goes_is_waited_for() {
    let (dir, address) = (tempfile::tempdir().unwrap(), free_address());
    let start = || Server::start_with(dir.path(), ["--http-listen", &address]);
    let server = start();
    let mut command = top(&address);
    let mut printing = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("downlink");
    let mut out = printing.stdout.take().expect("piped");
    until(&mut out, "\n");
    server.kill();
    until(&mut printing.stderr.take().expect("piped"), "trying again");
    let _server = start();
    // What was on its way when it went, and then more.
    (0..50).for_each(|_| until(&mut out, "\n"));
    printing.kill().expect("it runs");
    printing.wait().expect("an end");
}

/// A program on a terminal, as `script` has one.
struct Terminal(Child);

impl Terminal {
    fn of(command: &Command) -> Self {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let words: Vec<_> = words.map(|word| format!("'{}'", word.to_str().expect("text"))).collect();
        let mut script = Command::new("script");
        script.args(["-qefc", &format!("stty rows 30 cols 100; exec {}", words.join(" ")), "/dev/null"]);
        script.env("TERM", "xterm").env_remove("NO_COLOR").stdin(Stdio::piped()).stdout(Stdio::piped());
        Self(script.spawn().expect("script, of util-linux"))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_screen_is_drawn_until_it_is_left_and_the_terminal_is_as_before() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    server.append(numbered("a", 41)).await;
    for key in ["q", "\x03", "\x1b"] {
        let mut terminal = Terminal::of(&top(server.http()));
        let mut screen = terminal.0.stdout.take().expect("piped");
        until(&mut screen, "append_queue");
        terminal.0.stdin.as_mut().expect("piped").write_all(key.as_bytes()).expect("it reads");
        // The screen of before, and the cursor.
        until(&mut screen, "\x1b[?1049l");
        let mut rest = String::new();
        screen.read_to_string(&mut rest).expect("the end");
        assert!(terminal.0.wait().expect("an end").success(), "{rest:?}");
    }
}

/// Reads until this has come.
fn until(reader: &mut impl Read, wanted: &str) {
    let (begun, mut read) = (Instant::now(), Vec::new());
    let mut byte = [0];
    while !read.ends_with(wanted.as_bytes()) {
        assert!(begun.elapsed() < PATIENCE, "no {wanted:?} in {}", String::from_utf8_lossy(&read));
        let count = reader.read(&mut byte).expect("it can be read");
        assert_ne!(count, 0, "no {wanted:?} in {}", String::from_utf8_lossy(&read));
        read.extend(byte);
    }
}
