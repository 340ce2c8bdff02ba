//! Rollups on disk from the outside: those of a whole day are right, and damaged ones cost nothing but time.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use downlink_proto::v1::value::Kind;
use downlink_proto::v1::{GetLatestRequest, Value};

use crate::aggregate::{HOUR, Series, by_signal, compare_with, small};
use crate::day::{PREFIX, bits, recorded_nanos, replay};
use crate::harness::{Server, root, shared_data, slow, succeed};
use crate::random::Random;

const DAY: &str = "recorded/2018-10-12_full_day.csv.zst";
/// Times that files of the rollups are damaged.
const HARMS: usize = 12;
const HARMS_SLOW: usize = 300;

/// The recording, without any code of ours for times and numbers. Signals with states are whole numbers.
fn recorded(path: &Path, states: &BTreeSet<String>) -> BTreeMap<String, Series> {
    let file = File::open(path).expect("the recording");
    let mut recorded = csv::Reader::from_reader(zstd::Decoder::new(file).expect("zstd"));
    let mut series = BTreeMap::<String, Series>::new();
    let mut row = csv::StringRecord::new();
    while recorded.read_record(&mut row).expect("a row") {
        let (signal, number) = (format!("{PREFIX}{}", &row[1]), f64::from_bits(bits(&row[2])));
        let kind = match states.contains(&signal) {
            true => Kind::IntValue(number as i64),
            false => Kind::DoubleValue(number),
        };
        series.entry(signal).or_default().push((recorded_nanos(&row[0]), Value { kind: Some(kind) }));
    }
    series.values_mut().for_each(|series| series.sort_by_key(|(time, _)| *time));
    series
}

#[tokio::test]
async fn aggregates_of_the_recorded_day_are_what_brute_force_makes_of_it() {
    let mut random = Random::announced("aggregates of the day");
    let (dir, day) = (tempfile::tempdir().unwrap(), shared_data(DAY));
    let settings = ["--set", "rollup_events=500000", "--set", "aggregate_states_max=10000"];
    let server = Server::start_with(dir.path(), settings);
    succeed(&mut replay(&server.url(), &day, "max"));
    let newest = server.query().await.get_latest(GetLatestRequest::default()).await.unwrap().into_inner();
    let is_state = |value: &Option<Value>| matches!(value, Some(Value { kind: Some(Kind::IntValue(_)) }));
    let events = newest.values.into_iter().filter_map(|latest| latest.event);
    let states = events.filter(|event| is_state(&event.value)).map(|event| event.signal);
    compare_with(&server, &mut random, &recorded(&day, &states.collect()), 60).await;
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect();
    files.sort();
    files
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(&file, target).unwrap();
    }
}

/// Flips a bit, cuts, empties or removes one of the files; says what it did.
fn harm(random: &mut Random, files: &[PathBuf]) -> String {
    // Most of what there is lies in the largest.
    let largest = files.iter().max_by_key(|file| fs::metadata(file).unwrap().len()).unwrap();
    let any = &files[random.below(files.len() as u64) as usize];
    let file = if random.below(2) == 0 { largest } else { any };
    let mut content = fs::read(file).unwrap();
    let place = random.below(content.len().max(1) as u64) as usize;
    let kind = random.below(10);
    match kind {
        0 => fs::remove_file(file).unwrap(),
        1 => fs::write(file, []).unwrap(),
        2 => fs::write(file, &content[..place.min(content.len())]).unwrap(),
        _ => {
            // Most of a file of the store is zeros that nobody reads.
            let telling: Vec<usize> = (0..content.len()).filter(|place| content[*place] != 0).collect();
            if let Some(place) = telling.get(random.below(telling.len().max(1) as u64) as usize) {
                content[*place] ^= 1 << random.below(8);
            }
            fs::write(file, &content).unwrap();
        }
    }
    format!("{} at {place}, kind {kind}", file.display())
}

#[tokio::test]
async fn damaged_rollups_cost_time_and_never_an_answer() {
    let mut random = Random::announced("damaged rollups");
    let whole = tempfile::tempdir().unwrap();
    let server = Server::start_with(whole.path(), small());
    let recording = root().join(HOUR);
    succeed(&mut replay(&server.url(), &recording, "max"));
    let series = by_signal(server.read_all().await);
    compare_with(&server, &mut random, &series, 5).await;
    assert!(server.terminate().0.success());
    assert!(!files(&whole.path().join("segments/rollups")).is_empty(), "there are rollups to damage");
    for _ in 0..if slow() { HARMS_SLOW } else { HARMS } {
        let dir = tempfile::tempdir().unwrap();
        copy(whole.path(), dir.path());
        println!("{}", harm(&mut random, &files(&dir.path().join("segments/rollups"))));
        let server = Server::start_with(dir.path(), small());
        compare_with(&server, &mut random, &series, 15).await;
    }
}
