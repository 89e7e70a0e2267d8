//! The client: one attempt with its redirects and challenges, and the retries around it.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use ureq::Body;
use ureq::http::{HeaderMap, Method, Response};
use url::Url;

use super::auth::{Authenticator, Claim};
use super::credentials::{Credentials, Secret};
use super::error::{Fault, Operation, RegistryError};
use super::options::{ClientOptions, Purpose};
use super::origin::Origin;
use super::traffic::Traffic;
use super::transport::{Outgoing, Transport, discard, header_text, read_answer, read_bounded};
use crate::image::Reference;

const MAX_REDIRECTS: usize = 10;
/// Longest wait between two tries. A server that asks for more is not waited for.
const MAX_WAIT: Duration = Duration::from_secs(30);
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// How long a host that should speak plain HTTP may take to show it.
const PROBE_PATIENCE: Duration = Duration::from_secs(10);

/// A client for every registry; cheap to clone, used from any number of threads.
///
/// Connections are kept and shared. Nothing is contacted, read or run before the first request.
#[derive(Clone)]
pub struct Client(Arc<Core>);

pub(super) struct Core {
    pub options: Arc<ClientOptions>,
    transport: Transport,
    authenticator: Authenticator,
    /// Registries that should be insecure, and how they really speak.
    probed: Mutex<HashMap<String, bool>>,
}

/// Where a request goes.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// The registry that credentials belong to.
    pub home: Origin,
    pub url: Url,
}

/// A successful answer, and who gave it.
pub(super) struct Answered {
    pub origin: Origin,
    pub url: Url,
    pub response: Response<Body>,
}

/// A successful answer, read to its end.
pub(super) struct Whole {
    pub origin: Origin,
    pub url: Url,
    pub headers: HeaderMap,
    pub bytes: Vec<u8>,
}

impl Client {
    /// A client with these settings.
    ///
    /// # Errors
    /// [`Fault::Configuration`] for a user agent, a proxy or a map that cannot be used.
    pub fn new(options: ClientOptions, credentials: Credentials) -> Result<Self, RegistryError> {
        check(&options).map_err(|fault| fault.during(Operation::Configure, "all hosts"))?;
        let options = Arc::new(options);
        let transport = Transport::new(Arc::clone(&options));
        let authenticator = Authenticator::new(credentials);
        Ok(Self(Arc::new(Core { options, transport, authenticator, probed: Mutex::default() })))
    }

    /// Asks the registry (`host[:port]`) for a sign of life, once, without credentials.
    ///
    /// # Errors
    /// It does not answer, or not as a registry.
    ///
    /// # Source
    /// OCI distribution-spec, "Determining Support": 200, or 401.
    pub fn reach(&self, registry: &str) -> Result<(), RegistryError> {
        self.0.reach(registry).map_err(|fault| fault.during(Operation::Reach, registry))
    }

    /// How much was asked of servers so far.
    pub fn traffic(&self) -> Traffic {
        self.0.transport.traffic()
    }

    /// How many short requests to have under way, where `usual` are enough for a server that is near: five
    /// times as many when every answer so far took 10 ms and more, unless a server said that there are too many (429).
    pub fn in_flight(&self, usual: usize) -> usize {
        self.0.transport.in_flight(usual)
    }

    pub(super) fn core(&self) -> &Arc<Core> {
        &self.0
    }
}

fn check(options: &ClientOptions) -> Result<(), Fault> {
    if ureq::http::HeaderValue::from_str(&options.user_agent).is_err() {
        return Err(Fault::Configuration(format!("unusable user agent {:?}", options.user_agent)));
    }
    if let Ok(any) = "image".parse() {
        options.check_maps(&any)?;
    }
    for https in [false, true] {
        // A name that no rule bypasses.
        if let Some((origin, _)) = Origin::of_registry("registry.invalid", https) {
            options.proxy.for_origin(&origin)?;
        }
    }
    Ok(())
}

impl Core {
    /// The URL of `path` in the repository of `reference`.
    pub(super) fn target(&self, reference: &Reference, purpose: Purpose, path: &str) -> Result<Target, Fault> {
        let (home, mut url) = self.registry(reference.registry(), purpose)?;
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        url.set_path(&format!("v2/{}/{path}", reference.repository()));
        url.set_query(query);
        Ok(Target { home, url })
    }

    /// Scheme and address of a registry: https, but http for this machine and where the options say so. A local network's
    /// is asked which it speaks, as go-containerregistry does for Kaniko.
    fn registry(&self, registry: &str, purpose: Purpose) -> Result<(Origin, Url), Fault> {
        let of = |https| Origin::of_registry(registry, https);
        let (Some(secure), Some(plain)) = (of(true), of(false)) else {
            return Err(Fault::Configuration(format!("unusable registry host {registry:?}")));
        };
        let insecure = if self.options.has_tls_settings(&secure.0) {
            false
        } else if self.options.is_insecure(&secure.0, purpose) {
            self.speaks_plain(registry, &plain, &secure, purpose)
        } else if plain.0.is_loopback() {
            // Who talks about certificates may mean this one.
            !self.options.skip_tls_verify || self.speaks_plain(registry, &plain, &secure, purpose)
        } else {
            plain.0.is_local() && self.speaks_plain(registry, &plain, &secure, purpose)
        };
        Ok(if insecure { plain } else { secure })
    }

    fn reach(&self, registry: &str) -> Result<(), Fault> {
        let (_, mut url) = self.registry(registry, Purpose::Pull)?;
        url.set_path("v2/");
        let outgoing = Outgoing { patience: PROBE_PATIENCE, ..Outgoing::new(Method::GET, Purpose::Pull) };
        let response = self.transport.send(&url, &outgoing, None)?;
        let status = response.status().as_u16();
        discard(response);
        match status {
            200..=299 | 401 | 403 => Ok(()),
            _ => Err(Fault::Configuration(format!("status {status} is not a registry's answer to /v2/"))),
        }
    }

    /// `--insecure` is often given to registries that speak https all the same, and those of a local network have no
    /// certificate, often: one request tells, once per registry.
    fn speaks_plain(&self, registry: &str, plain: &(Origin, Url), secure: &(Origin, Url), purpose: Purpose) -> bool {
        let probed = || self.probed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = probed().get(registry) {
            return *known;
        }
        let answer = |(_, url): &(Origin, Url)| {
            let url = url.join("v2/").ok()?;
            let outgoing = Outgoing { patience: PROBE_PATIENCE, ..Outgoing::new(Method::GET, purpose) };
            let response = self.transport.send(&url, &outgoing, None).ok()?;
            let status = response.status().as_u16();
            discard(response);
            Some(status)
        };
        // A TLS port says 400 to plain HTTP; a redirect leads to https.
        let is_plain = || answer(plain).is_some_and(|status| status != 400 && !(300..400).contains(&status));
        let plain = match self.options.is_insecure(&secure.0, purpose) {
            true => is_plain() || answer(secure).is_none(),
            // Nobody asked for less than https.
            false => answer(secure).is_none() && is_plain(),
        };
        probed().insert(registry.to_owned(), plain);
        plain
    }

    /// Sends a request (one that can be repeated) until it succeeds (2xx) or fails for good.
    ///
    /// # Errors
    /// The fault of the last try.
    pub(super) fn call(&self, target: &Target, outgoing: &Outgoing<'_>, claim: &mut Claim) -> Result<Answered, Fault> {
        retrying(self.options.retries, Fault::is_transient, || self.attempt(target, outgoing, claim))
    }

    /// The same for an answer whose body is wanted whole: a body that breaks off is asked for again.
    ///
    /// # Errors
    /// The fault of the last try; [`Fault::TooLarge`] above `limit` bytes.
    pub(super) fn fetch(
        &self,
        target: &Target,
        outgoing: &Outgoing<'_>,
        claim: &mut Claim,
        limit: u64,
    ) -> Result<Whole, Fault> {
        retrying(self.options.retries, Fault::is_transient, || self.fetch_once(target, outgoing, claim, limit))
    }

    /// One try of [`Core::fetch`].
    ///
    /// # Errors
    /// As there.
    pub(super) fn fetch_once(
        &self,
        target: &Target,
        outgoing: &Outgoing<'_>,
        claim: &mut Claim,
        limit: u64,
    ) -> Result<Whole, Fault> {
        let Answered { origin, url, response } = self.attempt(target, outgoing, claim)?;
        let (head, body) = response.into_parts();
        let bytes = read_bounded(&origin, body, limit)?;
        Ok(Whole { origin, url, headers: head.headers, bytes })
    }

    /// One try.
    ///
    /// # Errors
    /// Faults on the way, and every status but 2xx.
    pub(super) fn attempt(
        &self,
        target: &Target,
        outgoing: &Outgoing<'_>,
        claim: &mut Claim,
    ) -> Result<Answered, Fault> {
        claim.start_over();
        let answered = self.follow(target, outgoing, claim)?;
        if answered.response.status().is_success() {
            return Ok(answered);
        }
        let at_home = answered.origin == target.home;
        let fault = Fault::of(read_answer(&answered.origin, answered.response), claim.had_credentials && at_home);
        Err(if at_home { claim.explain(fault) } else { fault })
    }

    /// Follows redirects. Each origin but the registry's own is met as nobody.
    fn follow(&self, target: &Target, outgoing: &Outgoing<'_>, claim: &mut Claim) -> Result<Answered, Fault> {
        let malformed =
            |origin: &Origin, reason: &str| Fault::Malformed { origin: origin.to_string(), reason: reason.to_owned() };
        let mut url = target.url.clone();
        let mut origin = Origin::of(&url).ok_or_else(|| malformed(&target.home, "unusable location"))?;
        for _ in 0..MAX_REDIRECTS {
            let response = if origin == target.home {
                self.authorized(&origin, &url, outgoing, claim)?
            } else {
                self.authorized(&origin, &url, outgoing, &mut Claim::guest(outgoing.purpose))?
            };
            let location =
                is_redirect(response.status().as_u16(), outgoing).then(|| header_text(response.headers(), "location"));
            let Some(Some(location)) = location else { return Ok(Answered { origin, url, response }) };
            let next = origin.destination(&url, location)?;
            target.home.destination(&next.1, "")?;
            discard(response);
            (origin, url) = next;
        }
        Err(malformed(&origin, "too many redirects"))
    }

    /// Sends with what is known about the origin, and answers its challenges.
    fn authorized(
        &self,
        origin: &Origin,
        url: &Url,
        outgoing: &Outgoing<'_>,
        claim: &mut Claim,
    ) -> Result<Response<Body>, Fault> {
        let mut header = self.authenticator.authorize(&self.transport, origin, claim)?;
        loop {
            let response = self.transport.send(url, outgoing, header.as_ref().map(Secret::expose))?;
            if response.status().as_u16() != 401 {
                return Ok(response);
            }
            let again = self.authenticator.learn(origin, claim, header.as_ref(), &response)?;
            if !again || !outgoing.is_repeatable() {
                return Ok(response);
            }
            let next = self.authenticator.authorize(&self.transport, origin, claim)?;
            if next == header {
                return Ok(response);
            }
            discard(response);
            header = next;
        }
    }
}

/// 307 and 308 repeat any request; the others only ask for something else to be read.
fn is_redirect(status: u16, outgoing: &Outgoing<'_>) -> bool {
    match status {
        307 | 308 => outgoing.is_repeatable(),
        301..=303 => outgoing.method == Method::GET || outgoing.method == Method::HEAD,
        _ => false,
    }
}

/// Runs `attempt` up to `retries` times more while its fault `may_pass`, waiting longer each time.
pub(super) fn retrying<T>(
    retries: u32,
    may_pass: impl Fn(&Fault) -> bool,
    mut attempt: impl FnMut() -> Result<T, Fault>,
) -> Result<T, Fault> {
    let mut tried = 0;
    loop {
        let fault = match attempt() {
            Ok(value) => return Ok(value),
            Err(fault) => fault,
        };
        let asked = fault.answer().and_then(|answer| answer.retry_after).unwrap_or_default();
        if tried >= retries || !may_pass(&fault) || asked > MAX_WAIT {
            return Err(fault);
        }
        thread::sleep(asked.max(pause(tried)));
        tried += 1;
    }
}

/// Doubles from [`FIRST_WAIT`], half of it at random so that clients do not come back together.
pub(super) fn pause(tried: u32) -> Duration {
    let full = FIRST_WAIT.saturating_mul(1 << tried.min(10)).min(MAX_WAIT);
    // Each `RandomState` has keys of its own.
    let random = RandomState::new().hash_one(tried) as f64 / u64::MAX as f64;
    full.mul_f64(0.5 + random / 2.0)
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("options", &self.0.options).finish_non_exhaustive()
    }
}
