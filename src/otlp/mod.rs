//! Spans for OpenTelemetry's collectors: OTLP over HTTP, in JSON.

mod collector;
mod document;
mod trace_parent;

pub use collector::{Collector, CollectorError, Endpoint};
pub use document::{Attribute, Span, SpanKind, SpanStatus, document};
pub use trace_parent::TraceParent;
