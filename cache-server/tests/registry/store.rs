//! An S3 service as a separate process: moto, which honours `If-None-Match` and `If-Match`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::sync_channel;

/// Whether servers of this test program keep their data in a bucket: in all whose name says so.
pub(crate) fn in_bucket() -> bool {
    module_path!().starts_with("objects")
}

/// The flags that make `data` the place of a server's data: a directory, or a place in a bucket
/// that is named after it.
pub(crate) fn place(data: &Path) -> [std::ffi::OsString; 2] {
    if in_bucket() { ["--store".into(), address(data).into()] } else { ["--data".into(), data.into()] }
}

/// The place in the bucket that stands for a directory.
pub(crate) fn address(data: &Path) -> String {
    let plain: String = data.as_os_str().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("s3://tests/{plain}")
}

/// Lets a program find the service.
pub(crate) fn equip(command: &mut Command) {
    if in_bucket() {
        command.env("AWS_ENDPOINT_URL", format!("http://{}", service()));
        command.env("AWS_ACCESS_KEY_ID", "key").env("AWS_SECRET_ACCESS_KEY", "secret").env("AWS_REGION", "us-east-1");
    }
}

/// `host:port` of this process's own service, with the bucket `tests`.
pub(crate) fn service() -> &'static str {
    static SERVICE: OnceLock<String> = OnceLock::new();
    SERVICE.get_or_init(|| {
        let (sender, receiver) = sync_channel(1);
        // The service dies with the thread that started it: this one lives as long as the process.
        std::thread::spawn(move || {
            let (mut child, address) = start();
            sender.send(address).expect("waited for");
            let mut rest = BufReader::new(child.stderr.take().expect("piped"));
            let _ = std::io::copy(&mut rest, &mut std::io::sink());
        });
        let address = receiver.recv().expect("the service starts");
        assert_eq!(request(&address, "PUT", "/tests").0, 200);
        address
    })
}

/// Starts a service on a free port.
fn start() -> (Child, String) {
    let mut child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL"])
        .arg(program())
        .args(["-H", "127.0.0.1", "-p", "0"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("setpriv runs");
    let mut output = BufReader::new(child.stderr.take().expect("piped"));
    let mut line = String::new();
    let address = loop {
        line.clear();
        let count = output.read_line(&mut line).expect("a line");
        assert!(count > 0, "moto ended");
        if let Some((_, address)) = line.split_once("Running on http://") {
            break address.trim().to_owned();
        }
    };
    child.stderr = Some(output.into_inner());
    (child, address)
}

/// Where `test.sh` installs moto.
fn program() -> PathBuf {
    let binary = Path::new(env!("CARGO_BIN_EXE_cache-server"));
    let below = |directory: &Path| Some(directory.join("moto/bin/moto_server")).filter(|path| path.exists());
    let found = binary.ancestors().find_map(below);
    found.expect("moto below target/: run tests/moto.sh of cache-server first")
}

/// One request to the service; status and body.
pub(crate) fn request(address: &str, method: &str, target: &str) -> (u16, String) {
    let (status, body) = request_bytes(address, method, target);
    (status, String::from_utf8_lossy(&body).into_owned())
}

/// The same, of bytes.
pub(crate) fn request_bytes(address: &str, method: &str, target: &str) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(address).expect("the service accepts");
    let authorization = if target.contains("X-Amz-Signature") {
        ""
    } else {
        "Authorization: AWS4-HMAC-SHA256 Credential=key/20200101/us-east-1/s3/aws4_request\r\n"
    };
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: 0\r\n{authorization}\r\n"
    );
    stream.write_all(head.as_bytes()).expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("answered");
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("headers") + 4;
    let body = answer.split_off(end);
    let head = String::from_utf8_lossy(&answer).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, body)
}
