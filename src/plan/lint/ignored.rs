//! Sources that the ignore file leaves out.

use crate::dockerfile::lint::Warning;
use crate::dockerfile::lint::rule::COPY_IGNORED_FILE;
use crate::pattern::Patterns;
use crate::plan::{CopyOp, CopySource, Op, Plan, Source, Step, path};

/// The sources of COPY and ADD that `ignore` leaves out of the context. Nothing when there is a
/// `!` in it: it may take back what is below a source.
///
/// # Source
/// BuildKit, `dockerfile2llb/validations.go`; unlike there a leading slash does not hide a source.
pub fn check_ignored(plan: &Plan, ignore: &Patterns) -> Vec<Warning> {
    if ignore.has_exclusions() || ignore.is_empty() {
        return Vec::new();
    }
    let steps = plan.stages.iter().flat_map(|stage| &stage.steps);
    steps.flat_map(|step| check_step(step, ignore)).collect()
}

fn check_step(step: &Step, ignore: &Patterns) -> Vec<Warning> {
    let Op::Copy(copy @ CopyOp { from: Source::Context, .. }) = &step.op else { return Vec::new() };
    let keyword = if copy.add.is_some() { "Add" } else { "Copy" };
    let warning = |source: &CopySource| {
        let CopySource::Path(written) = source else { return None };
        let cleaned = path::clean(written);
        let warning = || Warning::new(&COPY_IGNORED_FILE, &[keyword, &format!("{cleaned:?}")], step.span).at(written);
        is_ignored(&cleaned, ignore).then(warning)
    };
    copy.sources.iter().filter_map(warning).collect()
}

fn is_ignored(cleaned: &str, ignore: &Patterns) -> bool {
    match cleaned.trim_start_matches('/') {
        "" | "." => ignore.excludes_everything(),
        path => ignore.matches(path.as_bytes()),
    }
}
