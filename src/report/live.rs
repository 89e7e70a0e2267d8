use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::text::{explanation, human_bytes, human_duration, label, look_ups, summary_lines, tier_name, title};
use super::{Direction, Event, Observer, StepInfo, StepNumber, Transfer, Verbosity};
use crate::digest::Digest;

/// A display that repaints itself, for terminals: one line per running step with the last thing
/// that it wrote, one bar per transfer; what is done scrolls away above.
pub struct Live {
    verbosity: Verbosity,
    bars: MultiProgress,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    steps: Vec<StepInfo>,
    phases: Vec<(&'static str, Duration)>,
    running: BTreeMap<StepNumber, Running>,
    transfers: BTreeMap<Digest, ProgressBar>,
}

struct Running {
    spinner: ProgressBar,
    /// The last lines that it wrote, shown when it fails.
    tail: Vec<String>,
}

/// How many lines of a failed step are repeated.
const TAIL: usize = 20;

impl Live {
    /// A display on `target`.
    pub fn new(target: ProgressDrawTarget, verbosity: Verbosity) -> Self {
        Self { verbosity, bars: MultiProgress::with_draw_target(target), state: Mutex::default() }
    }

    fn print(&self, text: &str) {
        // A terminal that went away must not stop the build.
        let _ = self.bars.println(text);
    }

    fn start(&self, state: &mut State, step: StepNumber, miss: &str) {
        let spinner = self.bars.add(ProgressBar::new_spinner().with_style(step_style()));
        spinner.set_prefix(format!("{} {}", label(&state.steps, step), clipped(title(&state.steps, step))));
        spinner.set_message(miss.to_owned());
        spinner.enable_steady_tick(Duration::from_millis(100));
        state.running.insert(step, Running { spinner, tail: Vec::new() });
    }

    fn finish(&self, state: &mut State, step: StepNumber, mark: &str, text: &str) {
        let running = state.running.remove(&step);
        if let Some(running) = &running {
            running.spinner.finish_and_clear();
        }
        self.print(&format!("{mark} {} {}  {text}", label(&state.steps, step), clipped(title(&state.steps, step))));
        if let (Some(running), true) = (running, mark.contains('✗')) {
            running.tail.iter().for_each(|line| self.print(&format!("    {line}")));
        }
    }

    fn transfer(&self, state: &mut State, transfer: Transfer) {
        // Small blobs come and go faster than anybody reads.
        const WORTH_SHOWING: u64 = 1 << 20;
        if transfer.total < WORTH_SHOWING {
            return;
        }
        if transfer.done >= transfer.total {
            if let Some(bar) = state.transfers.remove(&transfer.digest) {
                bar.finish_and_clear();
            }
            return;
        }
        let bar = state.transfers.entry(transfer.digest.clone()).or_insert_with(|| self.transfer_bar(&transfer));
        bar.set_position(transfer.done);
    }

    fn transfer_bar(&self, transfer: &Transfer) -> ProgressBar {
        let bar = self.bars.add(ProgressBar::new(transfer.total).with_style(transfer_style()));
        let verb = match transfer.direction {
            Direction::Pull => "pull",
            Direction::Push => "push",
        };
        bar.set_prefix(format!("{verb} {}", &transfer.digest.hex()[..12]));
        bar
    }
}

fn step_style() -> ProgressStyle {
    style("{spinner:.cyan} {prefix:.bold}  {elapsed:.dim}  {wide_msg:.dim}")
}

fn transfer_style() -> ProgressStyle {
    style("  {prefix:.dim} {bar:30.cyan/dim} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec}")
}

/// A title takes one line of an ordinary terminal, with room for what comes of it.
fn clipped(title: &str) -> String {
    const WIDTH: usize = 64;
    match title.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{}…", &title[..end]),
        None => title.to_owned(),
    }
}

/// The templates are constants: a wrong one falls back to indicatif's own.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

impl Running {
    fn output(&mut self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        for line in text.lines().map(printable).filter(|line| !line.trim().is_empty()) {
            self.spinner.set_message(line.clone());
            self.tail.push(line);
        }
        let surplus = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..surplus);
    }
}

/// A process may write cursor movements; they would tear the display.
fn printable(line: &str) -> String {
    line.chars().filter(|c| !c.is_control() || *c == '\t').collect()
}

impl Observer for Live {
    fn event(&self, event: Event) {
        let mut guard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *guard;
        let shown = event.verbosity() <= self.verbosity;
        match event {
            Event::Planned { steps } => state.steps = steps,
            Event::Phase { name, took } => state.phases.push((name, took)),
            Event::StepStarted { step, miss } => self.start(state, step, &miss),
            Event::StepOutput { step, bytes, .. } => {
                if let Some(running) = state.running.get_mut(&step) {
                    running.output(&bytes);
                }
            }
            Event::StepCached { step, by } => {
                self.finish(state, step, "\x1b[32m•\x1b[0m", &format!("\x1b[32mcached ({})\x1b[0m", tier_name(by)));
            }
            Event::StepFinished { step, took, layer_bytes } => {
                let layer = layer_bytes.map_or("no change".to_owned(), human_bytes);
                self.finish(state, step, "\x1b[36m✓\x1b[0m", &format!("{}, {layer}", human_duration(took)));
            }
            Event::StepFailed { step } => self.finish(state, step, "\x1b[31m✗\x1b[0m", "failed"),
            Event::Transfer(transfer) => self.transfer(state, transfer),
            _ if !shown => {}
            Event::Explained { step, nearest, differences } => {
                let text = explanation(nearest.as_deref(), &differences);
                self.print(&format!("{} {text}", label(&state.steps, step)));
            }
            Event::Advice(text) => self.print(&format!("\x1b[36madvice:\x1b[0m {text}")),
            Event::RemoteLookUps { rounds, keys, found } => self.print(&look_ups(rounds, keys, found)),
            Event::Warning(text) => self.print(&format!("\x1b[33mwarning:\x1b[0m {text}")),
            Event::Debug(text) => self.print(&format!("\x1b[90m{text}\x1b[0m")),
            Event::Info(text) => self.print(&text),
            Event::Finished(summary) => {
                summary_lines(&summary, &state.phases).iter().for_each(|line| self.print(line));
            }
        }
    }
}
