//! Recorded telemetry in, killed on the way, and out again: row by row what the recorder wrote.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{Server, downlink, root, shared_data, succeed};

pub(crate) const DAY: &str = "recorded/2018-10-12_full_day.csv.zst";
pub(crate) const DAY_ROWS: u64 = 2_706_427;
pub(crate) const HOUR: &str = "tests/data/2018-10-12_tank_hour.csv.zst";
const HOUR_ROWS: u64 = 113_191;
pub(crate) const PREFIX: &str = "iss/";

/// How long a part of the day may take on a busy machine.
pub(crate) const PART: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(2);

const SECOND_NANOS: i128 = 1_000_000_000;
const HOUR_NANOS: i128 = 3_600 * SECOND_NANOS;
/// 2018-01-01T00:00:00Z.
const YEAR_BEGINS_NANOS: i128 = 1_514_764_800 * SECOND_NANOS;

#[tokio::test(flavor = "multi_thread")]
async fn the_recorded_day_comes_out_as_it_went_in_though_server_and_client_are_killed() {
    let recording = shared_data(DAY);
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    let address = server.address().to_owned();
    let mut first = replay(&server.url(), &recording, "max").spawn().map(Killed).expect("downlink");
    reach(&server, &mut first, DAY_ROWS / 3).await;
    server.kill();
    let server = Server::start_at(dir.path(), &address);
    reach(&server, &mut first, DAY_ROWS * 2 / 3).await;
    drop(first);
    let before = server.info().await.head_offset;
    assert!(before <= DAY_ROWS, "the client was to be killed on the way");
    succeed(&mut replay(&server.url(), &recording, "max"));
    check_books(&server.url(), DAY_ROWS);
    compare(&server.url(), &recording, DAY_ROWS);
}

#[test]
fn replaying_the_recorded_hour_again_adds_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    let recording = root().join(HOUR);
    for _ in 0..2 {
        succeed(&mut replay(&server.url(), &recording, "max"));
        check_books(&server.url(), HOUR_ROWS);
    }
    compare(&server.url(), &recording, HOUR_ROWS);
}

#[test]
fn the_recorded_hour_at_100_000_times_its_pace_is_the_same_hour() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    let recording = root().join(HOUR);
    let started = Instant::now();
    succeed(&mut replay(&server.url(), &recording, "100000"));
    let pace = Duration::from_secs(3_599) / 100_000;
    assert!(started.elapsed() >= pace, "an hour of recording in less than {pace:?}");
    compare(&server.url(), &recording, HOUR_ROWS);
}

/// A process that does not outlive its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The command that replays a recording.
pub(crate) fn replay(url: &str, recording: &Path, speed: &str) -> std::process::Command {
    let mut command = downlink(url);
    command.args(["feed", "replay"]).arg(recording).args(["--speed", speed, "--prefix", PREFIX]);
    command
}

/// Waits until so many events are in the log, while the replay goes on.
async fn reach(server: &Server, replay: &mut Killed, events: u64) {
    let started = Instant::now();
    while server.info().await.head_offset <= events {
        assert!(started.elapsed() < PART, "the replay is stuck");
        assert_eq!(replay.0.try_wait().expect("a status"), None, "the replay ended early");
        tokio::time::sleep(POLL).await;
    }
}

fn check_books(url: &str, rows: u64) {
    let info = succeed(downlink(url).args(["info", "--output", "json"]));
    let info: serde_json::Value = serde_json::from_str(&info).expect("JSON");
    let number = |name: &str| info[name].as_u64().unwrap_or_else(|| panic!("{name} in {info}"));
    assert_eq!(number("head_offset"), rows + 1);
    assert_eq!(number("appended_events"), rows);
    assert_eq!(number("rejected_events"), 0);
    assert_eq!(
        number("received_events"),
        number("appended_events") + number("duplicate_events") + number("rejected_events")
    );
}

/// When a row happened, in nanoseconds since 1970, from the recorder's decimal hours.
pub(crate) fn recorded_nanos(hours: &str) -> i128 {
    YEAR_BEGINS_NANOS + nanos_after_new_year(hours)
}

/// Compares what `downlink export` says with the recording, without any code of ours for times and numbers.
pub(crate) fn compare(url: &str, recording: &Path, rows: u64) {
    let columns = ["export", "--format", "csv", "--columns", "event_time,signal,value"];
    let mut export =
        downlink(url).args(columns).stdout(Stdio::piped()).spawn().map(Killed).expect("downlink");
    let mut exported = csv::Reader::from_reader(export.0.stdout.take().expect("piped"));
    assert_eq!(exported.headers().expect("a header"), vec!["event_time", "signal", "value"]);
    let file = File::open(recording).expect("the recording");
    let mut recorded = csv::Reader::from_reader(zstd::Decoder::new(file).expect("zstd"));
    assert_eq!(recorded.headers().expect("a header"), vec!["timestamp_hours", "pui", "value"]);
    let (mut row, mut found, mut compared) = (csv::StringRecord::new(), csv::StringRecord::new(), 0);
    while recorded.read_record(&mut row).expect("a row") {
        assert!(exported.read_record(&mut found).expect("a row"), "the export ends after {compared} rows");
        let expected = (recorded_nanos(&row[0]), &row[1], bits(&row[2]));
        let (signal, time) = (found[1].strip_prefix(PREFIX).expect("the prefix"), unix_nanos(&found[0]));
        assert_eq!((time, signal, bits(&found[2])), expected, "row {compared}: {found:?} for {row:?}");
        compared += 1;
    }
    assert!(!exported.read_record(&mut found).expect("the end"), "more than was recorded: {found:?}");
    assert!(export.0.wait().expect("a status").success());
    assert_eq!(compared, rows);
}

/// The bits of a number as it is written.
pub(crate) fn bits(number: &str) -> u64 {
    number.parse::<f64>().unwrap_or_else(|_| panic!("{number:?} is no number")).to_bits()
}

/// From the recorder's decimal hours, in which 1 January begins at 24, rounded to the nanosecond.
fn nanos_after_new_year(hours: &str) -> i128 {
    let (whole, fraction) = hours.split_once('.').unwrap_or((hours, ""));
    let scale = 10_i128.pow(fraction.len() as u32);
    let digits: i128 = format!("{whole}{fraction}").parse().expect("decimal hours");
    (digits * HOUR_NANOS * 2 + scale).div_euclid(scale * 2) - 24 * HOUR_NANOS
}

/// From RFC 3339 in UTC, such as 2018-10-12T04:59:15.000000036Z.
fn unix_nanos(time: &str) -> i128 {
    let number = |text: &str| text.parse::<i128>().unwrap_or_else(|_| panic!("{time:?} is no time"));
    let (day, clock) = time.strip_suffix('Z').and_then(|time| time.split_once('T')).expect("a time in UTC");
    let [year, month, day] = day.split('-').map(number).collect::<Vec<_>>()[..] else { panic!("{time}") };
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let [hour, minute, second] = clock.split(':').map(number).collect::<Vec<_>>()[..] else {
        panic!("{time}")
    };
    let seconds = days_after_1970(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    seconds * SECOND_NANOS + number(&format!("{fraction:0<9}"))
}

fn days_after_1970(year: i128, month: i128, day: i128) -> i128 {
    let is_leap = |year: i128| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let february = if is_leap(year) { 29 } else { 28 };
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let years: i128 = (1970..year).map(|year| if is_leap(year) { 366 } else { 365 }).sum();
    years + months.iter().take(month as usize - 1).sum::<i128>() + day - 1
}

#[test]
fn the_yardstick_knows_the_first_row_of_the_day() {
    // The feed's own clock in that row says 1223355573 s of GPS time: 2018-10-12 04:59:15 UTC.
    assert_eq!(recorded_nanos("6844.9875"), 1_539_320_355 * SECOND_NANOS);
    assert_eq!(unix_nanos("2018-10-12T04:59:15Z"), 1_539_320_355 * SECOND_NANOS);
    assert_eq!(unix_nanos("2018-10-12T04:59:15.00000006Z"), 1_539_320_355 * SECOND_NANOS + 60);
}
