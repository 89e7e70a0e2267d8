//! A request as a span.
//!
//! # Source
//! OpenTelemetry, semantic conventions for HTTP servers.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use yadokari::otlp::{Attribute, Span, SpanKind, SpanStatus};

use super::RequestSpan;

/// The span that a collector gets.
pub(super) fn span(request: &RequestSpan) -> Span {
    let mut attributes = vec![
        Attribute::text("http.request.method", &request.method),
        Attribute::text("http.route", request.route),
        Attribute::number("http.response.status_code", request.status.into()),
        Attribute::text("network.peer.address", &request.peer),
        Attribute::number("http.request.body.size", request.received),
        Attribute::number("http.response.body.size", request.sent),
    ];
    attributes.extend(request.repository.as_deref().map(|name| Attribute::text("oci.repository", name)));
    Span {
        trace: request.context.trace,
        id: request.context.span,
        parent: request.context.parent,
        name: format!("{} {}", request.method, request.route),
        kind: SpanKind::Server,
        time: (since_epoch(request.start), since_epoch(request.end)),
        attributes,
        // What is the client's fault is no error of a server's span.
        status: if request.status >= 500 { SpanStatus::Error } else { SpanStatus::Unset },
    }
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}
