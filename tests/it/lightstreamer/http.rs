//! Requests by HTTP: a stream asked for here is bound, and at once sent on, for whoever asked to bind it by WebSocket.

use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::connection::Connection;
use super::request::Request;
use super::state::Shared;

/// Serves a connection until its end.
pub(super) async fn serve(stream: TcpStream, number: u64, shared: Arc<Shared>) {
    let connection = Mutex::new(Connection::new(number, shared));
    let answer = service_fn(async |request: hyper::Request<Incoming>| {
        let path = request.uri().path().to_owned();
        let name = path.strip_prefix("/lightstreamer/").and_then(|rest| rest.strip_suffix(".txt"));
        let body = request.into_body().collect().await?.to_bytes();
        let message = format!("{}\r\n{}", name.unwrap_or_default(), String::from_utf8_lossy(&body));
        let mut connection = connection.lock().expect("nothing panics");
        let answers: String =
            Request::all_in(&message).iter().map(|request| answered(&mut connection, request)).collect();
        Ok::<_, hyper::Error>(hyper::Response::new(Full::new(Bytes::from(answers))))
    });
    // One request a connection: clients that keep one would open their WebSocket on it.
    let mut http = http1::Builder::new();
    let _: Result<(), hyper::Error> =
        http.keep_alive(false).serve_connection(TokioIo::new(stream), answer).await;
}

fn answered(connection: &mut Connection, request: &Request) -> String {
    let mut answer = connection.answer(request);
    connection.unbind();
    if answer.starts_with("CONOK") {
        answer += "LOOP,0\r\n";
    } else if answer.is_empty() {
        answer += "REQOK\r\n";
    }
    answer
}
