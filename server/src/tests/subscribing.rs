//! `Subscribe` as a whole, by chance: whatever is asked for, however the reader reads and the log grows, whatever is
//! damaged or cut, every event that is wanted comes once and in order, every other offset is accounted for, the frames
//! come in a legal order, and each says rightly where to resume.

use std::collections::BTreeMap;

use downlink_proto::v1::report::Mode;
use downlink_proto::v1::subscribe_response::Frame;
use downlink_proto::v1::{
    Encoding, Filter, OnSlow, Position, Report, SubscribeRequest, SubscribeResponse, position,
};
use downlink_storage::engine::Engine as _;
use proptest::prelude::*;
use proptest::test_runner::Config as Cases;
use tonic::{Code, Streaming};

use super::columns::rows_of;
use super::*;

/// Signals of the log; one of them is asked for, or all.
const SIGNALS: u8 = 3;
/// So long are values that what a reader leaves lying soon fills every window.
const VALUE_BYTES: usize = 3_000;
/// A message of so many bytes has room for two values, but not for all that belongs to them: what has been picked for one
/// message is cut into two.
const CUT_BYTES: usize = 2 * VALUE_BYTES + 100;
/// How long a reader waits for a frame that need not come.
const SOON: Duration = Duration::from_millis(5);

/// Signal and value of each event of a batch.
type Batch = Vec<(u8, u8)>;

/// What happens while the subscription stands.
#[derive(Clone, Debug)]
enum Act {
    Append(Batch),
    /// The reader takes so many frames, if they come soon.
    Take(usize),
    /// The reader goes, and comes back where it was told to.
    Cut,
}

#[derive(Clone, Debug)]
struct Plan {
    history: Vec<Batch>,
    /// Those of the history that are damaged, but for the last.
    damaged: Vec<prop::sample::Index>,
    /// Where to begin, of all offsets there are.
    start: prop::sample::Index,
    acts: Vec<Act>,
    is_filtered: bool,
    mode: Mode,
    has_initial_values: bool,
    on_slow: OnSlow,
    has_batch_delay: bool,
    encoding: Encoding,
    max_batch_events: u32,
    message_bytes_max: usize,
    fell_behind_events: u64,
    /// The server stops while there is more to read.
    stops_early: bool,
}

fn batch() -> impl Strategy<Value = Batch> {
    prop::collection::vec((0..SIGNALS, 0..3_u8), 1..12)
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![6 => batch().prop_map(Act::Append), 3 => (0..6_usize).prop_map(Act::Take), 1 => Just(Act::Cut)]
}

prop_compose! {
    fn plan()(
        history in prop::collection::vec(batch(), 1..12),
        damaged in prop::collection::vec(any::<prop::sample::Index>(), 0..3),
        start in any::<prop::sample::Index>(),
        acts in prop::collection::vec(act(), 0..50),
        (is_filtered, has_initial_values, has_batch_delay, stops_early) in any::<(bool, bool, bool, bool)>(),
        mode in prop::sample::select(vec![Mode::All, Mode::All, Mode::OnChange, Mode::Sample]),
        on_slow in prop::sample::select(vec![OnSlow::CatchUp, OnSlow::Conflate, OnSlow::Disconnect]),
        encoding in prop::sample::select(vec![Encoding::Rows, Encoding::Columns]),
        max_batch_events in prop::sample::select(vec![0, 1, 7]),
        message_bytes_max in prop::sample::select(vec![CUT_BYTES, CUT_BYTES, 1 << 20]),
        fell_behind_events in prop::sample::select(vec![1, 20, 1_000_000]),
    ) -> Plan {
        Plan {
            history, damaged, start, acts, is_filtered, mode, has_initial_values, on_slow, has_batch_delay,
            encoding, max_batch_events, message_bytes_max, fell_behind_events, stops_early,
        }
    }
}

const fn millis(millis: i32) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds: 0, nanos: millis * 1_000_000 })
}

impl Plan {
    fn request(&self, start: u64) -> SubscribeRequest {
        let signals = if self.is_filtered { vec!["0".to_owned()] } else { Vec::new() };
        let report = Report {
            mode: self.mode.into(),
            min_interval: if self.mode == Mode::Sample { millis(20) } else { None },
            initial_values: self.has_initial_values,
            ..Report::default()
        };
        SubscribeRequest {
            start: Some(Position { at: Some(position::At::Offset(start)) }),
            filter: Some(Filter { signals, ..Filter::default() }),
            report: Some(report),
            heartbeat_interval: millis(100),
            max_batch_events: self.max_batch_events,
            max_batch_delay: if self.has_batch_delay { millis(10) } else { None },
            on_slow: self.on_slow.into(),
            encoding: self.encoding.into(),
            ..SubscribeRequest::default()
        }
    }

    /// Whether each event that is wanted has to come, and nothing else.
    fn is_plain(&self) -> bool {
        self.mode == Mode::All && self.on_slow != OnSlow::Conflate
    }
}

/// The log as it should be.
#[derive(Default)]
struct World {
    /// By offset, from 1.
    events: Vec<(u8, u8)>,
    /// Whether the event can be read.
    is_whole: Vec<bool>,
}

impl World {
    fn head(&self) -> u64 {
        self.events.len() as u64 + 1
    }

    async fn append(&mut self, client: &mut IngestServiceClient<Channel>, batch: &Batch) {
        let event = |&(signal, value): &(u8, u8)| Event {
            value: Some(Value { kind: Some(Kind::StringValue(format!("{value:>VALUE_BYTES$}"))) }),
            ..event(&signal.to_string(), 0)
        };
        client.append(append(batch.iter().map(event).collect())).await.unwrap();
        self.events.extend(batch);
        self.is_whole.resize(self.events.len(), true);
    }

    /// The offsets in a range that are wanted and can be had.
    fn wanted(&self, plan: &Plan, from: u64, to: u64) -> Vec<u64> {
        let row = |offset: &u64| *offset as usize - 1;
        let is_wanted = |offset: &u64| !plan.is_filtered || self.events[row(offset)].0 == 0;
        (from..to).filter(|offset| is_wanted(offset) && self.is_whole[row(offset)]).collect()
    }
}

/// Where a subscriber stands in the order of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Opening,
    History,
    Live,
    Over,
}

/// One subscription, and what it has come to.
struct Reader<'a> {
    plan: &'a Plan,
    frames: Streaming<SubscribeResponse>,
    phase: Phase,
    start: u64,
    next: u64,
    /// Those from `start` on.
    delivered: Vec<u64>,
    conflated: u64,
    missing: u64,
    /// The last offset of each signal.
    last: BTreeMap<u8, u64>,
}

impl<'a> Reader<'a> {
    async fn begin(plan: &'a Plan, server: &Fixture, start: u64) -> Self {
        let frames = server.query().await.subscribe(plan.request(start)).await.unwrap().into_inner();
        Self {
            plan,
            frames,
            phase: Phase::Opening,
            start,
            next: start,
            delivered: Vec::new(),
            conflated: 0,
            missing: 0,
            last: BTreeMap::new(),
        }
    }

    /// The next frame, checked; whether the subscription goes on.
    async fn take(&mut self, world: &World) -> bool {
        let frame = tokio::time::timeout(PATIENCE, self.frames.message()).await;
        self.judge(frame.expect("there is never nothing for long"), world)
    }

    /// The same of a frame that comes at once, if there is one.
    async fn take_soon(&mut self, world: &World) -> bool {
        let frame = tokio::time::timeout(SOON, self.frames.message()).await;
        frame.map_or(true, |frame| self.judge(frame, world))
    }

    fn judge(&mut self, frame: Result<Option<SubscribeResponse>, Status>, world: &World) -> bool {
        match frame {
            Ok(Some(response)) => self.check(response, world),
            Ok(None) => {
                assert_eq!(self.phase, Phase::Over, "only what drains ends without a word");
                return false;
            }
            Err(status) => {
                assert_eq!(self.plan.on_slow, OnSlow::Disconnect, "{status:?}");
                assert_eq!((status.code(), &*reason(&status)), (Code::ResourceExhausted, "SLOW_CONSUMER"));
                let metadata = status.get_details_error_info().unwrap().metadata;
                assert_eq!(metadata["next_offset"], self.next.to_string());
                assert_eq!(self.phase, Phase::Live, "history is not slow");
                return false;
            }
        }
        true
    }

    fn check(&mut self, response: SubscribeResponse, world: &World) {
        let before = std::mem::replace(&mut self.next, response.next_offset);
        assert!((before..=world.head()).contains(&self.next), "{before} to {}", self.next);
        let frame = response.frame.unwrap();
        // What is conflated is accounted for when all of it is there.
        let is_settled = self.plan.on_slow != OnSlow::Conflate || !matches!(frame, Frame::Events(_));
        assert_eq!(self.phase == Phase::Opening, matches!(frame, Frame::Started(_)), "{frame:?}");
        assert_ne!(self.phase, Phase::Over, "nothing comes after Draining");
        match frame {
            Frame::Started(_) => self.phase = Phase::History,
            Frame::CaughtUp(_) => {
                assert_eq!(self.phase, Phase::History);
                self.phase = Phase::Live;
            }
            Frame::FellBehind(behind) => {
                assert_eq!((self.phase, self.plan.on_slow), (Phase::Live, OnSlow::CatchUp));
                assert!(behind.events_behind > self.plan.fell_behind_events);
                self.phase = Phase::History;
            }
            Frame::Heartbeat(heartbeat) => assert!(heartbeat.head_offset <= world.head()),
            Frame::Draining(_) => self.phase = Phase::Over,
            Frame::Gap(gap) => {
                let range = gap.first_offset..gap.last_offset + 1;
                assert!(range.clone().all(|offset| !world.is_whole[offset as usize - 1]), "{gap:?}");
                assert!(self.plan.mode != Mode::All || self.next == range.end, "{gap:?}");
                self.missing += range.end - range.start;
            }
            Frame::Events(batch) => {
                let conflated = batch.conflated_events;
                let events = rows_of(batch);
                assert!(!events.is_empty() || conflated > 0);
                self.conflated += conflated;
                events.iter().for_each(|event| self.see(event, world));
            }
        }
        self.account(world, is_settled);
    }

    fn see(&mut self, event: &Event, world: &World) {
        let (signal, value) = world.events[event.offset as usize - 1];
        let text = Kind::StringValue(format!("{value:>VALUE_BYTES$}"));
        assert_eq!(event.signal, signal.to_string());
        assert!(event.value.as_ref().and_then(|value| value.kind.as_ref()) == Some(&text), "another value");
        assert!(!self.plan.is_filtered || signal == 0);
        let last = self.last.insert(signal, event.offset);
        assert!(last < Some(event.offset), "{} after {last:?}: nothing comes twice", event.offset);
        if event.offset < self.start {
            assert!(self.plan.has_initial_values && last.is_none(), "{} is before the start", event.offset);
            return;
        }
        if self.plan.mode == Mode::OnChange
            && let Some(last) = last
        {
            assert_ne!(world.events[last as usize - 1].1, value, "{}: no change", event.offset);
        }
        self.delivered.push(event.offset);
    }

    /// Below where to resume everything is accounted for, and nothing above.
    fn account(&self, world: &World, is_settled: bool) {
        if self.plan.is_plain() {
            let wanted = world.wanted(self.plan, self.start, self.next);
            assert_eq!(self.delivered, wanted, "from {} to {}", self.start, self.next);
        }
        if self.plan.mode == Mode::All && !self.plan.is_filtered && is_settled {
            let accounted = self.delivered.len() as u64 + self.conflated + self.missing;
            assert_eq!(accounted, self.next - self.start, "from {} to {}", self.start, self.next);
        }
        if self.plan.on_slow != OnSlow::Conflate {
            assert_eq!(self.conflated, 0);
        }
    }

    /// At the end each signal stands where the log does: at its newest event, or at one that says the same.
    fn check_end(&self, world: &World) {
        let value = |offset: u64| world.events[offset as usize - 1];
        let newest = world.wanted(self.plan, self.start, self.next).into_iter();
        let newest: BTreeMap<u8, u64> = newest.map(|offset| (value(offset).0, offset)).collect();
        for (signal, offset) in newest {
            let last = self.last.get(&signal).unwrap_or_else(|| panic!("nothing of {signal}"));
            assert_eq!(value(*last), value(offset), "{last} for {offset}");
            assert!(
                *last == offset || self.plan.mode == Mode::OnChange,
                "{last} is not the newest, {offset}"
            );
        }
    }
}

/// Damages what the plan says, in the server's disk and in `world`.
fn damage(plan: &Plan, server: &Fixture, world: &mut World) {
    let segment = server.engine.list().unwrap().remove(0);
    // What came last may still be in memory.
    let Some(last) = plan.history.len().checked_sub(1).filter(|last| *last > 0) else { return };
    for index in &plan.damaged {
        let number = index.index(last);
        let first: usize = plan.history[..number].iter().map(Vec::len).sum();
        let key = [&[1], &(first as u64 + 1).to_be_bytes()[..]].concat();
        if world.is_whole[first] {
            assert!(server.engine.corrupt(&segment, &key, 100));
            world.is_whole[first..first + plan.history[number].len()].fill(false);
        }
    }
}

async fn run(plan: &Plan) {
    let mut server = Fixture::start(|config| {
        // What is damaged on disk is not to be read from memory.
        config.tail_cache_bytes_max = if plan.damaged.is_empty() { 64 << 10 } else { 0 };
        config.read_batch_bytes_max = plan.message_bytes_max;
        config.fell_behind_events = plan.fell_behind_events;
    })
    .await;
    let mut client = server.ingest().await;
    let mut world = World::default();
    for batch in &plan.history {
        world.append(&mut client, batch).await;
    }
    damage(plan, &server, &mut world);
    let start = 1 + plan.start.index(world.events.len() + 1) as u64;
    let mut reader = Reader::begin(plan, &server, start).await;
    for act in &plan.acts {
        let goes_on = match act {
            Act::Append(batch) => {
                world.append(&mut client, batch).await;
                true
            }
            Act::Take(frames) => {
                let mut goes_on = true;
                for _ in 0..*frames {
                    goes_on = goes_on && reader.take_soon(&world).await;
                }
                goes_on
            }
            Act::Cut => false,
        };
        if !goes_on {
            reader = Reader::begin(plan, &server, reader.next).await;
        }
    }
    if !plan.stops_early {
        while reader.next < world.head() || reader.phase != Phase::Live {
            if !reader.take(&world).await {
                reader = Reader::begin(plan, &server, reader.next).await;
            }
        }
        reader.check_end(&world);
    }
    server.stop();
    while reader.take(&world).await {}
    drop(client);
    server.stopped().await;
}

proptest! {
    #![proptest_config(Cases { cases: cases(), max_shrink_iters: 100, failure_persistence: None, ..Cases::default() })]

    #[test]
    fn nothing_is_lost_nothing_comes_twice_and_every_frame_is_right(plan in plan()) {
        tokio::runtime::Runtime::new().unwrap().block_on(run(&plan));
    }
}

fn cases() -> u32 {
    if std::env::var_os("SLOW_TESTS").is_some_and(|value| value == "1") { 1_000 } else { 24 }
}
