//! HTTP as simple as it gets: one request, one answer, one connection.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::harness::PATIENCE;

/// What a server has answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Asks for `path` at `address`.
pub(crate) fn get(address: &str, path: &str) -> Answer {
    try_get(address, path).unwrap_or_else(|error| panic!("{address}{path}: {error}"))
}

/// The same where perhaps nobody listens.
pub(crate) fn try_get(address: &str, path: &str) -> std::io::Result<Answer> {
    ask(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"))
}

/// Sends a request as it is, and takes all that comes until the end.
pub(crate) fn ask(address: &str, request: &str) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    let (head, body) = said.split_once("\r\n\r\n").unwrap_or((&said, ""));
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default();
    Ok(Answer { code, head: head.to_owned(), body: body.to_owned() })
}

impl Answer {
    /// Its JSON.
    pub(crate) fn json(&self) -> Value {
        assert!(self.head.contains("application/json"), "{self:?}");
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The names of the reasons it gives.
    pub(crate) fn reasons(&self) -> Vec<String> {
        let json = self.json();
        let reasons = json["reasons"].as_array().expect("an array");
        let said = reasons.iter().filter(|reason| !reason["message"].as_str().unwrap_or_default().is_empty());
        said.map(|reason| reason["reason"].as_str().expect("a name").to_owned()).collect()
    }
}

/// Asks again and again until `is_it`.
pub(crate) fn wait_for(address: &str, path: &str, is_it: impl Fn(&Answer) -> bool) -> Answer {
    let begun = std::time::Instant::now();
    let mut last = None;
    while begun.elapsed() < PATIENCE {
        match try_get(address, path) {
            Ok(answer) if is_it(&answer) => return answer,
            other => last = Some(other),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("{path} at last: {last:?}");
}

/// An address that nobody listens on.
pub(crate) fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").to_string()
}
