//! COPY with `--parents` and nothing to match.

use crate::plan::{CopyOp, CopySource, Op, Plan, path};

/// What to say about sources of `COPY --parents` that name a directory's contents, like `.`: BuildKit takes nothing of
/// them and says nothing, so this is no rule of its lint.
pub fn check_pivots(plan: &Plan) -> Vec<String> {
    let steps = plan.stages.iter().flat_map(|stage| &stage.steps);
    steps.flat_map(|step| copied_with_parents(&step.op)).filter_map(warning).collect()
}

fn copied_with_parents(op: &Op) -> impl Iterator<Item = &str> {
    let sources = match op {
        Op::Copy(CopyOp { parents: true, sources, .. }) => sources.as_slice(),
        _ => &[],
    };
    sources.iter().filter_map(|source| match source {
        CopySource::Path(path) => Some(path.as_str()),
        _ => None,
    })
}

fn warning(source: &str) -> Option<String> {
    let (pivot, pattern) = source.split_once("/./").map_or(("", source), |(pivot, pattern)| (pivot, pattern));
    let instead = if pivot.is_empty() { "*".to_owned() } else { format!("{pivot}/./*") };
    let empty = path::join("/", pattern) == "/";
    empty.then(|| format!("COPY --parents {source} copies nothing, as with BuildKit; write COPY --parents {instead}"))
}
