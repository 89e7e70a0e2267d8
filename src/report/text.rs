//! Wording that the displays share.

use std::time::Duration;

use super::{CacheTier, StepInfo, StepNumber, Summary};

/// Bytes for people: `999 B`, `1.5 kB`, `12 MB` (powers of ten).
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if value < 9.95 { format!("{value:.1} {}", UNITS[unit]) } else { format!("{value:.0} {}", UNITS[unit]) }
}

/// A duration for people: `12 ms`, `1.4 s`, `2 min 05 s`.
pub fn human_duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 1.0 {
        format!("{} ms", duration.as_millis())
    } else if seconds < 59.95 {
        format!("{seconds:.1} s")
    } else {
        let whole = seconds.round() as u64;
        format!("{} min {:02} s", whole / 60, whole % 60)
    }
}

pub(super) fn tier_name(tier: CacheTier) -> &'static str {
    match tier {
        CacheTier::Local => "local",
        CacheTier::Registry => "registry",
        CacheTier::CacheServer => "cache-server",
    }
}

/// `[build 2/5]`: stage, and the step's place in the whole build.
pub(super) fn label(steps: &[StepInfo], step: StepNumber) -> String {
    let stage = steps.get(step).map(|info| info.stage.as_str()).unwrap_or_default();
    format!("[{stage} {}/{}]", step + 1, steps.len())
}

pub(super) fn title(steps: &[StepInfo], step: StepNumber) -> &str {
    steps.get(step).map(|info| info.title.as_str()).unwrap_or_default()
}

pub(super) fn explanation(nearest: Option<&str>, differences: &[String]) -> String {
    match nearest {
        Some(key) => format!("missed; nearest record {}: {}", &key[..key.len().min(12)], differences.join("; ")),
        None => "missed; no record is like it".into(),
    }
}

pub(super) fn look_ups(rounds: usize, keys: usize, found: usize) -> String {
    let times = if rounds == 1 { "time" } else { "times" };
    format!("remote cache: waited for {rounds} {times}, {found} of {keys} keys found")
}

/// The last lines of a build that worked.
pub(super) fn summary_lines(summary: &Summary, phases: &[(&'static str, Duration)]) -> Vec<String> {
    let plural = |number: usize, one: &str| format!("{number} {one}{}", if number == 1 { "" } else { "s" });
    let spent: Vec<String> = phases.iter().map(|(name, took)| format!("{name} {}", human_duration(*took))).collect();
    let spent = if spent.is_empty() { String::new() } else { format!(" ({})", spent.join(", ")) };
    let mut lines = vec![
        format!("image {}", summary.digest),
        format!("{} in {}", human_bytes(summary.image_bytes), plural(summary.layers, "layer")),
    ];
    lines.extend(summary.outputs.iter().map(|output| format!("wrote {output}")));
    if summary.requests > 0 {
        let (requests, trips) = (plural(summary.requests, "request"), plural(summary.round_trips, "round trip"));
        lines.push(format!("registries: {requests} in {trips}"));
    }
    lines.push(format!(
        "{} steps cached, {} run, {} in all{spent}",
        summary.cached_steps,
        summary.run_steps,
        human_duration(summary.took)
    ));
    lines
}
