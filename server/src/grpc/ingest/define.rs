//! `DefineSignals`: keeps definitions, each as often as it changes.

use std::sync::Arc;

use downlink_proto::v1::{DefineSignalsRequest, DefineSignalsResponse};
use downlink_storage::{Append, Identity};
use tokio::sync::Mutex;
use tonic::{Request, Response, Status};

use super::codec::Received;
use crate::grpc::Shared;
use crate::grpc::call::trace_context;
use crate::grpc::definition;
use crate::grpc::status::{Refusal, status};
use crate::ingest::outcome;

/// `DefineSignals`. `turns` are taken one after the other, so that nothing is kept twice.
pub(crate) async fn define(
    shared: Arc<Shared>,
    turns: Arc<Mutex<()>>,
    request: Request<Received<DefineSignalsRequest>>,
) -> Result<Response<DefineSignalsResponse>, Status> {
    let trace_context = trace_context(request.metadata(), request.extensions().get());
    let (request, bytes) = match request.into_inner() {
        Received::Whole { message, batch_bytes } => (message, batch_bytes),
        Received::TooLarge { refusal, .. } => return Err(refusal.into()),
    };
    let definitions = definition::accepted(request.signals, &shared.checks)?;
    let turn = turns.lock_owned().await;
    let (log, now) = (shared.log.clone(), shared.clock.now());
    let compare = move || {
        let (mut offsets, mut events) = (Vec::new(), Vec::new());
        for (name, bytes) in definitions {
            match definition::offset_of(&log, &name, &bytes)? {
                Some(offset) => offsets.push(offset),
                None => events.push(definition::event(&name, bytes, now, &trace_context)),
            }
        }
        Ok::<_, Refusal>((offsets, events))
    };
    let (mut offsets, events) = shared.newest("define", compare).await??;
    if !events.is_empty() {
        let permit = shared.ingest.admit_in_time(events.len(), bytes).await.map_err(status)?;
        let batch =
            Append { events: events.into(), identity: Identity::Anonymous, expected_head: None, note: None };
        let appended = outcome(shared.ingest.append(batch, (permit, turn))).await.map_err(status)?;
        offsets.extend([appended.first, appended.last].into_iter().flatten().map(|offset| offset.get()));
    }
    let (first, last) = (offsets.iter().min().copied(), offsets.iter().max().copied());
    let response = DefineSignalsResponse {
        first_offset: first.expect("there is a definition"),
        last_offset: last.expect("there is a definition"),
    };
    Ok(Response::new(response))
}
