//! Warnings about Dockerfiles: in builds, and with `--check`.

#![allow(clippy::expect_used)]

mod support;

use std::process::Output;

use serde_json::Value;
use support::{Registry, assert_success, context, executor, text};

fn run(dockerfile: &str, arguments: &[&str]) -> Output {
    let context = context(dockerfile, &[("file", "x"), (".dockerignore", "file\n")]);
    executor().arg("-c").arg(context.path()).args(arguments).output().expect("executor runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn assert_code(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{}", text(output));
}

#[test]
fn a_clean_file_passes() {
    let output = run("FROM scratch AS base\nLABEL a=b\n", &["--check"]);
    assert_success(&output);
    assert_eq!(stdout(&output), "Check complete, no warnings found.\n");
}

#[test]
fn warnings_have_a_caret_and_fail_the_check() {
    let output = run("FROM scratch AS Base\nCOPY file /\n", &["--check"]);
    assert_code(&output, 1);
    let shown = stdout(&output);
    assert!(shown.starts_with("\nWARNING: StageNameCasing - https://docs.docker.com/go/"), "{shown}");
    assert!(shown.contains("1 | FROM scratch AS Base\n  |                 ^\n"), "{shown}");
    assert!(shown.contains("WARNING: CopyIgnoredFile"), "{shown}");
    assert!(output.stderr.is_empty(), "{}", text(&output));
}

#[test]
fn json_by_flag_or_log_format() {
    for arguments in [["--check", "--check-format=json"], ["--check", "--log-format=json"]] {
        let output = run("FROM scratch\nMAINTAINER me\nFROM scratch\n", &arguments);
        assert_code(&output, 1);
        let result: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let warning = &result["warnings"][0];
        assert_eq!(warning["ruleName"], "MaintainerDeprecated");
        assert_eq!(warning["location"]["ranges"][0]["start"]["line"], 2);
        assert_eq!(result["warnings"].as_array().map(Vec::len), Some(1));
        assert_eq!(result["sources"][0]["language"], "Dockerfile");
        assert_eq!(result.get("buildError"), None);
    }
    let output = run("FROM scratch\n", &["--check", "--check-format=json"]);
    assert_success(&output);
    let result: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(result["warnings"], Value::Array(Vec::new()));
}

#[test]
fn a_file_that_cannot_be_built_fails_the_check() {
    let output = run("FROM scratch as a\nCOPPY file /\n", &["--check"]);
    assert_code(&output, 1);
    assert!(text(&output).contains("unknown instruction: COPPY"), "{}", text(&output));
    // Warnings up to the error are shown with it.
    let output = run("FROM $base\n", &["--check", "--check-format=json"]);
    assert_code(&output, 1);
    let result: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(result["buildError"]["message"], "base name ($base) should not be blank");
    assert_eq!(result["buildError"]["location"]["ranges"][0]["start"]["line"], 1);
    assert_eq!(result["warnings"][0]["ruleName"], "UndefinedArgInFrom");
}

#[test]
fn all_stages_are_checked_unless_there_is_a_target() {
    let dockerfile = "FROM scratch AS a\nLABEL a=$b\nFROM scratch AS c\n";
    assert!(stdout(&run(dockerfile, &["--check"])).contains("Usage of undefined variable '$b'"));
    assert_success(&run(dockerfile, &["--check", "--target=c"]));
}

#[test]
fn a_base_that_cannot_be_had_is_taken_for_an_empty_one() {
    let output = run("FROM localhost:1/none\nCMD x\n", &["--check"]);
    assert_code(&output, 1);
    assert!(stdout(&output).contains("JSONArgsRecommended"), "{}", text(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains("localhost:1/none"), "{}", text(&output));
}

#[test]
fn the_base_image_counts() {
    let registry = Registry::start();
    let base = registry.push_base();
    // PATH alone is set there.
    let output = run(&format!("FROM {base}\nENV A=$PATH B=$PATHS\n"), &["--check"]);
    assert_code(&output, 1);
    let shown = stdout(&output);
    assert!(shown.contains("'$PATHS' (did you mean $PATH?)"), "{shown}");
    assert_eq!(shown.matches("WARNING").count(), 1, "{shown}");
}

#[test]
fn builds_warn_of_what_they_build() {
    let dockerfile = "FROM scratch AS a\nENV x y\nFROM scratch AS B\nENV c d\n";
    let output = run(dockerfile, &["--no-push"]);
    assert_success(&output);
    let log = text(&output);
    assert!(log.contains("WARN[0000] StageNameCasing: Stage name 'B' should be lowercase (line 3)"), "{log}");
    assert!(log.contains("format (line 4)"), "{log}");
    assert!(!log.contains("(line 2)"), "{log}");
}

#[test]
fn warnings_come_also_when_planning_fails() {
    let output = run("FROM scratch as b\nENV x y\nSTOPSIGNAL NOPE\n", &["--no-push"]);
    assert_code(&output, 1);
    let log = text(&output);
    for words in ["FromAsCasing", "LegacyKeyValueFormat", "invalid signal: NOPE"] {
        assert!(log.contains(words), "{words} is missing:\n{log}");
    }
    // Nothing listens there.
    let log = text(&run("FROM 127.0.0.1:1/x as b\n", &["--no-push"]));
    assert!(log.contains("FromAsCasing") && log.contains("failed to resolve"), "{log}");
    // What is wrong outweighs what is bad style.
    let log = text(&run("# check=error=true\nFROM scratch as b\nSTOPSIGNAL NOPE\n", &["--no-push"]));
    assert!(log.contains("error: invalid signal: NOPE"), "{log}");
}

#[test]
fn warnings_can_fail_a_build() {
    let body = "FROM scratch as B\nLABEL a b\n";
    let output = run(&format!("# check=error=true\n{body}"), &["--no-push"]);
    assert_code(&output, 1);
    let message = "lint violation found for rules: FromAsCasing, LegacyKeyValueFormat, StageNameCasing";
    assert!(text(&output).contains(message), "{}", text(&output));
    let skip = "# check=error=true;skip=FromAsCasing,LegacyKeyValueFormat,StageNameCasing";
    let output = run(&format!("{skip}\n{body}"), &["--no-push"]);
    assert_success(&output);
    assert!(!text(&output).contains("WARN"), "{}", text(&output));
}

#[test]
fn the_build_argument_replaces_the_directive() {
    let dockerfile = "# check=skip=all\nFROM scratch AS B\n";
    let argument = "--build-arg=BUILDKIT_DOCKERFILE_CHECK=error=true";
    let output = run(dockerfile, &["--no-push", argument]);
    assert_code(&output, 1);
    assert!(text(&output).contains("lint violation found for rules: StageNameCasing"), "{}", text(&output));
    assert_code(&run(dockerfile, &["--check", argument]), 1);
    assert_success(&run(dockerfile, &["--check"]));
    let output = run(dockerfile, &["--no-push", "--build-arg=BUILDKIT_DOCKERFILE_CHECK=warn=1"]);
    assert_code(&output, 1);
    assert!(text(&output).contains("invalid check option \"warn\""), "{}", text(&output));
}
