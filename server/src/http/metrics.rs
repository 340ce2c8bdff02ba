//! `/metrics`: what Prometheus collects, in its own format, or as OpenMetrics for those who prefer that.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::Known;
use crate::metrics::{Format, scrape};

/// All metrics.
pub(super) async fn metrics(State(known): State<Known>, headers: HeaderMap) -> Response {
    let accepted = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let format = Format::accepted(accepted);
    let turn = known.looking.clone().lock_owned().await;
    let tasks = known.health.tasks().clone();
    let scraping = tasks.blocking("metrics", move || {
        let shared = known.shared.get().and_then(std::sync::Weak::upgrade);
        let page = scrape(format, &known.metrics, &known.health, shared.as_deref());
        drop(turn);
        page
    });
    match scraping.await {
        Ok(page) => ([(header::CONTENT_TYPE, format.content_type())], page).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
