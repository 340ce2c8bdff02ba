//! `VerifyLog`: reads everything there is from disk, and names what is not as it should be.

mod mirror;

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use downlink_proto::v1::verify_log_response::{Difference, Frame, Progress, Summary, difference};
use downlink_proto::v1::{ErrorReason, VerifyLogRequest, VerifyLogResponse};
use downlink_storage::{Error, Offset, Outcome, Verification, Verified};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::{self, Sender};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::follow::Missing;
use crate::grpc::Shared;
use crate::grpc::query::pieces::wire_gap;
use crate::grpc::query::request::invalid;
use crate::grpc::status::{Refusal, status};
use crate::metrics::Invariant;
use crate::offsets::{Offsets, SCATTERED_MAX};

/// The frames of a verification.
pub(super) type Frames = ReceiverStream<Result<VerifyLogResponse, Status>>;

/// Frames that wait for the caller.
const FRAMES_MAX: usize = 16;
/// How long a turn at the disk lasts: then it is somebody else's.
const TURN: Duration = Duration::from_millis(50);
/// What a turn may find; then it ends early.
const FOUND_MAX: usize = 64;
/// How often it is told how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Begins a verification; `turn` is given back when it ends.
pub(super) async fn serve(
    shared: Arc<Shared>,
    request: VerifyLogRequest,
    turn: OwnedSemaphorePermit,
) -> Result<Frames, Status> {
    let (first, end) = range(&shared, &request)?;
    let mirrored = if request.check_mirror { Some(mirror::reached(&shared)?) } else { None };
    let log = shared.log.clone();
    let verification = log.verify(first, end).map_err(status)?;
    let (frames, received) = mpsc::channel(FRAMES_MAX + 1);
    // However slow the caller is, there is room for how it ended.
    let last = frames.clone().reserve_owned().await.expect("the other end is here");
    let tasks = shared.tasks.clone();
    tasks.spawn("verify", async move {
        let lost = Offsets::new(SCATTERED_MAX);
        let mut run = Run { shared, frames, summary: Summary::default(), lost };
        let mirrored = mirrored.map(|mirrored| first..mirrored.clamp(first, end));
        let ended = run.all(verification, mirrored).await;
        last.send(ended.map(|()| frame(Frame::Summary(run.summary))));
        drop(turn);
    });
    Ok(ReceiverStream::new(received))
}

/// The first offset wanted, and the first after the last.
fn range(shared: &Shared, request: &VerifyLogRequest) -> Result<(Offset, Offset), Status> {
    let first = Offset::new(request.first_offset).unwrap_or_else(|| shared.log.oldest());
    match Offset::new(request.last_offset) {
        None => Ok((first, shared.log.head())),
        Some(last) if last >= first => Ok((first, last.plus(1))),
        Some(last) => Err(invalid("last_offset", format!("{last} lies before the first, {first}")).into()),
    }
}

/// A verification under way.
struct Run {
    shared: Arc<Shared>,
    frames: Sender<Result<VerifyLogResponse, Status>>,
    summary: Summary,
    /// What the log has lost of what was read.
    lost: Offsets,
}

impl Run {
    /// All of the log, then what is to be compared with the mirror.
    async fn all(
        &mut self,
        verification: Verification,
        mirrored: Option<Range<Offset>>,
    ) -> Result<(), Status> {
        self.log(verification).await?;
        match mirrored {
            Some(range) => self.compare(range).await,
            None => Ok(()),
        }
    }

    async fn log(&mut self, mut verification: Verification) -> Result<(), Status> {
        let (mut told, mut bytes) = (Instant::now(), 0);
        while !self.frames.is_closed() {
            if self.shared.tasks.is_draining() {
                return Err(Refusal::draining().into());
            }
            let (back, found) = self.shared.disk("verify", move || a_turn(verification)).await?;
            verification = back;
            let found = found.map_err(status)?;
            bytes += found.iter().map(|verified| verified.bytes).sum::<usize>();
            for verified in &found {
                self.note(verified).await?;
            }
            if found.is_empty() {
                break;
            }
            if told.elapsed() >= PROGRESS_EVERY {
                let bytes_per_second = (bytes as f64 / told.elapsed().as_secs_f64()) as u64;
                let verified_offset = verification.next().get();
                // Whoever is behind with reading hears of it later.
                let progress = Progress { verified_offset, bytes_per_second, compared_offset: 0 };
                let _ = self.frames.try_send(Ok(frame(Frame::Progress(progress))));
                (told, bytes) = (Instant::now(), 0);
            }
        }
        if let Some(hashed) = verification.hashed() {
            self.summary.head_hash = hashed.digest.as_bytes().to_vec();
            self.summary.hash_offset = hashed.end.get();
        }
        Ok(())
    }

    /// Counts what was found, and tells what is wrong.
    async fn note(&mut self, verified: &Verified) -> Result<(), Status> {
        let Verified { first, end, outcome, .. } = *verified;
        let events = end.since(first);
        match outcome {
            Outcome::Whole => self.summary.events += events,
            Outcome::Damaged => {
                self.shared.metrics.violated(Invariant::BlockReadable);
                self.summary.damaged_events += events;
                self.lost.insert_all(first..end);
                // What counts as lost as well then is not compared.
                self.lost.give_up();
                self.tell(Frame::Damage(wire_gap(first, end, Missing::Damage))).await?;
            }
            Outcome::Changed { since } => {
                self.shared.metrics.violated(Invariant::HashUnchanged);
                self.summary.events += events;
                self.summary.changed_events += end.since(since);
                self.tell(Frame::Difference(Difference {
                    kind: difference::Kind::Changed.into(),
                    first_offset: since.get(),
                    last_offset: end.get() - 1,
                    ..Difference::default()
                }))
                .await?;
            }
        }
        Ok(())
    }

    /// Hands a frame to the caller, who may not let it wait for too long.
    async fn tell(&self, told: Frame) -> Result<(), Status> {
        let stall = Duration::from_millis(self.shared.config.reader_stall_ms_max);
        self.frames.send_timeout(Ok(frame(told)), stall).await.map_err(|_| {
            Refusal::new(ErrorReason::SlowConsumer, "nobody has taken what the verification found").into()
        })
    }
}

/// Verifies for as long as a turn lasts; nothing is found at the end only.
fn a_turn(mut verification: Verification) -> (Verification, Result<Vec<Verified>, Error>) {
    let (begun, mut found) = (Instant::now(), Vec::new());
    while begun.elapsed() < TURN && found.len() < FOUND_MAX {
        match verification.step() {
            Ok(Some(verified)) => found.push(verified),
            Ok(None) => break,
            Err(error) => return (verification, Err(error)),
        }
    }
    (verification, Ok(found))
}

const fn frame(frame: Frame) -> VerifyLogResponse {
    VerifyLogResponse { frame: Some(frame) }
}
