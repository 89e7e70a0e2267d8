//! The program: its flags, its exit codes, and what survives it.

// Clippy takes only functions marked as tests for tests.
#![allow(clippy::expect_used)]

mod registry;

use std::io::{BufReader, Write};
use std::process::{Command, Output};

use registry::{Registry, Reply, noise, with_digest};
use yadokari::digest::Digest;

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cache-server")).args(arguments).output().expect("cache-server runs")
}

#[track_caller]
fn fails(arguments: &[&str], code: i32, message: &str) {
    let output = run(arguments);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.contains(message), "{text}");
    assert!(output.stdout.is_empty());
}

#[test]
fn wrong_usage_and_failures_have_their_exit_codes() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let data = directory.path().join("data").display().to_string();
    fails(&["serve"], 2, "--data");
    fails(&["serve", "--data", &data, "--listen", "nonsense"], 2, "expected HOST:PORT");
    for address in ["0.0.0.0:0", "[::]:0", "[::ffff:10.0.0.1]:0"] {
        fails(&["serve", "--data", &data, "--listen", address], 2, "--anonymous=read");
    }
    fails(&["serve", "--data", &data, "--listen", "192.0.2.1:0", "--anonymous=write"], 1, "failed to listen");
    let file = directory.path().join("file");
    std::fs::write(&file, "").expect("written");
    let below = file.join("data").display().to_string();
    fails(&["serve", "--data", &below, "--listen", "127.0.0.1:0"], 1, "failed to create the directory");
    assert!(!directory.path().join("data").exists());
}

#[test]
fn a_directory_with_other_content_is_left_alone() {
    let directory = tempfile::tempdir().expect("temporary directory");
    std::fs::write(directory.path().join("precious"), "").expect("written");
    let data = directory.path().display().to_string();
    fails(&["serve", "--data", &data, "--listen", "127.0.0.1:0"], 1, "not a data directory");
    assert_eq!(std::fs::read_dir(directory.path()).expect("listed").count(), 1);
}

#[test]
fn version_and_help() {
    assert_eq!(run(&["version"]).stdout, concat!("cache-server ", env!("CARGO_PKG_VERSION"), "\n").as_bytes());
    let help = String::from_utf8(run(&["serve", "--help"]).stdout).expect("UTF-8");
    for flag in ["--listen", "--data", "--anonymous", "--config", "--tls-cert", "--log", "--quiet"] {
        assert!(help.contains(flag), "{help}");
    }
}

#[test]
fn two_servers_cannot_share_a_directory() {
    let registry = Registry::start();
    let data = registry.data().display().to_string();
    fails(&["serve", "--data", &data, "--listen", "127.0.0.1:0"], 1, "in use by another cache-server");
}

#[test]
fn a_killed_server_loses_nothing_that_it_confirmed() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let data = directory.path().join("data");
    let mut registry = Registry::start_in(&data);
    let content = noise(900_000);
    let digest = registry.push_image("a", "v1");
    let location = registry.open_session("a");
    assert_eq!(registry.send("PATCH", &location, &[], &content[..500_000]).status, 202);
    registry.signal("KILL");
    registry.wait();
    std::fs::write(data.join("temporary/half"), "x").expect("written");
    let registry = Registry::start_in(&data);
    assert!(!data.join("temporary/half").exists());
    assert_eq!(registry.head("/v2/a/manifests/v1").header("docker-content-digest"), Some(&*digest.to_string()));
    assert_eq!(registry.get(&location).header("range"), Some("0-499999"));
    let target = with_digest(&location, &Digest::sha256(&content));
    let reply = registry.send("PUT", &target, &[("Content-Range", "500000-899999")], &content[500_000..]);
    assert_eq!(reply.status, 201, "{reply:?}");
    assert!(registry.get(&reply.location()).body == content);
}

#[test]
fn a_signal_lets_running_requests_finish() {
    for signal in ["TERM", "INT"] {
        let mut registry = Registry::start();
        let content = noise(400_000);
        let digest = Digest::sha256(&content);
        let mut stream = registry.connect();
        let head = format!(
            "POST /v2/a/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\
             Expect: 100-continue\r\n\r\n",
            content.len()
        );
        stream.write_all(head.as_bytes()).expect("sent");
        // The server reads the body: the request is running.
        let mut stream = BufReader::new(stream);
        assert_eq!(Reply::read(&mut stream, true).status, 100);
        registry.signal(signal);
        stream.get_mut().write_all(&content).expect("sent");
        assert_eq!(Reply::read(&mut stream, false).status, 201);
        assert_eq!(registry.wait().code(), Some(0));
        assert!(registry.data().join("blobs/sha256").join(&digest.hex()[..2]).join(digest.hex()).exists());
    }
}

#[test]
fn a_second_signal_does_not_wait() {
    let mut registry = Registry::start();
    let mut stream = registry.connect();
    let location = registry.open_session("a");
    let head = format!("PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("sent");
    let mut stream = BufReader::new(stream);
    assert_eq!(Reply::read(&mut stream, true).status, 100);
    registry.signal("TERM");
    registry.signal("INT");
    assert_eq!(registry.wait().code(), Some(1));
}

#[test]
fn the_log_has_one_line_per_request() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let log = directory.path().join("log");
    let mut command = Command::new(env!("CARGO_BIN_EXE_cache-server"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(directory.path().join("data"));
    command.stderr(std::fs::File::create(&log).expect("made"));
    let mut registry = Registry::start_command(command, directory.path());
    registry.push_blob("a", b"content");
    registry.get("/v2/a/tags/list");
    registry.signal("TERM");
    registry.wait();
    let text = std::fs::read_to_string(&log).expect("a log");
    let lines: Vec<&str> = text.lines().filter(|line| line.contains(" method=")).collect();
    assert_eq!(lines.len(), 2, "{text}");
    let expected = " level=info method=POST path=\"/v2/a/blobs/uploads/\" status=201 bytes=0 received=7 ms=";
    assert!(lines[0].contains(expected), "{text}");
    assert!(lines[1].contains(" method=GET path=\"/v2/a/tags/list\" status=200 bytes=22 received=0 ms="), "{text}");
}
