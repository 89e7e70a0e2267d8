use proptest::prelude::*;

use super::*;

/// Lines that refer to stages, images and variables in every way.
const LINES: [&str; 26] = [
    "FROM scratch",
    "FROM img AS a",
    "FROM a AS b",
    "FROM b AS a",
    "FROM parent AS tools",
    "FROM $V AS c",
    "FROM --platform=$V img",
    "ARG V",
    "ARG V=a W=$V",
    "ENV V=$W$V",
    "COPY --from=a x y",
    "COPY --from=0 x y",
    "COPY --from=1 x y",
    "COPY --from=scratch x y",
    "COPY --chmod=$V x y",
    "ADD http://h/$V y",
    "RUN --mount=from=b,target=/x true",
    "RUN --mount=type=$V,target=/x true",
    "RUN --mount=type=cache,from=scratch,target=/x true",
    "ONBUILD COPY --from=tools x y",
    "ONBUILD ENV V=a",
    "WORKDIR ../$V",
    "EXPOSE $V",
    "USER $V",
    "CMD x",
    "LABEL $V=$V",
];

/// Stages that one points at.
fn pointed_at(stage: &Stage) -> Vec<StageIndex> {
    let of = |source: &Source| if let Source::Stage(index) = source { Some(*index) } else { None };
    let base = if let Base::Stage(index) = stage.base { Some(index) } else { None };
    let sources = stage.steps.iter().flat_map(|step| match &step.op {
        Op::Copy(copy) => vec![of(&copy.from)],
        Op::Run(run) => run
            .mounts
            .iter()
            .map(|mount| match mount {
                Mount::Bind { from, .. } | Mount::Cache { from: Some((from, _)), .. } => of(from),
                _ => None,
            })
            .collect(),
        Op::Workdir(_) => Vec::new(),
    });
    sources.chain([base]).flatten().collect()
}

proptest! {
    #[test]
    fn plans_point_backwards_and_hold_only_what_is_needed(
        lines in prop::collection::vec(prop::sample::select(&LINES[..]), 0..12),
        given in prop::option::of(prop::sample::select(&["a", "80", "linux/arm64", "cache", "7"][..])),
    ) {
        let text = format!("FROM img AS a\n{}", lines.join("\n"));
        let build_args = given.iter().map(|value| ("V".to_owned(), (*value).to_owned())).collect();
        let Ok((plan, _)) = try_plan_with(&text, &PlanOptions { build_args, ..options() }) else { return Ok(()) };
        let mut needed = vec![plan.target];
        for (index, stage) in plan.stages.iter().enumerate() {
            let pointed = pointed_at(stage);
            prop_assert!(pointed.iter().all(|other| other.0 < index), "{plan:#?}");
            prop_assert!(stage.history.iter().filter_map(|entry| entry.step).eq(0..stage.steps.len()));
            needed.extend(pointed);
        }
        for (index, stage) in plan.stages.iter().enumerate() {
            // A cache from scratch takes nothing from it, but it is planned for its name.
            prop_assert!(stage.name == "scratch" || needed.contains(&StageIndex(index)), "{plan:#?}");
        }
    }
}
