//! The mirror against brokers whose answers are errors: whatever they answer, in the end the topic is the log.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use downlink_storage::engine::memory::MemoryEngine;
use downlink_storage::{
    Append, Chunk, Clock, Event, Identity, Log, Offset, Quality, SystemClock, Timestamp, Value,
};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tokio::runtime::Runtime;

use super::settings::access;
use super::{Status, start};
use crate::config::Config;
use crate::kafka::mock::{Brokers, Request, Trouble};
use crate::kafka::{Error, Place, Received, Topic};
use crate::observability::Tracer;
use crate::shutdown::Tasks;

/// No mirror takes longer than this to catch up once its brokers answer.
const PATIENCE: Duration = Duration::from_secs(60);
const BROKERS: i32 = 3;
const PARTITIONS: i32 = 4;
const SIGNALS: usize = 9;

#[derive(Clone, Debug)]
enum Step {
    /// So many events are appended.
    Append(usize),
    /// The next answers to a request are these.
    Answer(Request, Vec<Trouble>),
    Stop(i32),
    Delay(i32, Duration),
    Lead(i32, i32),
    /// All brokers answer again.
    Recover,
    /// The server is stopped and started again.
    Restart,
    /// Something may happen.
    Wait(Duration),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let trouble = prop::sample::select(vec![
        Trouble::Cut,
        Trouble::NotLeader,
        Trouble::TimedOut,
        Trouble::TooFewReplicas,
        Trouble::Disk,
        Trouble::TooLarge,
        Trouble::NotAllowed,
        Trouble::OutOfOrder,
        Trouble::UnknownProducer,
    ]);
    let request = prop::sample::select(vec![
        Request::Produce,
        Request::Produce,
        Request::Produce,
        Request::Fetch,
        Request::ListOffsets,
        Request::Metadata,
        Request::InitProducerId,
    ]);
    let step = prop_oneof![
        8 => (1..400_usize).prop_map(Step::Append),
        8 => (request, prop::collection::vec(trouble, 1..4)).prop_map(|(to, with)| Step::Answer(to, with)),
        1 => (1..=BROKERS).prop_map(Step::Stop),
        1 => (1..=BROKERS, 0..30_u64).prop_map(|(broker, ms)| Step::Delay(broker, Duration::from_millis(ms))),
        2 => (0..PARTITIONS, 1..=BROKERS).prop_map(|(partition, broker)| Step::Lead(partition, broker)),
        2 => Just(Step::Recover),
        1 => Just(Step::Restart),
        6 => (0..150_u64).prop_map(|ms| Step::Wait(Duration::from_millis(ms))),
    ];
    prop::collection::vec(step, 1..30)
}

/// A log with a mirror.
struct Mirrored {
    engine: Arc<MemoryEngine>,
    log: Log,
    config: Config,
    running: Option<(Tasks, Arc<Status>)>,
}

impl Mirrored {
    fn new(dir: &Path, brokers: &Brokers) -> Self {
        // Quick to come back, so that more can happen. One request at a time: real brokers refuse what follows on one that they
        // refused, these do not.
        let file = dir.join("client");
        std::fs::write(
            &file,
            "reconnect.backoff.ms=10\nreconnect.backoff.max.ms=50\nretry.backoff.ms=5\nmax.in.flight=1\nsocket.timeout.ms=2000",
        )
        .unwrap();
        let config = Config {
            mirror_bootstrap_servers: brokers.addresses(),
            mirror_client_file: file,
            mirror_checkpoint_ms: 10,
            mirror_settle_ms: 10,
            mirror_retry_ms_max: 100,
            ..Config::standard()
        };
        let engine = Arc::new(MemoryEngine::new());
        let log = Log::open(engine.clone(), Arc::new(SystemClock), config.log_options()).unwrap();
        let mut mirrored = Self { engine, log, config, running: None };
        mirrored.start();
        mirrored
    }

    fn start(&mut self) {
        let (tasks, clock): (_, Arc<dyn Clock>) = (Tasks::default(), Arc::new(SystemClock));
        let status = start(&self.config, &self.log, &clock, &tasks, &Tracer::default())
            .expect("a mirror is asked for");
        self.running = Some((tasks, status));
    }

    async fn restart(&mut self) {
        let (tasks, _) = self.running.take().expect("it runs");
        tasks.drain();
        tasks.ended().await;
        self.start();
    }

    fn append(&self, count: usize, value: &mut i64) {
        let events = (0..count).map(|index| {
            *value += 1;
            event(&format!("signal/{}", index % SIGNALS), *value)
        });
        let events = events.collect::<Vec<_>>().into();
        let (sender, answer) = sync_channel(1);
        let append = Append { events, identity: Identity::Anonymous, expected_head: None, note: None };
        self.log.append(append, move |appended| drop(sender.send(appended)));
        answer.recv().unwrap().unwrap();
    }

    async fn catches_up(&self) {
        let (_, status) = self.running.as_ref().expect("it runs");
        let begun = Instant::now();
        while status.next_offset() != self.log.head().get() {
            let problem = status.problem();
            assert!(
                begun.elapsed() < PATIENCE,
                "{} of {}: {problem:?}",
                status.next_offset(),
                self.log.head()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Everything in the topic: offsets and places.
    fn topic(&self) -> Vec<(u64, Place)> {
        let topic = Topic::connect(access(&self.config).unwrap()).unwrap();
        let (from, ends) = (vec![0; PARTITIONS as usize], topic.ends().unwrap());
        let mut messages = Vec::new();
        let each = |message: &Received<'_>| {
            messages.push((message.offset, message.place));
            Ok::<_, Error>(true)
        };
        topic.read(&from, &ends, &|| false, each).unwrap();
        messages
    }

    fn signal(&self, offset: u64) -> String {
        let offset = Offset::new(offset).unwrap();
        let Chunk::Block(block) = self.log.read(offset, None).unwrap() else { panic!("{offset} is a block") };
        block.event((offset.get() - block.first_offset().get()) as usize).signal.to_string()
    }
}

fn event(signal: &str, value: i64) -> Event {
    Event {
        signal: signal.to_owned(),
        event_time: Timestamp::new(1_539_302_400, 0).unwrap(),
        value: Value::Int(value),
        quality: Quality::Good,
        source: String::new(),
        attributes: Default::default(),
        trace_context: Vec::new(),
    }
}

async fn run(steps: Vec<Step>) {
    let dir = tempfile::tempdir().unwrap();
    let name = Config::standard().mirror_topic;
    let brokers = Brokers::start(BROKERS, &name, PARTITIONS);
    let mut mirrored = Mirrored::new(dir.path(), &brokers);
    let mut value = 0;
    for step in steps {
        match step {
            Step::Append(count) => mirrored.append(count, &mut value),
            Step::Answer(request, troubles) => brokers.answer(request, &troubles),
            Step::Stop(broker) => brokers.stop(broker),
            Step::Delay(broker, delay) => brokers.delay(broker, delay),
            Step::Lead(partition, broker) => brokers.lead(&name, partition, broker),
            Step::Recover => brokers.recover(),
            Step::Restart => {
                // It ends when all that is on its way has come to its end.
                brokers.recover();
                mirrored.restart().await;
            }
            Step::Wait(time) => tokio::time::sleep(time).await,
        }
    }
    brokers.recover();
    mirrored.append(1, &mut value);
    // Checkpoints may come later on, at any time.
    let wanted: Vec<_> = (1..mirrored.log.head().get()).collect();
    mirrored.catches_up().await;

    let messages = mirrored.topic();
    let mut offsets: Vec<_> = messages.iter().map(|(offset, _)| *offset).collect();
    for partition in 0..PARTITIONS {
        let mut last = std::collections::BTreeMap::new();
        for (offset, place) in messages.iter().filter(|(_, place)| place.partition == partition as usize) {
            let before = last.insert(mirrored.signal(*offset), *offset);
            assert!(before < Some(*offset), "{before:?} stands before {offset} at {place}");
        }
    }
    offsets.sort_unstable();
    assert_eq!(offsets[..wanted.len().min(offsets.len())], wanted, "the topic is the log");
}

#[tokio::test]
async fn a_checkpoint_that_a_full_disk_refuses_is_kept_once_there_is_room_though_nothing_follows() {
    let dir = tempfile::tempdir().unwrap();
    let brokers = Brokers::start(1, &Config::standard().mirror_topic, PARTITIONS);
    let mirrored = Mirrored::new(dir.path(), &brokers);
    mirrored.append(10, &mut 0);
    let settled = async |is_settled: &dyn Fn() -> bool| {
        let begun = Instant::now();
        while !is_settled() {
            assert!(begun.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let kept = || super::checkpoint::find(&mirrored.log, &mirrored.config.mirror_topic).unwrap().next_offset;
    settled(&|| kept() > Offset::new(10).unwrap()).await;
    // There is room for one more commit.
    mirrored.engine.set_free_bytes(mirrored.config.disk_reserve_bytes);
    let end = mirrored.log.head().plus(1);
    mirrored.append(1, &mut 10);
    settled(&|| mirrored.log.info().unwrap().totals.rejected > 0).await;
    assert!(kept() < end, "there is no room for it");
    mirrored.engine.set_free_bytes(1 << 40);
    settled(&|| kept() >= end).await;
}

#[test]
fn whatever_brokers_answer_the_topic_is_the_log_in_the_end() {
    let runtime = Runtime::new().unwrap();
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 16, max_shrink_iters: 10, ..Default::default() });
    let case = |steps| {
        runtime.block_on(run(steps));
        Ok(())
    };
    runner.run(&steps(), case).unwrap();
}
