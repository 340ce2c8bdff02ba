//! kill -9 of server and broker at random moments under load: the topic is the log all the same.

use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::{caught_up, is_mirrored, mirrored};
use crate::harness::{PATIENCE, Server, slow};
use crate::kafka::{Broker, Topic};
use crate::kill::source::{Source, Way};
use crate::random::Random;

const ROUNDS: u64 = 5;
const ROUNDS_SLOW: u64 = 200;
/// Rounds of one log; a long run begins a new one after so many.
const HISTORY_ROUNDS_MAX: u64 = 20;

/// The longest life of a server, which is enough to find out what the topic holds.
const LIFE_MS_MAX: u64 = 1_500;
/// The longest time between the beginning of an upheaval and its kill.
const MOMENT_MS_MAX: u64 = 100;
/// The longest time a broker is away before it starts.
const ABSENCE_MS_MAX: u64 = 2_000;
const BATCHES_MAX: u64 = 200;
const SOURCES: u64 = 8;

/// So that checkpoints and segments come often, and much is on its way at any time.
const SETTINGS: [&str; 3] = ["mirror_checkpoint_ms=50", "segment_blocks_max=50", "commit_events_max=256"];

/// One log, those who append to it, and its topic.
struct History {
    dir: TempDir,
    topic: Topic,
    sources: Vec<Source>,
    random: Random,
}

impl History {
    fn new(topic: Topic, random: &mut Random) -> Self {
        let sources = (0..SOURCES).map(|number| {
            let way = if number % 4 == 0 { Way::Unary } else { Way::Stream };
            Source::new(format!("{way:?}/{number}"), way, random.number())
        });
        let sources = sources.collect();
        Self { dir: tempfile::tempdir().unwrap(), topic, sources, random: Random::seeded(random.number()) }
    }

    fn start(&self) -> Server {
        mirrored(self.dir.path(), &self.topic, &SETTINGS)
    }

    /// Lets everybody append something.
    fn append(&mut self, server: &Server) -> Load {
        let appending = std::mem::take(&mut self.sources).into_iter().map(|mut source| {
            let (url, batches) = (server.url(), 1 + self.random.below(BATCHES_MAX));
            tokio::spawn(async move {
                let is_acknowledged = source.append_more(&url, batches).await;
                (source, is_acknowledged)
            })
        });
        Load(appending.collect())
    }

    /// Waits for the end of a load; whether all of it was acknowledged.
    async fn end(&mut self, load: Load) -> bool {
        let mut is_acknowledged = true;
        for task in load.0 {
            let ended = tokio::time::timeout(PATIENCE, task).await;
            let (source, is_its_own) = ended.expect("appends end").expect("nothing panics");
            self.sources.push(source);
            is_acknowledged &= is_its_own;
        }
        is_acknowledged
    }

    /// Chance decides when something dies, not a condition to wait for.
    async fn moment(&mut self, ms_max: u64) {
        tokio::time::sleep(Duration::from_millis(self.random.below(ms_max))).await;
    }

    /// Waits until the mirror is at work.
    async fn is_sending(server: &Server) {
        let mut first = None;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let info = server.info().await;
            let begun = *first.get_or_insert(info.mirrored_offset);
            if info.mirrored_offset > begun.max(1) || info.mirrored_offset == info.head_offset {
                return;
            }
            assert!(Instant::now() < deadline, "the mirror sends nothing: {info:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// The end: what was not acknowledged is appended again, and then the topic is the log.
    async fn ends_well(&mut self, server: &Server) {
        for source in &mut self.sources {
            source.settle(&server.url()).await;
        }
        let (log, messages) = is_mirrored(server, &self.topic).await;
        let appended: u64 = self.sources.iter().map(|source| source.check(&log)).sum();
        println!("{appended} events appended, {} in the log, {} in the topic", log.len(), messages.len());
    }
}

/// Sources at work.
struct Load(Vec<JoinHandle<(Source, bool)>>);

/// So many rounds, in histories that do not become too long.
fn histories() -> Vec<u64> {
    let rounds = if slow() { ROUNDS_SLOW } else { ROUNDS };
    let full = std::iter::repeat_n(HISTORY_ROUNDS_MAX, (rounds / HISTORY_ROUNDS_MAX) as usize);
    full.chain([rounds % HISTORY_ROUNDS_MAX]).filter(|rounds| *rounds > 0).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_the_server_loses_nothing_in_the_topic_and_doubles_nothing() {
    let mut random = Random::announced("mirror kill server");
    for rounds in histories() {
        let mut history = History::new(Broker::shared().topic(), &mut random);
        for round in 0..rounds {
            let server = history.start();
            let load = history.append(&server);
            if round % 2 == 0 {
                History::is_sending(&server).await;
                history.moment(MOMENT_MS_MAX).await;
            } else {
                history.moment(LIFE_MS_MAX).await;
            }
            server.kill();
            history.end(load).await;
        }
        let server = history.start();
        history.ends_well(&server).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_the_broker_does_not_hold_appends_up_and_the_mirror_catches_up() {
    let mut random = Random::announced("mirror kill broker");
    let mut broker = Broker::start();
    for rounds in histories() {
        let mut history = History::new(broker.topic(), &mut random);
        let server = history.start();
        for _ in 0..rounds {
            let load = history.append(&server);
            History::is_sending(&server).await;
            history.moment(MOMENT_MS_MAX).await;
            broker.kill();
            assert!(history.end(load).await, "the broker was killed, not the server");
            let load = history.append(&server);
            assert!(history.end(load).await, "appends need no broker");
            history.moment(ABSENCE_MS_MAX).await;
            let load = history.append(&server);
            broker = tokio::task::spawn_blocking(move || restarted(broker)).await.unwrap();
            assert!(history.end(load).await, "nor a broker that comes back");
            caught_up(&server).await;
        }
        history.ends_well(&server).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_both_in_any_order_loses_nothing_and_doubles_nothing() {
    let mut random = Random::announced("mirror kill both");
    let mut broker = Fate::Up(Broker::start());
    for rounds in histories() {
        let mut history = History::new(broker.topic(), &mut random);
        for _ in 0..rounds {
            let server = history.start();
            let load = history.append(&server);
            history.moment(LIFE_MS_MAX).await;
            if history.random.below(2) == 0 {
                broker = broker.dies(Duration::from_millis(history.random.below(ABSENCE_MS_MAX)));
                history.moment(LIFE_MS_MAX).await;
            }
            if history.random.below(3) == 0 {
                broker = broker.come_back().await;
                History::is_sending(&server).await;
                history.moment(MOMENT_MS_MAX).await;
            }
            server.kill();
            history.end(load).await;
        }
        broker = broker.come_back().await;
        let server = history.start();
        history.ends_well(&server).await;
    }
}

/// A broker, or one that comes back by itself.
enum Fate {
    Up(Broker),
    Returning(JoinHandle<Broker>),
}

impl Fate {
    fn topic(&self) -> Topic {
        match self {
            Self::Up(broker) => broker.topic(),
            Self::Returning(_) => panic!("a history begins with a broker"),
        }
    }

    fn dies(self, absence: Duration) -> Self {
        match self {
            Self::Up(mut broker) => {
                broker.kill();
                Self::Returning(tokio::task::spawn_blocking(move || {
                    std::thread::sleep(absence);
                    restarted(broker)
                }))
            }
            Self::Returning(_) => self,
        }
    }

    async fn come_back(self) -> Self {
        match self {
            Self::Up(_) => self,
            Self::Returning(task) => Self::Up(task.await.unwrap()),
        }
    }
}

fn restarted(mut broker: Broker) -> Broker {
    broker.restart();
    broker
}
