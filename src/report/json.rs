use std::io::Write;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use super::text::{explanation, human_duration, label, look_ups, summary_lines, tier_name, title};
use super::{Event, Observer, StepInfo, Verbosity};

/// One JSON object a line: `level`, `msg`, `time`, and the event's own fields.
///
/// # Source
/// Kaniko `--log-format=json` (logrus: `level`, `msg`, `time`).
pub struct Json<W> {
    verbosity: Verbosity,
    state: Mutex<(W, Vec<StepInfo>)>,
}

impl<W: Write + Send> Json<W> {
    /// A display on `writer`.
    pub fn new(writer: W, verbosity: Verbosity) -> Self {
        Self { verbosity, state: Mutex::new((writer, Vec::new())) }
    }
}

impl<W: Write + Send> Observer for Json<W> {
    fn event(&self, event: Event) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (writer, steps) = &mut *state;
        if event.verbosity() > self.verbosity {
            return;
        }
        let Some(mut object) = object(&event, steps) else { return };
        object["level"] = level(&event).into();
        object["time"] = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into();
        if let Event::Planned { steps: planned } = event {
            *steps = planned;
        }
        // A log that cannot be written must not stop the build.
        let _ = writer.write_all(format!("{object}\n").as_bytes());
    }
}

fn level(event: &Event) -> &'static str {
    match event.verbosity() {
        Verbosity::Error => "error",
        Verbosity::Warn => "warning",
        Verbosity::Info => "info",
        Verbosity::Debug => "debug",
    }
}

fn object(event: &Event, steps: &[StepInfo]) -> Option<Value> {
    let step_text = |step, text: &str| format!("{} {text}", label(steps, step));
    Some(match event {
        Event::Planned { steps } => json!({ "msg": format!("{} steps", steps.len()), "steps": steps.len() }),
        Event::StepCached { step, by } => {
            json!({ "msg": step_text(*step, title(steps, *step)), "step": step, "cached": tier_name(*by) })
        }
        Event::StepStarted { step, miss } => {
            json!({ "msg": step_text(*step, title(steps, *step)), "step": step, "miss": miss })
        }
        Event::StepOutput { step, stderr, bytes } => json!({
            "msg": String::from_utf8_lossy(bytes).trim_end_matches('\n'),
            "step": step,
            "stream": if *stderr { "stderr" } else { "stdout" },
        }),
        Event::StepFinished { step, took, layer_bytes } => json!({
            "msg": step_text(*step, &format!("done in {}", human_duration(*took))),
            "step": step, "duration_ms": took.as_millis() as u64, "layer_bytes": layer_bytes,
        }),
        Event::StepFailed { step } => json!({ "msg": step_text(*step, "failed"), "step": step }),
        Event::Transfer(t) => json!({
            "msg": format!("{:?} {}", t.direction, t.digest), "done": t.done, "total": t.total,
        }),
        Event::Phase { name, took } => {
            json!({ "msg": format!("phase {name}"), "duration_ms": took.as_millis() as u64 })
        }
        Event::Explained { step, nearest, differences } => json!({
            "msg": step_text(*step, &explanation(nearest.as_deref(), differences)),
            "step": step, "nearest": nearest, "differences": differences,
        }),
        Event::Advice(text) => json!({ "msg": format!("advice: {text}"), "advice": text }),
        Event::RemoteLookUps { rounds, keys, found } => json!({
            "msg": look_ups(*rounds, *keys, *found), "rounds": rounds, "keys": keys, "found": found,
        }),
        Event::Warning(text) | Event::Debug(text) | Event::Info(text) => json!({ "msg": text }),
        Event::Finished(summary) => json!({
            "msg": summary_lines(summary, &[]).join("; "),
            "digest": summary.digest.to_string(), "image_bytes": summary.image_bytes, "layers": summary.layers,
            "cached_steps": summary.cached_steps, "run_steps": summary.run_steps,
            "requests": summary.requests, "round_trips": summary.round_trips,
            "duration_ms": summary.took.as_millis() as u64,
        }),
    })
}
