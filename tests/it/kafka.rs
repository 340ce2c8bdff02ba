//! A real Kafka broker in a temporary directory, and what an independent client finds in its topics.

mod topic;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{peer, root, succeed};
pub(crate) use topic::{Message, Topic};

/// How long a broker may take to answer; alone on a machine it takes 7 s.
const START: Duration = Duration::from_secs(180);

/// The password of the one user that a broker knows.
pub(crate) const PASSWORD: &str = "a = #secret";

/// Runs the broker until a line comes, or the end of its input: then the test's process is gone, and with it goes all else.
const KEEPER: &str = r#"
directory=$1; shift
"$@" &
read -r line
kill -9 $! 2>/dev/null
wait $! 2>/dev/null
[ "$line" = keep ] || rm -rf "$directory"
"#;

/// A broker, killed when dropped.
pub(crate) struct Broker {
    dir: PathBuf,
    address: SocketAddr,
    guarded: SocketAddr,
    running: Option<Running>,
}

struct Running {
    keeper: Child,
    input: ChildStdin,
}

impl Broker {
    /// Starts a broker of the test's own, and waits until it answers.
    pub(crate) fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("kafka").tempdir().unwrap().keep();
        let addresses @ [address, guarded, _] = free_addresses();
        std::fs::write(dir.join("server.properties"), properties(&dir, addresses)).unwrap();
        let mut broker = Self { dir, address, guarded, running: None };
        let format = ["format", "--standalone", "-t", "AAAAAAAAQACAAAAAAAAAAQ", "-c"];
        succeed(broker.java("kafka.tools.StorageTool").args(format).arg(broker.settings_file()));
        broker.restart();
        broker
    }

    /// A broker that tests share who do it no harm; it ends with the process.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Broker> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        let mut running = self.running.take().expect("it runs");
        writeln!(running.input, "keep").unwrap();
        running.keeper.wait().unwrap();
    }

    /// Starts it again after [`Self::kill`], and waits until it answers.
    pub(crate) fn restart(&mut self) {
        let java = self.java("kafka.Kafka");
        let mut keeper = Command::new("bash");
        keeper.args(["-c", KEEPER, "keeper"]).arg(&self.dir);
        keeper.arg(java.get_program()).args(java.get_args()).arg(self.settings_file());
        let piped = keeper.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut keeper = piped.spawn().expect("bash");
        let said = BufReader::new(keeper.stdout.take().expect("piped"));
        std::thread::spawn(move || said.lines().map_while(Result::ok).for_each(|line| eprintln!("{line}")));
        let input = keeper.stdin.take().expect("piped");
        assert!(self.running.replace(Running { keeper, input }).is_none(), "it runs already");
        let deadline = Instant::now() + START;
        while TcpStream::connect(self.address).is_err() {
            assert!(Instant::now() < deadline, "the broker does not listen within {START:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
        self.operate(["wait"]);
    }

    /// `127.0.0.1:port`.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Where it asks for the name `mirror` and for [`PASSWORD`].
    pub(crate) fn guarded_address(&self) -> String {
        self.guarded.to_string()
    }

    /// A topic of its own for a test; nothing has created it yet.
    pub(crate) fn topic(&self) -> Topic {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Topic::new(self.address(), format!("events.{}", NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    fn operate<const N: usize>(&self, action: [&str; N]) {
        operate(&self.address(), &action);
    }

    fn settings_file(&self) -> PathBuf {
        self.dir.join("server.properties")
    }

    fn java(&self, class: &str) -> Command {
        let lib = peer("DOWNLINK_KAFKA");
        assert!(lib.is_dir(), "{} is not there: run the tests with tests/run", lib.display());
        let mut command = Command::new("java");
        command.args(["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]);
        command.arg(lib.join("*")).arg(class).current_dir(&self.dir);
        command
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        match self.running.take() {
            // Its input ends.
            Some(Running { mut keeper, input }) => {
                drop(input);
                let _ = keeper.wait();
            }
            None => drop(std::fs::remove_dir_all(&self.dir)),
        }
    }
}

/// Does what an operator might, and waits until it is done.
fn operate(brokers: &str, action: &[&str]) {
    succeed(python("kafka_topic.py").arg(brokers).args(action));
}

/// A program of `tests/clients`.
fn python(program: &str) -> Command {
    let mut command = Command::new(peer("DOWNLINK_PYTHON"));
    command.arg(root().join("tests/clients").join(program));
    command
}

/// The broker keeps its addresses over its restarts, so it cannot be left to choose them.
fn free_addresses<const N: usize>() -> [SocketAddr; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap())
}

fn properties(dir: &Path, [address, guarded, controller]: [SocketAddr; 3]) -> String {
    let log_dir = dir.join("data");
    let login = "org.apache.kafka.common.security.plain.PlainLoginModule required";
    format!(
        "\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers={controller}
controller.listener.names=CONTROLLER
inter.broker.listener.name=OPEN
listener.security.protocol.map=OPEN:PLAINTEXT,GUARDED:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
listeners=OPEN://{address},GUARDED://{guarded},CONTROLLER://{controller}
advertised.listeners=OPEN://{address},GUARDED://{guarded}
listener.name.guarded.sasl.enabled.mechanisms=PLAIN
listener.name.guarded.plain.sasl.jaas.config={login} user_mirror=\"{PASSWORD}\";
log.dirs={log_dir}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
",
        log_dir = log_dir.display()
    )
}

#[test]
fn a_broker_that_was_killed_still_has_what_it_took_and_leaves_nothing_behind() {
    let mut broker = Broker::start();
    let topic = broker.topic();
    topic.create(2, &[]);
    topic.produce(&["log_id=a", "offset=1"]);
    broker.kill();
    assert!(TcpStream::connect(broker.address).is_err(), "it is gone");
    broker.restart();
    topic.produce(&["log_id=a", "offset=2"]);
    let (messages, ends) = topic.read();
    let found: Vec<_> =
        messages.iter().map(|message| (message.position, &*message.headers["offset"])).collect();
    assert_eq!((found, ends), (vec![(0, "1"), (1, "2")], vec![(0, 2), (0, 0)]));
    let dir = broker.dir.clone();
    drop(broker);
    assert!(!dir.exists(), "nothing is left of it");
}
