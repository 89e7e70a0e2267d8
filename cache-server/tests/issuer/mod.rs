//! An OpenID issuer on loopback: its documents over HTTP, and tokens signed with its keys.

#![allow(dead_code)] // Each test file uses its part.

use std::io::{BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::registry::read_head;

pub(crate) const AUDIENCE: &str = "https://cache.example";

/// A running issuer. Its thread ends with the test's process.
pub(crate) struct Issuer {
    pub(crate) url: String,
    pub(crate) key: Vec<u8>,
    requests: Arc<AtomicUsize>,
}

/// A new RSA key in PEM.
pub(crate) fn rsa_key() -> Vec<u8> {
    let mut openssl = Command::new("openssl");
    let output = openssl.args(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]).output();
    output.expect("openssl runs").stdout
}

/// The public half of a key in PEM.
pub(crate) fn public_pem(key: &[u8]) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().expect("temporary file");
    std::fs::write(file.path(), key).expect("written");
    let output = Command::new("openssl").args(["pkey", "-pubout", "-in"]).arg(file.path()).output();
    output.expect("openssl runs").stdout
}

/// Seconds since 1970, `offset` from now.
pub(crate) fn seconds(offset: i64) -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    i64::try_from(now.as_secs()).expect("fits") + offset
}

pub(crate) fn header(key_id: &str) -> Header {
    Header { kid: Some(key_id.into()), ..Header::new(Algorithm::RS256) }
}

impl Issuer {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let key = rsa_key();
        let signing = EncodingKey::from_rsa_pem(&key).expect("a key");
        let mut jwk = Jwk::from_encoding_key(&signing, Algorithm::RS256).expect("a JWK");
        jwk.common.key_id = Some("main".into());
        let keys = json!({ "keys": [jwk] }).to_string();
        let discovery = json!({ "issuer": url, "jwks_uri": format!("{url}/jwks") }).to_string();
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                counted.fetch_add(1, Ordering::Relaxed);
                serve(stream.expect("a connection"), &discovery, &keys);
            }
        });
        Self { url, key, requests }
    }

    /// Connections that were made to it.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// Claims of a job of the project `g/app`.
    pub(crate) fn claims(&self, reference: &str, protected: bool) -> Value {
        json!({
            "iss": self.url, "aud": AUDIENCE, "sub": "anything", "exp": seconds(300), "nbf": seconds(-5),
            "project_path": "g/app", "ref": reference, "ref_type": "branch",
            "ref_protected": protected.to_string(), "pipeline_source": "push",
        })
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        encode(&header("main"), claims, &EncodingKey::from_rsa_pem(&self.key).expect("a key")).expect("signed")
    }

    /// The configuration of a server that trusts it.
    pub(crate) fn configuration(&self) -> String {
        format!("[[oidc]]\nkind = \"gitlab\"\nissuer = \"{}\"\naudience = \"{AUDIENCE}\"\n", self.url)
    }
}

fn serve(stream: TcpStream, discovery: &str, keys: &str) {
    let mut reader = BufReader::new(stream);
    let request = read_head(&mut reader).expect("a request");
    let body = match request[0].split(' ').nth(1) {
        Some("/.well-known/openid-configuration") => discovery,
        Some("/jwks") => keys,
        _ => "{}",
    };
    let answer = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    // The client may have seen enough.
    let _ = reader.get_mut().write_all(answer.as_bytes());
}
