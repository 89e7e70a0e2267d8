//! Where the servers of a test program keep their data: in a directory, or in a bucket of a service that runs as a
//! separate process.

pub(crate) mod azurite;
mod moto;

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::sync_channel;

use super::Reply;

/// Whose object store it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    S3,
    Azure,
}

/// The object store of this test program, by its name; `None` for a directory.
pub(crate) fn service() -> Option<Service> {
    match program() {
        "objects" | "objects_redirected" => Some(Service::S3),
        "objects_azure" => Some(Service::Azure),
        _ => None,
    }
}

fn program() -> &'static str {
    module_path!().split("::").next().unwrap_or_default()
}

/// Whether servers keep their data in a bucket.
pub(crate) fn in_bucket() -> bool {
    service().is_some()
}

/// Whether servers send their clients to the store for blobs.
pub(crate) fn is_redirected() -> bool {
    program() == "objects_redirected"
}

fn some_service() -> Service {
    service().expect("a program with an object store")
}

/// The flags that make `data` the place of a server's data: a directory, or a place in a bucket
/// that is named after it.
pub(crate) fn place(data: &Path) -> [OsString; 2] {
    if in_bucket() { ["--store".into(), address(data).into()] } else { ["--data".into(), data.into()] }
}

/// The place in the bucket that stands for a directory.
pub(crate) fn address(data: &Path) -> String {
    address_in("tests", &prefix(data))
}

fn prefix(data: &Path) -> String {
    data.as_os_str().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A place in a bucket.
pub(crate) fn address_in(bucket: &str, prefix: &str) -> String {
    let scheme = match some_service() {
        Service::S3 => "s3",
        Service::Azure => "az",
    };
    format!("{scheme}://{bucket}/{prefix}")
}

/// Lets a program find the service.
pub(crate) fn equip(command: &mut Command) {
    if in_bucket() {
        equip_for(command, host());
    }
    if is_redirected() {
        command.env("CACHE_SERVER_REDIRECT", "true");
    }
}

/// The same, of a service at `host:port`.
pub(crate) fn equip_for(command: &mut Command, host: &str) {
    match some_service() {
        Service::S3 => moto::equip(command),
        Service::Azure => azurite::equip(command),
    }
    let (name, value) = endpoint(&format!("http://{host}"));
    command.env(name, value);
}

/// The variable that says that the service is at `origin`.
pub(crate) fn endpoint(origin: &str) -> (&'static str, String) {
    match some_service() {
        Service::S3 => ("AWS_ENDPOINT_URL", origin.to_owned()),
        Service::Azure => ("AZURE_STORAGE_ENDPOINT", format!("{origin}/{}", azurite::ACCOUNT)),
    }
}

/// `host:port` of this process's own service, with the bucket `tests`.
pub(crate) fn host() -> &'static str {
    static HOST: OnceLock<String> = OnceLock::new();
    HOST.get_or_init(|| {
        let host = start(|_| ());
        match some_service() {
            Service::S3 => moto::make_bucket(&host),
            Service::Azure => azurite::make_bucket(&host),
        }
        host
    })
}

/// Starts another service, without a bucket, that speaks TLS.
pub(crate) fn start_with_tls(certificate: &Path, key: &Path) -> String {
    let (certificate, key) = (certificate.to_owned(), key.to_owned());
    start(move |command| {
        match some_service() {
            Service::S3 => command.arg("--ssl-cert").arg(certificate).arg("--ssl-key").arg(key),
            Service::Azure => command.arg("--cert").arg(certificate).arg("--key").arg(key),
        };
    })
}

/// Starts a service on a free port; its `host:port`.
fn start(configure: impl FnOnce(&mut Command) + Send + 'static) -> String {
    let (sender, receiver) = sync_channel(1);
    // The service dies with the thread that started it: this one lives as long as the process.
    std::thread::spawn(move || {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let announced = match some_service() {
            Service::S3 => moto::describe(&mut command),
            Service::Azure => azurite::describe(&mut command),
        };
        configure(&mut command);
        let mut child = command.spawn().expect("setpriv runs");
        let mut output = both_outputs(&mut child);
        sender.send(find_address(&mut output, announced)).expect("waited for");
        let _ = std::io::copy(&mut output, &mut std::io::sink());
    });
    receiver.recv().expect("the service starts")
}

fn find_address(output: &mut impl BufRead, announced: &str) -> String {
    loop {
        let mut line = String::new();
        assert!(output.read_line(&mut line).expect("a line") > 0, "the service ended");
        let address = line.split_once(announced).and_then(|(_, url)| url.split_once("://"));
        if let Some((_, host)) = address {
            return host.trim().to_owned();
        }
    }
}

/// Standard error goes to nobody, unless the service speaks there.
fn both_outputs(child: &mut Child) -> Box<dyn BufRead> {
    let (said, other): (Box<dyn Read + Send>, Box<dyn Read + Send>) = {
        let output = Box::new(child.stdout.take().expect("piped"));
        let errors = Box::new(child.stderr.take().expect("piped"));
        match some_service() {
            Service::S3 => (errors, output),
            Service::Azure => (output, errors),
        }
    };
    std::thread::spawn(move || std::io::copy(&mut { other }, &mut std::io::sink()));
    Box::new(BufReader::new(said))
}

/// A program that `test.sh` installs below `target/`.
fn installed(path: &str, script: &str) -> PathBuf {
    let binary = Path::new(env!("CARGO_BIN_EXE_cache-server"));
    let below = |directory: &Path| Some(directory.join(path)).filter(|path| path.exists());
    let found = binary.ancestors().find_map(below);
    found.unwrap_or_else(|| panic!("no {path} below target/: run tests/{script} of cache-server first"))
}

/// Names, below the place, and bytes of the objects whose names begin with `folder`.
pub(crate) fn objects(data: &Path, folder: &str) -> Vec<(String, u64)> {
    let place = format!("{}/", prefix(data));
    let begin = format!("{place}{folder}");
    let listed = match some_service() {
        Service::S3 => moto::list(host(), &begin),
        Service::Azure => azurite::list(host(), &begin),
    };
    let below = |(name, size): (String, u64)| (name.strip_prefix(&place).expect("below it").to_owned(), size);
    listed.into_iter().map(below).collect()
}

/// Writes an empty object.
pub(crate) fn put_empty(data: &Path, name: &str) {
    let name = format!("{}/{name}", prefix(data));
    match some_service() {
        Service::S3 => moto::put_empty(host(), &name),
        Service::Azure => azurite::put_empty(host(), &name),
    }
}

/// The part of a signed address of the store that a client asks for.
#[track_caller]
pub(crate) fn signed_target(location: &str) -> &str {
    let target = location.strip_prefix(&format!("http://{}", host())).expect("an address of the store");
    let proof = match some_service() {
        Service::S3 => "X-Amz-Signature=",
        Service::Azure => "&sig=",
    };
    assert!(target.contains(proof), "{target}");
    target
}

/// What stands between two texts, everywhere.
fn between<'a>(text: &'a str, begin: &str, end: &str) -> Vec<&'a str> {
    text.split(begin).skip(1).filter_map(|rest| Some(rest.split_once(end)?.0)).collect()
}

/// Pairs of names and sizes of a list in XML.
fn listed(text: &str, name: &str, size: &str) -> Vec<(String, u64)> {
    let texts = |tag: &str| between(text, &format!("<{tag}>"), "<");
    let sizes = texts(size).into_iter().map(|size| size.parse().expect("a number"));
    texts(name).into_iter().map(str::to_owned).zip(sizes).collect()
}

/// What anybody gets from the service; status and body.
pub(crate) fn request_bytes(target: &str) -> (u16, Vec<u8>) {
    let reply = send(host(), "GET", target, "");
    (reply.status, reply.body)
}

/// One request to the service; status and body.
fn request(host: &str, method: &str, target: &str, headers: &str) -> (u16, String) {
    let reply = send(host, method, target, headers);
    (reply.status, String::from_utf8_lossy(&reply.body).into_owned())
}

fn send(host: &str, method: &str, target: &str, headers: &str) -> Reply {
    let mut stream = TcpStream::connect(host).expect("the service accepts");
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 0\r\n{headers}\r\n"
    );
    stream.write_all(head.as_bytes()).expect("sent");
    Reply::read_to_end(&mut BufReader::new(stream))
}
