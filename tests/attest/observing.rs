//! The page of `--report`, and traces.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::Output;
use std::thread::JoinHandle;

use serde_json::Value;
use tempfile::TempDir;

use super::support::{Registry, assert_success, context, executor, run, text};

struct Place {
    _registry: Registry,
    context: TempDir,
    name: String,
}

impl Place {
    fn new(dockerfile: &str) -> Self {
        let registry = Registry::start();
        let base = registry.push_base();
        let context = context(&dockerfile.replace("BASE", &base), &[("a", "some file"), ("b&<b>", "other")]);
        let name = format!("{}/app:1", registry.address);
        Self { _registry: registry, context, name }
    }

    fn file(&self, name: &str) -> String {
        self.context.path().join("out").join(name).display().to_string()
    }

    /// The files that are written must not be a part of the context.
    fn build(&self, more: &[String], env: &[(&str, &str)]) -> Output {
        std::fs::write(self.context.path().join(".dockerignore"), "out\n.dockerignore\n").expect("written");
        let mut command = executor();
        command.arg("-c").arg(self.context.path()).args(["-d", &self.name, "--cache"]);
        command.arg(format!("--cache-dir={}", self.file("cache"))).args(more).envs(env.iter().copied());
        command.output().expect("runs")
    }
}

const DOCKERFILE: &str = "FROM BASE AS first\nRUN echo '<script>alert(1)</script>' > /made && sleep 0.05\nFROM BASE\nCOPY . /files/\nCOPY --from=first /made /\n";

#[test]
fn the_page_needs_nothing_else() {
    let place = Place::new(DOCKERFILE);
    std::fs::create_dir_all(place.file("cache")).expect("made");
    let flag = format!("--report={}", place.file("build.html"));
    let read = || std::fs::read_to_string(place.file("build.html")).expect("a page");
    assert_success(&place.build(std::slice::from_ref(&flag), &[]));
    let first = read();
    assert!(first.starts_with("<!doctype html>") && first.trim_end().ends_with("</html>"));
    for part in ["<script", "http://", "https://", "src=", "url(", "@import", "<link"] {
        assert!(!first.contains(part), "{part}");
    }
    for part in [
        "prefers-color-scheme",
        "&lt;script&gt;",
        "missed: no record",
        "/files/b&amp;&lt;b&gt;",
        "steps run</dt><dd>3<",
    ] {
        assert!(first.contains(part), "{part}:\n{first}");
    }
    assert_success(&place.build(std::slice::from_ref(&flag), &[]));
    let second = read();
    for part in ["cached (local)", "steps run</dt><dd>0<", "saved by the cache"] {
        assert!(second.contains(part), "{part}:\n{second}");
    }
    // Also of a build that failed.
    std::fs::write(
        place.context.path().join("Dockerfile"),
        format!("{}RUN false\n", DOCKERFILE.replace("BASE", &place.name.replace("app", "base"))),
    )
    .expect("written");
    let output = place.build(&[flag], &[]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let failed = read();
    assert!(failed.contains("class=\"failed\"") && failed.contains("failed: error"), "{failed}");
}

#[test]
fn a_build_that_a_signal_ends_leaves_its_page() {
    let place = Place::new(DOCKERFILE);
    // It takes a connection and never says a word: nothing that could be stopped.
    let silent = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let dockerfile = format!("FROM {}/base:1\n", silent.local_addr().expect("address"));
    std::fs::write(place.context.path().join("Dockerfile"), dockerfile).expect("written");
    let mut command = executor();
    command.arg("-c").arg(place.context.path()).args(["--no-push", &format!("--report={}", place.file("build.html"))]);
    let mut child = command.stderr(std::process::Stdio::null()).spawn().expect("runs");
    let connection = silent.accept().expect("a connection");
    let signal = || run("kill", &["-TERM", &child.id().to_string()]);
    signal();
    // Again, as impatient runners do.
    signal();
    assert_eq!(child.wait().expect("ended").code(), Some(130));
    drop(connection);
    let page = std::fs::read_to_string(place.file("build.html")).expect("a page");
    assert!(page.contains("failed: error: stopped by a signal") && page.trim_end().ends_with("</html>"), "{page}");
}

/// Takes one request, answers it, and gives head and body.
fn collector() -> (String, JoinHandle<(String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("address").to_string();
    let take = move || {
        let (mut stream, _) = listener.accept().expect("a request");
        let mut reader = BufReader::new(stream.try_clone().expect("a stream"));
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).expect("a line");
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a number");
            }
            if line.trim().is_empty() {
                break;
            }
            head.push_str(&line);
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).expect("a body");
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}").expect("answered");
        (head, serde_json::from_slice(&body).expect("JSON"))
    };
    (address, std::thread::spawn(take))
}

#[test]
fn a_trace_has_a_span_for_each_step() {
    let place = Place::new(DOCKERFILE);
    let (address, taken) = collector();
    let endpoint = format!("http://{address}");
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let env = [
        ("KANIKO_TELEMETRY_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20hunter2"),
        ("OTEL_SERVICE_NAME", "pipeline"),
        ("TRACEPARENT", parent),
    ];
    let output = place.build(&["--build-arg=X=hunter3".to_owned()], &env);
    assert_success(&output);
    let (head, body) = taken.join().expect("a request");
    assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
    assert!(
        head.to_lowercase().contains("authorization: bearer hunter2") && !text(&output).contains("hunter2"),
        "{head}"
    );
    let resource = &body["resourceSpans"][0];
    assert_eq!(resource["resource"]["attributes"][0]["value"]["stringValue"], "pipeline");
    let spans = resource["scopeSpans"][0]["spans"].as_array().expect("spans");
    let root = &spans[0];
    assert_eq!((&root["name"], &root["parentSpanId"]), (&"build".into(), &"b7ad6b7169203331".into()));
    for span in spans {
        assert_eq!(span["traceId"], "0af7651916cd43dd8448eb211c80319c");
        let time = |name: &str| span[name].as_str().and_then(|text| text.parse::<u128>().ok()).expect("nanoseconds");
        assert!(time("startTimeUnixNano") <= time("endTimeUnixNano"), "{span}");
    }
    assert!(spans[1..].iter().all(|span| span["parentSpanId"] == root["spanId"]));
    let names: Vec<&str> = spans.iter().filter_map(|span| span["name"].as_str()).collect();
    assert!(names.contains(&"resolve") && names.contains(&"COPY . /files/"), "{names:?}");
    assert!(!body.to_string().contains("hunter"), "{body}");
}

#[test]
fn without_the_dockerfile_and_without_a_collector() {
    let place = Place::new(DOCKERFILE);
    let (address, taken) = collector();
    let env = [("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{address}/"))];
    let env = [(env[0].0, env[0].1.as_str()), ("KANIKO_TELEMETRY_OMIT_DOCKERFILE", "1")];
    assert_success(&place.build(&[], &env));
    let (_, body) = taken.join().expect("a request");
    assert!(!body.to_string().contains("COPY"), "{body}");
    // Nobody listens there any more: a warning.
    let output = place.build(&[], &env);
    assert_success(&output);
    assert!(text(&output).contains("the trace was not sent"), "{}", text(&output));
}

#[test]
fn man_pages_and_completions() {
    let directory = tempfile::tempdir().expect("directory");
    assert_success(&executor().arg("man").arg(directory.path()).output().expect("runs"));
    for (page, part) in [
        ("executor.1", "\\-\\-sign\\-key"),
        ("executor-verify.1", "\\-\\-attestation"),
        ("executor-cache-prune.1", ".TH"),
    ] {
        let text = std::fs::read_to_string(directory.path().join(page)).expect(page);
        assert!(text.contains(part), "{page}: {text}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let output = executor().args(["completion", shell]).output().expect("runs");
        assert!(text(&output).contains("generate-key-pair"), "{shell}");
    }
}
