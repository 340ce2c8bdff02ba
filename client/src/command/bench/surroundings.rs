//! What a bench looks at beside its own answers: the disk and the server's process.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value as Json, json};

use super::conditions;

/// Ticks a second in `/proc/PID/stat`: `USER_HZ`, which Linux keeps at 100 for programs.
const TICKS_PER_SECOND: f64 = 100.0;
/// Slower paces of the disk's syncs are not waited for.
const INTERVAL_MAX: Duration = Duration::from_millis(20);

/// Where the disk and the server are.
#[derive(Debug, Args)]
pub(super) struct Surroundings {
    /// Where to measure the disk's fdatasync: give a directory on the server's disk.
    #[arg(long, value_name = "DIR")]
    disk_dir: Option<PathBuf>,
    /// The server's process, on this machine: its CPU time and memory are printed as well.
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
}

/// What a server has used.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    cpu_seconds: f64,
}

impl Surroundings {
    /// Times of the disk's fdatasync, one after the other.
    pub(super) fn disk(&self) -> anyhow::Result<Json> {
        self.disk_every(Duration::ZERO)
    }

    /// Times of the disk's fdatasync, as often as the server did one in so many seconds.
    pub(super) fn disk_at_pace(&self, commits: u64, seconds: f64) -> anyhow::Result<Json> {
        let interval = Duration::from_secs_f64(seconds / commits.max(1) as f64).min(INTERVAL_MAX);
        let mut times = self.disk_every(interval)?;
        times["every_ms"] = (interval.as_secs_f64() * 1000.0).into();
        Ok(times)
    }

    fn disk_every(&self, interval: Duration) -> anyhow::Result<Json> {
        let directory = self.disk_dir.clone().unwrap_or_else(std::env::temp_dir);
        let mut times = conditions::percentiles(&conditions::sync_times(&directory, interval)?);
        times["measured_in"] = directory.display().to_string().into();
        Ok(times)
    }

    /// What the server has used up to now; `None` if nobody said which process it is.
    pub(super) fn usage(&self) -> anyhow::Result<Option<Usage>> {
        let Some(pid) = self.server_pid else { return Ok(None) };
        let stat = read(pid, "stat")?;
        // The name in parentheses may hold anything, blanks included; user and system time are fields 14 and 15.
        let behind_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks: f64 = behind_name
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<f64>().ok())
            .sum();
        Ok(Some(Usage { cpu_seconds: ticks / TICKS_PER_SECOND }))
    }

    /// What the server has used since `before`, and its memory; null without a process to look at.
    pub(super) fn used_since(&self, before: Option<Usage>, seconds: f64) -> anyhow::Result<Json> {
        let (Some(pid), Some(before), Some(after)) = (self.server_pid, before, self.usage()?) else {
            return Ok(Json::Null);
        };
        let status = read(pid, "status")?;
        let mib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.split_whitespace().next()?.parse::<f64>().ok()? / 1024.0)
        };
        Ok(json!({
            "cpu_cores": (after.cpu_seconds - before.cpu_seconds) / seconds,
            "resident_mib": mib("VmRSS:"),
            "resident_peak_mib": mib("VmHWM:"),
        }))
    }
}

fn read(pid: u32, file: &str) -> anyhow::Result<String> {
    let path = format!("/proc/{pid}/{file}");
    fs::read_to_string(&path)
        .with_context(|| format!("cannot read {path}: is {pid} the server, on this machine?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_looked_at() {
        let own = Surroundings { disk_dir: None, server_pid: Some(std::process::id()) };
        let used = own.used_since(own.usage().unwrap(), 1.0).unwrap();
        assert!(used["resident_mib"].as_f64().unwrap() > 0.5 && used["cpu_cores"].as_f64().unwrap() >= 0.0);
        let nobody = Surroundings { disk_dir: None, server_pid: None };
        assert_eq!(nobody.used_since(nobody.usage().unwrap(), 1.0).unwrap(), Json::Null);
    }
}
