//! What a figure depends on: the machine, and its disk as measured in the same run.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hdrhistogram::Histogram;
use serde_json::{Value as Json, json};

/// When an append counts as acknowledged.
pub(super) const SYNC: &str = "fdatasync of every group commit before its acknowledgements";
const SYNCS: u32 = 200;
const SYNC_BYTES: usize = 4096;
/// Longer times count as this long.
const MICROS_MAX: u64 = 60_000_000;

/// Times in microseconds, to three digits.
pub(super) fn times() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new_with_max(MICROS_MAX, 3)?)
}

/// The machine: CPU, cores and kernel.
pub(super) fn machine() -> Json {
    let cpu_info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu_info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    json!({
        "cpu": model.map_or("unknown", |(_, model)| model.trim()),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "kernel": kernel.trim(),
    })
}

/// Times of an append of 4 KiB and its fdatasync, in a file of its own: one every `interval`, or as soon as the one
/// before is done. A disk that had nothing to do for a while may be slower to answer.
pub(super) fn sync_times(directory: &Path, interval: Duration) -> anyhow::Result<Histogram<u64>> {
    let path = directory.join(format!("downlink-bench-{}", std::process::id()));
    let failed = || format!("cannot write {}", path.display());
    let mut file = File::create(&path).with_context(failed)?;
    let mut times = times()?;
    let begin = Instant::now();
    for turn in 0..SYNCS {
        thread::sleep((begin + interval * turn).saturating_duration_since(Instant::now()));
        let start = Instant::now();
        file.write_all(&[0x5a; SYNC_BYTES]).with_context(failed)?;
        file.sync_data().with_context(failed)?;
        times.saturating_record(start.elapsed().as_micros() as u64);
    }
    fs::remove_file(&path).with_context(failed)?;
    Ok(times)
}

/// Percentiles of times in microseconds, in milliseconds.
pub(super) fn percentiles(times: &Histogram<u64>) -> Json {
    let at = |quantile| times.value_at_quantile(quantile) as f64 / 1000.0;
    json!({"p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "max": times.max() as f64 / 1000.0})
}
