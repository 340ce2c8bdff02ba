//! Size and speed of the block codec on the recorded day: `cargo run --release --example codec_bench [CSV.ZST] [ROWS]`.
//!
//! "batch" makes batches of events, "push" makes a block of batches, "one" decodes one signal of average frequency
//! out of all, "rare" one of about an event in two minutes, both per event of the block.

use std::collections::HashMap;
use std::hint::black_box;
use std::io::BufReader;
use std::sync::Arc;
use std::time::{Duration, Instant};

use downlink_storage::Batch;
use downlink_storage::block::{BatchRecord, Block, BlockBuilder, BlockSignal, Effort, ProducerStamp, Tally};
use downlink_storage::event::{Event, Offset, Quality, SignalId, Timestamp, Value};

const DEFAULT_PATH: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/recorded/2018-10-12_full_day.csv.zst");
/// 2018-01-01T00:00:00Z.
const NEW_YEAR_NANOS: i128 = 1_514_764_800_000_000_000;
const BATCH_EVENTS: usize = 1_000;
const RUNS: usize = 3;
/// The events of a rare signal in a day.
const RARE_EVENTS: usize = 772;

type Error = Box<dyn std::error::Error>;

/// The recorded day, with the numbers the log would have given its signals.
struct Day {
    signals: HashMap<String, SignalId>,
    events: Vec<Event>,
}

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().unwrap_or_else(|| DEFAULT_PATH.to_owned());
    let rows_max = arguments.next().map_or(Ok(usize::MAX), |rows| rows.parse())?;
    let day = read_day(&path, rows_max)?;
    let cores = std::thread::available_parallelism()?;
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("{path}: {} events, {} signals", day.events.len(), day.signals.len());
    println!("median of {RUNS} runs, one thread; {cores} cores, load before {}", load.trim_end());
    println!("  effort    rows   B/event  ns/event: batch   push  encode  decode     one    rare    peek");
    let cases = [
        (Effort::Fast, 1_000),
        (Effort::Fast, 4_000),
        (Effort::Fast, 16_000),
        (Effort::Compact, 16_000),
        (Effort::Compact, 24_000),
        (Effort::Compact, 64_000),
    ];
    for (effort, rows) in cases {
        let mut runs: Vec<Figures> = (0..RUNS).map(|_| measure(&day, effort, rows)).collect();
        let events = day.events.len() as f64;
        let mut median = |of: fn(&Figures) -> Duration| {
            runs.sort_by_key(of);
            of(&runs[RUNS / 2]).as_nanos() as f64 / events
        };
        let [batch, push] = [median(|f| f.batch), median(|f| f.push)];
        let [encode, decode] = [median(|f| f.encode), median(|f| f.decode)];
        let [one, rare, peek] = [median(|f| f.one), median(|f| f.rare), median(|f| f.peek)];
        let size = runs[0].bytes as f64 / events;
        let effort = format!("{effort:?}");
        println!(
            "{effort:>8} {rows:>7} {size:>9.3} {batch:>15.1} {push:>7.1} {encode:>7.1} {decode:>7.1} {one:>7.1} {rare:>7.2} {peek:>7.2}"
        );
    }
    Ok(())
}

#[derive(Default)]
struct Figures {
    bytes: usize,
    batch: Duration,
    push: Duration,
    encode: Duration,
    decode: Duration,
    one: Duration,
    rare: Duration,
    peek: Duration,
}

/// Every block of `rows` rows once: built, encoded, decoded, compared.
fn measure(day: &Day, effort: Effort, rows: usize) -> Figures {
    let mut figures = Figures::default();
    let one = [signal_of(day, day.events.len() / day.signals.len())];
    let rare = [signal_of(day, RARE_EVENTS)];
    for (number, events) in day.events.chunks(rows).enumerate() {
        let first_row = number * rows;
        let owned: Vec<Vec<Event>> = events.chunks(BATCH_EVENTS).map(<[Event]>::to_vec).collect();
        let start = Instant::now();
        let batches: Vec<Batch> = owned.into_iter().map(Batch::from).collect();
        figures.batch += start.elapsed();
        let start = Instant::now();
        let block = build(day, first_row, batches);
        let built = Instant::now();
        let bytes = block.encode(effort);
        let encoded = Instant::now();
        let decoded = Block::decode(&bytes).expect("just encoded");
        let read = Instant::now();
        black_box(downlink_storage::block::peek(&bytes).expect("just encoded"));
        figures.peek += read.elapsed();
        figures.push += built - start;
        figures.encode += encoded - built;
        figures.decode += read - encoded;
        figures.bytes += bytes.len();
        assert_eq!(decoded, block);
        let start = Instant::now();
        black_box(Block::decode_some(&bytes, &one).expect("just encoded"));
        let one_read = Instant::now();
        black_box(Block::decode_some(&bytes, &rare).expect("just encoded"));
        figures.rare += one_read.elapsed();
        figures.one += one_read - start;
    }
    figures
}

/// The signal whose number of events is nearest to this.
fn signal_of(day: &Day, events: usize) -> SignalId {
    let mut counts: HashMap<SignalId, usize> = HashMap::new();
    for event in &day.events {
        *counts.entry(day.signals[&event.signal]).or_default() += 1;
    }
    let nearest = counts.into_iter().min_by_key(|(id, count)| (count.abs_diff(events), *id));
    nearest.expect("a day has events").0
}

/// A block of these batches, the first of which begins at `first_row`.
fn build(day: &Day, first_row: usize, batches: Vec<Batch>) -> Block {
    let mut first_offset = Offset::FIRST.plus(first_row as u64);
    let mut builder =
        BlockBuilder::new(first_offset, batches[0].events().next().expect("not empty").event_time);
    let id: Arc<str> = "iss-replay".into();
    for (sequence, batch) in (first_row as u64 / BATCH_EVENTS as u64..).zip(batches) {
        let events = batch.len() as u32;
        builder.push(batch, |name| BlockSignal { id: day.signals[&**name], name: name.clone() });
        let producer = ProducerStamp { id: Arc::clone(&id), epoch: 1, sequence };
        builder.push_batch(BatchRecord { producer, first_offset, events });
        first_offset = first_offset.plus(u64::from(events));
    }
    builder.finish(Tally::default())
}

fn read_day(path: &str, rows_max: usize) -> Result<Day, Error> {
    let file = zstd::stream::read::Decoder::new(BufReader::new(std::fs::File::open(path)?))?;
    let mut day = Day { signals: HashMap::new(), events: Vec::new() };
    let mut reader = csv::Reader::from_reader(file);
    let mut record = csv::StringRecord::new();
    while day.events.len() < rows_max && reader.read_record(&mut record)? {
        let name = format!("iss/{}", &record[1]);
        let next = SignalId(day.signals.len() as u32 + 1);
        day.signals.entry(name.clone()).or_insert(next);
        let batch = (day.events.len() / BATCH_EVENTS) as u128;
        let mut trace_context = vec![0; 25];
        let spread = (batch + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        trace_context[..16].copy_from_slice(&spread.to_le_bytes());
        trace_context[16..24].copy_from_slice(&(spread >> 61).to_le_bytes()[..8]);
        let nanos = NEW_YEAR_NANOS + nanos_since_new_year(&record[0])?;
        day.events.push(Event {
            signal: name,
            event_time: Timestamp::from_unix_nanos(nanos).ok_or("a time out of range")?,
            value: value(&record[2])?,
            quality: Quality::Good,
            source: "isslive".to_owned(),
            attributes: std::collections::BTreeMap::new(),
            trace_context,
        });
    }
    Ok(day)
}

fn value(text: &str) -> Result<Value, Error> {
    if text.contains(['.', 'e', 'E']) {
        Ok(Value::Double(text.parse()?))
    } else {
        Ok(Value::Int(text.parse()?))
    }
}

/// Hours of the year, counted from 24, as exact decimal to the nearest nanosecond.
fn nanos_since_new_year(hours: &str) -> Result<i128, Error> {
    let (whole, fraction) = hours.split_once('.').unwrap_or((hours, ""));
    let scale = 10_i128.pow(u32::try_from(fraction.len())?);
    let scaled = whole.parse::<i128>()? * scale + format!("0{fraction}").parse::<i128>()? - 24 * scale;
    Ok((scaled * 3_600_000_000_000 + scale / 2).div_euclid(scale))
}
