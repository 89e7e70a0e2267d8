//! The page at `/`: how the server has been doing. Plain HTML, drawn here, without scripts.

mod activity;
mod page;
mod sections;
mod text;
mod view;

use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;

pub(crate) use activity::{Activity, Event, LookedUp, Saved, Subject};
pub(crate) use view::View;

/// The page as it is now.
pub(crate) fn answer(view: &View) -> Response {
    let html = page::render(view, Timestamp::now());
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // Names of repositories are checked, and escaped; and even so no script would run.
        (
            CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
        ),
    ];
    (headers, html).into_response()
}
