//! Real processes for the tests: servers on free ports in temporary directories, and the command beside them.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use downlink_proto::v1::ingest_service_client::IngestServiceClient;
use downlink_proto::v1::log_service_client::LogServiceClient;
use downlink_proto::v1::query_service_client::QueryServiceClient;
use downlink_proto::v1::{self, Event, Value, value};
use tonic::transport::Channel;

/// How long anything that should happen soon may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The recorded telemetry beside the repository. Its absence is a failure, not a reason to skip.
pub(crate) fn shared_data(file: &str) -> PathBuf {
    let dir =
        std::env::var_os("DOWNLINK_SHARED_DATA").map_or_else(|| root().join("../shared/data"), PathBuf::from);
    let path = dir.join(file);
    assert!(path.exists(), "{} is missing: set DOWNLINK_SHARED_DATA to the recorded data", path.display());
    path
}

/// A program that `tests/run` provides, by the name of its variable.
pub(crate) fn peer(variable: &str) -> PathBuf {
    let path = std::env::var_os(variable).map(PathBuf::from);
    path.unwrap_or_else(|| panic!("{variable} is not set: run the tests with tests/run"))
}

/// Whether the long forms of the tests are asked for.
pub(crate) fn slow() -> bool {
    std::env::var_os("SLOW_TESTS").is_some_and(|value| value == "1")
}

/// A binary of this workspace, built from the sources as they are, in the profile of the tests.
pub(crate) fn binary(name: &str) -> PathBuf {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    let dir = DIR.get_or_init(|| {
        let test = std::env::current_exe().expect("the test's own path");
        let dir = test.ancestors().nth(2).expect("target directory").to_owned();
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--quiet", "--workspace", "--bins", "--locked"]).current_dir(root());
        if dir.ends_with("release") {
            cargo.arg("--release");
        }
        assert!(cargo.status().expect("cargo").success(), "the binaries do not build");
        dir
    });
    dir.join(name)
}

/// A running `downlink-server`, killed when dropped.
pub(crate) struct Server {
    child: Child,
    address: String,
    http: OnceLock<Option<String>>,
    lines: Mutex<mpsc::Receiver<String>>,
    said: Arc<Mutex<String>>,
    printed: Arc<Mutex<String>>,
    hearing: Vec<JoinHandle<()>>,
}

/// The line that says where HTTP is served: after the one that it listens.
const SERVES_HTTP: &str = "downlink-server serves HTTP on ";

impl Server {
    /// Starts a server on `dir` and a free port, and waits until it listens.
    pub(crate) fn start(dir: &Path) -> Self {
        Self::start_with(dir, [""; 0])
    }

    /// The same with further arguments.
    pub(crate) fn start_with(dir: &Path, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        let mut command = server_command(dir);
        command.args(arguments);
        Self::spawn(command).unwrap_or_else(|output| panic!("the server did not start: {output}"))
    }

    /// Starts a server where the last one was, for clients that come back.
    pub(crate) fn start_at(dir: &Path, address: &str) -> Self {
        let mut command = bare_server_command();
        command.arg("--data-dir").arg(dir).args(["--listen", address]);
        Self::spawn(command).unwrap_or_else(|output| panic!("the server did not start: {output}"))
    }

    /// Starts a prepared command; the error is all it said.
    pub(crate) fn spawn(mut command: Command) -> Result<Self, String> {
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("downlink-server");
        let stdout = child.stdout.take().expect("piped");
        let mut stderr = child.stderr.take().expect("piped");
        let (sender, lines) = mpsc::channel();
        let printed = Arc::new(Mutex::new(String::new()));
        let read = printed.clone();
        let reading = std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                *read.lock().expect("nothing panics") += &format!("{line}\n");
                if line.starts_with("downlink-server ") {
                    let _ = sender.send(line);
                }
            }
        });
        // Drained at all times, so that a talkative server does not stop; shown when a test fails.
        let said = Arc::new(Mutex::new(String::new()));
        let heard = said.clone();
        let listening = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = stderr.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..count]);
                eprint!("{text}");
                heard.lock().expect("nothing panics").push_str(&text);
            }
        });
        let ready = lines.recv_timeout(PATIENCE).ok();
        match ready.as_ref().and_then(|line| line.strip_prefix("downlink-server listening on ")) {
            Some(address) => Ok(Self {
                child,
                address: address.to_owned(),
                http: OnceLock::new(),
                lines: Mutex::new(lines),
                said,
                printed,
                hearing: vec![listening, reading],
            }),
            None => {
                let _ = child.kill();
                let status = child.wait().expect("a status");
                listening.join().expect("stderr");
                Err(format!("{status}: {}", said.lock().expect("nothing panics")))
            }
        }
    }

    /// `127.0.0.1:port`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// `127.0.0.1:port`, where HTTP is served.
    pub(crate) fn http(&self) -> &str {
        self.try_http().expect("it serves HTTP")
    }

    /// The same, if it serves any: it says so right after it listens.
    pub(crate) fn try_http(&self) -> Option<&str> {
        let next = || {
            let line =
                self.lines.lock().expect("nothing panics").recv_timeout(Duration::from_secs(2)).ok()?;
            line.strip_prefix(SERVES_HTTP).map(str::to_owned)
        };
        self.http.get_or_init(next).as_deref()
    }

    /// `http://127.0.0.1:port`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until a line of the server's own has all of these.
    pub(crate) async fn says(&self, words: &[&str]) {
        let is_said = || {
            let said = self.said.lock().expect("nothing panics");
            said.lines().any(|line| words.iter().all(|word| line.contains(word)))
        };
        let waited = async {
            while !is_said() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        soon(&format!("a line with {words:?}"), waited).await;
    }

    /// What it has written to stderr so far.
    pub(crate) fn said(&self) -> String {
        self.said.lock().expect("nothing panics").clone()
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// kill -9.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("kill -9");
        self.child.wait().expect("a status");
    }

    /// Sends a signal, such as "TERM".
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status();
        assert!(sent.expect("kill").success());
    }

    /// How the server ended, within [`PATIENCE`].
    pub(crate) fn wait(mut self) -> std::process::ExitStatus {
        self.ended()
    }

    /// The same, with all it said on standard error and printed.
    pub(crate) fn wait_with_all_it_said(mut self) -> (std::process::ExitStatus, String, String) {
        let status = self.ended();
        self.hearing.drain(..).for_each(|thread| thread.join().expect("nothing panics"));
        let [said, printed] =
            [&self.said, &self.printed].map(|text| text.lock().expect("nothing panics").clone());
        (status, said, printed)
    }

    fn ended(&mut self) -> std::process::ExitStatus {
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().expect("a status") {
                return status;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("the server did not end within {PATIENCE:?}");
    }

    /// SIGTERM, how the server ended, and how long that took.
    pub(crate) fn terminate(self) -> (std::process::ExitStatus, Duration) {
        let started = Instant::now();
        self.signal("TERM");
        (self.wait(), started.elapsed())
    }

    /// A connection without options.
    pub(crate) async fn channel(&self) -> Channel {
        Channel::from_shared(self.url()).expect("a URL").connect().await.expect("a connection")
    }

    /// The generated client for appends.
    pub(crate) async fn ingest(&self) -> IngestServiceClient<Channel> {
        IngestServiceClient::new(self.channel().await)
    }

    /// The generated client for queries.
    pub(crate) async fn query(&self) -> QueryServiceClient<Channel> {
        QueryServiceClient::new(self.channel().await)
    }

    /// Facts about the log.
    pub(crate) async fn info(&self) -> v1::GetLogInfoResponse {
        let mut client = LogServiceClient::new(self.channel().await);
        client.get_log_info(v1::GetLogInfoRequest {}).await.expect("info").into_inner()
    }

    /// Appends one batch.
    pub(crate) async fn append(&self, events: Vec<Event>) -> v1::AppendResponse {
        let request = v1::AppendRequest { events, ..v1::AppendRequest::default() };
        self.ingest().await.append(request).await.expect("append").into_inner()
    }

    /// Every event of the log, by one `Read`, but the system's own.
    pub(crate) async fn read_all(&self) -> Vec<Event> {
        self.read_filtered(v1::Filter::default()).await
    }

    /// Every event of the log, the system's own among them.
    pub(crate) async fn read_everything(&self) -> Vec<Event> {
        self.read_of(&["**", "_**"]).await
    }

    /// Every event of signals, by their names or globs.
    pub(crate) async fn read_of(&self, signals: &[&str]) -> Vec<Event> {
        let signals = signals.iter().map(ToString::to_string).collect();
        self.read_filtered(v1::Filter { signals, ..v1::Filter::default() }).await
    }

    async fn read_filtered(&self, filter: v1::Filter) -> Vec<Event> {
        let request = v1::ReadRequest { filter: Some(filter), ..v1::ReadRequest::default() };
        let mut stream = self.query().await.read(request).await.expect("read").into_inner();
        let mut events = Vec::new();
        while let Some(response) = stream.message().await.expect("a frame") {
            match response.frame.expect("a frame") {
                v1::read_response::Frame::Events(batch) => events.extend(batch.events),
                v1::read_response::Frame::Gap(gap) => panic!("a gap in a whole log: {gap:?}"),
                v1::read_response::Frame::End(_) => {}
            }
        }
        events
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The command that starts a server on `dir` and a free port.
pub(crate) fn server_command(dir: &Path) -> Command {
    let mut command = bare_server_command();
    command.arg("--data-dir").arg(dir).args(["--listen", "127.0.0.1:0"]);
    command
}

/// The server's program, set to serve HTTP on a free port.
pub(crate) fn bare_server_command() -> Command {
    let mut command = Command::new(binary("downlink-server"));
    command.env("DOWNLINK_HTTP_LISTEN", "127.0.0.1:0").env("DOWNLINK_LOG_FORMAT", "text");
    command
}

/// The `downlink` command, aimed at a server.
pub(crate) fn downlink(url: &str) -> Command {
    let mut command = Command::new(binary("downlink"));
    command.args(["--url", url]);
    command
}

/// Runs a command to its end; it must succeed. Gives back what it printed.
pub(crate) fn succeed(command: &mut Command) -> String {
    let output = run(command);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{err}", output.status);
    out.into_owned()
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// What should happen soon; a test that waits for it in vain fails instead of hanging.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(PATIENCE, future).await;
    waited.unwrap_or_else(|_| panic!("{what}: nothing within {PATIENCE:?}"))
}

/// An event with a double.
pub(crate) fn event(signal: &str, number: f64) -> Event {
    Event {
        signal: signal.to_owned(),
        value: Some(Value { kind: Some(value::Kind::DoubleValue(number)) }),
        ..Event::default()
    }
}
