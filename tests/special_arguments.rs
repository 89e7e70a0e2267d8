//! Build arguments and secrets that mean something to the builder itself.

#![allow(clippy::expect_used)]

mod support;

use std::fs;
use std::process::Command;

use support::fetched::{Repositories, build, built, failed};
use support::web::Web;
use support::{assert_success, context, executor, text, write};

#[test]
fn the_name_of_the_host() {
    let registry = support::Registry::start();
    let base = registry.push_base();
    let main = context(
        &format!(
            "FROM {base}\nRUN echo \"on $(busybox hostname)\" && busybox grep \" $(busybox hostname)$\" /etc/hosts"
        ),
        &[],
    );
    let state = tempfile::tempdir().expect("temporary directory");
    let said = |arguments: &[&str]| {
        let mut command = executor();
        command.args(["--no-push", "--no-push-cache", "--cache", "--cache-dir"]).arg(state.path().join("cache"));
        let output = command.arg("-c").arg(main.path()).args(arguments).output().expect("executor runs");
        assert_success(&output);
        text(&output)
    };
    assert!(said(&[]).contains("on buildkitsandbox"));
    assert!(said(&["--build-arg=BUILDKIT_SANDBOX_HOSTNAME=ci.example"]).contains("on ci.example"), "another key");
    assert!(said(&["--build-arg=BUILDKIT_SANDBOX_HOSTNAME="]).contains("cached ("));
}

/// `user:pass`, and `x-access-token:tok`.
const BASIC: &str = "Basic dXNlcjpwYXNz";
const TOKEN: &str = "Basic eC1hY2Nlc3MtdG9rZW46dG9r";

#[test]
fn secrets_open_what_add_fetches() {
    let files = tempfile::tempdir().expect("temporary directory");
    fs::write(files.path().join("f.txt"), "1").expect("file");
    let bearer = Web::start(files.path(), Some("Bearer tok"));
    let basic = Web::start(files.path(), Some(BASIC));
    let repositories = Repositories::new();
    let git_token = Web::start(repositories.root.path(), Some(TOKEN));
    let git_header = Web::start(repositories.root.path(), Some(BASIC));
    let main = context("", &[("header", &format!("{BASIC}\n"))]);
    let add = |sources: &[String]| {
        let lines: Vec<String> = sources.iter().enumerate().map(|(n, source)| format!("ADD {source} /{n}/")).collect();
        write(main.path(), "Dockerfile", &format!("FROM scratch\n{}\n", lines.join("\n")));
        main.path().display().to_string()
    };
    let spec = add(&[
        format!("http://{}/f.txt", bearer.address),
        format!("http://{}/f.txt", basic.address),
        format!("http://{}/r.git?submodules=0", git_token.address),
        format!("http://{}/r.git?submodules=0", git_header.address),
    ]);
    let header = main.path().join("header").display().to_string();
    let with_secrets = |command: &mut Command| {
        command.env("TOK", "tok");
        command.arg(format!("--secret=id=HTTP_AUTH_TOKEN_{},env=TOK", bearer.address));
        command.arg(format!("--secret=id=HTTP_AUTH_HEADER_{},src={header}", basic.address));
        command.arg("--secret=id=GIT_AUTH_TOKEN,env=TOK");
        command.arg(format!("--secret=id=GIT_AUTH_HEADER.{},src={header}", git_header.address));
        command.arg("-v=trace");
    };
    let (output, names) = build(&spec, &with_secrets);
    assert_success(&output);
    for name in ["0/f.txt", "1/f.txt", "2/a", "3/a"] {
        assert!(names.contains(&name.to_owned()), "{name} of {names:?}");
    }
    assert!(!text(&output).contains("dXNlcjpwYXNz") && !text(&output).contains("eC1hY2Nl"), "{}", text(&output));
    // Another's secret opens nothing, and is not shown.
    for source in [format!("http://{}/f.txt", bearer.address), format!("http://{}/r.git", git_token.address)] {
        let error = failed(&add(&[source]), &|command| {
            command.env("SECRET", "s3cr3t").arg("--secret=id=HTTP_AUTH_TOKEN_example.org,env=SECRET");
            command.arg("--secret=id=GIT_AUTH_TOKEN.example.org,env=SECRET");
        });
        assert!(!error.contains("s3cr3t") && !error.contains("panicked"), "{error}");
    }
}

#[test]
fn one_platform_may_have_an_index_and_the_check_may_be_set() {
    let main = context("FROM scratch AS Stage\nCOPY Dockerfile /", &[]);
    let spec = main.path().display().to_string();
    let argument = |text: &'static str| {
        move |command: &mut Command| {
            command.arg(format!("--build-arg={text}"));
        }
    };
    let error = failed(&spec, &argument("BUILDKIT_DOCKERFILE_CHECK=error=true"));
    assert!(error.contains("lint violation found for rules: StageNameCasing"), "{error}");
    built(&spec, &argument("BUILDKIT_DOCKERFILE_CHECK=skip=all;error=true"));
    let state = tempfile::tempdir().expect("temporary directory");
    let output = executor()
        .args(["--no-push", "--build-arg=BUILDKIT_MULTI_PLATFORM=1", "-c", &spec, "--oci-layout-path"])
        .arg(state.path())
        .output();
    assert_success(&output.expect("executor runs"));
    let index = fs::read(state.path().join("index.json")).expect("index");
    let index: serde_json::Value = serde_json::from_slice(&index).expect("JSON");
    assert_eq!(index["manifests"][0]["mediaType"], "application/vnd.oci.image.index.v1+json");
}
