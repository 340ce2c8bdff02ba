//! The schema registry: it learns what the topic's values are, and is waited for, while the mirror does its work.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};

use serde_json::{Value, json};

use super::{caught_up, is_mirrored, mirrored, mirrored_command};
use crate::append::numbered;
use crate::harness::{Server, root, soon};
use crate::kafka::Broker;

/// A request as it came.
struct Request {
    line: String,
    headers: BTreeMap<String, String>,
    body: Value,
}

/// Speaks as much of the protocol as it takes: answers in turn as it is told to, then as one that has the schema.
fn registry(address: SocketAddr, answers: Vec<(u16, &'static str)>) -> Receiver<Request> {
    let listener = TcpListener::bind(address).expect("the address is free");
    let (sender, requests) = channel();
    std::thread::spawn(move || {
        let mut answers = answers.into_iter();
        for connection in listener.incoming() {
            let connection = connection.expect("a connection");
            let request = read(&connection);
            let (status, body) = answers.next().unwrap_or((200, r#"{"id":7}"#));
            let head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}", body.len());
            write!(&connection, "{head}\r\n\r\n{body}").expect("the server listens");
            if sender.send(request).is_err() {
                break;
            }
        }
    });
    requests
}

fn read(connection: &TcpStream) -> Request {
    let mut reader = BufReader::new(connection);
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    };
    let first = line();
    let lines = std::iter::from_fn(|| Some(line()).filter(|line| !line.is_empty()));
    let header = |line: String| {
        let (name, value) = line.split_once(": ").expect("a header");
        (name.to_ascii_lowercase(), value.to_owned())
    };
    let headers: BTreeMap<_, _> = lines.map(header).collect();
    let mut body = vec![0; headers["content-length"].parse().expect("a length")];
    reader.read_exact(&mut body).expect("a body");
    Request { line: first, headers, body: serde_json::from_slice(&body).expect("JSON") }
}

/// Waits until the server shows a problem with all these words; no words: until it shows none.
async fn shows(server: &Server, words: &[&str]) {
    let shown = async {
        loop {
            let problem = server.info().await.mirror_problem;
            if words.iter().all(|word| problem.contains(word)) && words.is_empty() == problem.is_empty() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    soon(&format!("a problem with {words:?}"), shown).await;
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_is_registered_as_soon_as_the_registry_takes_it_and_the_mirror_does_not_wait_for_that() {
    let dir = tempfile::tempdir().unwrap();
    let topic = Broker::shared().topic();
    let address = free_address();
    let file = dir.path().join("client");
    std::fs::write(&file, "schema.registry.username=mirror\nschema.registry.password=first").unwrap();
    let url = format!("mirror_schema_registry_url=http://{address}/");
    let file = format!("mirror_client_file={}", file.display());
    let mut command = mirrored_command(&dir.path().join("log"), &topic, &[&url, &file]);
    command.env("DOWNLINK_MIRROR_CLIENT_SCHEMA_REGISTRY_PASSWORD", "a = #secret");
    let server = Server::spawn(command).unwrap_or_else(|said| panic!("it does not start: {said}"));
    server.append(numbered("meanwhile", 100)).await;
    is_mirrored(&server, &topic).await;
    shows(&server, &["the schema is not registered", "does not answer"]).await;

    let refusals = vec![
        (500, "no JSON"),
        (401, r#"{"error_code":401,"message":"who are you?"}"#),
        (409, r#"{"error_code":409,"message":"incompatible"}"#),
    ];
    let requests = registry(address, refusals);
    for words in [["500", "no schema registry"], ["401", "who are you?"], ["409", "incompatible"]] {
        server.says(&words).await;
    }
    shows(&server, &[]).await;
    server.append(numbered("afterwards", 100)).await;
    caught_up(&server).await;
    let said = server.said();
    assert!(said.contains("the schema of the mirror's values is registered"), "{said}");
    assert!(!said.contains("secret"), "{said}");

    let requests: Vec<_> = requests.try_iter().collect();
    assert_eq!(requests.len(), 4, "once it is registered it is left alone");
    let schema = std::fs::read_to_string(root().join("proto/downlink/v1/types.proto")).unwrap();
    for request in requests {
        assert_eq!(request.line, format!("POST /subjects/{}-value/versions HTTP/1.1", topic.name()));
        // The variable is before the file: `mirror:a = #secret`.
        assert_eq!(request.headers["authorization"], "Basic bWlycm9yOmEgPSAjc2VjcmV0");
        assert_eq!(request.headers["content-type"], "application/vnd.schemaregistry.v1+json");
        assert_eq!(request.body, json!({ "schemaType": "PROTOBUF", "schema": schema }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn values_in_json_have_no_schema_and_a_registry_that_is_silent_ends_no_server_late() {
    let dir = tempfile::tempdir().unwrap();
    let topic = Broker::shared().topic();
    // Connections are taken, and nothing is answered.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("mirror_schema_registry_url=http://{}", silent.local_addr().unwrap());
    let server = mirrored(dir.path(), &topic, &[&url]);
    server.append(numbered("a", 100)).await;
    caught_up(&server).await;
    assert!(server.terminate().0.success());
    drop(silent.accept().unwrap());

    silent.set_nonblocking(true).unwrap();
    let other = Broker::shared().topic();
    let server = mirrored(dir.path(), &other, &[&url, "mirror_values=json"]);
    caught_up(&server).await;
    assert!(silent.accept().is_err(), "nobody asks");
    assert_eq!(server.info().await.mirror_problem, "");
}
