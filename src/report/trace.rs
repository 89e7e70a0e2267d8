//! A build as a trace.

use std::time::{Duration, UNIX_EPOCH};

use crate::otlp::{Attribute, Span, SpanKind, SpanStatus};

use super::text::tier_name;
use super::{Recording, StepOutcome, StepRecording};

/// Where a trace belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace's number.
    pub trace: u128,
    /// The span that the build is a part of.
    pub parent: Option<u64>,
    /// First half of the numbers of the spans; not zero.
    pub seed: u32,
    /// Say the instructions; else only their numbers.
    pub with_instructions: bool,
}

/// A span for the build, then one for each phase and each step that was asked for.
pub fn trace(recording: &Recording, context: &TraceContext) -> Vec<Span> {
    let mut spans = Spans { recording, context, spans: Vec::new() };
    spans.build();
    for (name, took, end) in &recording.phases {
        spans.add(name, (end.saturating_sub(*took), *end), Vec::new(), false);
    }
    recording.steps.iter().filter(|step| step.outcome != StepOutcome::Untouched).for_each(|step| spans.step(step));
    spans.spans
}

struct Spans<'a> {
    recording: &'a Recording,
    context: &'a TraceContext,
    spans: Vec<Span>,
}

impl Spans<'_> {
    fn build(&mut self) {
        let failed = self.recording.summary.is_none();
        let mut attributes = Vec::new();
        if let Some(summary) = &self.recording.summary {
            attributes.push(Attribute::text("container.image.digest", &summary.digest.to_string()));
            attributes.push(Attribute::number("yadokari.steps.cached", summary.cached_steps as u64));
            attributes.push(Attribute::number("yadokari.steps.run", summary.run_steps as u64));
            attributes.push(Attribute::number("yadokari.image.bytes", summary.image_bytes));
        }
        attributes.push(Attribute::number("yadokari.pulled.bytes", self.recording.moved.0));
        attributes.push(Attribute::number("yadokari.pushed.bytes", self.recording.moved.1));
        self.add("build", (Duration::ZERO, self.recording.took), attributes, failed);
    }

    fn step(&mut self, step: &StepRecording) {
        let number_of = self.spans.len();
        let name = if self.context.with_instructions { step.info.title.clone() } else { format!("step {number_of}") };
        let mut attributes = vec![
            Attribute::text("yadokari.stage", &step.info.stage),
            Attribute::number("code.line.number", step.info.line as u64),
        ];
        let cached = match step.outcome {
            StepOutcome::Cached(tier) => tier_name(tier),
            _ => "no",
        };
        attributes.push(Attribute::text("yadokari.cached", cached));
        attributes.extend(step.layer_bytes.map(|bytes| Attribute::number("yadokari.layer.bytes", bytes)));
        if self.context.with_instructions {
            attributes.extend(step.miss.as_ref().map(|miss| Attribute::text("yadokari.miss", miss)));
        }
        let failed = matches!(step.outcome, StepOutcome::Failed | StepOutcome::Started);
        self.add(&name, (step.from, step.to.max(step.from)), attributes, failed);
    }

    fn add(&mut self, name: &str, (from, to): (Duration, Duration), attributes: Vec<Attribute>, failed: bool) {
        let id = |number: usize| u64::from(self.context.seed) << 32 | (number as u64 + 1);
        let number = self.spans.len();
        let began = self.recording.began.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.spans.push(Span {
            trace: self.context.trace,
            id: id(number),
            parent: if number == 0 { self.context.parent } else { Some(id(0)) },
            name: name.to_owned(),
            kind: SpanKind::Internal,
            time: (began + from, began + to),
            attributes,
            status: if failed { SpanStatus::Error } else { SpanStatus::Ok },
        });
    }
}
