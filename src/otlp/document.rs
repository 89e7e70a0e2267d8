//! Spans as OTLP has them, in JSON.
//!
//! # Source
//! OpenTelemetry, "OTLP Specification", JSON Protobuf Encoding; `trace.proto`.

use std::time::Duration;

use serde_json::{Value, json};

/// Longest text of an attribute or a name, in characters.
const MAX_TEXT: usize = 1000;

/// What a span was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// Work within a program.
    Internal,
    /// A request that was answered.
    Server,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanStatus {
    /// Nobody said.
    Unset,
    /// Well.
    Ok,
    /// With an error.
    Error,
}

/// Something that is said of a span or a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    name: String,
    value: AttributeValue,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum AttributeValue {
    Text(String),
    Number(u64),
}

impl Attribute {
    /// Of a text; it is cut at 1000 characters.
    pub fn text(name: &str, value: &str) -> Self {
        Self { name: name.to_owned(), value: AttributeValue::Text(shortened(value)) }
    }

    /// Of a number.
    pub fn number(name: &str, value: u64) -> Self {
        Self { name: name.to_owned(), value: AttributeValue::Number(value) }
    }

    fn document(&self) -> Value {
        let value = match &self.value {
            AttributeValue::Text(text) => json!({ "stringValue": text }),
            // Integers of 64 bits are texts in this encoding.
            AttributeValue::Number(number) => json!({ "intValue": number.to_string() }),
        };
        json!({ "key": self.name, "value": value })
    }
}

/// A part of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The trace that it belongs to.
    pub trace: u128,
    /// Its own number there.
    pub id: u64,
    /// The span around it.
    pub parent: Option<u64>,
    /// What was done; it is cut at 1000 characters.
    pub name: String,
    /// What it was.
    pub kind: SpanKind,
    /// Begin and end, since the Unix epoch.
    pub time: (Duration, Duration),
    /// What else there is to say.
    pub attributes: Vec<Attribute>,
    /// How it ended.
    pub status: SpanStatus,
}

impl Span {
    fn document(&self) -> Value {
        let mut value = json!({
            "traceId": format!("{:032x}", self.trace),
            "spanId": format!("{:016x}", self.id),
            "name": shortened(&self.name),
            "kind": match self.kind {
                SpanKind::Internal => 1,
                SpanKind::Server => 2,
            },
            "startTimeUnixNano": self.time.0.as_nanos().to_string(),
            "endTimeUnixNano": self.time.1.as_nanos().to_string(),
            "attributes": self.attributes.iter().map(Attribute::document).collect::<Vec<_>>(),
        });
        if let Some(parent) = self.parent {
            value["parentSpanId"] = format!("{parent:016x}").into();
        }
        match self.status {
            SpanStatus::Unset => {}
            SpanStatus::Ok => value["status"] = json!({ "code": 1 }),
            SpanStatus::Error => value["status"] = json!({ "code": 2 }),
        }
        value
    }
}

/// The body of a request to `/v1/traces`: `resource` says which program it was, `scope` which part of it.
pub fn document(resource: &[(String, String)], scope: &str, spans: &[Span]) -> Value {
    let resource: Vec<Value> = resource.iter().map(|(key, value)| Attribute::text(key, value).document()).collect();
    json!({ "resourceSpans": [{
        "resource": { "attributes": resource },
        "scopeSpans": [{
            "scope": { "name": scope, "version": env!("CARGO_PKG_VERSION") },
            "spans": spans.iter().map(Span::document).collect::<Vec<_>>(),
        }],
    }] })
}

fn shortened(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}
