//! Scratch: the recorded day straight into a log.
use std::{sync::{Arc, atomic::{AtomicUsize, Ordering}}, time::Instant};
use downlink_storage::*;
fn rss() -> u64 { std::fs::read_to_string("/proc/self/status").unwrap().lines().filter(|l| l.starts_with("VmRSS")||l.starts_with("VmHWM")).map(|l| l.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()/1024).fold(0,|a,b| a*100000+b) }
fn main() {
    let dir = std::path::PathBuf::from(std::env::args().nth(1).unwrap());
    let times: usize = std::env::args().nth(2).unwrap().parse().unwrap();
    let file = std::fs::File::open("/work/shared/data/recorded/2018-10-12_full_day.csv.zst").unwrap();
    let mut csv = csv::Reader::from_reader(zstd::Decoder::new(file).unwrap());
    let mut rows = vec![];
    for r in csv.records() { let r = r.unwrap(); let h: f64 = r[0].parse().unwrap();
        let t = ((h-24.0)*3600.0*1e9) as i128 + 1514764800_000_000_000;
        let v = if r[2].contains('.') { Value::Double(r[2].parse().unwrap()) } else { r[2].parse().map(Value::Int).unwrap_or(Value::Double(r[2].parse().unwrap())) };
        rows.push((format!("iss/{}", &r[1]), Timestamp::from_unix_nanos(t).unwrap(), v)); }
    println!("{} rows, rss {}", rows.len(), rss());
    let t = Instant::now();
    let log = Log::open_dir(&dir, Options::standard()).unwrap();
    println!("open {:?} head {}", t.elapsed(), log.head());
    let head0 = log.head().get();
    let (tx, rx) = std::sync::mpsc::channel();
    log.open_producer(Arc::from(format!("p{head0}")), 0, move |o| { tx.send(o).unwrap() });
    let opened = rx.recv().unwrap().unwrap();
    let t = Instant::now();
    let inflight = Arc::new(AtomicUsize::new(0));
    let mut seq = 0;
    for n in 0..times { for chunk in rows.chunks(1000) {
        let events = chunk.iter().map(|(s, tm, v)| Event { signal: s.clone(), event_time: Timestamp::new(tm.seconds()+86400*n as i64, tm.nanos()).unwrap(), value: v.clone(), quality: Quality::Good, source: "replay".into(), attributes: Default::default(), trace_context: vec![] }).collect();
        seq += 1;
        while inflight.load(Ordering::Acquire) >= 16 { std::thread::yield_now(); }
        inflight.fetch_add(1, Ordering::AcqRel);
        let f = inflight.clone();
        log.append(Append { events, identity: Identity::Producer { id: Arc::from(format!("p{head0}")), epoch: 0, session: opened.session, sequence: seq }, expected_head: None }, move |r| { r.unwrap(); f.fetch_sub(1, Ordering::AcqRel); });
    } if n % 5 == 4 {println!("{n} {:?} rss {}", t.elapsed(), rss());} }
    while inflight.load(Ordering::Acquire) > 0 { std::thread::yield_now(); }
    let s = t.elapsed().as_secs_f64();
    println!("ingest {:.0}/s rss {}", (times*rows.len()) as f64/s, rss());
    let i = log.info().unwrap(); let n = i.head.get()-1;
    println!("{i:?}\n payload {:.2} disk {:.2} B/event", i.payload_bytes as f64/n as f64, i.bytes_on_disk as f64/n as f64);
    if std::env::args().nth(3).as_deref() == Some("abort") { println!("abort rss {}", rss()); std::process::abort(); }
    let t = Instant::now(); log.roll(Wait::UntilSealed).unwrap(); println!("sealed {:?} rss {}", t.elapsed(), rss());
    let i = log.info().unwrap();
    println!("{i:?}\n payload {:.2} disk {:.2} B/event", i.payload_bytes as f64/n as f64, i.bytes_on_disk as f64/n as f64);
    let t = Instant::now(); let mut o = log.oldest(); let mut c = 0;
    while let Chunk::Block(b) = log.read(o, None).unwrap() { c += b.len(); o = b.end_offset(); }
    println!("read {c} {:.0}/s rss {}", c as f64/t.elapsed().as_secs_f64(), rss());
    let t = Instant::now(); log.close(); println!("close {:?}", t.elapsed());
}
