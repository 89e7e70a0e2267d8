use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::text::{explanation, human_bytes, human_duration, label, look_ups, summary_lines, tier_name, title};
use super::{Event, Observer, StepInfo, StepNumber, Verbosity};

/// One line per event: for CI logs and files.
///
/// Log lines go to `log`; what a step's process writes to its standard output goes to `output`,
/// with the step's label before each line (Kaniko passes it on to standard output too).
pub struct Plain<L, O> {
    verbosity: Verbosity,
    started: Instant,
    has_timestamps: bool,
    state: Mutex<State<L, O>>,
}

struct State<L, O> {
    log: L,
    output: O,
    colour: bool,
    steps: Vec<StepInfo>,
    phases: Vec<(&'static str, Duration)>,
    /// Unfinished last line of each step's stdout and stderr.
    partial: BTreeMap<(StepNumber, bool), Vec<u8>>,
}

impl<L: Write + Send, O: Write + Send> Plain<L, O> {
    /// A display on `log` and `output`; `colour` only for terminals, or when asked for.
    pub fn new(log: L, output: O, colour: bool, verbosity: Verbosity) -> Self {
        let state = State { log, output, colour, steps: Vec::new(), phases: Vec::new(), partial: BTreeMap::new() };
        Self { verbosity, started: Instant::now(), has_timestamps: false, state: Mutex::new(state) }
    }

    /// Each line has the time of day, not the seconds since the start (`--log-timestamp`).
    pub fn with_timestamps(self, has_timestamps: bool) -> Self {
        Self { has_timestamps, ..self }
    }

    /// What stands between the brackets of a line.
    fn time(&self) -> String {
        if self.has_timestamps {
            jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
        } else {
            format!("{:04}", self.started.elapsed().as_secs())
        }
    }
}

impl<L: Write + Send, O: Write + Send> Observer for Plain<L, O> {
    fn event(&self, event: Event) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = event.verbosity() <= self.verbosity;
        state.take(event, shown, &self.time());
    }
}

impl<L: Write, O: Write> State<L, O> {
    fn take(&mut self, event: Event, shown: bool, at: &str) {
        match event {
            Event::Planned { steps } => self.steps = steps,
            Event::Phase { name, took } => self.phases.push((name, took)),
            _ if !shown => {}
            Event::StepCached { step, by } => {
                let text = format!("{} cached ({})", title(&self.steps, step), tier_name(by));
                self.step_line(step, &text, at);
            }
            Event::StepStarted { step, miss } => {
                let text = format!("{}: {miss}", title(&self.steps, step));
                self.step_line(step, &text, at);
            }
            Event::StepOutput { step, stderr, bytes } => self.step_output(step, stderr, &bytes),
            Event::StepFinished { step, took, layer_bytes } => {
                self.flush(step);
                let layer = layer_bytes.map_or("no change".to_owned(), |n| format!("layer {}", human_bytes(n)));
                self.step_line(step, &format!("done in {}, {layer}", human_duration(took)), at);
            }
            Event::StepFailed { step } => {
                self.flush(step);
                self.step_line(step, "failed", at);
            }
            Event::Transfer(_) => {}
            Event::Explained { step, nearest, differences } => {
                self.step_line(step, &explanation(nearest.as_deref(), &differences), at);
            }
            Event::Advice(text) => self.line("INFO", "36", &format!("advice: {text}"), at),
            Event::RemoteLookUps { rounds, keys, found } => {
                self.line("INFO", "36", &look_ups(rounds, keys, found), at);
            }
            Event::Warning(text) => self.line("WARN", "33", &text, at),
            Event::Debug(text) => self.line("DEBU", "90", &text, at),
            Event::Info(text) => self.line("INFO", "36", &text, at),
            Event::Finished(summary) => {
                for line in summary_lines(&summary, &self.phases) {
                    self.line("INFO", "36", &line, at);
                }
            }
        }
    }

    fn step_line(&mut self, step: StepNumber, text: &str, at: &str) {
        let label = label(&self.steps, step);
        self.line("INFO", "36", &format!("{label} {text}"), at);
    }

    /// `INFO[0007] text`, as Kaniko's text format; `at` is what stands between the brackets. A log that cannot be written must not stop the build.
    fn line(&mut self, level: &str, colour: &str, text: &str, at: &str) {
        let line = if self.colour {
            format!("\x1b[{colour}m{level}\x1b[0m[{at}] {text}\n")
        } else {
            format!("{level}[{at}] {text}\n")
        };
        // At once: standard error has no buffer, and others may write to it, too.
        let _ = self.log.write_all(line.as_bytes());
    }

    /// Writes whole lines; keeps the rest for later.
    fn step_output(&mut self, step: StepNumber, stderr: bool, bytes: &[u8]) {
        let mut pending = self.partial.remove(&(step, stderr)).unwrap_or_default();
        pending.extend_from_slice(bytes);
        while let Some(end) = pending.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            self.output_line(step, stderr, &line);
        }
        if !pending.is_empty() {
            self.partial.insert((step, stderr), pending);
        }
    }

    fn flush(&mut self, step: StepNumber) {
        for stderr in [false, true] {
            if let Some(mut rest) = self.partial.remove(&(step, stderr)) {
                rest.push(b'\n');
                self.output_line(step, stderr, &rest);
            }
        }
    }

    fn output_line(&mut self, step: StepNumber, stderr: bool, line: &[u8]) {
        let mut whole = label(&self.steps, step).into_bytes();
        whole.push(b' ');
        whole.extend_from_slice(line);
        let _ = if stderr { self.log.write_all(&whole) } else { self.output.write_all(&whole) };
    }
}
