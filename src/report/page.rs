//! `--report`: a build as one page that needs nothing else, neither a request nor a script.

use std::fmt::Write as _;
use std::time::Duration;

use super::text::tier_name;
use super::{Recording, StepOutcome, StepRecording, human_bytes, human_duration};

/// Follows the light or dark colours of whoever looks.
const STYLE: &str = include_str!("page.css");

/// What a page tells besides what was recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageDetails {
    /// Of the build, as the user named it.
    pub title: String,
    /// How long each step that was cached took when it ran, where that is known; in plan order.
    pub saved: Vec<Option<Duration>>,
    /// The image's layers, base first; of several platforms one image after the other.
    pub layers: Vec<LayerDetails>,
    /// Why it failed.
    pub failure: Option<String>,
}

/// One layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerDetails {
    /// The platform, where there are several.
    pub platform: Option<String>,
    /// The instruction that made it.
    pub created_by: String,
    /// Compressed, in bytes.
    pub bytes: u64,
    /// How many files there are in it; `None` where nobody looked.
    pub files: Option<usize>,
    /// Path and bytes of the largest, the largest first.
    pub largest: Vec<(String, u64)>,
}

/// The page.
pub fn page(recording: &Recording, details: &PageDetails) -> String {
    let mut page = Page(String::with_capacity(32 << 10));
    let title = Escaped(&details.title);
    page.add(format_args!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n<title>Build of {title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>Build of {title}</h1>\n"
    ));
    page.head(recording, details);
    page.facts(recording, details);
    page.phases(recording);
    page.steps(recording, details);
    page.layers(&details.layers);
    page.notes("Advice", &recording.advice);
    page.notes("Warnings", &recording.warnings);
    page.0.push_str("</body>\n</html>\n");
    page.0
}

struct Page(String);

impl Page {
    fn add(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = self.0.write_fmt(text);
    }

    fn head(&mut self, recording: &Recording, details: &PageDetails) {
        if let Some(summary) = &recording.summary {
            self.add(format_args!("<p class=\"mono soft\">{}</p>\n", summary.digest));
            for output in &summary.outputs {
                self.add(format_args!("<p class=\"mono soft\">{}</p>\n", Escaped(output)));
            }
        }
        if let Some(failure) = &details.failure {
            self.add(format_args!("<p class=\"bad\">failed: {}</p>\n", Escaped(failure)));
        }
    }

    fn facts(&mut self, recording: &Recording, details: &PageDetails) {
        let count = |is: fn(&StepOutcome) -> bool| recording.steps.iter().filter(|step| is(&step.outcome)).count();
        let saved = recording.steps.iter().zip(&details.saved);
        let saved: Duration = saved.filter(|(step, _)| is_cached(step)).filter_map(|(_, saved)| *saved).sum();
        let mut facts = vec![
            ("took", human_duration(recording.took)),
            ("steps from the cache", count(|outcome| matches!(outcome, StepOutcome::Cached(_))).to_string()),
            ("steps run", count(|outcome| *outcome == StepOutcome::Ran).to_string()),
        ];
        if !saved.is_zero() {
            facts.push(("saved by the cache", human_duration(saved)));
        }
        if let Some(summary) = &recording.summary {
            facts.push(("image, compressed", human_bytes(summary.image_bytes)));
        }
        facts.push(("pulled", human_bytes(recording.moved.0)));
        facts.push(("pushed", human_bytes(recording.moved.1)));
        self.0.push_str("<dl class=\"facts\">\n");
        for (name, value) in facts {
            self.add(format_args!("<div><dt>{name}</dt><dd>{value}</dd></div>\n"));
        }
        self.0.push_str("</dl>\n");
    }

    fn phases(&mut self, recording: &Recording) {
        if recording.phases.is_empty() {
            return;
        }
        self.0.push_str("<h2>Phases</h2>\n<table>\n");
        for (name, took, end) in &recording.phases {
            let lane = lane(end.saturating_sub(*took), *end, recording.took);
            let took = human_duration(*took);
            self.add(format_args!("<tr><td>{name}</td><td>{lane}</td><td class=\"number\">{took}</td></tr>\n"));
        }
        self.0.push_str("</table>\n");
    }

    fn steps(&mut self, recording: &Recording, details: &PageDetails) {
        if recording.steps.is_empty() {
            return;
        }
        self.0.push_str("<h2>Steps</h2>\n<table>\n<tr><th>step</th><th>when</th><th class=\"number\">took</th><th class=\"number\">layer</th></tr>\n");
        let mut stage = None;
        for (number, step) in recording.steps.iter().enumerate() {
            if stage.replace(&step.info.stage) != Some(&step.info.stage) {
                self.add(format_args!(
                    "<tr class=\"stage\"><td colspan=\"4\">{}</td></tr>\n",
                    Escaped(&step.info.stage)
                ));
            }
            self.step(step, details.saved.get(number).copied().flatten(), recording.took);
        }
        self.0.push_str("</table>\n");
    }

    fn step(&mut self, step: &StepRecording, saved: Option<Duration>, whole: Duration) {
        let (class, what) = outcome(step.outcome);
        let title = Escaped(&step.info.title);
        self.add(format_args!("<tr class=\"{class}\"><td><code>{title}</code><p class=\"why\">line {}, <span class=\"what\">{what}</span>", step.info.line));
        if let Some(saved) = saved.filter(|_| is_cached(step)) {
            self.add(format_args!(", {} saved", human_duration(saved)));
        }
        if let Some(miss) = &step.miss {
            self.add(format_args!(": {}", Escaped(miss)));
        }
        self.0.push_str("</p>");
        let said = step.miss.as_deref().unwrap_or_default();
        for difference in step.differences.iter().filter(|difference| !said.contains(*difference)) {
            self.add(format_args!("<p class=\"why\">{}</p>", Escaped(difference)));
        }
        let lane = if step.outcome == StepOutcome::Untouched { String::new() } else { lane(step.from, step.to, whole) };
        let ran = matches!(step.outcome, StepOutcome::Ran | StepOutcome::Failed);
        let took = if ran { human_duration(step.to.saturating_sub(step.from)) } else { String::new() };
        let bytes = step.layer_bytes.map(human_bytes).unwrap_or_default();
        self.add(format_args!(
            "</td><td>{lane}</td><td class=\"number\">{took}</td><td class=\"number\">{bytes}</td></tr>\n"
        ));
    }

    fn layers(&mut self, layers: &[LayerDetails]) {
        if layers.is_empty() {
            return;
        }
        self.0.push_str("<h2>Layers</h2>\n<table>\n<tr><th>made by</th><th>largest files</th><th class=\"number\">files</th><th class=\"number\">compressed</th></tr>\n");
        for layer in layers {
            let platform = layer.platform.as_ref().map(|platform| format!("{platform} ")).unwrap_or_default();
            self.add(format_args!(
                "<tr><td><span class=\"soft\">{}</span><code>{}</code></td><td>",
                Escaped(&platform),
                Escaped(&layer.created_by)
            ));
            for (path, bytes) in &layer.largest {
                self.add(format_args!(
                    "<code>{}</code> <span class=\"soft\">{}</span><br>",
                    Escaped(path),
                    human_bytes(*bytes)
                ));
            }
            let files = layer.files.map(|files| files.to_string()).unwrap_or_default();
            let bytes = human_bytes(layer.bytes);
            self.add(format_args!("</td><td class=\"number\">{files}</td><td class=\"number\">{bytes}</td></tr>\n"));
        }
        self.0.push_str("</table>\n");
    }

    fn notes(&mut self, title: &str, notes: &[String]) {
        if notes.is_empty() {
            return;
        }
        self.add(format_args!("<h2>{title}</h2>\n<ul>\n"));
        for note in notes {
            self.add(format_args!("<li>{}</li>\n", Escaped(note)));
        }
        self.0.push_str("</ul>\n");
    }
}

fn is_cached(step: &StepRecording) -> bool {
    matches!(step.outcome, StepOutcome::Cached(_))
}

/// A class and a text.
fn outcome(outcome: StepOutcome) -> (&'static str, String) {
    match outcome {
        StepOutcome::Untouched => ("soft", "not needed".to_owned()),
        StepOutcome::Cached(tier) => ("cached", format!("cached ({})", tier_name(tier))),
        StepOutcome::Ran => ("ran", "ran".to_owned()),
        StepOutcome::Started => ("failed", "stopped".to_owned()),
        StepOutcome::Failed => ("failed", "failed".to_owned()),
    }
}

/// A bar from and to these times, of the whole width.
fn lane(from: Duration, to: Duration, whole: Duration) -> String {
    let share = |at: Duration| 100.0 * at.as_secs_f64() / whole.as_secs_f64().max(1e-9);
    let left = share(from).clamp(0.0, 99.5);
    let width = (share(to) - left).clamp(0.0, 100.0 - left);
    format!("<span class=\"lane\"><i style=\"left:{left:.2}%;width:{width:.2}%\"></i></span>")
}

/// Text as HTML.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            '\n' | '\t' => f.write_char(c),
            c if c.is_control() => f.write_char('\u{fffd}'),
            c => f.write_char(c),
        })
    }
}
