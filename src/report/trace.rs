//! A build as a trace: OTLP in JSON.
//!
//! # Source
//! OpenTelemetry, "OTLP Specification", JSON Protobuf Encoding; `trace.proto`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::text::tier_name;
use super::{Recording, StepOutcome, StepRecording};

/// Longest text of an attribute, in characters.
const MAX_TEXT: usize = 1000;

/// Where a trace belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    /// 32 hex digits.
    pub trace: String,
    /// 16 hex digits: the span that the build is a part of.
    pub parent: Option<String>,
    /// 8 hex digits, from which the names of the spans are made.
    pub seed: String,
    /// Of the service: `service.name` and others.
    pub resource: Vec<(String, String)>,
    /// Say the instructions; else only their numbers.
    pub with_instructions: bool,
}

impl TraceContext {
    /// What `TRACEPARENT` says: trace and parent.
    ///
    /// # Source
    /// W3C Trace Context, "traceparent Header".
    pub fn parse_parent(text: &str) -> Option<(String, String)> {
        let is_hex = |text: &str, length: usize| {
            text.len() == length && text.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase())
        };
        let mut parts = text.trim().split('-');
        let (version, trace, parent) = (parts.next()?, parts.next()?, parts.next()?);
        let is_set = |text: &str| text.bytes().any(|byte| byte != b'0');
        let fits = is_hex(version, 2) && version != "ff" && is_hex(trace, 32) && is_hex(parent, 16);
        (fits && is_set(trace) && is_set(parent)).then(|| (trace.to_owned(), parent.to_owned()))
    }
}

/// The body of a request to `/v1/traces`: a span for the build, one for each phase and each step that was asked for.
pub fn trace(recording: &Recording, context: &TraceContext) -> Value {
    let mut spans = Spans { recording, context, spans: Vec::new() };
    spans.build();
    for (name, took, end) in &recording.phases {
        spans.add(name, (end.saturating_sub(*took), *end), Vec::new(), false);
    }
    recording.steps.iter().filter(|step| step.outcome != StepOutcome::Untouched).for_each(|step| spans.step(step));
    let resource: Vec<Value> = context.resource.iter().map(|(key, value)| text(key, value)).collect();
    let scope = json!({ "name": "yadokari", "version": env!("CARGO_PKG_VERSION") });
    json!({ "resourceSpans": [{
        "resource": { "attributes": resource },
        "scopeSpans": [{ "scope": scope, "spans": spans.spans }],
    }] })
}

struct Spans<'a> {
    recording: &'a Recording,
    context: &'a TraceContext,
    spans: Vec<Value>,
}

impl Spans<'_> {
    fn build(&mut self) {
        let failed = self.recording.summary.is_none();
        let mut attributes = Vec::new();
        if let Some(summary) = &self.recording.summary {
            attributes.push(text("container.image.digest", &summary.digest.to_string()));
            attributes.push(number("yadokari.steps.cached", summary.cached_steps as u64));
            attributes.push(number("yadokari.steps.run", summary.run_steps as u64));
            attributes.push(number("yadokari.image.bytes", summary.image_bytes));
        }
        attributes.push(number("yadokari.pulled.bytes", self.recording.moved.0));
        attributes.push(number("yadokari.pushed.bytes", self.recording.moved.1));
        self.add("build", (Duration::ZERO, self.recording.took), attributes, failed);
    }

    fn step(&mut self, step: &StepRecording) {
        let number_of = self.spans.len();
        let name = if self.context.with_instructions { step.info.title.clone() } else { format!("step {number_of}") };
        let mut attributes =
            vec![text("yadokari.stage", &step.info.stage), number("code.line.number", step.info.line as u64)];
        let cached = match step.outcome {
            StepOutcome::Cached(tier) => tier_name(tier),
            _ => "no",
        };
        attributes.push(text("yadokari.cached", cached));
        attributes.extend(step.layer_bytes.map(|bytes| number("yadokari.layer.bytes", bytes)));
        if self.context.with_instructions {
            attributes.extend(step.miss.as_ref().map(|miss| text("yadokari.miss", miss)));
        }
        let failed = matches!(step.outcome, StepOutcome::Failed | StepOutcome::Started);
        self.add(&name, (step.from, step.to.max(step.from)), attributes, failed);
    }

    fn add(&mut self, name: &str, (from, to): (Duration, Duration), attributes: Vec<Value>, failed: bool) {
        let id = |number: usize| format!("{}{:08x}", self.context.seed, number + 1);
        let number = self.spans.len();
        let parent = if number == 0 { self.context.parent.clone() } else { Some(id(0)) };
        let mut span = json!({
            "traceId": self.context.trace,
            "spanId": id(number),
            "name": shortened(name),
            // SPAN_KIND_INTERNAL
            "kind": 1,
            "startTimeUnixNano": self.time(from),
            "endTimeUnixNano": self.time(to),
            "attributes": attributes,
            // STATUS_CODE_ERROR, STATUS_CODE_OK
            "status": { "code": if failed { 2 } else { 1 } },
        });
        if let Some(parent) = parent {
            span["parentSpanId"] = parent.into();
        }
        self.spans.push(span);
    }

    /// Integers of 64 bits are strings in JSON.
    fn time(&self, at: Duration) -> String {
        let began: SystemTime = self.recording.began + at;
        began.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_string()
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": shortened(value) } })
}

fn number(key: &str, value: u64) -> Value {
    json!({ "key": key, "value": { "intValue": value.to_string() } })
}
