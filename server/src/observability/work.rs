//! What the log does by itself, as spans: commits, with links to the appends in them, sealing, and how it was opened.

use std::time::{Duration, SystemTime};

use downlink_storage::{CommitReport, Log, Observer, SealOutcome, SealReport};

use super::place::Place;
use super::span::{Kind, Span};
use super::tracer::Tracer;

/// Tells `tracer` of the work of `log`, of its opening at once. Commits that take `slow` or longer are kept in any case.
pub(crate) fn trace(log: &Log, tracer: &Tracer, slow: Duration) {
    if !tracer.is_on() {
        return;
    }
    let opening = log.opening();
    let span = Span::new(tracer.begin_kept(), Kind::Internal, "recover", (opening.begun, opening.took));
    tracer.keep(span.with("downlink.replayed_events", opening.replayed_events.cast_signed()));
    log.observe(std::sync::Arc::new(Work { tracer: tracer.clone(), slow }));
}

struct Work {
    tracer: Tracer,
    slow: Duration,
}

impl Observer for Work {
    fn committed(&self, report: &CommitReport<'_>) {
        let took = report.parts.total();
        if report.notes.is_empty() && report.error.is_none() && took < self.slow {
            return;
        }
        let place = self.tracer.begin_kept();
        let parts = &report.parts;
        let mut begun = report.begun + parts.gather;
        for (name, took) in [
            ("encode", parts.encode),
            ("store", parts.store),
            ("sync", parts.sync),
            ("publish", parts.publish),
        ] {
            // What comes after a failure has not been.
            if !took.is_zero() {
                self.part(&place, name, (begun, took));
            }
            begun += took;
        }
        let span = Span::new(place, Kind::Internal, "commit", (report.begun, took))
            .linked(report.notes.iter().filter_map(|note| Place::of_bytes(note)))
            .with("downlink.appends", report.appends.cast_signed())
            .with("downlink.events", report.block.len() as i64)
            .with("downlink.first_offset", report.block.first_offset().get().cast_signed())
            .with("downlink.stored_bytes", report.stored_bytes.cast_signed());
        self.tracer.keep(match report.error {
            Some(error) => span.failed(error.to_string()),
            None => span,
        });
    }

    fn sealed(&self, report: &SealReport<'_>) {
        let span = Span::new(self.tracer.begin_kept(), Kind::Internal, "seal", (report.begun, report.took))
            .with("downlink.first_offset", report.first.get().cast_signed())
            .with("downlink.events", report.events.cast_signed());
        match report.outcome {
            SealOutcome::Sealed => self.tracer.keep(span),
            SealOutcome::LeftAlone(error) => self.tracer.keep(span.failed(error.to_string())),
            // It is tried again and again as long as there is no room for it, and nothing is done.
            SealOutcome::Postponed(_) => {}
        }
    }
}

impl Work {
    fn part(&self, commit: &Place, name: &'static str, when: (SystemTime, Duration)) {
        let place = self.tracer.begin(Some(commit));
        self.tracer.keep(Span::new(place, Kind::Internal, name, when).under(Some(commit.clone())));
    }
}
