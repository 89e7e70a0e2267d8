//! A web server on loopback: files of a directory, and git repositories in it over git's own
//! protocol. Asks for a password when it is given one.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

pub struct Web {
    pub address: SocketAddr,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Web {
    /// `authorization`: what that header must say.
    pub fn start(root: &Path, authorization: Option<&str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("address");
        let ended = Arc::new(AtomicBool::new(false));
        let site = Site { root: root.to_owned(), authorization: authorization.map(str::to_owned) };
        let flag = Arc::clone(&ended);
        let serve = move || {
            for stream in listener.incoming().flatten() {
                if flag.load(Ordering::SeqCst) {
                    return;
                }
                // A client that goes away early is its own business.
                let _ = site.answer(stream);
            }
        };
        Self { address, ended, thread: Some(std::thread::spawn(serve)) }
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

struct Site {
    root: PathBuf,
    authorization: Option<String>,
}

impl Site {
    fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? <= 2 {
                break;
            }
            lines.push(line.trim().to_owned());
        }
        let header = |name: &str| {
            let found = lines.iter().skip(1).filter_map(|line| line.split_once(": "));
            found.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).next()
        };
        let mut request = lines.first().map_or("", String::as_str).split(' ');
        let (method, target) = (request.next().unwrap_or_default(), request.next().unwrap_or_default());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        if self.authorization.is_some() && header("authorization") != self.authorization {
            let head = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n";
            return stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes());
        }
        let mut body = vec![0; header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0)];
        reader.read_exact(&mut body)?;
        if header("transfer-encoding").is_some() {
            body = chunks(&mut reader)?;
        }
        if path.contains(".git/") {
            let environment = [
                ("REQUEST_METHOD", method.to_owned()),
                ("PATH_INFO", path.to_owned()),
                ("QUERY_STRING", query.to_owned()),
                ("CONTENT_TYPE", header("content-type").unwrap_or_default()),
                ("HTTP_CONTENT_ENCODING", header("content-encoding").unwrap_or_default()),
                ("GIT_PROTOCOL", header("git-protocol").unwrap_or_default()),
            ];
            return stream.write_all(&self.git(&environment, &body)?);
        }
        match fs::read(self.root.join(path.trim_start_matches('/'))) {
            Ok(bytes) => {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", bytes.len());
                stream.write_all(&[head.as_bytes(), &bytes].concat())
            }
            Err(_) => stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
        }
    }

    /// By CGI, as `git help http-backend` has it.
    fn git(&self, environment: &[(&str, String)], body: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut child = Command::new("git")
            .arg("http-backend")
            .env("GIT_PROJECT_ROOT", &self.root)
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("CONTENT_LENGTH", body.len().to_string())
            .env("GIT_CONFIG_COUNT", "1")
            .env("GIT_CONFIG_KEY_0", "safe.directory")
            .env("GIT_CONFIG_VALUE_0", "*")
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        child.stdin.take().expect("piped").write_all(body)?;
        let output = child.wait_with_output()?.stdout;
        let status = String::from_utf8_lossy(&output[..output.len().min(200)])
            .lines()
            .find_map(|line| line.strip_prefix("Status: ").map(str::to_owned));
        let head = format!("HTTP/1.1 {}\r\nConnection: close\r\n", status.as_deref().unwrap_or("200 OK"));
        Ok([head.as_bytes(), &output].concat())
    }
}

fn chunks(reader: &mut impl BufRead) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let length = usize::from_str_radix(line.trim(), 16).unwrap_or(0);
        let mut chunk = vec![0; length + 2];
        reader.read_exact(&mut chunk)?;
        if length == 0 {
            return Ok(body);
        }
        body.extend_from_slice(&chunk[..length]);
    }
}
