//! The server's own log lines: JSON for machines, by a filter that can be changed at any time, without secrets or payloads.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::harness::{Server, bare_server_command, event};
use crate::http::{ask, get};

/// A server with the defaults of logging.
fn command(dir: &Path) -> Command {
    let mut command = bare_server_command();
    command.env_remove("DOWNLINK_LOG_FORMAT").arg("--data-dir").arg(dir).args(["--listen", "127.0.0.1:0"]);
    command
}

fn put(server: &Server, filter: &str) -> u16 {
    put_with(server, "Connection: close", filter)
}

fn put_with(server: &Server, header: &str, filter: &str) -> u16 {
    let (address, length) = (server.http(), filter.len());
    let request = format!(
        "PUT /log_filter HTTP/1.1\r\nHost: a\r\n{header}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{filter}"
    );
    ask(address, &request).expect("an answer").code
}

/// The lines of `text`, each a whole object.
fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line:?}"))).collect()
}

#[tokio::test]
async fn lines_are_json_where_nobody_looks_on_and_the_filter_can_be_changed_at_any_time() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::spawn(command(dir.path())).unwrap();
    server.says(&["\"message\":\"log opened\"", "\"level\":\"INFO\"", "\"timestamp\":\""]).await;
    assert_eq!(get(server.http(), "/log_filter").body, "info,lightstreamer_rs=error\n");
    // A level that is none, what would silence the log by mistake, and a pattern that would take all memory.
    for wrong in ["downlink_server=loud", "inof", "", "warn,[x{y=.*a........................}"] {
        assert_eq!(put(&server, wrong), 400, "{wrong}");
    }
    // Not a pattern: what the value is to be.
    assert_eq!(put(&server, "info,[x{y=.*a........................}]=trace"), 204);
    assert_eq!(put(&server, "info"), 204);
    assert_eq!(get(server.http(), "/log_filter").body, "info\n");
    assert_eq!(put(&server, "downlink_server=trace,warn"), 204);
    assert_eq!(get(server.http(), "/log_filter").body, "downlink_server=trace,warn\n");
    server.says(&["another filter", "downlink_server=trace,warn"]).await;
    for header in ["Origin: http://evil.example", "Forwarded: for=192.0.2.1", "X-Forwarded-For: 192.0.2.1"] {
        assert_eq!(put_with(&server, header, "trace"), 403, "{header}");
    }

    assert_eq!(put(&server, "off"), 204);
    server.append(vec![event("a", 1.0)]).await;
    server.signal("TERM");
    let waited = tokio::task::spawn_blocking(move || server.wait_with_all_it_said()).await.unwrap();
    let (status, said, _) = waited;
    assert!(objects(&said).len() > 1, "{said}");
    assert!(status.success() && !said.contains("stopping"), "nothing is written any more: {said}");
}

#[tokio::test]
async fn the_lines_that_scripts_wait_for_are_alone_unless_the_log_is_sent_there() {
    for (output, has_log) in [("stderr", false), ("stdout", true)] {
        let dir = tempfile::tempdir().unwrap();
        let mut command = command(dir.path());
        command.env("DOWNLINK_LOG_OUTPUT", output);
        let server = Server::spawn(command).unwrap();
        assert!(server.http().starts_with("127.0.0.1:"));
        server.signal("TERM");
        let waited = tokio::task::spawn_blocking(move || server.wait_with_all_it_said()).await.unwrap();
        let (status, said, printed) = waited;
        let (plain, log): (Vec<_>, Vec<_>) = printed.lines().partition(|line| !line.starts_with('{'));
        assert!(status.success() && plain.len() == 2, "{printed}");
        assert!(plain.iter().all(|line| line.starts_with("downlink-server ")), "{printed}");
        assert_eq!((log.is_empty(), said.is_empty()), (!has_log, has_log), "{printed}\n{said}");
        assert!(objects(&said).len() + objects(&log.join("\n")).len() >= 3, "{printed}\n{said}");
    }
}

#[tokio::test]
async fn neither_secrets_nor_payloads_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = command(dir.path());
    command.env("DOWNLINK_LOG_FILTER", "downlink_server=trace,downlink_storage=trace,info");
    command.env("DOWNLINK_MIRROR_BOOTSTRAP_SERVERS", "127.0.0.1:1");
    command.env("DOWNLINK_MIRROR_CLIENT_SASL_PASSWORD", "a-great-secret");
    let server = Server::spawn(command).unwrap();
    server.append(vec![event("a/name/of/somebody", 17.171_717)]).await;
    assert_eq!(server.read_all().await.len(), 1);
    server.signal("TERM");
    let waited = tokio::task::spawn_blocking(move || server.wait_with_all_it_said()).await.unwrap();
    let (status, said, _) = waited;
    assert!(status.success() && said.contains("stopping"), "{said}");
    for word in ["a-great-secret", "17.171717", "a/name/of/somebody"] {
        assert!(!said.contains(word), "{word} in {said}");
    }
}
