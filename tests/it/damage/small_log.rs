//! A log as small as it can be, as files in memory, and what may become of it when one of them is damaged.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, Once, PoisonError};

use downlink_storage::{
    Append, Appended, Chunk, Error, Event, Identity, Log, Offset, Options, Quality, State, Timestamp, Value,
    Wait,
};

/// Blocks in each segment, and events in each block.
const SEGMENT_BLOCKS: usize = 2;
const BLOCK_EVENTS: usize = 4;
const SEGMENTS: usize = 4;
const SIGNALS: [&str; 3] = ["tank/level", "cabin/pressure", "attitude"];

/// How the process ended that wrote the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It closed the log.
    Closed,
    /// It was killed: the files are as they were at that moment.
    Killed,
}

/// The files of a log and what is in it.
pub(super) struct SmallLog {
    pub(super) files: BTreeMap<PathBuf, Vec<u8>>,
    /// The first is at offset 1.
    events: Vec<Event>,
}

/// What an opening of the log came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was refused.
    Refused(String),
    /// It can be read, but not written to; these offsets are announced as lost.
    ReadOnly(Vec<Range<u64>>),
    /// It can be read and written to; these offsets are announced as lost.
    Serving(Vec<Range<u64>>),
}

impl SmallLog {
    /// Three sealed segments and one that is not.
    pub(super) fn write(ending: Ending) -> Self {
        let dir = scratch();
        let log = Log::open_dir(dir.path(), options()).expect("a new log");
        let mut events = Vec::new();
        for block in 0..SEGMENTS * SEGMENT_BLOCKS {
            if block > 0 && block % SEGMENT_BLOCKS == 0 {
                log.roll(Wait::UntilSealed).expect("a roll");
            }
            let batch: Vec<_> = (0..BLOCK_EVENTS).map(|index| event(block * BLOCK_EVENTS + index)).collect();
            events.extend(batch.iter().cloned());
            append(&log, batch, request(block)).expect("appended");
        }
        assert_eq!(log.info().expect("info").sealed_segments as usize, SEGMENTS - 1);
        let mut files = BTreeMap::new();
        if ending == Ending::Closed {
            drop(log);
            collect(dir.path(), dir.path(), &mut files);
        } else {
            collect(dir.path(), dir.path(), &mut files);
            drop(log);
        }
        Self { files, events }
    }

    /// The offset behind the last event.
    fn end(&self) -> u64 {
        self.events.len() as u64 + 1
    }

    /// The offsets that damage to this file may cost.
    pub(super) fn at_risk(&self, file: &Path) -> Range<u64> {
        let name = file.strip_prefix("segments").ok().and_then(|path| path.iter().next());
        let first = name.and_then(|name| name.to_str()?.get(..20)?.parse::<u64>().ok());
        first.map_or(0..0, |first| first..first + (SEGMENT_BLOCKS * BLOCK_EVENTS) as u64)
    }

    /// Whether this file belongs to the segment that is written to.
    pub(super) fn is_newest(&self, file: &Path) -> bool {
        self.at_risk(file).end == self.end()
    }

    /// Writes the files out, opens the log and reads all of it in every way there is. Panics on anything that
    /// comes out and is not what went in, and on anything missing that is not announced.
    pub(super) fn open(&self, files: &BTreeMap<PathBuf, Vec<u8>>) -> Outcome {
        watch_for_panics();
        let dir = scratch();
        lay_out(dir.path(), files);
        let log = match Log::open_dir(dir.path(), options()) {
            Ok(log) => log,
            Err(error) => return Outcome::Refused(error.to_string()),
        };
        let head = log.head().get();
        let mut lost = self.read_all(&log);
        self.read_one_signal(&log, &lost);
        let outcome = match log.state() {
            State::ReadOnly(reason) => {
                assert!(!reason.is_empty(), "read-only without a reason");
                if head < self.end() {
                    lost.push(head..self.end());
                }
                Outcome::ReadOnly(lost)
            }
            State::Serving => {
                assert_eq!(head, self.end(), "the log ends elsewhere and says nothing");
                if lost.is_empty() {
                    self.check_derived(&log);
                }
                self.append_one_more(&log);
                Outcome::Serving(lost)
            }
            State::DiskFull(reason) => panic!("{reason}"),
        };
        drop(log);
        assert_eq!(panics(), Vec::<String>::new(), "the log's own code panicked");
        outcome
    }

    /// Every offset gives its very event or is announced as lost.
    fn read_all(&self, log: &Log) -> Vec<Range<u64>> {
        let mut lost: Vec<Range<u64>> = Vec::new();
        let mut next = log.oldest();
        assert_eq!(next, Offset::FIRST, "the beginning is gone");
        loop {
            match log.read(next, None).expect("a chunk") {
                Chunk::Block(block) => {
                    assert!(block.first_offset() <= next && block.end_offset() > next, "not asked for");
                    for found in block.events() {
                        let expected = &self.events[found.offset.get() as usize - 1];
                        assert_eq!(&found.to_event(), expected, "wrong data at {}", found.offset);
                    }
                    next = block.end_offset();
                }
                Chunk::Gap { first, end } => {
                    assert!(first == next && end > next, "a gap that begins elsewhere or is empty");
                    lost.push(first.get()..end.get());
                    next = end;
                }
                Chunk::Skipped { .. } => panic!("nothing was to be skipped"),
                Chunk::Head => return lost,
            }
        }
    }

    /// A reader of one signal gets all of its events but the lost ones.
    fn read_one_signal(&self, log: &Log, lost: &[Range<u64>]) {
        let ids = log.match_signals(|name| name == SIGNALS[0]);
        let mut missing: Vec<u64> = (1..log.head().get()).collect();
        missing.retain(|offset| self.events[*offset as usize - 1].signal == SIGNALS[0]);
        let mut next = Offset::FIRST;
        if ids.is_empty() {
            // Not one of its events could be read, nor was it remembered.
            next = log.head();
        }
        loop {
            match log.read(next, Some(&ids)).expect("a chunk") {
                Chunk::Block(block) => {
                    missing.retain(|offset| !block.events().any(|found| found.offset.get() == *offset));
                    next = block.end_offset();
                }
                Chunk::Gap { end, .. } | Chunk::Skipped { end } => next = end,
                Chunk::Head => break,
            }
        }
        missing.retain(|offset| !lost.iter().any(|lost| lost.contains(offset)));
        assert_eq!(missing, [0; 0], "a reader of {} misses what another reader gets", SIGNALS[0]);
    }

    /// Whatever derived state was lost has been made again from the blocks.
    fn check_derived(&self, log: &Log) {
        let signals: Vec<_> = log.signals(None, |_| true).map(Result::unwrap).collect();
        assert_eq!(signals.len(), SIGNALS.len());
        for signal in signals {
            let of_it = || self.events.iter().filter(|event| event.signal == *signal.name);
            assert_eq!(signal.events, of_it().count() as u64);
            assert_eq!(signal.latest.map(|latest| latest.event).as_ref(), of_it().next_back());
        }
        for block in [0, SEGMENTS * SEGMENT_BLOCKS - 1] {
            let again = append(log, vec![event(0); BLOCK_EVENTS], request(block)).expect("a duplicate");
            let first = (block * BLOCK_EVENTS) as u64 + 1;
            assert!(again.duplicate && again.first.map(Offset::get) == Some(first), "{again:?}");
        }
    }

    fn append_one_more(&self, log: &Log) {
        let appended = append(log, vec![event(7)], Identity::Anonymous).expect("appended");
        assert_eq!(appended.first.map(Offset::get), Some(self.end()), "an offset is used twice");
    }
}

fn options() -> Options {
    Options { disk_reserve_bytes: 1 << 20, snapshot_every_events: 1_000_000, ..Options::standard() }
}

fn event(number: usize) -> Event {
    let value = match number % 4 {
        0 => Value::Double(f64::from_bits(0x7ff8_0000_0000_0000 | number as u64)),
        1 => Value::Int(i64::MIN + number as i64),
        2 => Value::String(format!("state {number}")),
        _ => Value::Bool(number % 8 == 3),
    };
    Event {
        signal: SIGNALS[number % SIGNALS.len()].to_owned(),
        event_time: Timestamp::new(1_539_320_355 + number as i64, 987_654_321).expect("a time"),
        value,
        quality: Quality::Good,
        source: "ISSLIVE".to_owned(),
        attributes: BTreeMap::new(),
        trace_context: Vec::new(),
    }
}

fn request(block: usize) -> Identity {
    Identity::Request([block as u8 + 1; 16])
}

fn append(log: &Log, events: Vec<Event>, identity: Identity) -> Result<Appended, Error> {
    let (sender, answer) = mpsc::channel();
    log.append(Append { events: events.into(), identity, expected_head: None, note: None }, move |result| {
        drop(sender.send(result))
    });
    answer.recv().expect("an answer")
}

/// A directory in memory where there is such a thing: these tests write thousands of logs.
fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.expect("a directory")
}

fn collect(root: &Path, dir: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(root, &path, files);
        } else if !path.ends_with("BALLAST") {
            // Megabytes without content, made anew when it is gone.
            let name = path.strip_prefix(root).expect("inside").to_owned();
            files.insert(name, fs::read(&path).expect("a file"));
        }
    }
}

/// Writes the files, holes where whole pages are zero.
fn lay_out(dir: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) {
    use std::os::unix::fs::FileExt as _;
    for (name, content) in files {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        let file = fs::File::create(path).expect("a file");
        file.set_len(content.len() as u64).expect("a length");
        for (page, bytes) in content.chunks(4096).enumerate() {
            if bytes.iter().any(|byte| *byte != 0) {
                file.write_all_at(bytes, page as u64 * 4096).expect("written");
            }
        }
    }
    // Git would lose empty directories, sled needs this one.
    for name in files.keys().filter(|name| name.ends_with("db")) {
        fs::create_dir_all(dir.join(name).with_file_name("blobs")).expect("a directory");
    }
}

static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Takes note of panics in the log's own code, on whichever thread. sled's own are its business.
fn watch_for_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = Arc::new(std::panic::take_hook());
        std::panic::set_hook(Box::new(move |info| {
            if info.location().is_some_and(|location| location.file().starts_with("storage/src")) {
                PANICS.lock().unwrap_or_else(PoisonError::into_inner).push(info.to_string());
            }
            report(info);
        }));
    });
}

fn panics() -> Vec<String> {
    std::mem::take(&mut PANICS.lock().unwrap_or_else(PoisonError::into_inner))
}
