//! Bad input of every kind: one clear error, the right exit code, nothing half-written, nothing pushed.

#![allow(clippy::expect_used)]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};

use support::{Registry, assert_success, context, executor, text};

fn build(dockerfile: &str, arguments: &[&str]) -> Output {
    let context = context(dockerfile, &[("file", "x")]);
    executor().arg("-c").arg(context.path()).arg("--no-push").args(arguments).output().expect("executor runs")
}

fn assert_failure(output: &Output, code: i32, words: &[&str]) {
    let log = text(output);
    assert_eq!(output.status.code(), Some(code), "{log}");
    for word in words {
        assert!(log.contains(word), "{word:?} is missing:\n{log}");
    }
}

#[test]
fn unknown_instruction_shows_line_and_suggestion() {
    let output = build("FROM scratch\nCOPPY file /\n", &[]);
    assert_failure(&output, 1, &["unknown instruction: COPPY", "did you mean COPY?", "Dockerfile:2", "COPPY file /"]);
}

/// Instructions after `FROM scratch AS build`, what is said, and the caret's line, column and word.
const CARETS: &[(&str, &str, &str)] = &[
    ("COPY --link \\\n  --chwon=1 file /", "unknown flag: --chwon (did you mean --chown?)", "3:3\n--chwon=1 file /"),
    ("ADD --parents file /", "unknown flag: --parents", "2:5\n--parents file /"),
    ("COPY --chown file /", "missing a value on flag: --chown (write --chown=VALUE)", "2:6\n--chown file /"),
    ("COPY --chmod=999 file /", "invalid chmod parameter: '999'", "2:6\n--chmod=999 file /"),
    ("COPY --chown=nobody file /", "invalid user index: -1", "2:6\n--chown=nobody file /"),
    ("COPY --from=9 / /", "invalid stage index 9: the last stage of the file is 0", "2:6\n--from=9 / /"),
    ("COPY ./flie /", "\"/flie\": not found (did you mean /file?)", "2:8\nflie /"),
    ("COPY [x /", "invalid pattern \"[x\"", "2:6\n[x /"),
    ("COPY file /\nCOPY --exclude=[ . /d/", "invalid pattern \"[\"", "3:16\n[ . /d/"),
    ("FROM --platform=linux/ scratch", "failed to parse platform linux/", "2:6\n--platform=linux/ scratch"),
    ("ENV A=1 \\\n    B=${C", "missing '}'", "3:7\n${C"),
    ("RUN --mount=type=cahce,target=/x x", "(did you mean cache?)", "2:13\ntype=cahce,target=/x x"),
    ("HEALTHCHECK --interval=5 CMD x", "missing unit in duration", "2:13\n--interval=5 CMD x"),
    ("EXPOSE 80/icmp", "invalid proto: icmp", "2:8\n80/icmp"),
    ("STOPSIGNAL SIGHUPP", "invalid signal: SIGHUPP", "2:12\nSIGHUPP"),
];

#[test]
fn errors_point_at_the_word_to_blame() {
    for (body, message, place) in CARETS {
        let output = build(&format!("FROM scratch AS build\n{body}\n"), &[]);
        let (place, word) = place.split_once('\n').expect("place and word");
        assert_failure(&output, 1, &[message, &format!("Dockerfile:{place}\n")]);
        let log = text(&output);
        let lines: Vec<&str> = log.lines().collect();
        let caret = lines.iter().position(|line| line.trim_end().ends_with("| ^") || line.ends_with(" ^"));
        let caret = caret.unwrap_or_else(|| panic!("{body:?} has no caret:\n{log}"));
        assert_eq!(&lines[caret - 1][lines[caret].len() - 1..], word, "{log}");
    }
}

#[test]
fn a_stage_may_be_meant() {
    // Nothing listens there.
    let output = build(
        "FROM scratch AS build\nFROM scratch\nCOPY --from=biuld / /\n",
        &["--registry-mirror=127.0.0.1:1", "--skip-default-registry-fallback"],
    );
    let words = ["no stage is called biuld (did you mean build?): failed to resolve image", "Dockerfile:3:6\n"];
    assert_failure(&output, 1, &words);
}

#[test]
fn build_arguments_that_nothing_declares_are_named() {
    let dockerfile = "ARG VERSION=1\nFROM scratch\n";
    let log = text(&build(dockerfile, &["--build-arg=VERSOIN=2", "--build-arg=http_proxy=x"]));
    assert!(log.contains("build argument VERSOIN has no effect: no ARG declares it (did you mean VERSION?)"), "{log}");
    assert!(!log.contains("http_proxy"), "{log}");
    let log = text(&build("FROM scratch AS a\nARG OTHER\nFROM scratch\n", &["--build-arg=OTHER=2"]));
    assert!(!log.contains("no effect"), "{log}");
}

#[test]
fn unknown_flag_is_wrong_usage() {
    assert_failure(&build("FROM scratch\n", &["--cashe"]), 2, &["--cashe", "--cache"]);
    assert_failure(&build("FROM scratch\n", &["--cache", "true"]), 2, &["true"]);
    assert_failure(&build("FROM scratch\n", &["--cache=maybe"]), 2, &["maybe"]);
}

#[test]
fn destination_is_needed() {
    let context = context("FROM scratch\n", &[]);
    let output = executor().arg("-c").arg(context.path()).output().expect("executor runs");
    assert_failure(&output, 2, &["--destination", "--no-push"]);
}

#[test]
fn missing_dockerfile_and_context() {
    let output = build("FROM scratch\n", &["-f", "No.Dockerfile"]);
    assert_failure(&output, 1, &["No.Dockerfile"]);
    let output = executor().args(["-c", "/nonexistent/context", "--no-push"]).output().expect("executor runs");
    assert_failure(&output, 1, &["/nonexistent/context"]);
}

#[test]
fn path_outside_the_context_is_not_found() {
    let output = build("FROM scratch\nCOPY ../../etc/passwd /\n", &[]);
    assert_failure(&output, 1, &["not found", "Dockerfile:2"]);
}

#[test]
fn unreachable_registry_is_named() {
    let output = build("FROM localhost:1/none\n", &[]);
    assert_failure(&output, 1, &["localhost:1"]);
}

#[test]
fn wrong_credentials_push_nothing() {
    // The registry knows nobody.
    let htpasswd = tempfile::NamedTempFile::new().expect("temporary file");
    let registry =
        Registry::start_with(&format!("auth: {{htpasswd: {{realm: test, path: '{}'}}}}\n", htpasswd.path().display()));
    let config = tempfile::tempdir().expect("temporary directory");
    let auths = format!(r#"{{"auths":{{"{}":{{"username":"u","password":"hunter2"}}}}}}"#, registry.address);
    fs::write(config.path().join("config.json"), auths).expect("config");
    let context = context("FROM scratch\nCOPY file /\n", &[("file", "x")]);
    let output = executor()
        .env("DOCKER_CONFIG", config.path())
        .arg("-c")
        .arg(context.path())
        .args(["-d", &format!("{}/app", registry.address)])
        .output()
        .expect("executor runs");
    assert_failure(&output, 1, &[&registry.address, "401"]);
    assert!(!text(&output).contains("hunter2"));
    assert!(!registry.data().join("docker").exists(), "nothing was pushed");
}

#[test]
fn a_corrupt_base_layer_is_noticed() {
    let registry = Registry::start();
    let base = registry.push_base();
    let blobs = registry.data().join("docker/registry/v2/blobs/sha256");
    let largest =
        walk(&blobs).into_iter().max_by_key(|path| path.metadata().map(|m| m.len()).unwrap_or(0)).expect("blob");
    let mut bytes = fs::read(&largest).expect("blob");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    fs::write(&largest, bytes).expect("damage");
    let out = tempfile::tempdir().expect("temporary directory");
    let layout = out.path().join("layout");
    let output = build(&format!("FROM {base}\nRUN true\n"), &["--oci-layout-path", &layout.display().to_string()]);
    assert_failure(&output, 1, &["sha256:"]);
    assert!(!layout.join("index.json").exists(), "nothing was written");
}

fn walk(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(directory).expect("directory").map(|entry| entry.expect("entry").path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn a_failing_step_gives_its_exit_code_and_pushes_nothing() {
    let registry = Registry::start();
    let base = registry.push_base();
    let context = context(&format!("FROM {base}\nRUN echo before; exit 7\n"), &[]);
    let destination = format!("{}/app:1", registry.address);
    let output = executor().arg("-c").arg(context.path()).args(["-d", &destination]).output().expect("executor runs");
    assert_failure(&output, 7, &["before", "exit code: 7", "Dockerfile:2"]);
    assert!(!registry.data().join("docker/registry/v2/repositories/app/_manifests").exists());
}

#[test]
fn help_and_version() {
    for arguments in [["--help"].as_slice(), &["version"], &["--version"], &["completion", "bash"]] {
        let output = executor().args(arguments).output().expect("executor runs");
        assert_success(&output);
        assert!(!output.stdout.is_empty());
    }
}

/// What newcomers get wrong before anything is built: flags beside `-c CONTEXT`, exit code, what is said.
#[test]
fn first_mistakes_say_what_to_do() {
    for (arguments, code, words) in [
        (
            &["--no-push", "-f", "Nope"][..],
            1,
            &["failed to read Dockerfile Nope", "neither in the working directory nor"][..],
        ),
        (&["--no-push", "-f", "/no/such"], 1, &["failed to read Dockerfile /no/such"]),
        (&["--no-push", "-c", "-"], 1, &["tar://stdin"]),
        (&["-d", "https://127.0.0.1/a:1"], 2, &["--destination", "https://"]),
        (&["-d", ""], 2, &["--destination", "it is empty"]),
        (&["--no-push", "--secret", "hunter2"], 2, &["--secret: expected id=ID"]),
        (&["-t", "a:1"], 2, &["--destination"]),
        (&["--cache", "true"], 2, &["--cache=true"]),
    ] {
        let context = context("FROM scratch\n", &[]);
        let output = executor().arg("-c").arg(context.path()).args(arguments).output().expect("executor runs");
        assert_failure(&output, code, words);
        assert!(!text(&output).contains("hunter2"), "{}", text(&output));
    }
    let context = context("FROM scratch\n", &[("file", "x")]);
    let file = context.path().join("file");
    let output = executor().arg("--no-push").arg("-c").arg(&file).output().expect("executor runs");
    assert_failure(&output, 1, &["is not a directory", &format!("tar://{}", file.display())]);
}

/// A web site, or a login page, in the place of a registry.
#[test]
fn a_web_page_is_told_from_a_registry() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("address");
    // Ends with the test's process.
    std::thread::spawn(move || listener.incoming().flatten().for_each(|stream| drop(answer_with_a_page(stream))));
    let page = &["a web page", "login page"];
    assert_failure(&build(&format!("FROM {address}/a:1\n"), &[]), 1, page);
    let context = context("FROM scratch\nCOPY file /\n", &[("file", "x")]);
    let mut command = executor();
    let pushed = command.arg("-c").arg(context.path()).args(["-d", &format!("{address}/a:1")]).output();
    assert_failure(&pushed.expect("executor runs"), 1, page);
    let output = build("FROM scratch\nCOPY file /\n", &["--cache", &format!("--cache-repo={address}/cache")]);
    assert_success(&output);
    let log = text(&output);
    let said: Vec<&str> = log.lines().filter(|line| line.contains("a web page")).collect();
    assert!(matches!(&said[..], [line] if line.starts_with("WARN") && line.contains("cache repository")), "{log}");
}

fn answer_with_a_page(mut stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let body = if first.starts_with("HEAD") { "" } else { "<!DOCTYPE html><title>Sign in</title>" };
    let head =
        "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nConnection: close\r\nContent-Length: 37\r\n\r\n";
    stream.write_all(format!("{head}{body}").as_bytes())
}

/// A file system of 1 MiB for an image of 4.
#[test]
fn outputs_that_do_not_fit_leave_nothing_half_written() {
    let context = context("FROM scratch\nCOPY file /\n", &[]);
    let noise =
        (0..4_u32 << 20).map(|number| (number.wrapping_mul(2_654_435_761).rotate_left(number % 31) >> 11) as u8);
    fs::write(context.path().join("file"), noise.collect::<Vec<u8>>()).expect("file");
    let small = tempfile::tempdir().expect("directory");
    let mount = |program: &str, arguments: &[&str]| {
        assert!(Command::new(program).args(arguments).arg(small.path()).status().expect("runs").success());
    };
    for (flag, place) in [("--tar-path", "image.tar"), ("--oci-layout-path", "image")] {
        mount("mount", &["-t", "tmpfs", "-o", "size=1m", "tmpfs"]);
        let path = small.path().join(place);
        let output = executor().arg("--no-push").arg("-c").arg(context.path()).arg(flag).arg(&path).output();
        let blobs = fs::read_dir(path.join("blobs/sha256")).or_else(|_| fs::read_dir(small.path())).expect("directory");
        let left: Vec<_> = blobs.flatten().map(|entry| entry.file_name()).collect();
        mount("umount", &[]);
        assert_failure(&output.expect("executor runs"), 1, &["No space left on device", place]);
        assert!(left.is_empty(), "{flag}: {left:?}");
    }
}
