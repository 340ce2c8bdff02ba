//! `/livez` and `/readyz`: how the server is, as a status for machines and JSON for both.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::Known;
use crate::health::{Condition, Kind, Without};

/// Whether the process should live on: not after a defect.
pub(super) async fn live(State(known): State<Known>) -> Response {
    answer(("live", "failed"), &known.health.conditions(), |condition| condition.kind != Kind::Failed)
}

/// Whether the server serves all it is for.
pub(super) async fn ready(State(known): State<Known>) -> Response {
    answer(("ready", "not_ready"), &known.health.conditions(), |condition| {
        condition.kind.without() == Without::Nothing
    })
}

/// Whether the server answers readers.
pub(super) async fn ready_for_reads(State(known): State<Known>) -> Response {
    answer(("ready", "not_ready"), &known.health.conditions(), |condition| {
        condition.kind.without() < Without::Everything
    })
}

fn answer(
    (good, bad): (&str, &str),
    conditions: &[Condition],
    is_harmless: impl Fn(&Condition) -> bool,
) -> Response {
    let is_good = conditions.iter().all(&is_harmless);
    let reasons: Vec<_> = conditions
        .iter()
        .map(|condition| {
            json!({
                "reason": condition.kind.name(),
                "message": condition.message,
                "blocking": !is_harmless(condition),
            })
        })
        .collect();
    let (code, status) =
        if is_good { (StatusCode::OK, good) } else { (StatusCode::SERVICE_UNAVAILABLE, bad) };
    let body = format!("{}\n", json!({ "status": status, "reasons": reasons }));
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (code, headers, body).into_response()
}
