//! A front of a real registry, for registries that say no where `docker-registry` says yes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

/// A request, and what the registry behind says to it.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub body: String,
    /// `None` before the registry was asked.
    pub status: Option<u16>,
}

impl Asked {
    pub fn is(&self, method: &str, part: &str) -> bool {
        self.method == method && self.path.contains(part)
    }
}

/// What is said in its place.
#[derive(Debug, Clone)]
pub struct Refusal {
    pub status: u16,
    /// Whole lines, each with its end.
    pub headers: &'static str,
    pub code: &'static str,
    pub message: &'static str,
}

pub type Rule = fn(&Asked) -> Option<Refusal>;

/// Passes requests on to `backend`, as far as `rule` has nothing to say; returns its address. Ends with
/// the test's process.
pub fn start(backend: &str, rule: impl Fn(&Asked) -> Option<Refusal> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address").to_string();
    let backend: Arc<str> = backend.into();
    let rule = Arc::new(rule);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (backend, rule) = (Arc::clone(&backend), Arc::clone(&rule));
            // A client that goes away early is its own business.
            std::thread::spawn(move || drop(pass_on(stream, &backend, &*rule)));
        }
    });
    address
}

fn pass_on(mut client: TcpStream, backend: &str, rule: &dyn Fn(&Asked) -> Option<Refusal>) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let length = head.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    let mut words = head.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let asked = Asked { method, path, body: String::from_utf8_lossy(&body).into_owned(), status: None };
    if let Some(refusal) = rule(&asked) {
        return refusal.send(&mut client);
    }
    let mut server = TcpStream::connect(backend)?;
    server.write_all(head.replacen("\r\n", "\r\nConnection: close\r\n", 1).as_bytes())?;
    server.write_all(&body)?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    let status =
        String::from_utf8_lossy(&answer[..answer.len().min(12)]).split(' ').nth(1).and_then(|s| s.parse().ok());
    match rule(&Asked { status, ..asked }) {
        Some(refusal) => refusal.send(&mut client),
        None => client.write_all(&answer),
    }
}

impl Refusal {
    fn send(&self, client: &mut TcpStream) -> std::io::Result<()> {
        let Self { status, headers, code, message } = self;
        let text = format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#);
        let length = text.len();
        write!(client, "HTTP/1.1 {status} No\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{text}")
    }
}
