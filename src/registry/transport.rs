//! One HTTP exchange: pooled connections, timeouts, and faults that have a name.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ureq::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{ConnectProxyConnector, Connector as _, NextTimeout, TcpConnector};
use ureq::{Agent, Body, SendBody};
use url::Url;

use super::error::{Answer, Fault, clean};
use super::options::{ClientOptions, Purpose};
use super::origin::Origin;
use super::tls::{TlsConnector, TlsSettings, client_config};
use super::traffic::{Counter, Traffic};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest silence of a server while we send or receive.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// The same after an upload: object stores copy the blob before they answer.
pub(super) const UPLOAD_PATIENCE: Duration = Duration::from_secs(600);
/// How long a name's addresses are kept; `ureq` would ask before every request.
const RESOLVED_FOR: Duration = Duration::from_secs(60);
const IDLE_FOR: Duration = Duration::from_secs(30);
/// Bytes of each of the two buffers of a connection: a batch of look-ups has dozens of these.
const BUFFER: usize = 32 << 10;
const IDLE_CONNECTIONS: usize = 128;
/// Longest error body that is read.
const MAX_ERROR_BYTES: u64 = 64 << 10;

/// The body of a request.
pub(super) enum Payload<'a> {
    /// No body at all.
    None,
    /// Bytes; may be empty, which still announces a length.
    Bytes(&'a [u8]),
    /// Exactly `length` bytes from a reader. It can be sent once only.
    Reader { reader: &'a SourceReader<'a>, length: u64 },
}

impl Payload<'_> {
    fn length(&self) -> Option<u64> {
        match self {
            Self::None => None,
            Self::Bytes(bytes) => Some(bytes.len() as u64),
            Self::Reader { length, .. } => Some(*length),
        }
    }
}

/// One request.
pub(super) struct Outgoing<'a> {
    pub method: Method,
    pub headers: Vec<(HeaderName, String)>,
    pub payload: Payload<'a>,
    pub purpose: Purpose,
    /// How long to wait for the answer's head, and for each read.
    pub patience: Duration,
}

impl Outgoing<'_> {
    /// A request without body.
    pub(super) fn new(method: Method, purpose: Purpose) -> Self {
        Self { method, headers: Vec::new(), payload: Payload::None, purpose, patience: PATIENCE }
    }

    /// Whether it can be sent a second time.
    pub(super) fn is_repeatable(&self) -> bool {
        !matches!(self.payload, Payload::Reader { .. })
    }
}

/// Counts and bounds the bytes of an upload, and keeps the source's own error apart from the
/// network's.
pub(super) struct SourceReader<'a> {
    inner: RefCell<Box<dyn Read + Send>>,
    progress: &'a dyn Fn(u64),
    sent: Cell<u64>,
    limit: Cell<u64>,
    failure: Cell<Option<io::Error>>,
}

impl<'a> SourceReader<'a> {
    /// Gives out nothing until [`SourceReader::allow`]; `progress` gets the sum of what was read.
    pub(super) fn new(inner: Box<dyn Read + Send>, progress: &'a dyn Fn(u64)) -> Self {
        let (sent, limit) = (Cell::new(0), Cell::new(0));
        Self { inner: RefCell::new(inner), progress, sent, limit, failure: Cell::new(None) }
    }

    /// Allows `bytes` more to be read.
    pub(super) fn allow(&self, bytes: u64) {
        self.limit.set(self.limit.get() + bytes);
    }

    /// The source's own error, if it had one.
    pub(super) fn failure(&self) -> Option<io::Error> {
        self.failure.take()
    }
}

impl Read for &SourceReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.limit.get() - self.sent.get();
        let room = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let error = match self.inner.borrow_mut().read(&mut buffer[..room]) {
            Ok(0) if room > 0 => io::Error::new(io::ErrorKind::UnexpectedEof, "fewer bytes than announced"),
            Ok(count) => {
                self.sent.set(self.sent.get() + count as u64);
                (self.progress)(self.sent.get());
                return Ok(count);
            }
            Err(error) => error,
        };
        let copy = io::Error::new(error.kind(), error.to_string());
        self.failure.set(Some(error));
        Err(copy)
    }
}

/// Connections to every host, grouped by what they need.
pub(super) struct Transport {
    options: Arc<ClientOptions>,
    agents: Mutex<HashMap<Group, Agent>>,
    resolver: Arc<RememberingResolver>,
    counter: Counter,
}

/// Hosts with the same needs share an agent.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Group {
    https: bool,
    proxied: bool,
    skip_verification: bool,
    /// The host, when it has certificates of its own.
    own: Option<String>,
}

impl Transport {
    pub(super) fn new(options: Arc<ClientOptions>) -> Self {
        Self { options, agents: Mutex::default(), resolver: Arc::default(), counter: Counter::default() }
    }

    /// Of all requests so far.
    pub(super) fn traffic(&self) -> Traffic {
        self.counter.traffic()
    }

    /// Sends one request to `url` and returns the answer, whatever its status; redirects are not followed.
    ///
    /// # Errors
    /// Faults of the connection and of local settings.
    pub(super) fn send(
        &self,
        url: &Url,
        outgoing: &Outgoing<'_>,
        authorization: Option<&str>,
    ) -> Result<Response<Body>, Fault> {
        let origin = Origin::of(url).ok_or_else(|| Fault::Configuration("unusable URL".to_owned()))?;
        let agent = self.agent(&origin, outgoing.purpose)?;
        let request = build(url, &origin, outgoing, authorization)?;
        let answer = self.counter.count(|| match outgoing.payload {
            Payload::None => run(&agent, request, outgoing.patience, SendBody::none()),
            Payload::Bytes(mut bytes) => run(&agent, request, outgoing.patience, SendBody::from_reader(&mut bytes)),
            Payload::Reader { mut reader, .. } => {
                run(&agent, request, outgoing.patience, SendBody::from_reader(&mut reader))
            }
        });
        if answer.as_ref().is_ok_and(|answer| answer.status() == StatusCode::TOO_MANY_REQUESTS) {
            self.counter.throttle();
        }
        answer.map_err(|error| {
            self.resolver.forget();
            fault(&origin, error)
        })
    }

    /// See [`super::Client::in_flight`].
    pub(super) fn in_flight(&self, usual: usize) -> usize {
        self.counter.in_flight(usual)
    }

    /// The agent for `origin`; made at the first use, with the map locked so that the roots are read once.
    fn agent(&self, origin: &Origin, purpose: Purpose) -> Result<Agent, Fault> {
        let proxy = self.options.proxy.for_origin(origin)?;
        let own = origin.is_https().then(|| self.own_certificates(origin)).flatten();
        let group = Group {
            https: origin.is_https(),
            proxied: proxy.is_some(),
            skip_verification: origin.is_https() && self.options.skips_verification(origin, purpose),
            own,
        };
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(agent) = agents.get(&group) {
            return Ok(agent.clone());
        }
        let agent = self.make_agent(&group, proxy, origin)?;
        agents.insert(group, agent.clone());
        Ok(agent)
    }

    fn make_agent(&self, group: &Group, proxy: Option<ureq::Proxy>, origin: &Origin) -> Result<Agent, Fault> {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(&self.options.user_agent)
            .proxy(proxy)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_per_write(Some(PATIENCE))
            .input_buffer_size(BUFFER)
            .output_buffer_size(BUFFER)
            .max_idle_age(IDLE_FOR)
            .max_idle_connections(IDLE_CONNECTIONS)
            .max_idle_connections_per_host(IDLE_CONNECTIONS)
            .build();
        let plain = ().chain(ConnectProxyConnector::default()).chain(TcpConnector::default());
        let resolver = Shared(Arc::clone(&self.resolver));
        if !group.https {
            return Ok(Agent::with_parts(config, plain, resolver));
        }
        let tls = client_config(&self.tls_settings(group, origin))?;
        Ok(Agent::with_parts(config, plain.chain(TlsConnector(tls)), resolver))
    }

    fn tls_settings(&self, group: &Group, origin: &Origin) -> TlsSettings<'_> {
        let names = origin.names();
        let mut certificates: Vec<&Path> = self.options.extra_certificates.iter().map(AsRef::as_ref).collect();
        certificates.extend(
            names
                .iter()
                .filter_map(|n| self.options.registry_certificates.get(n))
                .map(AsRef::as_ref as fn(&std::path::PathBuf) -> &Path),
        );
        let client_identity = names
            .iter()
            .find_map(|name| self.options.registry_client_certs.get(name))
            .map(|(chain, key)| (chain.as_path(), key.as_path()));
        TlsSettings { skip_verification: group.skip_verification, certificates, client_identity }
    }

    fn own_certificates(&self, origin: &Origin) -> Option<String> {
        let options = &self.options;
        let has = |name: &String| {
            options.registry_certificates.contains_key(name) || options.registry_client_certs.contains_key(name)
        };
        origin.names().iter().any(has).then(|| origin.authority())
    }
}

fn run(
    agent: &Agent,
    request: Request<()>,
    patience: Duration,
    body: SendBody<'_>,
) -> Result<Response<Body>, ureq::Error> {
    let request = agent.configure_request(request.map(|()| body));
    agent.run(request.timeout_recv_response(Some(patience)).timeout_per_read(Some(patience)).build())
}

fn build(
    url: &Url,
    origin: &Origin,
    outgoing: &Outgoing<'_>,
    authorization: Option<&str>,
) -> Result<Request<()>, Fault> {
    let mut builder = Request::builder().method(outgoing.method.clone()).uri(url.as_str());
    for (name, value) in &outgoing.headers {
        builder = builder.header(name, value);
    }
    if let Some(length) = outgoing.payload.length() {
        builder = builder.header(header::CONTENT_LENGTH, length);
    }
    if let Some(secret) = authorization {
        let unusable = |_| Fault::Configuration("credentials hold characters that HTTP cannot carry".to_owned());
        let mut value = HeaderValue::from_str(secret).map_err(unusable)?;
        value.set_sensitive(true);
        builder = builder.header(header::AUTHORIZATION, value);
    }
    let reason = |error: ureq::http::Error| Fault::Malformed { origin: origin.to_string(), reason: error.to_string() };
    builder.body(()).map_err(reason)
}

/// Gives an error of the HTTP library its name. Nothing of the request is in it.
fn fault(origin: &Origin, error: ureq::Error) -> Fault {
    let origin = origin.to_string();
    match error {
        ureq::Error::Timeout(phase) => Fault::Timeout { origin, phase: phase.to_string() },
        ureq::Error::HostNotFound => Fault::HostNotFound { origin },
        ureq::Error::ConnectionFailed => Fault::Connect { origin, reason: "connection failed".to_owned() },
        ureq::Error::ConnectProxyFailed(reason) => {
            let reason = format!("the proxy refused: {}", clean(&reason).unwrap_or_default());
            Fault::Connect { origin, reason }
        }
        ureq::Error::Rustls(reason) => Fault::Tls { origin, reason: reason.to_string() },
        ureq::Error::Tls(reason) => Fault::Tls { origin, reason: reason.to_owned() },
        ureq::Error::Io(error) => io_fault(origin, &error),
        // The URL may be a signed one.
        ureq::Error::BadUri(_) => Fault::Malformed { origin, reason: "unusable URL".to_owned() },
        other => Fault::Malformed { origin, reason: clean(&other.to_string()).unwrap_or_default() },
    }
}

fn io_fault(origin: String, error: &io::Error) -> Fault {
    use io::ErrorKind as Kind;
    let reason = error.to_string();
    if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) {
        return Fault::Tls { origin, reason };
    }
    match error.kind() {
        Kind::TimedOut => Fault::Timeout { origin, phase: "connect".to_owned() },
        Kind::ConnectionRefused | Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::AddrNotAvailable => {
            Fault::Connect { origin, reason }
        }
        // What getaddrinfo reports has no kind of its own.
        _ if reason.contains("lookup address") => Fault::HostNotFound { origin },
        _ => Fault::Interrupted { origin, reason },
    }
}

/// Turns a broken read of an answer's body into a fault.
pub(super) fn read_fault(origin: &Origin, error: io::Error) -> Fault {
    fault(origin, ureq::Error::from(error))
}

/// Reads a body that must not be longer than `limit`.
///
/// # Errors
/// [`Fault::TooLarge`], or a broken connection.
pub(super) fn read_bounded(origin: &Origin, body: Body, limit: u64) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    body.into_reader().take(limit + 1).read_to_end(&mut bytes).map_err(|error| read_fault(origin, error))?;
    if bytes.len() as u64 > limit {
        return Err(Fault::TooLarge { limit });
    }
    Ok(bytes)
}

/// Reads a refusal. Its body is optional: what cannot be read is left out.
pub(super) fn read_answer(origin: &Origin, response: Response<Body>) -> Answer {
    let retry_after = response.headers().get(header::RETRY_AFTER).and_then(|v| retry_after(v.to_str().ok()?));
    let status = response.status().as_u16();
    let mut body = Vec::new();
    let _ = response.into_body().into_reader().take(MAX_ERROR_BYTES).read_to_end(&mut body);
    Answer::read(&origin.authority(), status, &body, retry_after)
}

/// Seconds, or a date.
fn retry_after(value: &str) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    httpdate::parse_http_date(value).ok()?.duration_since(std::time::SystemTime::now()).ok()
}

/// Reads what is left of a body that nobody wants, so that the connection can be used again.
pub(super) fn discard(response: Response<Body>) {
    let _ = io::copy(&mut response.into_body().into_reader().take(MAX_ERROR_BYTES), &mut io::sink());
}

/// The text of a header, when it is text.
pub(super) fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// Asks the system for a name's addresses once a minute.
#[derive(Debug, Default)]
struct RememberingResolver {
    system: DefaultResolver,
    known: Mutex<HashMap<String, (Instant, Vec<SocketAddr>)>>,
}

impl RememberingResolver {
    /// After a failure the name may have moved.
    fn forget(&self) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[derive(Debug)]
struct Shared(Arc<RememberingResolver>);

impl Resolver for Shared {
    fn resolve(
        &self,
        uri: &Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let key = format!("{}://{}", uri.scheme_str().unwrap_or_default(), uri.authority().map_or("", |a| a.as_str()));
        let known = &self.0.known;
        let fresh =
            |(at, addresses): &(Instant, Vec<SocketAddr>)| (at.elapsed() < RESOLVED_FOR).then(|| addresses.clone());
        if let Some(addresses) = known.lock().unwrap_or_else(PoisonError::into_inner).get(&key).and_then(fresh) {
            let mut found = self.empty();
            addresses.into_iter().for_each(|address| found.push(address));
            return Ok(found);
        }
        let found = self.0.system.resolve(uri, config, timeout)?;
        let addresses = found.iter().copied().collect();
        known.lock().unwrap_or_else(PoisonError::into_inner).insert(key, (Instant::now(), addresses));
        Ok(found)
    }
}
