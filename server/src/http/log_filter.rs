//! `/log_filter`: which of the server's own log lines are written, and others from now on, for who is on this machine.

use std::net::IpAddr;

use axum::Extension;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::observability;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Where a caller is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

/// Which lines are written.
pub(super) async fn get() -> Response {
    match observability::filter() {
        Some(filter) => format!("{filter}\n").into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Writes others. There is no authentication yet, so only who is on this machine may, and not for somebody else, as a
/// browser or a proxy does.
pub(super) async fn put(
    Extension(Peer(peer)): Extension<Peer>,
    headers: HeaderMap,
    filter: String,
) -> Response {
    let is_for_another =
        [header::ORIGIN, header::FORWARDED, X_FORWARDED_FOR].iter().any(|name| headers.contains_key(name));
    if !peer.to_canonical().is_loopback() || is_for_another {
        return (StatusCode::FORBIDDEN, "only from the server's own machine, without a proxy\n")
            .into_response();
    }
    match observability::set_filter(filter.trim()) {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(problem) => (StatusCode::BAD_REQUEST, format!("{problem}\n")).into_response(),
    }
}
