//! Spans as OTLP has them, in JSON.
//!
//! # Source
//! OpenTelemetry protocol 1.x, "OTLP/HTTP", "JSON Protobuf Encoding"; semantic conventions for HTTP servers.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::{Span, TelemetrySettings};

const SERVER: u32 = 2;
const ERROR: u32 = 2;

/// The body of one request to a collector.
pub(super) fn of(settings: &TelemetrySettings, spans: &[Span]) -> Value {
    let resource = settings.resource.iter().map(|(name, value)| text(name, value));
    json!({ "resourceSpans": [{
        "resource": { "attributes": resource.collect::<Vec<_>>() },
        "scopeSpans": [{
            "scope": { "name": "cache-server", "version": env!("CARGO_PKG_VERSION") },
            "spans": spans.iter().map(span).collect::<Vec<_>>(),
        }],
    }] })
}

fn span(span: &Span) -> Value {
    let mut attributes = vec![
        text("http.request.method", &span.method),
        text("http.route", span.route),
        number("http.response.status_code", span.status.into()),
        text("network.peer.address", &span.peer),
        number("http.request.body.size", span.received),
        number("http.response.body.size", span.sent),
    ];
    attributes.extend(span.repository.as_deref().map(|name| text("oci.repository", name)));
    let mut value = json!({
        "traceId": format!("{:032x}", span.context.trace),
        "spanId": format!("{:016x}", span.context.span),
        "name": format!("{} {}", span.method, span.route),
        "kind": SERVER,
        "startTimeUnixNano": nanoseconds(span.start),
        "endTimeUnixNano": nanoseconds(span.end),
        "attributes": attributes,
    });
    if let Some(parent) = span.context.parent {
        value["parentSpanId"] = json!(format!("{parent:016x}"));
    }
    // What is the client's fault is no error of a server's span.
    if span.status >= 500 {
        value["status"] = json!({ "code": ERROR });
    }
    value
}

fn text(name: &str, value: &str) -> Value {
    json!({ "key": name, "value": { "stringValue": value } })
}

/// 64-bit numbers are texts in this encoding.
fn number(name: &str, value: u64) -> Value {
    json!({ "key": name, "value": { "intValue": value.to_string() } })
}

fn nanoseconds(time: SystemTime) -> String {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_string()
}
