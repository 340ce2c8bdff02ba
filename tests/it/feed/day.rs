//! The recorded day as the live feed would have brought it, through all the trouble there is: the log is the recording.

use std::collections::HashSet;
use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::path::Path;
use std::time::{Duration, Instant};

use downlink_client::iss::catalogue;
use downlink_client::iss::update::Update;
use downlink_proto::v1::{Event, value::Kind};

use super::Feed;
use crate::day::{DAY, DAY_ROWS, PART, PREFIX, compare, recorded_nanos};
use crate::harness::{PATIENCE, Server, downlink, shared_data, slow, succeed};
use crate::lightstreamer::{Plan, StandIn, Trouble, recording};

/// Rows of the day in the short form: nearly three hours.
const PART_ROWS: u64 = 300_000;
/// The station's clock, which the recorder left out, ticks once before so many rows.
const TICK_ROWS: usize = 499;
/// What a server of the feed says again to whoever comes back, in updates: more than half a minute.
const AGAIN: u64 = 1_000;
/// The part of the updates during which there is no signal, in percent.
const LOST: std::ops::Range<u64> = 80..85;
/// How many values may be of another quality than the signal's, in percent: a source that has begun anew repeats values of before,
/// and says how the signal is once a tick.
const DOUBTFUL: u64 = 1;
/// Enough for all that comes while a server is started again, on however busy a machine.
const BUFFER: &str = "2000000";
const POLL: Duration = Duration::from_millis(20);

/// Places of updates among those that are played, from 0.
type Places = std::ops::Range<u64>;

/// From the tick of the station's clock that says that the signal is lost to the one that says that there is one again.
fn lost(updates: u64) -> Places {
    let ticks = TICK_ROWS as u64 + 1;
    let tick = |percent: u64| (updates * percent / 100).div_ceil(ticks) * ticks + 1;
    tick(LOST.start)..tick(LOST.end)
}

/// Writes what is played: the year, and the recorded rows with the station's clock among them. Rows that the recorder has twice,
/// by item, time and value, are one. Gives back how many updates.
fn write(play: &Path) -> u64 {
    let rows = if slow() { DAY_ROWS } else { PART_ROWS };
    let file = zstd::Encoder::new(File::create(play).expect("a file"), 1).expect("zstd").auto_finish();
    let mut play = csv::Writer::from_writer(file);
    let mut updates = 0;
    let mut write = |row: [&str; 3]| {
        updates += 1;
        play.write_record(row).expect("a row");
    };
    write(["timestamp_hours", "pui", "value"]);
    write(["24", "TIME_000002", "2018"]);
    let (mut seen, hashes) = (HashSet::new(), RandomState::new());
    let is_new =
        |update: &Update| seen.insert(hashes.hash_one((&update.item, &update.time_stamp, &update.value)));
    for (number, update) in recording(&shared_data(DAY)).take(rows as usize).filter(is_new).enumerate() {
        let (hours, value) = (update.time_stamp.expect("a time"), update.value.expect("a value"));
        if number % TICK_ROWS == 0 {
            let millis = hours.parse::<f64>().expect("hours") * 3.6e6;
            write([&hours, "TIME_000001", &format!("{millis:.0}")]);
        }
        write([&hours, &update.item, &value]);
    }
    updates - 1
}

/// What is played from such a place on, behind the year and the station's clock at that time, as a session begins.
fn played_from(play: &Path, first: u64, lost: Places) -> impl Iterator<Item = Update> + Send + use<> {
    let tick = first.saturating_sub(1) as usize / (TICK_ROWS + 1) * (TICK_ROWS + 1) + 1;
    let known = heard(play, lost.clone()).enumerate().filter(move |(place, _)| *place == 0 || *place == tick);
    let known: Vec<_> = known.take(2).map(|(_, update)| update).filter(|_| first > 0).collect();
    known.into_iter().chain(heard(play, lost).skip(first as usize))
}

/// What is played, with the station's clock saying when there is no signal.
fn heard(play: &Path, lost: Places) -> impl Iterator<Item = Update> + Send + use<> {
    recording(play).zip(0..).map(move |(update, place)| {
        let is_lost = &*update.item == "TIME_000001" && lost.contains(&place);
        if is_lost { Update { status_class: Some("1".to_owned()), ..update } } else { update }
    })
}

/// A stand-in that plays from there on, with every kind of trouble spread over so many updates.
async fn stand_in(play: &Path, first: u64, updates: u64) -> StandIn {
    let troubles = [
        Trouble::Loop,
        Trouble::Drop,
        Trouble::Repeat,
        Trouble::Mute,
        Trouble::Loop,
        Trouble::End(48),
        Trouble::Drop,
        Trouble::Repeat,
        Trouble::Refuse(5),
        Trouble::Forget,
        Trouble::Drop,
    ];
    let every = updates / 3 / (troubles.len() as u64 + 1);
    let troubles = troubles.into_iter().zip(1..).map(|(trouble, number)| (number * every, trouble));
    let plan = Plan::new(played_from(play, first, lost(updates))).awaiting_items(catalogue::items().len());
    StandIn::start(plan.with_troubles(troubles)).await
}

/// A feed beside the server.
fn beside(server: &Server, stand_in: &StandIn) -> Feed {
    Feed::start(downlink(&server.url()).args([
        "feed",
        "iss",
        "--server",
        &stand_in.url(),
        "--buffer-events",
        BUFFER,
    ]))
}

/// Waits until so many events are in the log.
async fn reach(server: &Server, events: u64) {
    let started = Instant::now();
    while server.info().await.head_offset <= events {
        assert!(started.elapsed() < PART, "the feed is stuck before {events} events");
        tokio::time::sleep(POLL).await;
    }
}

/// How many of the updates are in the log.
fn there(server: &Server) -> u64 {
    let signals = format!("{PREFIX}**");
    let export = ["export", "--format", "csv", "--columns", "signal", "--signal", &signals];
    succeed(downlink(&server.url()).args(export)).lines().count() as u64 - 1
}

#[tokio::test(flavor = "multi_thread")]
async fn the_recorded_day_is_in_the_log_once_and_in_order_whatever_breaks_and_whoever_is_killed() {
    let dir = tempfile::tempdir().expect("a directory");
    let (play, log) = (dir.path().join("play.csv.zst"), dir.path().join("log"));
    let updates = write(&play);
    let began = Instant::now();

    // The feed beside the server: the server is killed under it, then both.
    let first = stand_in(&play, 0, updates).await;
    let server = Server::start(&log);
    let address = server.address().to_owned();
    let feed = beside(&server, &first);
    reach(&server, updates / 6).await;
    server.kill();
    let server = Server::start_at(&log, &address);
    reach(&server, updates / 3).await;
    drop(feed);
    server.kill();

    // The feed in the server's process, killed with it.
    let server = Server::start(&log);
    let reached = there(&server);
    assert!(reached < updates, "it was to be killed on the way");
    let second = stand_in(&play, reached - AGAIN, updates).await;
    let url = format!("feed_server_url={}", second.url());
    server.kill();
    let server = Server::start_with(&log, ["--feed", "iss", "--set", &url]);
    reach(&server, updates * 2 / 3).await;
    server.kill();

    // Beside it again, to the end.
    let server = Server::start(&log);
    let reached = there(&server);
    assert!(reached < updates, "it was to be killed on the way");
    let third = stand_in(&play, reached - AGAIN, updates).await;
    let feed = beside(&server, &third);
    reach(&server, updates).await;
    // The state of the feed is in the log too, so that the last updates may be on their way.
    let ending = Instant::now();
    while there(&server) < updates && ending.elapsed() < PATIENCE / 4 {
        tokio::time::sleep(POLL).await;
    }
    feed.terminate();
    println!("{updates} updates in {:?}", began.elapsed());
    for stand_in in [&first, &second, &third] {
        let asked = |request| stand_in.asked(request);
        println!(
            "{} sessions, {} bound again, {} of them recovered",
            asked("create_session"),
            asked("bind_session"),
            asked("recovery")
        );
    }
    assert!(first.asked("recovery") > 0 && third.asked("create_session") > 2);
    compare(&server.url(), &play, updates);
    compare_contact(&server, &play, lost(updates)).await;
}

/// Whether the loss of signal is told with its times, and its values with their quality.
async fn compare_contact(server: &Server, play: &Path, lost: Places) {
    let told = server.read_of(&["_feed/iss"]).await;
    let times_of = |state: &str| {
        let state = Some(Kind::StringValue(state.to_owned()));
        let is_it = move |event: &&Event| event.value.as_ref().is_some_and(|value| value.kind == state);
        told.iter().filter(is_it).map(unix_nanos).collect::<Vec<_>>()
    };
    let tick = |place| {
        let update = recording(play).nth(place as usize).expect("a tick");
        recorded_nanos(update.time_stamp.as_deref().expect("a time"))
    };
    let (begin, end, losses) = (tick(lost.start), tick(lost.end), times_of("LOS"));
    assert_eq!(losses.first(), Some(&begin));
    // A source that has begun anew does not say since when.
    assert!(losses.iter().all(|time| (begin..end).contains(time)), "{losses:?}");
    assert!(times_of("AOS").contains(&end));

    let signals = format!("{PREFIX}**");
    let export = ["export", "--format", "csv", "--columns", "quality", "--signal", &signals];
    let exported = succeed(downlink(&server.url()).args(export));
    let mut wrong = [0; 2];
    for (quality, place) in exported.lines().skip(1).zip(0..) {
        let is_lost = lost.contains(&place);
        wrong[usize::from(is_lost)] += u64::from((quality == "stale") != is_lost);
    }
    let updates = exported.lines().count() as u64 - 1;
    let during = lost.end - lost.start;
    println!("{} of {during} values are not stale, and {} of the others are", wrong[1], wrong[0]);
    assert!(wrong[1] * 100 <= during * DOUBTFUL && wrong[0] * 100 <= (updates - during) * DOUBTFUL);
}

/// When it happened, in nanoseconds since 1970.
fn unix_nanos(event: &Event) -> i128 {
    let time = event.event_time.expect("a time");
    i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos)
}
