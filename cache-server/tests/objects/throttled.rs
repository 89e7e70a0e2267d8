//! A store that refuses many requests for being too many.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::registry::command::serve_in;
use crate::registry::{Registry, noise, store, with_digest};
use yadokari::digest::Digest;

/// What a store says, in turns.
const REFUSALS: [(&str, &str); 2] =
    [("503 Slow Down", "<Error><Code>SlowDown</Code></Error>"), ("429 Too Many Requests", "")];

/// Whether a request, known by its first line, is one too many.
type Limit = Box<dyn Fn(&str) -> bool + Send + Sync>;

/// In front of the real service: some requests are refused.
struct Throttle {
    address: String,
    refused: Arc<AtomicUsize>,
}

impl Throttle {
    /// Every third request is too many.
    fn every_third() -> Self {
        let asked = AtomicUsize::new(0);
        Self::start(Box::new(move |_| asked.fetch_add(1, Ordering::SeqCst) % 3 == 2))
    }

    /// One write a second of one object, as Google has it: of the one that is written all the time.
    fn once_a_second() -> Self {
        let next = Mutex::new(Instant::now());
        Self::start(Box::new(move |line| {
            let mut next = next.lock().expect("unpoisoned");
            let is_write = line.starts_with("PUT ") && line.contains("/head");
            let too_many = is_write && Instant::now() < *next;
            if is_write && !too_many {
                *next = Instant::now() + Duration::from_secs(1);
            }
            too_many
        }))
    }

    fn start(limit: Limit) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let refused = Arc::new(AtomicUsize::new(0));
        let (limit, counted) = (Arc::new(limit), Arc::clone(&refused));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (limit, refused) = (Arc::clone(&limit), Arc::clone(&counted));
                // A client that leaves in the middle ends its own thread only.
                std::thread::spawn(move || relay(stream.expect("accepted"), &limit, &refused));
            }
        });
        Self { address, refused }
    }
}

/// One request, and its answer from the service or from here.
fn relay(stream: TcpStream, limit: &Limit, refused: &AtomicUsize) -> std::io::Result<()> {
    let mut client = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if client.read_line(&mut line)? <= 2 {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    client.read_exact(&mut body)?;
    if limit(&head) {
        let (status, text) = REFUSALS[refused.fetch_add(1, Ordering::SeqCst) % 2];
        let length = text.len();
        let answer = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{text}");
        return client.get_mut().write_all(answer.as_bytes());
    }
    let mut service = TcpStream::connect(store::host())?;
    service.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes())?;
    service.write_all(&body)?;
    std::io::copy(&mut service, client.get_mut()).map(drop)
}

fn start(data: &Path, throttle: &Throttle) -> Registry {
    Registry::start_equipped(serve_in(data), data, |command| store::equip_for(command, &throttle.address))
}

#[test]
fn requests_that_were_too_many_are_made_again() {
    let throttle = Throttle::every_third();
    let data = Path::new("/throttled");
    let registries = [start(data, &throttle), start(data, &throttle)];
    for number in 0..6 {
        registries[number % 2].push_image("a", &format!("v{number}"));
    }
    let content = noise(300_000);
    let location = registries[0].open_session("a");
    assert_eq!(registries[0].send("PATCH", &location, &[], &content[..200_000]).status, 202);
    let target = with_digest(&location, &Digest::sha256(&content));
    assert_eq!(registries[0].send("PUT", &target, &[], &content[200_000..]).status, 201);
    assert_eq!(registries[0].delete("/v2/a/manifests/v0").status, 202);
    drop(registries);
    let late = start(data, &throttle);
    assert_eq!(late.get("/v2/a/tags/list").json()["tags"].as_array().map(Vec::len), Some(5));
    assert!(late.get(&format!("/v2/a/blobs/{}", Digest::sha256(&content))).body == content);
    for number in 1..6 {
        let layer = Digest::sha256(format!("layer of v{number}").as_bytes());
        assert_eq!(late.get(&format!("/v2/a/blobs/{layer}")).body, format!("layer of v{number}").into_bytes());
    }
    let refused = throttle.refused.load(Ordering::SeqCst);
    assert!(refused >= 20, "{refused}");
}

#[test]
fn a_store_that_takes_one_write_a_second_of_an_object_is_slow_and_no_more() {
    let throttle = Throttle::once_a_second();
    let data = Path::new("/throttled-writes");
    let registries = [start(data, &throttle), start(data, &throttle)];
    std::thread::scope(|scope| {
        for writer in 0..6 {
            let registry = &registries[writer % 2];
            scope.spawn(move || registry.push_image("a", &format!("v{writer}")));
        }
    });
    for registry in &registries {
        assert_eq!(registry.get("/v2/a/tags/list").json()["tags"].as_array().map(Vec::len), Some(6));
    }
    assert!(throttle.refused.load(Ordering::SeqCst) > 0);
}
