//! Spans of requests, as a collector gets them.

// Clippy takes only functions marked as tests for tests.
#![allow(clippy::expect_used)]

mod registry;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};

use registry::Registry;
use registry::command::serve_in;
use serde_json::{Value, json};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// A collector on loopback that keeps what it gets. Its thread ends with the test's process.
struct Collector {
    url: String,
    /// Heads and bodies.
    requests: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let requests = Arc::<Mutex<Vec<_>>>::default();
        let kept = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || {
                    while let Some(request) = take(&stream) {
                        kept.lock().expect("unbroken").push(request);
                    }
                });
            }
        });
        Self { url, requests }
    }

    fn spans(&self) -> Vec<Value> {
        let requests = self.requests.lock().expect("unbroken");
        let of = |body: &Value| body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().expect("a list").clone();
        requests.iter().flat_map(|(_, body)| of(body)).collect()
    }
}

fn take(stream: &TcpStream) -> Option<(String, Value)> {
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    while !head.ends_with("\r\n\r\n") {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let mut stream = stream;
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}").ok()?;
    Some((head, serde_json::from_slice(&body).ok()?))
}

fn start(directory: &std::path::Path, configure: impl FnOnce(&mut Command)) -> Registry {
    let data = directory.join("data");
    let mut command = serve_in(&data);
    configure(&mut command);
    Registry::start_command(command, &data)
}

fn attribute(span: &Value, name: &str) -> Value {
    let all = span["attributes"].as_array().expect("a list");
    let found = all.iter().find(|attribute| attribute["key"] == name);
    found.map_or(Value::Null, |attribute| attribute["value"].clone())
}

#[test]
fn each_request_is_a_span_in_its_clients_trace() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let collector = Collector::start();
    let mut registry = start(directory.path(), |command| {
        command.args(["--otlp-endpoint", &collector.url]);
    });
    let joined = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let unsampled = format!("00-{TRACE}-00f067aa0ba902b8-00");
    registry.push_blob("team/app", b"content");
    registry.send("GET", "/v2/team/app/manifests/none?secret=hunter2", &[("traceparent", &joined)], b"");
    let secret = ("Authorization", "Bearer hunter2");
    registry.send("GET", "/v2/team/app/tags/list", &[("traceparent", &unsampled), secret], b"");
    registry.send("GET", "/v2/team/app/tags/list", &[("traceparent", "nonsense"), secret], b"");
    // What waits is sent before it ends.
    registry.signal("TERM");
    assert_eq!(registry.wait().code(), Some(0));
    let spans = collector.spans();
    let names: Vec<&str> = spans.iter().map(|span| span["name"].as_str().expect("a name")).collect();
    assert_eq!(names, ["POST upload", "GET manifest", "GET tags"]);
    let manifest = &spans[1];
    assert_eq!((&manifest["traceId"], &manifest["parentSpanId"]), (&json!(TRACE), &json!("00f067aa0ba902b7")));
    assert_eq!(
        (&manifest["kind"], attribute(manifest, "http.response.status_code")),
        (&json!(2), json!({ "intValue": "404" }))
    );
    assert_eq!(attribute(manifest, "oci.repository"), json!({ "stringValue": "team/app" }));
    assert_eq!(attribute(&spans[0], "http.request.body.size"), json!({ "intValue": "7" }));
    let time = |span: &Value, name: &str| span[name].as_str().expect("a text").parse::<u128>().expect("a number");
    for span in &spans {
        assert!(time(span, "startTimeUnixNano") <= time(span, "endTimeUnixNano"));
        assert_eq!(span["spanId"].as_str().map(str::len), Some(16));
    }
    assert!(spans[2].get("parentSpanId").is_none() && spans[2]["traceId"] != TRACE);
    let requests = collector.requests.lock().expect("unbroken");
    let (head, body) = &requests[0];
    assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
    assert!(!body.to_string().contains("hunter2"), "{body}");
    let service = &body["resourceSpans"][0]["resource"]["attributes"][0];
    assert_eq!(service, &json!({ "key": "service.name", "value": { "stringValue": "cache-server" } }));
}

#[test]
fn the_standard_variables_count() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let collector = Collector::start();
    let mut registry = start(directory.path(), |command| {
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url).env("OTEL_SERVICE_NAME", "ci-cache");
        command.env("OTEL_EXPORTER_OTLP_HEADERS", "x-token=abc%20def");
    });
    registry.get("/v2/");
    registry.signal("TERM");
    registry.wait();
    let requests = collector.requests.lock().expect("unbroken");
    let (head, body) = &requests[0];
    assert!(head.to_lowercase().contains("x-token: abc def\r\n"), "{head}");
    assert!(body.to_string().contains("ci-cache"), "{body}");
}

#[test]
fn a_collector_that_never_answers_holds_nobody_up() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let silent = TcpListener::bind("127.0.0.1:0").expect("bound");
    let url = format!("http://{}", silent.local_addr().expect("an address"));
    let mut registry = start(directory.path(), |command| {
        command.args(["--otlp-endpoint", &url]);
    });
    for _ in 0..5000 / 50 {
        std::thread::scope(|scope| {
            (0..50).for_each(|_| drop(scope.spawn(|| assert_eq!(registry.get("/v2/").status, 200))));
        });
    }
    registry.signal("TERM");
    assert_eq!(registry.wait().code(), Some(0));
}
