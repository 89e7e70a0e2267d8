//! For those who run the server: is it alive, is it ready, how is it doing.

use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::response::{IntoResponse, Response};

use super::{Registry, hot};
use crate::dashboard::{self, View};
use crate::error::ApiError;

/// GET: the process answers.
pub(super) fn health() -> Response {
    "ok\n".into_response()
}

/// GET: new work is welcome: not stopping, and the storage takes writes.
pub(super) async fn ready(registry: &Registry) -> Response {
    if registry.lifecycle.is_stopping() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response();
    }
    match registry.blocking(|storage| storage.check_writable()).await {
        Ok(()) => "ready\n".into_response(),
        // The reason, with its path, is for the log.
        Err(error) => {
            let mut response = error.with_status(StatusCode::SERVICE_UNAVAILABLE).into_response();
            *response.body_mut() = "the storage takes no writes\n".into();
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
            response
        }
    }
}

/// GET of the page for people.
pub(super) async fn dashboard(registry: &Registry) -> Result<Response, ApiError> {
    let whole = registry.clone();
    let view = registry.blocking(move |storage| {
        let (seen, working) = ((&*whole.activity, &*whole.metrics), (&*whole.leases, &*whole.mirrors, &*whole.demand));
        View::of(storage, seen, working, hot::now())
    });
    Ok(dashboard::answer(&view.await?))
}

/// GET of the metrics in Prometheus's text format.
pub(super) fn metrics(registry: &Registry) -> Result<Response, ApiError> {
    let text = registry.metrics.text().map_err(|error| ApiError::internal(&error))?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(CONTENT_TYPE, HeaderValue::from_static(kind))], text).into_response())
}
