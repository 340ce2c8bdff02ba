//! A real Jaeger that keeps traces in memory, and what it has been told.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{PATIENCE, peer};
use crate::http::{ask, free_address};

/// A Jaeger, killed when dropped.
pub(crate) struct Jaeger {
    child: Child,
    otlp: String,
    query: String,
}

/// A span as Jaeger has it.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) tags: BTreeMap<String, Value>,
    /// The spans it refers to: how, in which trace, and which.
    pub(crate) references: Vec<(String, String, String)>,
    pub(crate) lasted_us: u64,
}

impl Jaeger {
    /// Starts one, and waits until it answers.
    pub(crate) fn start() -> Self {
        let (otlp, query) = (free_address(), free_address());
        let mut command = Command::new(peer("DOWNLINK_JAEGER"));
        command.arg(format!("--collector.otlp.grpc.host-port={otlp}"));
        command.arg(format!("--query.http-server.host-port={query}"));
        for other in [
            "admin.http.host-port",
            "collector.grpc-server.host-port",
            "collector.http-server.host-port",
            "collector.otlp.http.host-port",
            "query.grpc-server.host-port",
        ] {
            command.arg(format!("--{other}={}", free_address()));
        }
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("Jaeger");
        let jaeger = Self { child, otlp, query };
        let deadline = Instant::now() + PATIENCE;
        while jaeger.ask("/api/services").is_none() {
            assert!(Instant::now() < deadline, "Jaeger does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        jaeger
    }

    /// Where it takes OTLP over gRPC.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.otlp)
    }

    /// Waits until it has as many spans of a trace as `is_all` wants.
    pub(crate) fn trace(&self, id: &str, is_all: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.ask(&format!("/api/traces/{id}")).map_or_else(Vec::new, |found| spans(&found));
            if is_all(&found) {
                return found;
            }
            assert!(Instant::now() < deadline, "Jaeger has of trace {id} only {found:#?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits for a trace with a span of this name that `is_it`.
    pub(crate) fn found(&self, name: &str, is_it: impl Fn(&Span) -> bool) -> Vec<Span> {
        let path =
            format!("/api/traces?service=downlink-server&limit=1000&lookback=1h&operation={}", escaped(name));
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.ask(&path).unwrap_or_default();
            let traces = found["data"].as_array().into_iter().flatten();
            let traces = traces.map(|trace| spans(&serde_json::json!({ "data": [trace] })));
            let all = traces.collect::<Vec<_>>();
            let is_found = |trace: &&Vec<Span>| trace.iter().any(|span| span.name == name && is_it(span));
            if let Some(trace) = all.iter().find(is_found) {
                return trace.clone();
            }
            assert!(Instant::now() < deadline, "Jaeger has no such {name:?} among {all:#?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn ask(&self, path: &str) -> Option<Value> {
        // Of this version an answer comes in one piece.
        let answer = ask(&self.query, &format!("GET {path} HTTP/1.0\r\n\r\n")).ok()?;
        (answer.code == 200).then(|| serde_json::from_str(&answer.body).expect("JSON"))
    }
}

impl Drop for Jaeger {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn escaped(name: &str) -> String {
    name.replace('/', "%2F").replace(' ', "%20")
}

fn spans(found: &Value) -> Vec<Span> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let all = list(&found["data"]).into_iter().flat_map(|trace| list(&trace["spans"]));
    let span = |span: Value| Span {
        id: text(&span["spanID"]),
        name: text(&span["operationName"]),
        tags: list(&span["tags"]).iter().map(|tag| (text(&tag["key"]), tag["value"].clone())).collect(),
        references: list(&span["references"])
            .iter()
            .map(|to| (text(&to["refType"]), text(&to["traceID"]), text(&to["spanID"])))
            .collect(),
        lasted_us: span["duration"].as_u64().unwrap_or_default(),
    };
    all.map(span).collect()
}
