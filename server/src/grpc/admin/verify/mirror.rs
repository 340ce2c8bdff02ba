//! The second part of a verification: the log against its mirror.

use std::ops::Range;

use downlink_proto::v1::ErrorReason;
use downlink_proto::v1::verify_log_response::difference::{Kind, Place};
use downlink_proto::v1::verify_log_response::{Difference, Frame, Progress};
use downlink_storage::{Offset, give_way};
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

use super::{Run, frame};
use crate::grpc::Shared;
use crate::grpc::status::Refusal;
use crate::mirror::{self, Compared, Told};
use crate::offsets::Offsets;

/// What the thread that compares may be ahead of the caller.
const TOLD_MAX: usize = 64;
/// Differences that are named; all are counted.
const NAMED_MAX: usize = 100;

/// How far the mirror has come.
pub(super) fn reached(shared: &Shared) -> Result<Offset, Status> {
    let Some(mirror) = &shared.mirror else {
        let message = "this server has no mirror: `mirror_bootstrap_servers` is not set";
        return Err(Refusal::new(ErrorReason::NoMirror, message).into());
    };
    Offset::new(mirror.next_offset()).ok_or_else(|| {
        let problem = mirror.problem().map(|problem| format!(": {problem}")).unwrap_or_default();
        unavailable(format!("what the mirror holds is not known yet{problem}"))
    })
}

fn unavailable(message: String) -> Status {
    Refusal::new(ErrorReason::MirrorUnavailable, message).into()
}

impl Run {
    /// Compares a range with the mirror's topic, on a thread of its own: it waits for brokers.
    pub(super) async fn compare(&mut self, range: Range<Offset>) -> Result<(), Status> {
        self.summary.compared_offset = range.end.get();
        let verified_offset = range.end.get();
        let (sender, mut told) = mpsc::channel(TOLD_MAX);
        let (done, compared) = oneshot::channel();
        let (shared, lost) = (self.shared.clone(), std::mem::replace(&mut self.lost, Offsets::new(0)));
        self.shared.tasks.thread("verify-mirror", move || {
            give_way(shared.config.background_niceness);
            let Shared { config, log, tasks, .. } = &*shared;
            let is_stopped = || tasks.is_draining() || sender.is_closed();
            let mut tell = |told| sender.blocking_send(told).is_ok();
            let _ = done.send(mirror::compare(config, log, (range, &lost), &is_stopped, &mut tell));
        });
        let mut named = 0;
        while let Some(told) = told.recv().await {
            match told {
                Told::Reached(compared_offset) => {
                    let progress = Progress { verified_offset, bytes_per_second: 0, compared_offset };
                    // Whoever is behind with reading hears of it later.
                    let _ = self.frames.try_send(Ok(frame(Frame::Progress(progress))));
                    if self.frames.is_closed() {
                        return Ok(());
                    }
                }
                Told::Different(difference) => {
                    self.count(&difference);
                    if named < NAMED_MAX {
                        named += 1;
                        self.tell(Frame::Difference(wire(difference))).await?;
                    }
                }
            }
        }
        match compared.await {
            Ok(Ok(Compared::All)) => Ok(()),
            Ok(Err(problem)) => Err(unavailable(problem)),
            // The server stops, or nobody listens any more.
            Ok(Ok(Compared::Stopped)) | Err(_) => Err(Refusal::draining().into()),
        }
    }

    fn count(&mut self, difference: &mirror::Difference) {
        let summary = &mut self.summary;
        match difference.kind {
            mirror::Kind::Missing => {
                summary.missing_events += difference.offsets.end - difference.offsets.start;
            }
            mirror::Kind::Doubled => summary.doubled_messages += 1,
            mirror::Kind::Altered => summary.altered_messages += 1,
            mirror::Kind::Foreign => summary.foreign_messages += 1,
        }
    }
}

fn wire(difference: mirror::Difference) -> Difference {
    let kind = match difference.kind {
        mirror::Kind::Missing => Kind::Missing,
        mirror::Kind::Doubled => Kind::Doubled,
        mirror::Kind::Altered => Kind::Altered,
        mirror::Kind::Foreign => Kind::Foreign,
    };
    Difference {
        kind: kind.into(),
        first_offset: difference.offsets.start,
        last_offset: (difference.offsets.end - 1).max(difference.offsets.start),
        place: difference.place.map(|place| Place {
            partition: u32::try_from(place.partition).unwrap_or(u32::MAX),
            position: place.position.unsigned_abs(),
        }),
        part: difference.field,
    }
}
