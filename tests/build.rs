//! Builds from end to end: the real executor, a real registry, real steps.

#![allow(clippy::expect_used)]

mod support;

use std::fs;
use std::path::Path;
use std::process::Output;

use support::{Registry, assert_success, context, executor, run, text, write};
use tempfile::TempDir;

/// One repository on one registry, and fresh local state for each build.
struct Project {
    registry: Registry,
    base: String,
    context: TempDir,
}

impl Project {
    fn new(dockerfile: &str, files: &[(&str, &str)]) -> Self {
        let registry = Registry::start();
        let base = registry.push_base();
        Self { context: context(&dockerfile.replace("BASE", &base), files), base, registry }
    }

    fn destination(&self) -> String {
        format!("{}/app:1", self.registry.address)
    }

    /// Builds and pushes with a cache repository and an empty local state.
    fn build(&self, arguments: &[&str]) -> Output {
        let state = tempfile::tempdir().expect("temporary directory");
        executor()
            .arg("--context")
            .arg(self.context.path())
            .args(["--destination", &self.destination(), "--cache=true", "--cache-dir"])
            .arg(state.path().join("cache"))
            .args(arguments)
            .output()
            .expect("executor runs")
    }

    fn digest(&self) -> String {
        let name = format!("docker://{}", self.destination());
        run("skopeo", &["inspect", "--tls-verify=false", "--format", "{{.Digest}}", &name]).trim().to_owned()
    }
}

/// Titles of the steps that ran, and the number of those that were cached.
fn steps(output: &Output) -> (Vec<String>, usize) {
    let log = text(output);
    let ran = log.lines().filter(|l| l.contains(": missed:")).map(|l| {
        let title = l.split_once("] ").map_or(l, |(_, rest)| rest);
        let title = title.split_once("] ").map_or(title, |(_, rest)| rest);
        title.split(": missed:").next().unwrap_or_default().to_owned()
    });
    (ran.collect(), log.matches(" cached (").count())
}

const TWO_STAGES: &str = "\
FROM BASE AS build
WORKDIR /src
RUN echo tool > /tool
COPY lib lib
COPY main.txt .
RUN cat lib/a.txt main.txt > /out
FROM BASE
COPY --from=build /out /out
RUN cp /out /copy
CMD [\"cat\", \"/copy\"]
";

const FILES: [(&str, &str); 2] = [("lib/a.txt", "a\n"), ("main.txt", "main\n")];

#[test]
fn a_rebuild_with_only_the_cache_repository_runs_nothing() {
    let project = Project::new(TWO_STAGES, &FILES);
    let first = project.build(&[]);
    assert_success(&first);
    assert_eq!(steps(&first).0.len(), 7, "{}", text(&first));
    let digest = project.digest();

    let second = project.build(&[]);
    assert_success(&second);
    assert_eq!(steps(&second), (vec![], 2), "only the target's stage is looked at:\n{}", text(&second));
    assert!(text(&second).contains("cached (registry)"));
    assert_eq!(project.digest(), digest, "an unchanged rebuild gives the same image");
}

#[test]
fn a_rebuild_downloads_no_layer() {
    let project = Project::new(TWO_STAGES, &FILES);
    assert_success(&project.build(&[]));
    // Whoever reads a layer now gets an error: configurations and manifests are JSON, layers are not.
    let blobs = project.registry.data().join("docker/registry/v2/blobs/sha256");
    for path in data_files(&blobs) {
        let bytes = fs::read(&path).expect("blob");
        if bytes.first() != Some(&b'{') {
            fs::write(&path, vec![b'x'; bytes.len()]).expect("damage");
        }
    }
    assert_success(&project.build(&[]));
}

fn data_files(directory: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(directory).expect("directory").map(|entry| entry.expect("entry").path());
    entries.flat_map(|path| if path.is_dir() { data_files(&path) } else { vec![path] }).collect()
}

#[test]
fn a_changed_file_reruns_only_from_the_step_that_touches_it() {
    let project = Project::new(TWO_STAGES, &FILES);
    assert_success(&project.build(&[]));
    write(project.context.path(), "main.txt", "changed\n");
    let output = project.build(&[]);
    assert_success(&output);
    let (ran, _) = steps(&output);
    assert_eq!(
        ran,
        ["COPY main.txt .", "RUN cat lib/a.txt main.txt > /out", "COPY --from=build /out /out", "RUN cp /out /copy"],
        "{}",
        text(&output)
    );
}

#[test]
fn a_step_that_gives_the_same_result_stops_the_rebuild() {
    let project = Project::new(
        "FROM BASE AS build\nCOPY main.txt /src\nRUN cat /src > /dev/null; echo same > /out; rm /src\nFROM BASE\nCOPY --from=build /out /out\nRUN cp /out /copy\n",
        &FILES,
    );
    assert_success(&project.build(&[]));
    write(project.context.path(), "main.txt", "only a comment\n");
    let output = project.build(&[]);
    assert_success(&output);
    let (ran, _) = steps(&output);
    assert_eq!(ran.len(), 2, "the final stage is a hit:\n{}", text(&output));
    assert!(ran.iter().all(|title| !title.contains("/copy")), "{ran:?}");
}

#[test]
fn the_pushed_image_holds_what_was_built() {
    let project = Project::new(TWO_STAGES, &FILES);
    assert_success(&project.build(&["--label", "a=b", "--build-arg=unused=1"]));
    let name = format!("docker://{}", project.destination());
    let config = run("skopeo", &["inspect", "--tls-verify=false", "--config", &name]);
    let config: serde_json::Value = serde_json::from_str(&config).expect("JSON");
    assert_eq!(config["config"]["Cmd"], serde_json::json!(["cat", "/copy"]));
    assert_eq!(config["config"]["Labels"]["a"], "b");
    assert_eq!(config["rootfs"]["diff_ids"].as_array().map(Vec::len), Some(3));
    let layout = tempfile::tempdir().expect("temporary directory");
    let target = format!("oci:{}:x", layout.path().display());
    run("skopeo", &["copy", "--src-tls-verify=false", &name, &target]);
}

#[test]
fn files_are_written_beside_or_instead_of_a_push() {
    let project = Project::new(TWO_STAGES, &FILES);
    let out = tempfile::tempdir().expect("temporary directory");
    let path = |name: &str| out.path().join(name).display().to_string();
    let output = executor()
        .arg("-c")
        .arg(format!("dir://{}", project.context.path().display()))
        .args(["-d", "localhost:1/none:tag", "--no-push", "--tar-path", &path("image.tar")])
        .args([format!("--oci-layout-path={}", path("layout")), format!("--digest-file={}", path("deep/er/digest"))])
        .args(["--image-name-tag-with-digest-file", &path("name")])
        .output()
        .expect("executor runs");
    assert_success(&output);
    let digest = fs::read_to_string(out.path().join("deep/er/digest")).expect("digest file");
    assert_eq!(digest.len(), 71, "no newline: {digest:?}");
    assert_eq!(fs::read_to_string(out.path().join("name")).expect("name"), format!("localhost:1/none:tag@{digest}\n"));
    let inspected = run("skopeo", &["inspect", "--format", "{{.Digest}}", &format!("oci:{}", path("layout"))]);
    assert_eq!(inspected.trim(), digest);
    run("skopeo", &["inspect", &format!("docker-archive:{}", path("image.tar"))]);
}

#[test]
fn reproducible_builds_agree() {
    let project = Project::new("FROM BASE\nCOPY main.txt /\nRUN touch /now\n", &FILES);
    let build = |name: &str| {
        let out = tempfile::tempdir().expect("temporary directory");
        let file = out.path().join(name);
        let output = executor()
            .arg("-c")
            .arg(project.context.path())
            .args(["--no-push", "--reproducible", "--digest-file"])
            .arg(&file)
            .output()
            .expect("executor runs");
        assert_success(&output);
        fs::read_to_string(file).expect("digest")
    };
    let first = build("one");
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert_eq!(first, build("two"));
}

#[test]
fn a_killed_build_goes_on_from_what_was_finished() {
    let project = Project::new("FROM BASE\nRUN echo one > /one\nRUN echo two > /two; sleep 3600\n", &[]);
    let cache = tempfile::tempdir().expect("temporary directory");
    let start = || {
        let mut command = executor();
        command.arg("-c").arg(project.context.path()).args(["-d", &project.destination(), "--cache", "--cache-dir"]);
        command.arg(cache.path()).stderr(std::process::Stdio::piped());
        command
    };
    let mut child = start().spawn().expect("executor runs");
    let mut log = std::io::BufReader::new(child.stderr.take().expect("stderr"));
    let mut seen = String::new();
    while !seen.contains("/two; sleep 3600: missed") {
        let count = std::io::BufRead::read_line(&mut log, &mut seen).expect("log");
        assert!(count > 0, "{seen}");
    }
    child.kill().expect("SIGKILL");
    child.wait().expect("reaped");
    let dockerfile = format!("FROM {}\nRUN echo one > /one\nRUN echo two > /two\n", project.base);
    write(project.context.path(), "Dockerfile", &dockerfile);
    let output = start().output().expect("executor runs");
    assert_success(&output);
    let (ran, cached) = steps(&output);
    assert_eq!((ran.len(), cached), (1, 1), "{}", text(&output));
}

#[test]
fn what_a_killed_build_left_is_removed_by_the_next() {
    let project = Project::new("FROM BASE\nRUN echo started; sleep 3600\n", &[]);
    let temporary = tempfile::tempdir().expect("temporary directory");
    let names = || fs::read_dir(temporary.path()).expect("directory").count();
    let mut command = executor();
    command.env("TMPDIR", temporary.path()).arg("-c").arg(project.context.path()).arg("--no-push");
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().expect("executor runs");
    let mut line = String::new();
    let mut output = std::io::BufReader::new(child.stdout.take().expect("stdout"));
    std::io::BufRead::read_line(&mut output, &mut line).expect("output");
    assert!(line.contains("started"), "{line}");
    child.kill().expect("SIGKILL");
    child.wait().expect("reaped");
    assert_eq!(names(), 1, "the killed build cleaned up");
    write(project.context.path(), "Dockerfile", "FROM scratch\n");
    let next =
        executor().env("TMPDIR", temporary.path()).arg("-c").arg(project.context.path()).arg("--no-push").output();
    assert_success(&next.expect("executor runs"));
    assert_eq!(names(), 0, "something is left");
}

#[test]
fn a_miss_says_what_changed() {
    let project = Project::new(TWO_STAGES, &FILES);
    let cache = tempfile::tempdir().expect("temporary directory");
    let build = || {
        let mut command = executor();
        command.arg("-c").arg(project.context.path()).args(["-d", &project.destination(), "--cache", "--cache-dir"]);
        let output = command.arg(cache.path()).output().expect("executor runs");
        assert_success(&output);
        text(&output)
    };
    assert!(build().contains("missed: no record of this step"));
    write(project.context.path(), "main.txt", "changed\n");
    let log = build();
    assert!(log.contains("COPY main.txt .: missed: file main.txt changed"), "{log}");
    assert!(log.contains("COPY lib lib cached (local)"), "{log}");
}

#[test]
fn reproducible_builds_take_no_other_layers() {
    let project = Project::new("FROM BASE\nCOPY main.txt /\n", &FILES);
    assert_success(&project.build(&[]));
    let output = project.build(&["--reproducible"]);
    assert_success(&output);
    assert_eq!(steps(&output).1, 0, "{}", text(&output));
    assert_eq!(steps(&project.build(&["--reproducible"])).1, 1);
}
