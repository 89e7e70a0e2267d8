//! One exchange with a service that grants credentials: bounded in time and size, never redirected, and no secret
//! that was sent in what is said about it.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use ureq::http::header::{AUTHORIZATION, CONTENT_TYPE};
use ureq::http::{HeaderValue, Method, Request};
use ureq::{Agent, Body};
use url::{Url, form_urlencoded};

use super::super::Secret;
use crate::registry::error::clean;
use crate::registry::origin::Origin;
use crate::registry::proxy::ProxySettings;
use crate::registry::web::agent;

const MAX_ANSWER_BYTES: u64 = 256 << 10;
const MAX_FILE_BYTES: u64 = 1 << 20;
const TRIES: u32 = 3;
/// Characters of a secret by which it is known.
const RECOGNISED: usize = 8;
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// Why a provider gave no credentials. No text in it is a secret.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Failure {
    /// There is nothing that says who we are.
    #[error("{0}")]
    Nothing(&'static str),
    /// A variable or a file that cannot be used.
    #[error("{0}")]
    Setting(String),
    /// A file that cannot be read.
    #[error("cannot read {}: {reason}", .path.display())]
    File { path: PathBuf, reason: String },
    /// No answer.
    #[error("{place} did not answer: {reason}")]
    Unreachable { place: String, reason: String },
    /// An answer that is a refusal.
    #[error("{place} answered {status}{}", .said.as_deref().map(|text| format!(": {text}")).unwrap_or_default())]
    Refused { place: String, status: u16, said: Option<String> },
    /// An answer that makes no sense.
    #[error("{place} sent a malformed answer: {reason}")]
    Malformed { place: String, reason: &'static str },
}

/// How far away a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Distance {
    /// The machine's own metadata service: at once or never, and by no proxy.
    Machine,
    /// A service of the cloud.
    Cloud,
}

/// A request.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: Vec<(String, Secret)>,
    pub(super) body: Option<Secret>,
    distance: Distance,
    /// What must not come back in an error.
    secrets: Vec<Secret>,
}

impl Question {
    fn new(method: Method, url: Url, distance: Distance) -> Self {
        Self { method, url, headers: Vec::new(), body: None, distance, secrets: Vec::new() }
    }

    pub(super) fn get(url: Url, distance: Distance) -> Self {
        Self::new(Method::GET, url, distance)
    }

    pub(super) fn put(url: Url, distance: Distance) -> Self {
        Self { body: Some(Secret::new("")), ..Self::new(Method::PUT, url, distance) }
    }

    pub(super) fn post(url: Url, kind: &'static str, body: &str) -> Self {
        let question = Self { body: Some(Secret::new(body)), ..Self::new(Method::POST, url, Distance::Cloud) };
        question.header(CONTENT_TYPE.as_str(), kind)
    }

    /// POST of a form, some fields of which are secret.
    pub(super) fn form(url: Url, fields: &[(&str, &str)], secrets: &[(&str, &Secret)]) -> Self {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(fields);
        form.extend_pairs(secrets.iter().map(|(name, secret)| (name, secret.expose())));
        let mut question = Self::post(url, "application/x-www-form-urlencoded", &form.finish());
        question.secrets.extend(secrets.iter().map(|(_, secret)| (*secret).clone()));
        question
    }

    pub(super) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), Secret::new(value)));
        self
    }

    pub(super) fn secret_header(mut self, name: &str, value: &Secret) -> Self {
        self.secrets.push(value.clone());
        self.header(name, value.expose())
    }

    pub(super) fn bearer(mut self, token: &Secret) -> Self {
        self.secrets.push(token.clone());
        self.header(AUTHORIZATION.as_str(), format!("Bearer {}", token.expose()))
    }

    /// What was asked, without the query.
    fn place(&self) -> String {
        let origin = Origin::of(&self.url).map(|origin| origin.to_string()).unwrap_or_default();
        format!("{} {origin}{}", self.method, self.url.path())
    }

    fn request(&self) -> Result<Request<()>, Failure> {
        let unusable = || Failure::Setting(format!("{}: a header cannot carry what is set for it", self.place()));
        let mut builder = Request::builder().method(self.method.clone()).uri(self.url.as_str());
        for (name, value) in &self.headers {
            let mut value = HeaderValue::from_str(value.expose()).map_err(|_| unusable())?;
            value.set_sensitive(true);
            builder = builder.header(name, value);
        }
        builder.body(()).map_err(|_| unusable())
    }

    /// Whether a repetition may do better. A metadata service that does not answer is not there.
    fn may_pass(&self, failure: &Failure) -> bool {
        match failure {
            Failure::Refused { status, .. } => matches!(status, 429 | 500..),
            Failure::Unreachable { .. } => self.distance == Distance::Cloud,
            _ => false,
        }
    }

    /// A server's text, unless it holds a secret that we sent.
    fn without_secrets(&self, text: &str) -> Option<String> {
        let text = clean(text)?;
        // A cut text may end within a secret, so its start is enough.
        let is_told = |secret: &Secret| {
            let start: String = secret.expose().chars().take(RECOGNISED).collect();
            let encoded: String = form_urlencoded::byte_serialize(start.as_bytes()).collect();
            !start.is_empty() && (text.contains(&start) || text.contains(&encoded))
        };
        (!self.secrets.iter().any(is_told)).then_some(text)
    }
}

/// What refusals look like: OAuth (`error`, `error_description`), Google (`error.message`), AWS (`__type`, `message`).
#[derive(Deserialize)]
struct RefusalBody {
    #[serde(default)]
    error: Option<ErrorField>,
    #[serde(default)]
    error_description: Option<String>,
    #[serde(default, rename = "__type")]
    kind: Option<String>,
    #[serde(default, alias = "Message")]
    message: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ErrorField {
    Code(String),
    Object {
        #[serde(default)]
        message: String,
    },
}

impl RefusalBody {
    fn text(self) -> String {
        let (code, message) = match self.error {
            Some(ErrorField::Code(code)) => (Some(code), None),
            Some(ErrorField::Object { message }) => (None, Some(message)),
            None => (self.kind, None),
        };
        let parts = [code, message, self.error_description, self.message];
        parts.into_iter().flatten().collect::<Vec<_>>().join(": ")
    }
}

/// The way to such services.
#[derive(Debug)]
pub(super) struct Web {
    pub(super) proxy: ProxySettings,
}

impl Web {
    /// The body of a 200, up to 256 KiB. What may pass is tried three times.
    pub(super) fn ask(&self, question: &Question) -> Result<Vec<u8>, Failure> {
        let agent = self.agent(question)?;
        let mut tried = 0;
        loop {
            let answer = self.attempt(&agent, question);
            tried += 1;
            if tried == TRIES || !answer.as_ref().is_err_and(|failure| question.may_pass(failure)) {
                return answer;
            }
            thread::sleep(FIRST_WAIT * (1 << tried));
        }
    }

    /// The same for a JSON document. The parser's message is left out: it may quote a secret.
    pub(super) fn ask_json<T: DeserializeOwned>(&self, question: &Question) -> Result<T, Failure> {
        let bytes = self.ask(question)?;
        let reason = "not the document that was expected";
        serde_json::from_slice(&bytes).map_err(|_| Failure::Malformed { place: question.place(), reason })
    }

    /// The same for text.
    pub(super) fn ask_text(&self, question: &Question) -> Result<String, Failure> {
        let reason = "not text";
        String::from_utf8(self.ask(question)?).map_err(|_| Failure::Malformed { place: question.place(), reason })
    }

    fn agent(&self, question: &Question) -> Result<Agent, Failure> {
        let unusable = || Failure::Setting(format!("{}: unusable address", question.place()));
        let origin = Origin::of(&question.url).ok_or_else(unusable)?;
        let (connect, total, proxy) = match question.distance {
            Distance::Machine => (Duration::from_secs(1), Duration::from_secs(3), None),
            Distance::Cloud => {
                let proxy = self.proxy.for_origin(&origin).map_err(|fault| Failure::Setting(fault.to_string()))?;
                (Duration::from_secs(5), Duration::from_secs(15), proxy)
            }
        };
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("yadokari/", env!("CARGO_PKG_VERSION")))
            .proxy(proxy)
            .timeout_connect(Some(connect))
            .timeout_global(Some(total));
        Ok(agent(config.build()))
    }

    fn attempt(&self, agent: &Agent, question: &Question) -> Result<Vec<u8>, Failure> {
        let unreachable = |reason: String| Failure::Unreachable { place: question.place(), reason };
        let request = question.request()?;
        let answer = match &question.body {
            None => agent.run(request),
            Some(body) => agent.run(request.map(|()| body.expose().to_owned())),
        };
        let response = answer.map_err(|error| unreachable(describe(&error)))?;
        let status = response.status().as_u16();
        let bytes = read(response.into_body()).map_err(|error| unreachable(error.to_string()))?;
        match status {
            200..=299 if bytes.len() as u64 > MAX_ANSWER_BYTES => {
                Err(Failure::Malformed { place: question.place(), reason: "it is too large" })
            }
            200..=299 => Ok(bytes),
            300..=399 => {
                let said = Some("a redirect, which is not followed".to_owned());
                Err(Failure::Refused { place: question.place(), status, said })
            }
            _ => Err(Failure::Refused { place: question.place(), status, said: said(question, &bytes) }),
        }
    }
}

fn read(body: Body) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    body.into_reader().take(MAX_ANSWER_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn describe(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(_) => "no answer in time".to_owned(),
        ureq::Error::BadUri(_) => "unusable address".to_owned(),
        other => clean(&other.to_string()).unwrap_or_default(),
    }
}

/// What a refusal says: of JSON the customary fields, of XML the message, of other documents nothing.
fn said(question: &Question, bytes: &[u8]) -> Option<String> {
    if let Ok(body) = serde_json::from_slice::<RefusalBody>(bytes) {
        return question.without_secrets(&body.text());
    }
    let text = std::str::from_utf8(bytes).ok()?;
    if let Ok(document) = roxmltree::Document::parse(text) {
        let of = |name: &str| document.descendants().find(|node| node.tag_name().name() == name)?.text();
        let parts = [of("Code"), of("Message")].into_iter().flatten().collect::<Vec<_>>();
        return question.without_secrets(&parts.join(": "));
    }
    if text.trim_start().starts_with(['<', '{', '[']) { None } else { question.without_secrets(text) }
}

/// Reads a text file of at most 1 MiB, without white space around it.
pub(super) fn read_file(path: &Path) -> Result<String, Failure> {
    let fail = |reason: String| Failure::File { path: path.to_owned(), reason };
    let file = fs::File::open(path).map_err(|error| fail(error.to_string()))?;
    let mut text = String::new();
    file.take(MAX_FILE_BYTES).read_to_string(&mut text).map_err(|error| fail(error.to_string()))?;
    Ok(text.trim().to_owned())
}

/// An address that a variable or a file names: https, or http where `plain` says that it may be.
pub(super) fn address(text: &str, source: &str, plain: impl Fn(&Origin) -> bool) -> Result<Url, Failure> {
    let unusable = |why: &str| Failure::Setting(format!("{source} is {why}"));
    let url = Url::parse(text.trim()).map_err(|_| unusable("no URL"))?;
    let origin = Origin::of(&url).ok_or_else(|| unusable("no http or https URL"))?;
    if !origin.is_https() && !plain(&origin) {
        return Err(unusable("a plain http URL, to which no secret is sent"));
    }
    Ok(url)
}

/// `path` below `base`, whatever path that has.
pub(super) fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}/{}", base.path().trim_end_matches('/'), path.trim_start_matches('/')));
    url
}
