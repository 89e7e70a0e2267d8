//! The real binary on a free port, and a client that sees every byte of the protocol.

#![allow(dead_code)] // Each test file uses its part.

pub(crate) mod authority;
pub(crate) mod command;
pub(crate) mod store;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use serde_json::{Value, json};
use yadokari::digest::Digest;
use yadokari::image::media_type;

/// A running server; killed when dropped.
pub(crate) struct Registry {
    process: Child,
    address: String,
    data: PathBuf,
    owned: Option<tempfile::TempDir>,
    // Kept open: the server must not see a closed standard output.
    _output: BufReader<ChildStdout>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Registry {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    pub(crate) fn start_in(data: &Path) -> Self {
        Self::start_command(command::serve_in(data), data)
    }

    /// Starts the server with more flags.
    pub(crate) fn start_with(flags: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let data = directory.path().join("data");
        let mut registry = Self::start_in_with(&data, flags);
        registry.owned = Some(directory);
        registry
    }

    /// The same with its data in `data`.
    pub(crate) fn start_in_with(data: &Path, flags: &[&str]) -> Self {
        let mut command = command::serve_in(data);
        command.args(flags);
        Self::start_command(command, data)
    }

    /// Starts the server that `command` describes, with its data in `data`.
    pub(crate) fn start_command(command: Command, data: &Path) -> Self {
        Self::start_equipped(command, data, store::equip)
    }

    /// The same with another way to the store than the usual.
    pub(crate) fn start_equipped(mut command: Command, data: &Path, equip: impl FnOnce(&mut Command)) -> Self {
        equip(&mut command);
        let mut process = command.stdout(Stdio::piped()).spawn().expect("cache-server starts");
        let mut output = BufReader::new(process.stdout.take().expect("piped"));
        let mut line = String::new();
        output.read_line(&mut line).expect("one line");
        let address = line.trim().strip_prefix("listening on ").and_then(|url| url.split_once("://"));
        let address = address.expect("the address").1.to_owned();
        Self { process, address, data: data.to_owned(), owned: None, _output: output }
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// Process ID of the server.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Resident memory, in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line");
        let kib: u64 = line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number");
        kib << 10
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.process.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// Ends it as a crash does.
    pub(crate) fn kill(self) {
        drop(self);
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.process.wait().expect("the server ends")
    }

    pub(crate) fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.address).expect("the server accepts")
    }

    /// One request on a connection of its own.
    pub(crate) fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let target = target.strip_prefix(&format!("http://{}", self.address)).unwrap_or(target);
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.address);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
        let mut stream = self.connect();
        stream.write_all(head.as_bytes()).expect("the server reads");
        // A server that has seen enough may close before it has read everything.
        let _ = stream.write_all(body);
        let reply = Reply::read(&mut BufReader::new(stream), method == "HEAD");
        if store::is_redirected() && reply.status == 307 { reply.follow(method, headers) } else { reply }
    }

    /// The same without a word of how long the body is, as clients send what they do not measure.
    pub(crate) fn send_unmeasured(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.address);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("Transfer-Encoding: chunked\r\n\r\n");
        let mut stream = self.connect();
        stream.write_all(head.as_bytes()).expect("the server reads");
        for piece in body.chunks(100_000) {
            // A server that has seen enough may close before it has read everything.
            let _ = stream.write_all(&[format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat());
        }
        let _ = stream.write_all(b"0\r\n\r\n");
        Reply::read(&mut BufReader::new(stream), method == "HEAD")
    }

    pub(crate) fn get(&self, target: &str) -> Reply {
        self.send("GET", target, &[], b"")
    }

    pub(crate) fn head(&self, target: &str) -> Reply {
        self.send("HEAD", target, &[], b"")
    }

    pub(crate) fn delete(&self, target: &str) -> Reply {
        self.send("DELETE", target, &[], b"")
    }

    pub(crate) fn post(&self, target: &str) -> Reply {
        self.send("POST", target, &[], b"")
    }

    /// Opens an upload session and returns its location.
    pub(crate) fn open_session(&self, repository: &str) -> String {
        let reply = self.post(&format!("/v2/{repository}/blobs/uploads/"));
        assert_eq!(reply.status, 202, "{reply:?}");
        reply.location()
    }

    /// Pushes a blob and returns its digest.
    pub(crate) fn push_blob(&self, repository: &str, content: &[u8]) -> Digest {
        let digest = Digest::sha256(content);
        let target = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        let reply = self.send("POST", &target, &[], content);
        assert_eq!(reply.status, 201, "{reply:?}");
        digest
    }

    pub(crate) fn put_manifest(&self, repository: &str, reference: &str, manifest: &Value) -> Reply {
        let media_type = manifest["mediaType"].as_str().expect("typed").to_owned();
        let target = format!("/v2/{repository}/manifests/{reference}");
        self.send("PUT", &target, &[("Content-Type", &media_type)], manifest.to_string().as_bytes())
    }

    /// Pushes the blobs of an image and returns its manifest.
    pub(crate) fn push_parts(&self, repository: &str, name: &str) -> Value {
        let layer = format!("layer of {name}").into_bytes();
        self.push_blob(repository, &layer);
        self.push_blob(repository, b"{}");
        image(&layer)
    }

    /// Pushes a small image and returns its manifest's digest.
    pub(crate) fn push_image(&self, repository: &str, tag: &str) -> Digest {
        let manifest = self.push_parts(repository, tag);
        let reply = self.put_manifest(repository, tag, &manifest);
        assert_eq!(reply.status, 201, "{reply:?}");
        digest_of(&manifest)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Reply {
    pub(crate) fn read(stream: &mut impl BufRead, without_body: bool) -> Self {
        let lines = read_head(stream).expect("the connection ended within the headers");
        let status = lines[0].split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
        let headers: Vec<(String, String)> = lines[1..]
            .iter()
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let mut reply = Self { status, headers, body: Vec::new() };
        if !without_body {
            let length = reply.header("content-length").map_or(0, |text| text.parse().expect("a number"));
            reply.body = vec![0; length];
            stream.read_exact(&mut reply.body).expect("the whole body");
        }
        reply
    }

    /// An answer whose connection ends with it, however it says how long it is.
    pub(crate) fn read_to_end(stream: &mut impl BufRead) -> Self {
        let mut reply = Self::read(stream, true);
        let mut body = Vec::new();
        stream.read_to_end(&mut body).expect("the whole body");
        let is_chunked = reply.header("transfer-encoding") == Some("chunked");
        reply.body = if is_chunked { without_chunks(&body) } else { body };
        reply
    }

    /// What the store answers to a client that was sent there, with the digest that it was sent there for.
    fn follow(&self, method: &str, headers: &[(&str, &str)]) -> Self {
        let location = self.location();
        let target = store::signed_target(&location);
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", store::host());
        // A client's credentials are the registry's.
        for (name, value) in headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("authorization")) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let mut stream = TcpStream::connect(store::host()).expect("the store accepts");
        stream.write_all(format!("{head}\r\n").as_bytes()).expect("the store reads");
        let mut reply = Self::read_to_end(&mut BufReader::new(stream));
        reply.headers.extend(self.headers.iter().filter(|(name, _)| name == "docker-content-digest").cloned());
        reply
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn location(&self) -> String {
        self.header("location").expect("a location").to_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// Code of the first error.
    pub(crate) fn code(&self) -> String {
        self.json()["errors"][0]["code"].as_str().expect("a code").to_owned()
    }

    /// Asserts status and error code at once.
    #[track_caller]
    pub(crate) fn is_error(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.code().as_str()), (status, code), "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/json"));
    }
}

/// The lines of a request or an answer before its body; `None` when the connection ends before them.
pub(crate) fn read_head(stream: &mut impl BufRead) -> Option<Vec<String>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => return Some(lines),
            text => lines.push(text.to_owned()),
        }
    }
}

fn without_chunks(mut text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(end) = text.windows(2).position(|window| window == b"\r\n") {
        let length = std::str::from_utf8(&text[..end]).ok().and_then(|line| usize::from_str_radix(line, 16).ok());
        let length = length.expect("a length");
        bytes.extend_from_slice(&text[end + 2..end + 2 + length]);
        text = &text[end + 4 + length..];
    }
    bytes
}

/// Adds a parameter to a location that may have some already.
pub(crate) fn with_digest(location: &str, digest: &Digest) -> String {
    let separator = if location.contains('?') { '&' } else { '?' };
    format!("{location}{separator}digest={digest}")
}

pub(crate) fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": Digest::sha256(content), "size": content.len() })
}

/// An image with the configuration `{}` and one layer.
pub(crate) fn image(layer: &[u8]) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_MANIFEST,
        "config": descriptor(media_type::OCI_CONFIG, b"{}"),
        "layers": [descriptor(media_type::OCI_LAYER, layer)],
    })
}

pub(crate) fn digest_of(manifest: &Value) -> Digest {
    Digest::sha256(manifest.to_string().as_bytes())
}

/// Bytes that look different everywhere.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_u32;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    (0..length).map(step).collect()
}

/// The SHA-512 digest of `content`.
pub(crate) fn sha512(content: &[u8]) -> Digest {
    use sha2::Digest as _;
    Digest::from_sha512(&sha2::Sha512::digest(content).into())
}
