//! Requests that no client would send, thousands of them: no panic, no 5xx, bounded memory, and
//! everything in order afterwards.

// Clippy takes only functions marked as tests for tests.
#![allow(clippy::expect_used)]

mod registry;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::time::Duration;

use registry::command::{assert_clean, program};
use registry::{Registry, noise};
use yadokari::digest::Digest;
use yadokari::image::media_type;

const THREADS: u64 = 8;
const REQUESTS: u64 = 2500;
const MAX_RESIDENT_BYTES: u64 = 150 << 20;

/// Numbers that depend on the seed only.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    fn one_of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }

    fn sometimes(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most + 1)).map(|_| self.below(256) as u8).collect()
    }
}

/// What a path is put together from.
struct Words {
    digests: Vec<String>,
    sessions: Vec<String>,
}

impl Words {
    fn segment(&self, random: &mut Random) -> String {
        let fixed = [
            "v2",
            "a",
            "team",
            "blobs",
            "uploads",
            "manifests",
            "tags",
            "list",
            "referrers",
            "_catalog",
            "_oci",
            "ext",
            "discover",
            "_yadokari",
            "lookup",
            "leases",
            "pins",
            "hot",
            "token",
            "access",
            "metrics",
            "..",
            ".",
            "",
            "%2e%2e",
            "%00",
            "%ff",
            "%",
            "a%2Fb",
            "latest",
            "v1",
            "sha256:abc",
            "sha512:",
            "A",
            "é",
        ];
        match random.below(5) {
            0 => self.digests[random.below(self.digests.len())].clone(),
            1 => self.sessions[random.below(self.sessions.len())].clone(),
            2 if random.sometimes(8) => "x".repeat(random.below(9000)),
            _ => random.one_of(&fixed).to_owned(),
        }
    }

    /// A path that an endpoint knows, or nonsense.
    fn path(&self, random: &mut Random) -> String {
        let digest = self.digests[random.below(self.digests.len())].clone();
        let session = self.sessions[random.below(self.sessions.len())].clone();
        let key = "0".repeat(63 + random.below(3));
        match random.below(14) {
            0 => format!("/v2/a/blobs/{digest}"),
            1 => "/v2/a/blobs/uploads/".into(),
            2 => format!("/v2/a/blobs/uploads/{session}"),
            3 => format!("/v2/a/manifests/{}", random.one_of(&["v1", "v2", &digest, "..", "-"])),
            4 => "/v2/a/tags/list".into(),
            5 => format!("/v2/a/referrers/{digest}"),
            6 => "/v2/a/_yadokari/lookup".into(),
            7 => format!("/v2/a/_yadokari/leases/{key}"),
            8 => format!("/v2/a/_yadokari/{}", random.one_of(&["pins", "pins/v1", "hot", "nothing"])),
            9 => random.one_of(&["/", "/token", "/access", "/metrics", "/readyz", "/v2/_catalog"]).into(),
            _ => (0..random.below(9)).map(|_| format!("/{}", self.segment(random))).collect(),
        }
    }

    fn query(&self, random: &mut Random) -> String {
        let digest = self.digests[random.below(self.digests.len())].clone();
        let value =
            random.one_of(&["", "1", "-1", "18446744073709551616", "%zz", "a", "..", "%00", &digest]).to_owned();
        let names = [
            "n",
            "last",
            "digest",
            "mount",
            "from",
            "artifactType",
            "tag",
            "lease",
            "ttl_ms",
            "ns",
            "scope",
            "digest-algorithm",
        ];
        match random.below(3) {
            0 => format!("?{}={value}", random.one_of(&names)),
            1 => format!("?{}={value}&{}={digest}", random.one_of(&names), random.one_of(&names)),
            _ => String::new(),
        }
    }
}

fn header(random: &mut Random) -> Vec<u8> {
    let names = [
        "Range",
        "Content-Range",
        "If-None-Match",
        "If-Range",
        "Authorization",
        "Accept",
        "Yadokari-Fence",
        "Expect",
        "Content-Type",
        "traceparent",
        "Connection",
        "X-Y",
        "Host",
        "Sec-Fetch-Site",
    ];
    let values = [
        "bytes=0-",
        "bytes=5-1",
        "bytes=-0",
        "0-99",
        "5-4",
        "*",
        "W/\"x\"",
        "Basic !!!",
        "Basic YTpi",
        "Bearer x",
        "Bearer eyJhbGciOiJub25lIn0.e30.",
        "application/json",
        media_type::OCI_MANIFEST,
        media_type::OCI_INDEX,
        "18446744073709551615",
        "100-continue",
        "cross-site",
        "close",
        "upgrade",
        "",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-0-0-0",
    ];
    let mut line = random.one_of(&names).as_bytes().to_vec();
    line.extend(b": ");
    match random.below(8) {
        // Bytes that may not be there at all.
        0 => line.extend(random.bytes(40).into_iter().filter(|byte| !b"\r\n".contains(byte))),
        _ => line.extend(random.one_of(&values).as_bytes()),
    }
    line.extend(b"\r\n");
    line
}

fn body(random: &mut Random) -> Vec<u8> {
    let documents = [
        "{}",
        "[]",
        "null",
        "{\"keys\":[\"a\"]}",
        "{\"keys\":[1]}",
        "{\"wait_ms\":-1}",
        "{\"ttl_ms\":18446744073709551615}",
        "{\"seconds\":18446744073709551615}",
        "{\"schemaVersion\":2}",
        "grant_type=password&username=a&password=b",
        "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"manifests\":[]}",
        "{\"schemaVersion\":2,\"manifests\":[],\"layers\":[]}",
        "content",
    ];
    match random.below(4) {
        0 => random.bytes(3000),
        1 => vec![b'['; random.below(200_000)],
        _ => random.one_of(&documents).as_bytes().to_vec(),
    }
}

fn request(words: &Words, random: &mut Random) -> Vec<u8> {
    if random.sometimes(25) {
        return random.bytes(2000);
    }
    let methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW", "CONNECT", "get"];
    let target = format!("{}{}", words.path(random), words.query(random));
    let version = if random.sometimes(30) { random.one_of(&["HTTP/1.0", "HTTP/2.0", "HTTP/9"]) } else { "HTTP/1.1" };
    let mut bytes = format!("{} {target} {version}\r\nHost: x\r\n", random.one_of(&methods)).into_bytes();
    (0..random.below(4)).for_each(|_| bytes.extend(header(random)));
    let body = body(random);
    match random.below(8) {
        // More is promised than comes.
        0 => bytes.extend(format!("Content-Length: {}\r\n\r\n", body.len() + 1 + random.below(100)).bytes()),
        1 => bytes
            .extend(format!("Content-Length: {}\r\n\r\n", random.one_of(&["-1", "x", "99999999999999999999"])).bytes()),
        2 => bytes.extend(format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n", body.len()).bytes()),
        3 => bytes.extend(format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n", body.len()).bytes()),
        _ => bytes.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes()),
    }
    bytes.extend(body);
    if random.sometimes(3) {
        bytes.extend(b"\r\n0\r\n\r\n");
    }
    if random.sometimes(10) {
        bytes.truncate(random.below(bytes.len()));
    }
    bytes
}

/// Sends bytes and hears the server out; the status lines of its answers.
fn converse(registry: &Registry, bytes: &[u8]) -> Vec<String> {
    let mut stream = registry.connect();
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("set");
    // The server may have seen enough before it has read everything.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer).into_owned();
    text.lines().filter(|line| line.starts_with("HTTP/1.")).map(str::to_owned).collect()
}

#[test]
fn nonsense_does_no_harm() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (data, log) = (directory.path().join("data"), directory.path().join("log"));
    let tokens = directory.path().join("tokens.json");
    let mut command = program();
    command.args([
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--log=error",
        "--anonymous=write",
        "--max-bytes=64MiB",
        "--data",
    ]);
    command.arg(&data).arg("--tokens").arg(&tokens).stderr(fs::File::create(&log).expect("made"));
    let mut registry = Registry::start_command(command, &data);
    let content = noise(100_000);
    registry.push_image("a", "v1");
    let words = Words {
        digests: vec![registry.push_blob("a", &content).to_string(), Digest::sha256(b"absent").to_string()],
        sessions: (0..4).map(|_| registry.open_session("a").rsplit('/').next().expect("an ID").to_owned()).collect(),
    };
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (registry, words) = (&registry, &words);
            scope.spawn(move || {
                for number in 0..REQUESTS {
                    let seed = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(thread * REQUESTS + number + 1);
                    let mut random = Random(seed | 1);
                    let bytes = request(words, &mut random);
                    for line in converse(registry, &bytes) {
                        let fault = line.split(' ').nth(1).is_some_and(|status| status.starts_with('5'));
                        assert!(!fault, "seed {seed}: {line}\n{}", String::from_utf8_lossy(&bytes));
                    }
                }
            });
        }
    });
    assert!(registry.resident() < MAX_RESIDENT_BYTES, "{}", registry.resident());
    assert_eq!(registry.get("/v2/").status, 200);
    registry.signal("TERM");
    assert_eq!(registry.wait().code(), Some(0));
    let said = fs::read_to_string(&log).expect("a log");
    assert!(!said.contains("panicked") && !said.contains("level=error"), "{said}");
    assert_clean(&data);
}
