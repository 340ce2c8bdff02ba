//! What is known of the server elsewhere, asked for when somebody looks.

use std::sync::atomic::Ordering;

use downlink_storage::Log;

use super::commits::Commits;
use super::page::Page;
use super::{
    BUILD, CONDITION, CONSUMER_LAG, CONSUMER_LAG_TIME, DISK, DURABLE, EVENT_DISK, EVENTS, EVENTS_DELIVERED,
    Format, HASHED, HEAD, MIRROR_PROBLEM, MIRRORED, Metrics, OLDEST, OPENING_DURATION, OPENING_REPLAYED,
    PAYLOAD, REPLICA_LAG, REPLICA_PROBLEM, SEGMENTS, SIGNALS, VIOLATIONS, process, signals,
};
use crate::consumers::{self, lag, lag_in_memory};
use crate::grpc::Shared;
use crate::health::{Health, Kind};

/// All there is to tell; of the log only once it is open. Blocks on the disk.
pub(crate) fn scrape(format: Format, metrics: &Metrics, health: &Health, shared: Option<&Shared>) -> String {
    let mut page = Page::new(format);
    page.number(&BUILD, &[env!("CARGO_PKG_VERSION")], 1);
    process::tell(&mut page);
    metrics.rpcs.tell(&mut page);
    metrics.permits.tell(&mut page);
    metrics.commits.tell(&mut page);
    metrics.subscribers.tell(&mut page);
    metrics.feed.tell(&mut page);
    metrics.spans.tell(&mut page);
    page.number(&EVENTS_DELIVERED, &["read"], metrics.read_events.load(Ordering::Relaxed));
    let conditions = health.conditions();
    for kind in Kind::ALL {
        let is_so = conditions.iter().any(|condition| condition.kind == kind);
        page.number(&CONDITION, &[kind.name()], u64::from(is_so));
    }
    let failures = u64::from(health.tasks().has_failed());
    for (invariant, count) in [
        ("block_readable", metrics.blocks_unreadable.load(Ordering::Relaxed)),
        ("hash_unchanged", metrics.hashes_changed.load(Ordering::Relaxed)),
        ("task_survives", failures),
    ] {
        page.number(&VIOLATIONS, &[invariant], count);
    }
    if let Some(shared) = shared {
        tell_log(&mut page, &shared.log);
        tell_copies(&mut page, shared);
        tell_consumers(&mut page, shared);
        signals::tell(&mut page, shared);
    }
    page.finish()
}

fn tell_log(page: &mut Page, log: &Log) {
    let opening = log.opening();
    page.value(&OPENING_DURATION, &[], opening.took.as_secs_f64());
    page.number(&OPENING_REPLAYED, &[], opening.replayed_events);
    // What cannot be told at present is left out.
    let Ok(info) = log.info() else { return };
    Commits::tell_commits(page, info.commits);
    // A count that began with the log could fall: what was refused is on disk only with the next commit.
    let (now, before) = (info.totals, opening.totals);
    for (outcome, now, before) in [
        ("appended", now.appended, before.appended),
        ("duplicate", now.duplicates, before.duplicates),
        ("rejected", now.rejected, before.rejected),
    ] {
        page.number(&EVENTS, &[outcome], now.saturating_sub(before));
    }
    page.number(&HEAD, &[], info.head.get());
    page.number(&DURABLE, &[], info.head.get());
    page.number(&OLDEST, &[], info.oldest.get());
    if let Some(hashed) = info.hashed {
        page.number(&HASHED, &[], hashed.end.get());
    }
    page.number(&SIGNALS, &[], info.signals);
    page.number(&SEGMENTS, &["sealed"], u64::from(info.sealed_segments));
    page.number(&SEGMENTS, &["raw"], u64::from(info.segments - info.sealed_segments));
    page.number(&DISK, &[], info.bytes_on_disk);
    page.number(&PAYLOAD, &[], info.payload_bytes);
    let events = info.head.since(info.oldest);
    if events > 0 {
        page.value(&EVENT_DISK, &[], info.bytes_on_disk as f64 / events as f64);
    }
}

/// The mirror, and what this is a copy of.
fn tell_copies(page: &mut Page, shared: &Shared) {
    if let Some(mirror) = &shared.mirror {
        page.number(&MIRRORED, &[], mirror.next_offset());
        page.number(&MIRROR_PROBLEM, &[], u64::from(mirror.problem().is_some()));
    }
    if let Some(replica) = &shared.replica {
        page.number(&REPLICA_LAG, &[], replica.events_behind());
        page.number(&REPLICA_PROBLEM, &[], u64::from(replica.problem().is_some()));
    }
}

fn tell_consumers(page: &mut Page, shared: &Shared) {
    let log = &shared.log;
    let Ok(consumers) = consumers::list(log, None, shared.config.metrics_consumers_max) else { return };
    for (name, checkpoint) in consumers {
        let next = checkpoint.next_offset;
        if let Some(lag) = lag_in_memory(log, next).or_else(|| lag(log, next).ok()) {
            page.number(&CONSUMER_LAG, &[&name], lag.events);
            page.value(&CONSUMER_LAG_TIME, &[&name], lag.time.as_secs_f64());
        }
    }
}
