//! Registries behind the mirror that do all that a registry must not do.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use serde_json::Value;
use yadokari::digest::Digest;
use yadokari::image::media_type;

use super::registry::{Registry, digest_of, image, noise};
use super::{Mirror, kept_blobs};

const LAYER_BYTES: usize = 1_000_000;

/// What is sent for a request line, after which the connection ends.
type Answer = fn(&str, &mut TcpStream) -> std::io::Result<()>;

/// A registry of one image that answers as it likes; its address.
fn start(answer: Answer) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("an address").to_string();
    // Ends with the test's process.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let request = request_line(&stream);
                // The other side may leave, and should.
                request.and_then(|line| answer(&line, &mut stream))
            });
        }
    });
    address
}

fn request_line(stream: &TcpStream) -> std::io::Result<String> {
    let lines = BufReader::new(stream.try_clone()?).lines();
    let head: Vec<String> =
        lines.take_while(|line| line.as_ref().is_ok_and(|line| !line.is_empty())).flatten().collect();
    head.into_iter().next().ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
}

fn layer() -> Vec<u8> {
    noise(LAYER_BYTES)
}

fn manifest() -> Value {
    image(&layer())
}

fn send(stream: &mut TcpStream, head: &str, body: &[u8]) -> std::io::Result<()> {
    stream.write_all(format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{head}\r\n\r\n").as_bytes())?;
    stream.write_all(body)
}

fn send_manifest(stream: &mut TcpStream, manifest: &Value, more: &str) -> std::io::Result<()> {
    let body = manifest.to_string();
    let head = format!("Content-Type: {}{more}\r\nContent-Length: {}", media_type::OCI_MANIFEST, body.len());
    send(stream, &head, body.as_bytes())
}

/// Sends until the other side has had enough.
fn send_without_end(stream: &mut TcpStream, head: &str) -> std::io::Result<()> {
    send(stream, &format!("{head}\r\nTransfer-Encoding: chunked"), b"")?;
    let chunk = [b"10000\r\n".as_slice(), &[b' '; 0x10000], b"\r\n"].concat();
    loop {
        stream.write_all(&chunk)?;
    }
}

fn redirect(stream: &mut TcpStream, to: &str) -> std::io::Result<()> {
    let head =
        format!("HTTP/1.1 307 Temporary Redirect\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())
}

/// The whole answer to a GET, which may break off.
fn get(registry: &Registry, path: &str) -> Vec<u8> {
    let mut stream = registry.connect();
    let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("sent");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

#[track_caller]
fn is_bad_gateway(answer: &[u8]) {
    let shown = String::from_utf8_lossy(&answer[..answer.len().min(300)]);
    assert!(shown.starts_with("HTTP/1.1 502") && shown.contains("Bad Gateway"), "{shown}");
}

const MANIFEST: &str = "/v2/docker.io/a/b/manifests";

fn blob_path() -> String {
    format!("/v2/docker.io/a/b/blobs/{}", Digest::sha256(&layer()))
}

#[test]
fn a_manifest_of_another_digest_is_not_taken() {
    let address = start(|_, stream| send_manifest(stream, &image(b"another"), ""));
    let Mirror { registry: mirror, _directory } = Mirror::of(&address, "3600");
    let wanted = format!("{MANIFEST}/{}", digest_of(&manifest()));
    for _ in 0..2 {
        is_bad_gateway(&get(&mirror, &wanted));
    }
    // A tag may name anything, and it is what it is.
    let tagged = mirror.get(&format!("{MANIFEST}/v1"));
    let digest = Digest::sha256(&tagged.body).to_string();
    assert_eq!((tagged.status, tagged.header("docker-content-digest")), (200, Some(digest.as_str())));
}

#[test]
fn a_digest_header_that_lies_is_not_repeated() {
    let address = start(|_, stream| {
        let lie = format!("\r\nDocker-Content-Digest: {}", Digest::sha256(b"lie"));
        send_manifest(stream, &manifest(), &lie)
    });
    let Mirror { registry: mirror, _directory } = Mirror::of(&address, "0");
    for _ in 0..2 {
        let reply = mirror.get(&format!("{MANIFEST}/v1"));
        let honest = digest_of(&manifest()).to_string();
        assert!(reply.status == 502 || reply.header("docker-content-digest") == Some(&honest), "{reply:?}");
    }
    assert_eq!(mirror.get(&format!("{MANIFEST}/{}", Digest::sha256(b"lie"))).status, 502);
}

#[test]
fn answers_without_end_are_cut_off() {
    let address = start(|line, stream| match line {
        line if line.contains("/blobs/") && line.starts_with("HEAD") => {
            send(stream, &format!("Content-Length: {LAYER_BYTES}"), b"")
        }
        line if line.contains("/blobs/") => send_without_end(stream, "Content-Type: application/octet-stream"),
        _ => send_without_end(stream, &format!("Content-Type: {}", media_type::OCI_MANIFEST)),
    });
    let Mirror { registry: mirror, _directory } = Mirror::of(&address, "3600");
    is_bad_gateway(&get(&mirror, &format!("{MANIFEST}/v1")));
    assert!(get(&mirror, &blob_path()).len() < LAYER_BYTES, "the last bytes are held back");
    assert_eq!(kept_blobs(&mirror), 0);
    assert!(mirror.resident() < 100 << 20, "{}", mirror.resident());
}

#[test]
fn a_blob_that_is_longer_than_announced_is_not_kept() {
    let address = start(|line, stream| {
        let body = [layer(), b"more".to_vec()].concat();
        match line {
            line if line.contains("/manifests/") => send_manifest(stream, &manifest(), ""),
            line if line.starts_with("HEAD") => send(stream, &format!("Content-Length: {LAYER_BYTES}"), b""),
            _ => send(stream, &format!("Content-Length: {}", body.len()), &body),
        }
    });
    let Mirror { registry: mirror, _directory } = Mirror::of(&address, "3600");
    // Once without and once with a manifest that says the size.
    for _ in 0..2 {
        let answer = get(&mirror, &blob_path());
        assert!(answer.starts_with(b"HTTP/1.1 502") || answer.len() < LAYER_BYTES, "{}", answer.len());
        assert_eq!(mirror.get(&format!("{MANIFEST}/v1")).status, 200);
    }
    assert_eq!(kept_blobs(&mirror), 0);
}

#[test]
fn redirects_end() {
    for answer in [
        (|line, stream| redirect(stream, line.split(' ').nth(1).unwrap_or("/"))) as Answer,
        |line, stream| redirect(stream, if line.contains("ping") { "/v2/pong" } else { "/v2/ping" }),
        |_, stream| redirect(stream, "file:///etc/passwd"),
        |_, stream| redirect(stream, "http://[bad"),
        |_, stream| redirect(stream, ""),
    ] {
        let Mirror { registry: mirror, _directory } = Mirror::of(&start(answer), "3600");
        is_bad_gateway(&get(&mirror, &format!("{MANIFEST}/v1")));
        is_bad_gateway(&get(&mirror, &blob_path()));
        assert_eq!(kept_blobs(&mirror), 0);
    }
}

#[test]
fn nonsense_is_no_answer() {
    for answer in [
        (|_, stream| stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n")) as Answer,
        |_, stream| stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n"),
        |_, stream| stream.write_all(b""),
        |_, stream| send(stream, &"X: y\r\n".repeat(200_000), b""),
        |_, stream| send(stream, &format!("Content-Type: {}\r\nContent-Length: 1", media_type::OCI_MANIFEST), b"{"),
        |_, stream| send(stream, "Content-Type: text/html\r\nContent-Length: 6", b"<html>"),
    ] {
        let Mirror { registry: mirror, _directory } = Mirror::of(&start(answer), "3600");
        is_bad_gateway(&get(&mirror, &format!("{MANIFEST}/v1")));
        let answer = get(&mirror, &blob_path());
        assert!(!answer.starts_with(b"HTTP/1.1 200") || answer.len() < LAYER_BYTES);
        assert_eq!(kept_blobs(&mirror), 0);
    }
}
