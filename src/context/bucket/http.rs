//! The requests of `object_store` by our own HTTP client: one set of certificates and proxies, no redirects, and every
//! refusal kept for the error that it leads to.
//!
//! Requests block the thread. It drives the one stream that wants them and nothing else, so nobody waits for it.

use std::fmt;
use std::io::{self, Read as _};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body::{Body, Frame};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
};
use ureq::http::header::{ACCEPT_ENCODING, AUTHORIZATION};
use ureq::http::{HeaderMap, HeaderValue, Request, Response};

/// A service that says nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_REFUSAL_BYTES: u64 = 64 << 10;
const MAX_TEXT: usize = 300;
const CHUNK_BYTES: usize = 128 << 10;
/// Characters of a secret by which it is known.
const RECOGNISED: usize = 12;

/// Why the last request failed.
#[derive(Debug, Clone)]
pub(super) enum Failure {
    Refused(Refusal),
    Unreachable(String),
}

/// An answer that is none.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: Option<String>,
    pub(super) message: Option<String>,
    /// Where Amazon says that the bucket is.
    pub(super) region: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        self.code.iter().try_for_each(|code| write!(f, " {code}"))?;
        self.message.iter().try_for_each(|message| write!(f, ": {message}"))
    }
}

/// Makes clients of `object_store` that share `agent`.
#[derive(Debug, Clone)]
pub(super) struct AgentConnector {
    agent: ureq::Agent,
    /// Asks for stored bytes as they are: Google unpacks what was stored with `Content-Encoding: gzip` otherwise, and
    /// does not say how long it is.
    as_stored: bool,
    last: Arc<Mutex<Option<Failure>>>,
}

impl AgentConnector {
    pub(super) fn new(agent: &ureq::Agent, as_stored: bool) -> Self {
        Self { agent: agent.clone(), as_stored, last: Arc::default() }
    }

    /// Why the last request failed, if it did.
    pub(super) fn failure(&self) -> Option<Failure> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn remember(&self, failure: Option<Failure>) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }

    fn run(&self, request: HttpRequest) -> Result<Response<ureq::Body>, ureq::Error> {
        // Only GET is ever sent, so there is no body.
        let mut request = request.map(|_| ());
        if self.as_stored {
            request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let request: Request<()> = self
            .agent
            .configure_request(request)
            // Which endpoints may be plain is decided where they are chosen.
            .https_only(false)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(PATIENCE))
            .timeout_per_read(Some(PATIENCE))
            .build();
        self.agent.run(request)
    }
}

impl HttpConnector for AgentConnector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for AgentConnector {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let sent = request.headers().clone();
        let response = self.run(request).map_err(|error| {
            self.remember(Some(Failure::Unreachable(describe(&error))));
            HttpError::new(kind(&error), error)
        })?;
        let (parts, body) = response.into_parts();
        if parts.status.is_success() {
            self.remember(None);
            let reader = body.into_with_config().limit(u64::MAX).reader();
            return Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(Chunks(Mutex::new(Box::new(reader))))));
        }
        let mut text = Vec::new();
        // What came of it is enough.
        let _ = body.into_reader().take(MAX_REFUSAL_BYTES).read_to_end(&mut text);
        self.remember(Some(Failure::Refused(refusal(parts.status.as_u16(), &parts.headers, &text, &sent))));
        Ok(HttpResponse::from_parts(parts, text.into()))
    }
}

/// A body, read when it is asked for.
struct Chunks(Mutex<Box<dyn io::Read + Send>>);

impl Body for Chunks {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let reader = self.get_mut().0.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut chunk = vec![0; CHUNK_BYTES];
        Poll::Ready(match reader.read(&mut chunk) {
            Ok(0) => None,
            Ok(count) => {
                chunk.truncate(count);
                Some(Ok(Frame::data(chunk.into())))
            }
            Err(cause) => Some(Err(HttpError::new(HttpErrorKind::Interrupted, cause))),
        })
    }
}

/// Decides what is tried again.
fn kind(error: &ureq::Error) -> HttpErrorKind {
    match error {
        ureq::Error::Timeout(_) => HttpErrorKind::Timeout,
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => HttpErrorKind::Connect,
        ureq::Error::Io(cause) if cause.kind() == io::ErrorKind::InvalidData => HttpErrorKind::Unknown,
        ureq::Error::Io(_) => HttpErrorKind::Interrupted,
        _ => HttpErrorKind::Unknown,
    }
}

fn describe(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(_) => "no answer in time".to_owned(),
        ureq::Error::BadUri(_) => "unusable address".to_owned(),
        other => clean(&other.to_string()).unwrap_or_default(),
    }
}

/// What a refusal says: of XML code and message, of other documents nothing.
fn refusal(status: u16, headers: &HeaderMap, body: &[u8], sent: &HeaderMap) -> Refusal {
    let text = std::str::from_utf8(body).unwrap_or_default();
    let document = roxmltree::Document::parse(text.trim_start_matches('\u{feff}')).ok();
    let of = |name: &str| {
        let found = document.as_ref()?.descendants().find(|node| node.tag_name().name() == name)?.text()?;
        clean(found).filter(|text| !is_told(text, sent))
    };
    let header = |name: &str| clean(headers.get(name)?.to_str().ok()?).filter(|text| !is_told(text, sent));
    let plain = |text: &String| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    Refusal {
        status,
        code: of("Code").or_else(|| header("x-ms-error-code")).filter(plain),
        message: of("Message"),
        region: header("x-amz-bucket-region").or_else(|| of("Region")).filter(plain),
    }
}

/// Whether `text` holds a part of what was sent to prove who we are.
fn is_told(text: &str, sent: &HeaderMap) -> bool {
    let proofs = [AUTHORIZATION.as_str(), "x-amz-security-token"].map(|name| sent.get(name));
    let proofs = proofs.into_iter().flatten().filter_map(|value| value.to_str().ok());
    let mut words = proofs.flat_map(|value| value.split([' ', ',', '=', ':']));
    let is_scheme = |word: &str| matches!(word, "AWS4-HMAC-SHA256" | "SignedHeaders");
    words.any(|word| word.get(..RECOGNISED).is_some_and(|start| !is_scheme(word) && text.contains(start)))
}

/// Server text for a terminal: no control characters, cut; `None` when nothing is left.
fn clean(text: &str) -> Option<String> {
    let line = text.lines().next().unwrap_or_default().trim();
    let visible = |c: &char| !c.is_control() && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}');
    let text: String = line.chars().filter(visible).take(MAX_TEXT).collect();
    (!text.is_empty()).then_some(text)
}
