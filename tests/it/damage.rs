//! Bits flipped, files cut short, emptied, removed: whatever is read is right, whatever is missing is announced.

mod announced;
mod small_log;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use crate::harness::slow;
use crate::random::Random;
use small_log::{Ending, Outcome, SmallLog};

/// How long one damaged log may take to open and read.
const HANG: Duration = Duration::from_secs(30);
/// Flips of a normal run, for each of the two endings.
const SAMPLE: usize = 700;

type Files = BTreeMap<PathBuf, Vec<u8>>;

/// What is done to a file.
#[derive(Clone, Copy, Debug)]
enum Harm {
    Flip { byte: usize, bit: u32 },
    Cut { length: usize },
    Remove,
}

#[test]
fn a_flipped_bit_is_contained_when_the_log_was_closed() {
    flip_bits(Ending::Closed);
}

#[test]
fn a_flipped_bit_is_contained_when_the_server_was_killed() {
    flip_bits(Ending::Killed);
}

#[test]
fn a_file_cut_short_emptied_or_removed_is_contained() {
    for ending in [Ending::Closed, Ending::Killed] {
        let log = SmallLog::write(ending);
        let mut harms = Vec::new();
        for (file, content) in &log.files {
            let lengths = [0, 1, content.len() / 2, content.len().saturating_sub(1)];
            harms.extend(lengths.map(|length| (file.clone(), Harm::Cut { length })));
            harms.push((file.clone(), Harm::Remove));
        }
        check_all(log, harms);
    }
}

#[test]
fn a_segment_that_is_gone_leaves_the_others_readable() {
    let log = SmallLog::write(Ending::Closed);
    let sealed: Vec<_> = log.files.keys().filter(|file| file.ends_with("db")).cloned().collect();
    for db in sealed {
        let segment = db.parent().expect("a directory").to_owned();
        let lost = log.at_risk(&db);
        let mut files = log.files.clone();
        files.retain(|file, _| !file.starts_with(&segment));
        let expected = match lost {
            // Derived state.
            Range { start: 0, .. } => Outcome::Serving(Vec::new()),
            // What came after may be missing as well: no offset must be used twice.
            lost if log.is_newest(&db) => Outcome::ReadOnly(vec![lost]),
            lost => Outcome::Serving(vec![lost]),
        };
        assert_eq!(log.open(&files), expected, "{} removed", segment.display());
    }
}

/// One bit of each byte that is not zero, and of some that are; every bit in the slow run.
fn flip_bits(ending: Ending) {
    let log = SmallLog::write(ending);
    let mut random = Random::announced(&format!("flip_bits({ending:?})"));
    let mut harms = Vec::new();
    for (file, content) in &log.files {
        let telling = content.iter().enumerate().filter(|(_, byte)| **byte != 0).map(|(at, _)| at);
        let zeros = content.iter().enumerate().filter(|(_, byte)| **byte == 0).map(|(at, _)| at);
        let zeros: Vec<_> = zeros.collect();
        let some: Vec<_> = (0..zeros.len().min(100)).map(|_| pick(&mut random, &zeros)).collect();
        for byte in telling.chain(some) {
            let bits = if slow() {
                0..8
            } else {
                let bit = random.below(8) as u32;
                bit..bit + 1
            };
            harms.extend(bits.map(|bit| (file.clone(), Harm::Flip { byte, bit })));
        }
    }
    println!("{} files, {} flips possible", log.files.len(), harms.len());
    if !slow() {
        for at in 0..harms.len().min(SAMPLE) {
            let other = at + random.below((harms.len() - at) as u64) as usize;
            harms.swap(at, other);
        }
        harms.truncate(SAMPLE);
    }
    check_all(log, harms);
}

fn pick(random: &mut Random, places: &[usize]) -> usize {
    places[random.below(places.len() as u64) as usize]
}

/// Opens the log once with each harm, several at a time.
fn check_all(log: SmallLog, harms: Vec<(PathBuf, Harm)>) {
    let (log, harms, next) = (Arc::new(log), Arc::new(harms), Arc::new(AtomicUsize::new(0)));
    let workers: Vec<_> = (0..2)
        .map(|_| {
            let (log, harms, next) = (log.clone(), harms.clone(), next.clone());
            std::thread::spawn(move || {
                let mut outcomes = BTreeMap::<String, usize>::new();
                while let Some((file, harm)) = harms.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = check(&log, file, *harm);
                    *outcomes.entry(format!("{} {outcome}", place(file))).or_default() += 1;
                }
                outcomes
            })
        })
        .collect();
    for worker in workers {
        println!("{:#?}", worker.join().expect("see above"));
    }
}

/// The file without the number of its segment.
fn place(file: &Path) -> String {
    file.display().to_string().trim_start_matches("segments/").to_owned()
}

fn check(log: &Arc<SmallLog>, file: &Path, harm: Harm) -> &'static str {
    let mut files = log.files.clone();
    hurt(&mut files, file, harm);
    let (sender, outcome) = mpsc::channel();
    let opened = log.clone();
    let opening = std::thread::spawn(move || sender.send(opened.open(&files)));
    let what = || format!("{harm:?} in {}", file.display());
    let outcome = match outcome.recv_timeout(HANG) {
        Ok(outcome) => outcome,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("{} hangs", what()),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            drop(opening);
            panic!("{} is not contained: see above", what())
        }
    };
    let at_risk = log.at_risk(file);
    let contained =
        |lost: &[Range<u64>]| lost.iter().all(|lost| lost.start >= at_risk.start && lost.end <= at_risk.end);
    match outcome {
        Outcome::Serving(lost) => {
            assert!(contained(&lost), "{} costs {lost:?}", what());
            assert!(lost.is_empty() || !is_derived(file), "{} costs {lost:?}", what());
            if lost.is_empty() { "nothing lost" } else { "gap" }
        }
        Outcome::ReadOnly(lost) => {
            assert!(log.is_newest(file) && !is_derived(file), "{} makes the log read-only", what());
            assert!(contained(&lost), "{} costs {lost:?}", what());
            "read-only"
        }
        Outcome::Refused(reason) => panic!("{} makes the log useless: {reason}", what()),
    }
}

/// Whether what is in the file can be made anew from the other files.
fn is_derived(file: &Path) -> bool {
    let name = file.file_name().expect("a file").to_string_lossy();
    name.starts_with("snap.") || name == "conf"
}

fn hurt(files: &mut Files, file: &Path, harm: Harm) {
    let content = files.get_mut(file).expect("a file of the log");
    match harm {
        Harm::Flip { byte, bit } => content[byte] ^= 1 << bit,
        Harm::Cut { length } => content.truncate(length),
        Harm::Remove => drop(files.remove(file)),
    }
}
