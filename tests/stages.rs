//! Stages side by side.

#![allow(clippy::expect_used)]

mod support;

use std::process::Output;

use support::{assert_success, context, executor, text};

/// Two stages that each wait until the other has come, by way of a cache mount: they end only
/// when both run at the same time.
const MEETING: &str = "\
FROM BASE AS one
RUN --mount=type=cache,id=meeting,target=/m touch /m/one; n=0; until [ -e /m/two ]; do n=$((n+1)); [ $n -lt 600 ] || exit 9; sleep 0.05; done
FROM BASE AS two
RUN --mount=type=cache,id=meeting,target=/m touch /m/two; n=0; until [ -e /m/one ]; do n=$((n+1)); [ $n -lt 600 ] || exit 9; sleep 0.05; done
FROM BASE
COPY --from=one /etc/passwd /one
COPY --from=two /etc/passwd /two
";

fn build(dockerfile: &str, arguments: &[&str]) -> Output {
    let registry = support::Registry::start();
    let context = context(&dockerfile.replace("BASE", &registry.push_base()), &[]);
    let state = tempfile::tempdir().expect("temporary directory");
    let mut command = executor();
    command.arg("--context").arg(context.path()).args(["--no-push", "--jobs=2", "--cache-dir"]).arg(state.path());
    command.args(arguments).output().expect("executor runs")
}

#[test]
fn independent_stages_run_at_the_same_time() {
    assert_success(&build(MEETING, &[]));
}

#[test]
fn a_failure_ends_the_steps_beside_it() {
    let dockerfile = "\
FROM BASE AS slow
RUN --mount=type=cache,id=meeting,target=/m touch /m/slow; sleep 300; echo was not ended
FROM BASE AS broken
RUN --mount=type=cache,id=meeting,target=/m until [ -e /m/slow ]; do sleep 0.05; done; exit 7
FROM BASE
COPY --from=slow /etc/passwd /slow
COPY --from=broken /etc/passwd /broken
";
    let output = build(dockerfile, &[]);
    let log = text(&output);
    assert_eq!(output.status.code(), Some(7), "{log}");
    assert!(!log.contains("] was not ended"), "{log}");
    assert!(log.contains("exit 7"), "the error names the step that failed: {log}");
}

#[test]
fn a_step_of_two_stages_runs_once() {
    let dockerfile = "\
FROM BASE AS one
RUN echo once is enough
FROM BASE AS two
RUN echo once is enough
RUN echo another
FROM BASE
COPY --from=one /etc/passwd /one
COPY --from=two /etc/passwd /two
";
    let output = build(dockerfile, &[]);
    assert_success(&output);
    assert_eq!(text(&output).matches("] once is enough").count(), 1, "{}", text(&output));
}
