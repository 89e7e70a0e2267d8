//! For those who run the server: settings, health, metrics, and clients that misbehave.

// Clippy takes only functions marked as tests for tests.
#![allow(clippy::expect_used)]

mod registry;

#[path = "operations/robustness.rs"]
mod robustness;

use std::fs;
use std::io::{BufReader, Read, Write};
use std::process::Output;

use registry::command::{program, serve_in};
use registry::{Registry, Reply, noise};
use yadokari::digest::Digest;

fn check(config: &str, variables: &[(&str, &str)]) -> Output {
    let directory = tempfile::tempdir().expect("temporary directory");
    let file = directory.path().join("config.toml");
    fs::write(&file, config).expect("written");
    let mut command = program();
    command.args(["serve", "--check-config", "--config"]).arg(&file).current_dir(directory.path());
    command.envs(variables.iter().copied()).output().expect("it runs")
}

#[test]
fn a_configuration_is_checked_without_serving() {
    let output = check("data = \"/nonexistent/data\"\nlisten = \"127.0.0.1:0\"", &[]);
    assert_eq!((output.status.code(), &*output.stdout), (Some(0), b"the configuration is valid\n".as_slice()));
    for (config, variables, code, message) in [
        (
            "data = \"d\"\nlisen = \"x\"",
            [("A", "")],
            2,
            "config.toml:2: unknown setting `lisen`; did you mean `listen`?",
        ),
        ("data = \"d\"\nanonymous = \"all\"", [("A", "")], 2, "config.toml:2: unknown variant `all`"),
        ("listen = \"127.0.0.1:0\"", [("A", "")], 2, "no place for data: pass --data DIR or --store URL"),
        ("data = \"d\"", [("CACHE_SERVER_LISTEN", "0.0.0.0:1")], 2, "refusing to listen on 0.0.0.0:1"),
        ("data = \"d\"", [("CACHE_SERVER_MAX_CONNECTIONS", "x")], 2, "--max-connections"),
        ("data = \"d\"\nhtpasswd = \"absent\"", [("A", "")], 1, "failed to read the htpasswd file absent"),
    ] {
        let output = check(config, &variables);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(code) && text.contains(message), "{config}: {text}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn every_setting_is_checked_wherever_it_comes_from() {
    let base = "data = \"d\"\nlisten = \"127.0.0.1:0\"\n";
    let good = "max-bytes = \"20GiB\"\nquota = [\"a/*=1GiB\", \"b=5\"]\nttl = [\"a/*=1h\", \"30d\"]\n\
                grace = \"10m\"\nmirror = [\"docker.io=https://registry-1.docker.io\"]\nmirror-tag-ttl = 60\n";
    assert_eq!(check(&format!("{base}{good}"), &[]).status.code(), Some(0));
    let variables = [
        ("CACHE_SERVER_MAX_BYTES", "20GiB"),
        ("CACHE_SERVER_QUOTA", "a/*=1GiB,b=5"),
        ("CACHE_SERVER_TTL", "a/*=1h,30d"),
        ("CACHE_SERVER_GRACE", "10m"),
        ("CACHE_SERVER_MIRROR", "docker.io=https://registry-1.docker.io,quay.io=https://quay.io"),
        ("CACHE_SERVER_MIRROR_TAG_TTL", "60"),
    ];
    let output = check(base, &variables);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    for (line, message) in [
        ("max-bytes = \"20GX\"", ":3: unknown unit \"GX\""),
        ("max-bytes = true", ":3: "),
        ("quota = [\"A=1\"]", ":3: \"A\" is neither the name of a repository"),
        ("ttl = [\"1w\"]", ":3: unknown unit \"w\""),
        ("grace = -1", ":3: "),
        ("mirror = [\"docker.io\"]", ":3: \"docker.io\" is not NAME=http[s]://HOST"),
        ("mirrors = []", "did you mean `mirror`?"),
    ] {
        let output = check(&format!("{base}{line}"), &[]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && text.contains(message), "{line}: {text}");
    }
    for (name, _) in variables {
        let output = check(base, &[(name, "nonsense=")]);
        assert_eq!(output.status.code(), Some(2), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_cap_of_the_file_or_the_environment_counts() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let config = directory.path().join("config.toml");
    fs::write(&config, "max-bytes = \"4MiB\"\nquota = [\"small=1MiB\"]").expect("written");
    let registry = Registry::start_with(&["--config", config.to_str().expect("UTF-8")]);
    let post = |registry: &Registry, repository: &str, size: usize| {
        let content = noise(size);
        let target = format!("/v2/{repository}/blobs/uploads/?digest={}", Digest::sha256(&content));
        registry.send("POST", &target, &[], &content).status
    };
    assert_eq!(post(&registry, "a", 5 << 20), 413);
    assert_eq!(post(&registry, "small", 2 << 20), 413);
    assert_eq!(post(&registry, "small", 1 << 19), 201);
    let data = directory.path().join("data");
    let mut command = serve_in(&data);
    command.env("CACHE_SERVER_MAX_BYTES", "2MiB").env("CACHE_SERVER_CONFIG", &config);
    let registry = Registry::start_command(command, &data);
    assert_eq!(post(&registry, "a", 3 << 20), 413);
}

#[test]
fn health_and_readiness() {
    let registry = Registry::start();
    assert_eq!(registry.get("/healthz").body, b"ok\n");
    assert_eq!(registry.get("/readyz").body, b"ready\n");
    // Without the place for new files nothing can be written.
    fs::remove_dir_all(registry.data().join("temporary")).expect("removed");
    let reply = registry.get("/readyz");
    assert_eq!((reply.status, &*reply.body), (503, b"the storage takes no writes\n".as_slice()));
    assert_eq!(registry.get("/healthz").status, 200);
    registry.send("POST", "/healthz", &[], b"").is_error(405, "UNSUPPORTED");
}

#[test]
fn a_stopping_server_says_so_before_it_stops() {
    let mut registry = Registry::start_with(&["--shutdown-delay", "1h"]);
    registry.signal("TERM");
    while registry.get("/readyz").status == 200 {}
    assert_eq!(registry.get("/readyz").body, b"stopping\n");
    assert_eq!(registry.get("/healthz").status, 200);
    registry.signal("TERM");
    assert_eq!(registry.wait().code(), Some(1));
}

#[test]
fn a_stop_waits_for_uploads_but_not_for_ever() {
    let mut registry = Registry::start_with(&["--shutdown-timeout", "0s"]);
    let location = registry.open_session("a");
    let head = format!("PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n");
    let mut stream = registry.connect();
    stream.write_all(head.as_bytes()).expect("sent");
    let mut stream = BufReader::new(stream);
    assert_eq!(Reply::read(&mut stream, true).status, 100);
    registry.signal("TERM");
    assert_eq!(registry.wait().code(), Some(0));
}

/// The value of a line of the metrics.
fn metric(registry: &Registry, line: &str) -> Option<f64> {
    let text = String::from_utf8(registry.get("/metrics").body).expect("UTF-8");
    text.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(' ')?.parse().ok())
}

#[test]
fn metrics_tell_what_happened() {
    let registry = Registry::start();
    let content = noise(70_000);
    let digest = registry.push_blob("a", &content);
    registry.get(&format!("/v2/a/blobs/{digest}"));
    registry.get("/v2/a/manifests/none");
    let request = |labels: &str| metric(&registry, &format!("cache_server_http_requests_total{{{labels}}}"));
    assert_eq!(request(r#"route="upload",method="POST",status="201""#), Some(1.0));
    assert_eq!(request(r#"route="blob",method="GET",status="200""#), Some(1.0));
    assert_eq!(request(r#"route="manifest",method="GET",status="404""#), Some(1.0));
    assert_eq!(metric(&registry, r#"cache_server_http_received_bytes_total{route="upload"}"#), Some(70_000.0));
    assert_eq!(metric(&registry, r#"cache_server_http_sent_bytes_total{route="blob"}"#), Some(70_000.0));
    assert_eq!(metric(&registry, r#"cache_server_http_request_duration_seconds_count{route="blob"}"#), Some(1.0));
    assert_eq!(metric(&registry, "cache_server_uploads_in_flight"), Some(0.0));
    assert_eq!(metric(&registry, "cache_server_connections_limit"), Some(1024.0));
    // Nobody can make new label values.
    registry.send("BREW", "/v2/a/tags/list", &[], b"");
    assert_eq!(request(r#"route="tags",method="other",status="405""#), Some(1.0));
}

#[test]
fn an_upload_under_way_is_counted() {
    let registry = Registry::start();
    let content = noise(10);
    let target = format!("/v2/a/blobs/uploads/?digest={}", Digest::sha256(&content));
    let head = format!("POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n");
    let mut stream = BufReader::new(registry.connect());
    stream.get_mut().write_all(head.as_bytes()).expect("sent");
    assert_eq!(Reply::read(&mut stream, true).status, 100);
    assert_eq!(metric(&registry, "cache_server_uploads_in_flight"), Some(1.0));
    stream.get_mut().write_all(&content).expect("sent");
    assert_eq!(Reply::read(&mut stream, false).status, 201);
    let mut rest = Vec::new();
    stream.get_mut().shutdown(std::net::Shutdown::Write).expect("closed");
    stream.read_to_end(&mut rest).expect("the server closes too");
    assert_eq!(metric(&registry, "cache_server_uploads_in_flight"), Some(0.0));
}

#[test]
fn the_dashboard_shows_what_happened_to_those_who_may_see_it() {
    let registry = Registry::start();
    registry.push_image("team/app", "v1");
    registry.get("/v2/team/app/manifests/v1");
    registry.get("/v2/team/app/manifests/v2");
    let reply = registry.get("/");
    let html = String::from_utf8(reply.body.clone()).expect("UTF-8").replace("<wbr>", "");
    for part in ["50.0 %", "team/app:v1", "team/app:v2", "anonymous"] {
        assert!(html.contains(part), "{part}\n{html}");
    }
    assert!(reply.header("content-security-policy").expect("one").starts_with("default-src 'none'"));
    let closed = Registry::start_with(&["--anonymous=none", "--tokens", "/nonexistent/tokens"]);
    let reply = closed.get("/");
    reply.is_error(401, "UNAUTHORIZED");
    assert_eq!(reply.header("www-authenticate"), Some("Basic realm=\"cache-server\""));
}
