//! How long parsing, planning and checking a large Dockerfile takes: `cargo run --release --example parse`.

#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use yadokari::dockerfile::lint::{CheckOptions, check_file, to_text};
use yadokari::dockerfile::{Dockerfile, parse};
use yadokari::image::{ImageConfig, Platform};
use yadokari::plan::{Graph, PlanOptions};

/// Bytes of each Dockerfile.
const SIZE: usize = 1 << 20;
const ROUNDS: usize = 20;

/// Repeated up to the size, after `FROM scratch`.
const BODIES: [(&str, &str); 5] = [
    (
        "mixed",
        "ENV A=b C=\"d e\"\nCOPY --chown=1:2 [\"a b\", \"/c/\"]\nRUN --mount=type=cache,target=/x make \\\n  all\nLABEL x=y\n",
    ),
    ("continuations", "RUN a \\\n  # comment\n  && b \\\n  && c\n"),
    ("heredocs", "COPY <<E /f\nline of $A text\nline\nE\n"),
    ("comments", "# a comment that says nothing much\n"),
    ("warnings", "env a b\nMAINTAINER x\n"),
];

fn main() {
    for (name, body) in BODIES {
        let text = format!("FROM scratch\n{}", body.repeat(SIZE / body.len()));
        let parsed = best(|| parse(text.as_bytes()));
        let Ok(file) = parse(text.as_bytes()) else { continue };
        let planned = best(|| plan(&file));
        let shown = best(|| check(&file, &text));
        println!("{name:>14}: parse {parsed:>9.2?}  plan {planned:>9.2?}  lint and show {shown:>9.2?}");
    }
    let joined = format!("FROM scratch\nRUN {}\n", "word \\\n".repeat(SIZE / 7));
    println!("{:>14}: parse {:>9.2?}", "one line", best(|| parse(joined.as_bytes())));
}

/// The shortest of several times.
fn best<T>(mut work: impl FnMut() -> T) -> Duration {
    let once = |_| {
        let started = Instant::now();
        black_box(work());
        started.elapsed()
    };
    (0..ROUNDS).map(once).min().unwrap_or_default()
}

fn plan(file: &Dockerfile) -> bool {
    let options = PlanOptions::new(Platform::new("linux", "amd64", None));
    let images: BTreeMap<_, ImageConfig> = BTreeMap::new();
    Graph::new(file, &options).and_then(|graph| graph.evaluate(&images, &mut Vec::new())).is_ok()
}

fn check(file: &Dockerfile, text: &str) -> usize {
    let warnings = CheckOptions::default().select(check_file(file), file);
    to_text(&warnings, "Dockerfile", text.as_bytes()).len()
}
