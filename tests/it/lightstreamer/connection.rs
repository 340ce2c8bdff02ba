//! A WebSocket: requests in, answers and notifications out, one session after the other.

use std::sync::Arc;
use std::time::Duration;

use futures::SinkExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};
use tokio_stream::StreamExt as _;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request as Opening, Response};
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

use super::Trouble;
use super::encode::Field;
use super::http;
use super::request::Request;
use super::session::Subscription;
use super::state::{Shared, State};

/// The sub-protocol that clients have to ask for.
const PROTOCOL: &str = "TLCP-2.5.0.lightstreamer.com";
/// The adapter set of the public feed.
const ADAPTER_SET: &str = "ISSLIVE";
/// What a client is told of the longest request, in bytes.
const REQUEST_BYTES_MAX: usize = 50_000;
/// When nothing was said for so long, that is said; a client may ask for another time within bounds.
const KEEPALIVE_MILLIS: u64 = 5_000;
const KEEPALIVE_MILLIS_MIN: u64 = 200;

/// Serves a connection until its end.
pub(super) async fn serve(stream: TcpStream, number: u64, shared: Arc<Shared>) {
    let mut first = [0; 4];
    if matches!(stream.peek(&mut first).await, Ok(4)) && first == *b"POST" {
        return http::serve(stream, number, shared).await;
    }
    let Ok(socket) = accept_hdr_async(stream, agree).await else { return };
    let mut connection = Connection::new(number, shared);
    // An error is a connection that is no more: nobody is left to tell.
    let _ = connection.run(socket).await;
    connection.unbind();
}

/// Agrees to the protocol, if it is asked for.
#[allow(clippy::result_large_err, reason = "the library's type")]
fn agree(opening: &Opening, mut response: Response) -> Result<Response, ErrorResponse> {
    if opening.headers().get(SEC_WEBSOCKET_PROTOCOL).is_none_or(|asked| asked != PROTOCOL) {
        return Err(ErrorResponse::new(Some(format!("speaks {PROTOCOL} only"))));
    }
    response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, PROTOCOL.parse().expect("a header"));
    Ok(response)
}

/// What both ends know of a connection.
pub(super) struct Connection {
    number: u64,
    /// The session that was bound here last.
    session: Option<String>,
    keepalive: Duration,
    is_mute: bool,
    shared: Arc<Shared>,
}

impl Connection {
    pub(super) fn new(number: u64, shared: Arc<Shared>) -> Self {
        let keepalive = Duration::from_millis(KEEPALIVE_MILLIS);
        Self { number, session: None, keepalive, is_mute: false, shared }
    }

    async fn run(&mut self, mut socket: WebSocketStream<TcpStream>) -> Result<(), Error> {
        let mut changes = self.shared.changes();
        let mut silent_since = Instant::now();
        loop {
            let (lines, trouble) = self.take();
            let has_said = !lines.is_empty() || trouble.is_some();
            if has_said {
                silent_since = Instant::now();
                if self.say(&mut socket, lines, trouble).await? {
                    return Ok(());
                }
            }
            let probe_at = silent_since + self.keepalive;
            let message = tokio::select! {
                biased;
                message = socket.next() => message,
                () = std::future::ready(()), if has_said => continue,
                () = sleep_until(probe_at), if self.is_bound() => {
                    silent_since = Instant::now();
                    socket.send(Message::text("PROBE\r\n")).await?;
                    continue;
                }
                _ = changes.changed() => continue,
            };
            let Some(message) = message.transpose()? else { return Ok(()) };
            if let Message::Text(text) = message
                && !self.is_mute
            {
                let answers: String =
                    Request::all_in(&text).iter().map(|request| self.answer(request)).collect();
                if !answers.is_empty() {
                    socket.send(Message::text(answers)).await?;
                }
            }
        }
    }

    /// Says it, and makes the trouble that comes after it. Returns whether that was the last.
    async fn say(
        &mut self,
        socket: &mut WebSocketStream<TcpStream>,
        mut lines: Vec<String>,
        trouble: Option<Trouble>,
    ) -> Result<bool, Error> {
        match &trouble {
            Some(Trouble::Drop) => lines.truncate(lines.len() / 2),
            Some(Trouble::Loop) => lines.push("LOOP,0".to_owned()),
            Some(Trouble::End(code)) => lines.push(format!("END,{code},by the plan")),
            _ => {}
        }
        let text: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        if !text.is_empty() {
            socket.send(Message::text(text)).await?;
        }
        match trouble {
            Some(Trouble::Drop) => {
                socket.get_ref().set_zero_linger()?;
                return Ok(true);
            }
            Some(Trouble::Forget) => {
                socket.close(None).await?;
                while socket.next().await.is_some_and(|message| message.is_ok()) {}
                return Ok(true);
            }
            Some(Trouble::Loop) => self.unbind(),
            Some(Trouble::End(_)) => self.end(),
            Some(Trouble::Mute) => self.is_mute = true,
            Some(Trouble::Bytes(bytes)) => {
                let frame = Frame::message(bytes, OpCode::Data(Data::Text), true);
                socket.send(Message::Frame(frame)).await?;
            }
            _ => {}
        }
        Ok(false)
    }

    /// What the session has to say; nothing if it is bound to another connection.
    fn take(&self) -> (Vec<String>, Option<Trouble>) {
        if self.is_mute || !self.is_bound() {
            return (Vec::new(), None);
        }
        self.with_session(|session| session.take()).unwrap_or_default()
    }

    fn is_bound(&self) -> bool {
        let Some(id) = &self.session else { return false };
        let connection = |state: &State| state.sessions.get(id).and_then(|session| session.connection);
        !self.is_mute && self.shared.look(connection) == Some(self.number)
    }

    fn with_session<T>(&self, then: impl FnOnce(&mut super::session::Session) -> T) -> Option<T> {
        let id = self.session.as_ref()?;
        self.shared.change(|state| state.sessions.get_mut(id).map(then))
    }

    /// Takes the stream from the session, if it is here.
    pub(super) fn unbind(&self) {
        self.with_session(|session| {
            session.connection.take_if(|number| *number == self.number);
        });
    }

    fn end(&mut self) {
        if let Some(id) = self.session.take() {
            self.shared.change(|state| state.sessions.remove(&id));
        }
    }

    /// The answer to a request, with its line end; nothing where there is none.
    pub(super) fn answer(&mut self, request: &Request) -> String {
        self.shared.change(|state| state.note(&request.name));
        let answer = match &*request.name {
            "wsok" => "WSOK".to_owned(),
            "create_session" => self.create(request),
            "bind_session" => self.bind(request),
            "control" => self.control(request),
            "heartbeat" => return String::new(),
            name => format!("ERROR,65,unknown request {}", name.escape_debug()),
        };
        if answer.is_empty() { answer } else { answer + "\r\n" }
    }

    fn create(&mut self, request: &Request) -> String {
        if let Some(code) = self.shared.change(State::refusal) {
            return format!("CONERR,{code},by the plan");
        }
        if request.text("LS_cid").is_empty() {
            return "ERROR,65,LS_cid is missing".to_owned();
        }
        if request.text("LS_adapter_set") != ADAPTER_SET {
            return "CONERR,2,Requested Adapter Set not available".to_owned();
        }
        let id = self.shared.change(|state| state.open(self.number));
        self.session = Some(id);
        self.connected(request)
    }

    fn bind(&mut self, request: &Request) -> String {
        if let Some(code) = self.shared.change(State::refusal) {
            return format!("CONERR,{code},by the plan");
        }
        self.choose(request);
        let from = request.number("LS_recovery_from");
        let number = self.number;
        let bound = self.with_session(|session| {
            let from = from.map(|from| session.recover(from));
            if from != Some(None) {
                session.connection = Some(number);
            }
            from
        });
        match bound {
            None => "CONERR,20,Specified session not found".to_owned(),
            Some(Some(None)) => {
                self.end();
                "CONERR,4,Recovery not possible".to_owned()
            }
            Some(None) => self.connected(request),
            Some(Some(Some(progressive))) => {
                self.shared.change(|state| state.note("recovery"));
                format!("{}\r\nPROG,{progressive}", self.connected(request))
            }
        }
    }

    /// The session that the request names; without one it is about that which was here last.
    fn choose(&mut self, request: &Request) {
        match request.text("LS_session") {
            "" => {}
            id => self.session = Some(id.to_owned()),
        }
    }

    fn connected(&mut self, request: &Request) -> String {
        let asked = request.number("LS_keepalive_millis").unwrap_or(KEEPALIVE_MILLIS);
        let millis = asked.clamp(KEEPALIVE_MILLIS_MIN, KEEPALIVE_MILLIS);
        self.keepalive = Duration::from_millis(millis);
        let id = self.session.as_deref().unwrap_or_default();
        let answer = format!("CONOK,{id},{REQUEST_BYTES_MAX},{millis},*");
        if request.text("LS_reduce_head") == "true" {
            return answer;
        }
        format!("{answer}\r\nSERVNAME,stand-in\r\nCLIENTIP,127.0.0.1\r\nCONS,unlimited")
    }

    fn control(&mut self, request: &Request) -> String {
        self.choose(request);
        let operation = request.text("LS_op");
        self.shared.change(|state| state.note(operation));
        let result = match operation {
            "add" => self.add(request),
            "delete" => {
                let number = request.number("LS_subId").unwrap_or_default();
                let ended = self.with_session(|session| session.unsubscribe(number)).flatten();
                ended.ok_or("19,Specified subscription not found")
            }
            "destroy" => {
                self.end();
                return format!("REQOK,{}\r\nEND,31,by the client", request.text("LS_reqId"));
            }
            "reconf" | "constrain" => Ok(()),
            "force_rebind" => {
                let made = self.with_session(|session| session.make(Trouble::Loop, &Default::default()));
                made.ok_or("20,Specified session not found")
            }
            _ => Err("65,unknown LS_op"),
        };
        let id = request.text("LS_reqId");
        match result {
            Err(problem) => format!("REQERR,{id},{problem}"),
            Ok(()) if request.text("LS_ack") == "false" => String::new(),
            Ok(()) => format!("REQOK,{id}"),
        }
    }

    fn add(&self, request: &Request) -> Result<(), &'static str> {
        let id = self.session.as_deref().ok_or("20,Specified session not found")?;
        let number = request.number("LS_subId").ok_or("65,LS_subId is no number")?;
        if request.text("LS_mode") != "MERGE" {
            return Err("24,Invalid mode for these items");
        }
        if !["", "DEFAULT"].contains(&request.text("LS_data_adapter")) {
            return Err("17,Data Adapter not found");
        }
        let fields: Option<Vec<_>> = request.text("LS_schema").split_whitespace().map(Field::of).collect();
        let fields = fields.filter(|fields| !fields.is_empty()).ok_or("23,Bad Field schema name")?;
        let wants_snapshot = request.text("LS_snapshot") == "true";
        let subscription = Subscription::new(request.text("LS_group"), fields, wants_snapshot);
        self.shared.change(|state| state.subscribe(id, number, subscription));
        Ok(())
    }
}
