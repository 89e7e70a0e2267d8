//! `--dryrun`: the plan of a build, on the standard output.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use yadokari::build::{PlannedStage, PlannedStep};
use yadokari::report::CacheTier;

use crate::flags::OutputFlags;

/// Prints the plan.
pub(crate) fn print(stages: &[PlannedStage], output: &OutputFlags) -> io::Result<()> {
    io::stdout().lock().write_all(text(stages, output).as_bytes())
}

/// `FROM` with the steps below it, then what would be written, a line each: Kaniko's words where it has them.
fn text(stages: &[PlannedStage], output: &OutputFlags) -> String {
    let mut text = String::new();
    let several = stages.iter().any(|stage| stage.platform != stages[0].platform);
    for PlannedStage { platform, name, base, steps } in stages {
        let platform = if several { format!("--platform={platform} ") } else { String::new() };
        let _ = writeln!(text, "FROM {platform}{base} AS {name}");
        for PlannedStep { instruction, cached } in steps {
            let _ = writeln!(text, "  {}{instruction}", cached.map_or("", mark));
        }
    }
    let files = [("TAR", &output.tar_path), ("OCI LAYOUT", &output.oci_layout_path)];
    for (word, path) in files.into_iter().filter_map(|(word, path)| Some((word, path.as_ref()?))) {
        let _ = writeln!(text, "{word} {}", path.display());
    }
    for destination in output.destination.iter().filter(|_| !output.no_push) {
        let _ = writeln!(text, "PUSH {destination}");
    }
    text
}

fn mark(tier: CacheTier) -> &'static str {
    match tier {
        CacheTier::Local => "CACHE HIT (local) ",
        CacheTier::Registry => "CACHE HIT (registry) ",
        CacheTier::CacheServer => "CACHE HIT (cache-server) ",
    }
}
