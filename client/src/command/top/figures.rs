//! What is shown: a server's figures between two looks at its metrics. Names of METRICS.md, and nothing of how they look.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::page::Page;

/// A bound that says something once so much of it is taken.
const NOTABLE_PART: f64 = 0.01;
/// The bound of batches that wait for the disk, shown in any case.
const QUEUE: &str = "append_queue";

/// How a server fares.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures {
    pub(super) version: String,
    pub(super) conditions: Vec<String>,
    pub(super) invariant_violations: f64,
    pub(super) log: Log,
    pub(super) ingest: Ingest,
    pub(super) commits: Commits,
    pub(super) readers: Readers,
    pub(super) calls: Calls,
    pub(super) process: Process,
    /// What is bounded, and of what something is taken.
    pub(super) permits: Vec<Permit>,
    pub(super) consumers: Vec<Consumer>,
    pub(super) feeds: Vec<Feed>,
    /// How far the mirror's topic has got, if there is a mirror.
    pub(super) mirrored_offset: Option<f64>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    pub(super) head: f64,
    pub(super) oldest: f64,
    pub(super) signals: f64,
    pub(super) raw_segments: f64,
    pub(super) sealed_segments: f64,
    pub(super) disk_bytes: f64,
    pub(super) event_disk_bytes: f64,
}

/// Events a second.
#[derive(Clone, Debug, Default)]
pub(super) struct Ingest {
    pub(super) appended: f64,
    pub(super) duplicate: f64,
    pub(super) rejected: f64,
}

/// Seconds, and none where there was no commit.
#[derive(Clone, Debug, Default)]
pub(super) struct Commits {
    pub(super) per_second: f64,
    pub(super) events: Option<f64>,
    pub(super) median: Option<f64>,
    pub(super) p99: Option<f64>,
    /// The mean of each part.
    pub(super) parts: Vec<(String, f64)>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Readers {
    pub(super) events_per_second: f64,
    pub(super) subscribers: Vec<(String, f64)>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Calls {
    pub(super) per_second: f64,
    pub(super) errors_per_second: f64,
    pub(super) in_flight: f64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Process {
    /// 1 is one processor kept busy.
    pub(super) processors: f64,
    pub(super) memory_bytes: f64,
    pub(super) open_files: f64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Permit {
    pub(super) name: String,
    pub(super) taken: f64,
    pub(super) of: f64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Consumer {
    pub(super) name: String,
    pub(super) lag_events: f64,
    pub(super) lag_seconds: f64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Feed {
    pub(super) name: String,
    pub(super) updates_per_second: f64,
    /// None before the first update.
    pub(super) newest_age_seconds: Option<f64>,
}

/// Two looks, and the time between them.
struct Between<'a> {
    before: &'a Page,
    now: &'a Page,
    seconds: f64,
}

impl Figures {
    /// The figures of the time between two pages.
    pub(super) fn between(before: &Page, now: &Page, elapsed: Duration) -> Self {
        let seconds = elapsed.as_secs_f64().max(f64::EPSILON);
        let between = Between { before, now, seconds };
        let is_so = now.by("downlink_condition", "condition").filter(|(_, is_so)| *is_so != 0.0);
        let version = now.by("downlink_build_info", "version").next();
        Self {
            version: version.map(|(version, _)| version.to_owned()).unwrap_or_default(),
            conditions: is_so.map(|(condition, _)| condition.to_owned()).collect(),
            invariant_violations: between.gauge("downlink_invariant_violations_total"),
            log: between.log(),
            ingest: between.ingest(),
            commits: between.commits(),
            readers: between.readers(),
            calls: between.calls(),
            process: between.process(),
            permits: between.permits(),
            consumers: between.consumers(),
            feeds: between.feeds(),
            mirrored_offset: now.value("downlink_mirrored_offset"),
        }
    }

    /// The same for programs.
    pub(super) fn json(&self) -> Json {
        let Self { log, ingest, commits, readers, calls, process, .. } = self;
        let parts: serde_json::Map<_, _> =
            commits.parts.iter().map(|(part, mean)| (part.clone(), json!(mean))).collect();
        let subscribers: serde_json::Map<_, _> =
            readers.subscribers.iter().map(|(state, count)| (state.clone(), json!(count))).collect();
        let permits = self.permits.iter().map(|permit| {
            let Permit { name, taken, of } = permit;
            json!({"permit": name, "taken": taken, "of": of})
        });
        let consumers = self.consumers.iter().map(|consumer| {
            let Consumer { name, lag_events, lag_seconds } = consumer;
            json!({"consumer": name, "lag_events": lag_events, "lag_seconds": lag_seconds})
        });
        let feeds = self.feeds.iter().map(|feed| {
            let Feed { name, updates_per_second, newest_age_seconds } = feed;
            json!({"feed": name, "updates_per_second": updates_per_second, "newest_age_seconds": newest_age_seconds})
        });
        json!({
            "server_version": self.version,
            "conditions": self.conditions,
            "invariant_violations": self.invariant_violations,
            "head_offset": log.head,
            "oldest_offset": log.oldest,
            "signals": log.signals,
            "raw_segments": log.raw_segments,
            "sealed_segments": log.sealed_segments,
            "disk_bytes": log.disk_bytes,
            "event_disk_bytes": log.event_disk_bytes,
            "appended_per_second": ingest.appended,
            "duplicate_per_second": ingest.duplicate,
            "rejected_per_second": ingest.rejected,
            "commits_per_second": commits.per_second,
            "events_per_commit": commits.events,
            "commit_p50_seconds": commits.median,
            "commit_p99_seconds": commits.p99,
            "commit_part_mean_seconds": parts,
            "delivered_per_second": readers.events_per_second,
            "subscribers": subscribers,
            "calls_per_second": calls.per_second,
            "call_errors_per_second": calls.errors_per_second,
            "calls_in_flight": calls.in_flight,
            "processors_busy": process.processors,
            "memory_bytes": process.memory_bytes,
            "open_files": process.open_files,
            "permits": permits.collect::<Vec<_>>(),
            "consumers": consumers.collect::<Vec<_>>(),
            "feeds": feeds.collect::<Vec<_>>(),
            "mirrored_offset": self.mirrored_offset,
        })
    }
}

impl Between<'_> {
    fn gauge(&self, name: &str) -> f64 {
        self.now.value(name).unwrap_or_default()
    }

    /// How much a counter has grown; if the server was started anew meanwhile: since then.
    fn grown(before: Option<f64>, now: Option<f64>) -> f64 {
        let (before, now) = (before.unwrap_or_default(), now.unwrap_or_default());
        if now < before { now } else { now - before }
    }

    fn rate(&self, counter: &str) -> f64 {
        Self::grown(self.before.value(counter), self.now.value(counter)) / self.seconds
    }

    fn rate_of(&self, counter: &str, label: &str, text: &str) -> f64 {
        let of = |page: &Page| page.labelled(counter, label, text);
        Self::grown(of(self.before), of(self.now)) / self.seconds
    }

    fn log(&self) -> Log {
        let segments = |form| self.now.labelled("downlink_segments", "form", form).unwrap_or_default();
        Log {
            head: self.gauge("downlink_head_offset"),
            oldest: self.gauge("downlink_oldest_offset"),
            signals: self.gauge("downlink_signals"),
            raw_segments: segments("raw"),
            sealed_segments: segments("sealed"),
            disk_bytes: self.gauge("downlink_disk_bytes"),
            event_disk_bytes: self.gauge("downlink_event_disk_bytes"),
        }
    }

    fn ingest(&self) -> Ingest {
        let rate = |outcome| self.rate_of("downlink_events_total", "outcome", outcome);
        Ingest { appended: rate("appended"), duplicate: rate("duplicate"), rejected: rate("rejected") }
    }

    fn commits(&self) -> Commits {
        const LATENCY: &str = "downlink_commit_duration_seconds";
        const PART: &str = "downlink_commit_part_duration_seconds";
        let per_second = self.rate("downlink_commits_total");
        let events = self.rate("downlink_commit_events_sum");
        let latencies = self.now.buckets(LATENCY).since(&self.before.buckets(LATENCY));
        let (sum, count) = (format!("{PART}_sum"), format!("{PART}_count"));
        let parts = self.now.by(&count, "part").map(|(part, _)| {
            let commits = self.rate_of(&count, "part", part);
            let mean = self.rate_of(&sum, "part", part) / commits;
            (part.to_owned(), if commits > 0.0 { mean } else { 0.0 })
        });
        Commits {
            per_second,
            events: (per_second > 0.0).then(|| events / per_second),
            median: latencies.quantile(0.5),
            p99: latencies.quantile(0.99),
            parts: parts.collect(),
        }
    }

    fn readers(&self) -> Readers {
        let subscribers = self.now.by("downlink_subscribers", "state");
        Readers {
            events_per_second: self.rate("downlink_events_delivered_total"),
            subscribers: subscribers.map(|(state, count)| (state.to_owned(), count)).collect(),
        }
    }

    fn calls(&self) -> Calls {
        Calls {
            per_second: self.rate("downlink_rpcs_total"),
            errors_per_second: self.rate("downlink_rpc_errors_total"),
            in_flight: self.gauge("downlink_rpcs_in_flight"),
        }
    }

    fn process(&self) -> Process {
        Process {
            processors: self.rate("process_cpu_seconds_total"),
            memory_bytes: self.gauge("process_resident_memory_bytes"),
            open_files: self.gauge("process_open_fds"),
        }
    }

    fn permits(&self) -> Vec<Permit> {
        let taken = self.now.by("downlink_permits_taken", "permit");
        let permits = taken.map(|(name, taken)| {
            let of = self.now.labelled("downlink_permits", "permit", name).unwrap_or_default();
            Permit { name: name.to_owned(), taken, of }
        });
        let is_shown = |permit: &Permit| permit.name == QUEUE || permit.taken > permit.of * NOTABLE_PART;
        let mut permits: Vec<_> = permits.filter(is_shown).collect();
        // The queue, then what is scarcest.
        permits.sort_by(|one, other| {
            let key = |permit: &Permit| (permit.name != QUEUE, -permit.taken / permit.of.max(1.0));
            let ((one_is_other, one), (other_is_other, other)) = (key(one), key(other));
            one_is_other.cmp(&other_is_other).then(one.total_cmp(&other))
        });
        permits
    }

    fn consumers(&self) -> Vec<Consumer> {
        let lags = self.now.by("downlink_consumer_lag_events", "consumer");
        let mut consumers: Vec<_> = lags
            .map(|(name, lag_events)| Consumer {
                name: name.to_owned(),
                lag_events,
                lag_seconds: self
                    .now
                    .labelled("downlink_consumer_lag_seconds", "consumer", name)
                    .unwrap_or_default(),
            })
            .collect();
        // Who is furthest behind comes first.
        consumers.sort_by(|one, other| other.lag_events.total_cmp(&one.lag_events));
        consumers
    }

    fn feeds(&self) -> Vec<Feed> {
        let names = self.now.by("downlink_feed_updates_total", "feed").map(|(name, _)| name);
        let age = |name| self.now.labelled("downlink_feed_newest_age_seconds", "feed", name);
        names
            .map(|name| Feed {
                name: name.to_owned(),
                updates_per_second: self.rate_of("downlink_feed_updates_total", "feed", name),
                newest_age_seconds: age(name),
            })
            .collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A second in the life of a server.
    pub(in super::super) fn example() -> Figures {
        let page = |events: u32, commits: u32| {
            Page::parse(&format!(
                "downlink_build_info{{version=\"1.2.3\"}} 1\ndownlink_head_offset {events}\n\
                 downlink_condition{{condition=\"disk_full\"}} 1\ndownlink_condition{{condition=\"replica\"}} 0\n\
                 downlink_events_total{{outcome=\"appended\"}} {events}\ndownlink_commits_total {commits}\n\
                 downlink_commit_events_sum {events}\n\
                 downlink_commit_duration_seconds_bucket{{le=\"0.001\"}} 0\n\
                 downlink_commit_duration_seconds_bucket{{le=\"0.002\"}} {commits}\n\
                 downlink_commit_duration_seconds_bucket{{le=\"+Inf\"}} {commits}\n\
                 downlink_commit_part_duration_seconds_sum{{part=\"sync\"}} {}\n\
                 downlink_commit_part_duration_seconds_count{{part=\"sync\"}} {commits}\n\
                 downlink_permits_taken{{permit=\"calls\"}} 1\ndownlink_permits{{permit=\"calls\"}} 4096\n\
                 downlink_permits_taken{{permit=\"disk_reads\"}} 2\ndownlink_permits{{permit=\"disk_reads\"}} 2\n\
                 downlink_permits_taken{{permit=\"append_queue\"}} 0\ndownlink_permits{{permit=\"append_queue\"}} 10\n\
                 downlink_consumer_lag_events{{consumer=\"near\"}} 1\ndownlink_consumer_lag_events{{consumer=\"far\"}} 9\n\
                 downlink_consumer_lag_seconds{{consumer=\"far\"}} 90\ndownlink_subscribers{{state=\"live\"}} 3\n\
                 downlink_feed_updates_total{{feed=\"demo\"}} {events}\nprocess_resident_memory_bytes 33554432\n\
                 downlink_disk_bytes 4485120\n",
                f64::from(commits) * 0.0015,
            ))
        };
        Figures::between(&page(1_000, 10), &page(51_000, 510), Duration::from_secs(2))
    }

    #[test]
    fn rates_are_of_the_time_between() {
        let figures = example();
        assert_eq!((figures.ingest.appended, figures.log.head), (25_000.0, 51_000.0));
        assert_eq!((figures.commits.per_second, figures.commits.events), (250.0, Some(100.0)));
        assert_eq!(figures.commits.median, Some(0.0015));
        assert!((figures.commits.parts[0].1 - 0.0015).abs() < 1e-9);
        assert_eq!(figures.conditions, ["disk_full"]);
        let names = |names: Vec<&str>| names.join(" ");
        assert_eq!(
            names(figures.permits.iter().map(|permit| &*permit.name).collect()),
            "append_queue disk_reads"
        );
        assert_eq!(names(figures.consumers.iter().map(|consumer| &*consumer.name).collect()), "far near");
        assert_eq!(figures.json()["consumers"][0]["lag_seconds"], 90.0);
        assert_eq!(figures.json()["mirrored_offset"], Json::Null);
    }

    #[test]
    fn a_server_started_anew_has_no_negative_rates() {
        let page = |count: u32| Page::parse(&format!("downlink_commits_total {count}\n"));
        let figures = Figures::between(&page(1_000), &page(5), Duration::from_secs(1));
        assert_eq!(figures.commits.per_second, 5.0);
    }
}
