//! The process, as the system knows it. What it does not tell is left out.

use std::fs;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::page::Page;
use super::{
    PROCESS_CPU, PROCESS_FDS, PROCESS_FDS_MAX, PROCESS_RESIDENT, PROCESS_START, PROCESS_THREADS,
    PROCESS_VIRTUAL,
};

/// Tells of this process.
pub(super) fn tell(page: &mut Page) {
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    page.value(&PROCESS_CPU, &[], cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9);
    if let Some(most) = getrlimit(Resource::Nofile).current {
        page.number(&PROCESS_FDS_MAX, &[], most);
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // One of them is the directory itself.
        page.number(&PROCESS_FDS, &[], open.count().saturating_sub(1) as u64);
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_start_matches(':').split_whitespace().next()?.parse::<u64>().ok()
    };
    for (metric, name, factor) in [
        (&PROCESS_RESIDENT, "VmRSS", 1024),
        (&PROCESS_VIRTUAL, "VmSize", 1024),
        (&PROCESS_THREADS, "Threads", 1),
    ] {
        if let Some(number) = field(name) {
            page.number(metric, &[], number * factor);
        }
    }
    if let Some(start) = start() {
        page.value(&PROCESS_START, &[], start.as_secs_f64());
    }
}

/// When the process was started: as long ago as its own directory in /proc says, and then the same for ever.
fn start() -> Option<Duration> {
    static START: OnceLock<Option<Duration>> = OnceLock::new();
    *START.get_or_init(|| {
        // Of a process the system says it in ticks since it was booted.
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // The name, in parentheses, may have anything in it.
        let (_, fields) = stat.rsplit_once(") ")?;
        let ticks: u64 = fields.split(' ').nth(19)?.parse().ok()?;
        let since_boot = ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
        let uptime = clock_gettime(ClockId::Boottime);
        let uptime = uptime.tv_sec as f64 + uptime.tv_nsec as f64 / 1e9;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
        Duration::try_from_secs_f64(now.as_secs_f64() - (uptime - since_boot)).ok()
    })
}
