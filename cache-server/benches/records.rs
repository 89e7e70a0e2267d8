//! Look-ups among many records, the start with them, and many builders on one missing step.
//!
//! `cargo bench -p cache-server --bench records -- [RECORDS] [BUILDERS]`, by default 1,000,000 and
//! 200. It starts the program itself, or the one that `CACHE_SERVER` names, on loopback, with its data in a
//! temporary directory (about 6 KB per record), or in the one that `DATA` names; where that has an index, the
//! records are taken to be there. `STORE` names a place in an object store instead; then starts without and with a copy
//! of the index are measured.

#![allow(clippy::expect_used, clippy::print_stdout)]

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use yadokari::digest::Digest;

const WRITERS: usize = 128;
const KEYS: u64 = 200;
const ROUNDS: usize = 500;

struct Server {
    process: Child,
    address: String,
    /// From the start of the process until it listens.
    start: Duration,
}

impl Server {
    fn start(place: &[OsString]) -> Self {
        let begin = Instant::now();
        let other = std::env::var_os("CACHE_SERVER");
        let mut command = Command::new(other.unwrap_or_else(|| env!("CARGO_BIN_EXE_cache-server").into()));
        command.args(["serve", "--listen", "127.0.0.1:0", "--quiet"]).args(place);
        let mut process = command.stdout(Stdio::piped()).spawn().expect("cache-server starts");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line).expect("one line");
        let address = line.trim().strip_prefix("listening on http://").expect("the address").to_owned();
        let mut server = Self { process, address, start: Duration::ZERO };
        // Listening is one thing; answering is what counts.
        server.connect().call("GET", "/v2/", "", b"");
        server.start = begin.elapsed();
        server
    }

    fn connect(&self) -> Connection {
        let stream = TcpStream::connect(&self.address).expect("the server accepts");
        stream.set_nodelay(true).expect("set");
        Connection(BufReader::new(stream))
    }

    /// MiB of resident memory.
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("a process");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") >> 10
    }

    fn stop(mut self, signal: &str) {
        let sent = Command::new("kill").args(["-s", signal, &self.process.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
        self.process.wait().expect("ended");
    }
}

/// One connection, used for many requests.
struct Connection(BufReader<TcpStream>);

impl Connection {
    fn call(&mut self, method: &str, target: &str, kind: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.0.get_mut().write_all(&[head.as_bytes(), body].concat()).expect("sent");
        let (mut status, mut length, mut line) = (0, 0, String::new());
        while line != "\r\n" {
            line.clear();
            assert!(self.0.read_line(&mut line).expect("a header") > 0, "closed");
            if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
                status = rest[..3].parse().expect("a status");
            } else if let Some(rest) = line.strip_prefix("content-length: ") {
                length = rest.trim().parse().expect("a length");
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).expect("the body");
        (status, body)
    }
}

fn key(number: u64) -> String {
    Digest::sha256(&number.to_le_bytes()).hex().to_owned()
}

fn manifest(number: u64) -> String {
    let blob = |name: &str| {
        let digest = Digest::sha256(name.as_bytes());
        format!(
            r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{digest}","size":{}}}"#,
            name.len()
        )
    };
    let (layer, toc) = (blob(&format!("layer {}", number % 100)), blob(&format!("toc {}", number % 100)));
    let record = format!(
        r#"{{"version":1,"key":"{}","parts":{{"command":"RUN make {number}","parent":"{}"}},"layers":[{{"blob":{layer},"toc":{toc}}}],"created":1700000000,"duration_ms":{},"executor":"bench"}}"#,
        key(number),
        key(number + 1),
        number % 60_000
    );
    let record = serde_json::to_string(&record).expect("a string");
    format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{},"layers":[{layer},{toc}],"annotations":{{"dev.yadokari.record":{record}}}}}"#,
        blob("{}")
    )
}

fn push_blobs(server: &Server) {
    let mut connection = server.connect();
    let names = (0..100).flat_map(|n| [format!("layer {n}"), format!("toc {n}")]).chain(["{}".to_owned()]);
    for name in names {
        let target = format!("/v2/cache/blobs/uploads/?digest={}", Digest::sha256(name.as_bytes()));
        assert_eq!(connection.call("POST", &target, "application/octet-stream", name.as_bytes()).0, 201);
    }
}

fn push_record(connection: &mut Connection, number: u64) {
    let target = format!("/v2/cache/manifests/{}", key(number));
    let kind = "application/vnd.oci.image.manifest.v1+json";
    assert_eq!(connection.call("PUT", &target, kind, manifest(number).as_bytes()).0, 201);
}

fn fill(server: &Server, records: u64) {
    push_blobs(server);
    let (next, begin) = (AtomicU64::new(0), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| {
                let mut connection = server.connect();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= records {
                        break;
                    }
                    push_record(&mut connection, number);
                }
            });
        }
    });
    let seconds = begin.elapsed().as_secs_f64();
    println!("{records} records pushed in {seconds:.1} s: {:.0} a second", records as f64 / seconds);
}

fn look_up(server: &Server, records: u64) {
    let mut connection = server.connect();
    let mut times = Vec::new();
    for round in 0..ROUNDS as u64 {
        // A quarter of them are misses.
        let number = |n: u64| {
            if n.is_multiple_of(4) { records + round * KEYS + n } else { (round * 7919 + n * 104_729) % records }
        };
        let keys: Vec<String> = (0..KEYS).map(|n| format!("\"{}\"", key(number(n)))).collect();
        let body = format!("{{\"keys\":[{}]}}", keys.join(","));
        let begin = Instant::now();
        let (status, answer) =
            connection.call("POST", "/v2/cache/_yadokari/lookup", "application/json", body.as_bytes());
        times.push(begin.elapsed());
        assert_eq!(status, 200);
        let answer: serde_json::Value = serde_json::from_slice(&answer).expect("JSON");
        assert_eq!(answer["records"].as_array().map(Vec::len), Some((KEYS - KEYS.div_ceil(4)) as usize));
    }
    times.sort_unstable();
    let ms = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
    println!("look-up of {KEYS} keys: p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms", ms(0.5), ms(0.99), ms(1.0));
}

/// Light clients: each asks for the lease of one missing step until it is there or its own to make.
fn build_together(server: &Server, builders: usize) {
    let target = format!("/v2/cache/_yadokari/leases/{}", key(u64::MAX));
    let (made, present, begin) = (AtomicUsize::new(0), AtomicUsize::new(0), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..builders {
            scope.spawn(|| {
                let mut connection = server.connect();
                loop {
                    let body = br#"{"wait_ms":20000,"ttl_ms":15000}"#;
                    let (_, answer) = connection.call("POST", &target, "application/json", body);
                    let answer: serde_json::Value = serde_json::from_slice(&answer).expect("JSON");
                    match answer["state"].as_str() {
                        Some("present") => {
                            present.fetch_add(1, Ordering::SeqCst);
                            break;
                        }
                        Some("granted") => {
                            std::thread::sleep(Duration::from_secs(2));
                            push_record(&mut connection, u64::MAX);
                            made.fetch_add(1, Ordering::SeqCst);
                            break;
                        }
                        _ => {}
                    }
                }
            });
        }
    });
    let (made, present) = (made.into_inner(), present.into_inner());
    println!(
        "{builders} builders of one step of 2 s: made {made} times, found by {present}, all after {:?}",
        begin.elapsed()
    );
}

fn main() {
    let numbers: Vec<u64> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let records = numbers.first().copied().unwrap_or(1_000_000);
    let builders = numbers.get(1).copied().unwrap_or(200) as usize;
    let directory = tempfile::tempdir().expect("temporary directory");
    let data = std::env::var_os("DATA").map_or_else(|| directory.path().join("data"), PathBuf::from);
    match std::env::var_os("STORE") {
        Some(store) => in_store(store, &data, records),
        None => in_directory(&data, records, builders),
    }
}

fn in_directory(data: &Path, records: u64, builders: usize) {
    let place = ["--data".into(), data.into()];
    let is_filled = data.join("index.redb").exists();
    let mut server = Server::start(&place);
    if !is_filled {
        fill(&server, records);
        println!("memory after that: {} MiB", server.memory());
    }
    for signal in ["TERM", "KILL"] {
        server.stop(signal);
        server = Server::start(&place);
        println!("start after {signal}: {:?}, {} MiB", server.start, server.memory());
    }
    look_up(&server, records);
    println!("memory after that: {} MiB", server.memory());
    build_together(&server, builders);
    println!("memory at the end: {} MiB", server.memory());
    server.stop("TERM");
}

fn in_store(store: OsString, copy: &Path, records: u64) {
    let place = ["--store".into(), store];
    let kept = [&place[..], &["--data".into(), copy.into()]].concat();
    let mut server = Server::start(&place);
    println!("first start: {:?}, {} MiB", server.start, server.memory());
    if server.connect().call("GET", &format!("/v2/cache/manifests/{}", key(records - 1)), "", b"").0 != 200 {
        fill(&server, records);
    }
    for (name, place) in [("without a copy", &place[..]), ("making one", &kept), ("with it", &kept)] {
        server.stop("KILL");
        server = Server::start(place);
        println!("start {name}: {:?}, {} MiB", server.start, server.memory());
    }
    look_up(&server, records);
    server.stop("TERM");
}
