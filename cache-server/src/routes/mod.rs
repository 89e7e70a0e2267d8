//! The HTTP API: which handler answers a request, and what all answers have in common.

mod authorization;
mod blobs;
mod cache;
mod content;
mod endpoint;
mod hot;
mod lists;
mod manifests;
mod mirrored;
mod operations;
mod parameters;
mod receive;
mod uploads;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{ALLOW, CONTENT_TYPE, EXPECT, HeaderMap, HeaderName, HeaderValue};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use tokio::task::{JoinError, spawn_blocking};

use crate::access::{Access, Identity};
use crate::access_log::{AccessLog, Measurement, Observers, Peer};
use crate::dashboard::Activity;
use crate::demand::Demand;
use crate::error::{ApiError, Code};
use crate::handover::Handover;
use crate::leases::Leases;
use crate::lifecycle::Lifecycle;
use crate::metrics::Metrics;
use crate::mirror::Mirrors;
use crate::name::RepositoryName;
use crate::storage::{Storage, StorageError};
use crate::telemetry::Tracer;
use endpoint::Endpoint;
use parameters::Parameters;

/// What every handler needs.
#[derive(Debug, Clone)]
pub(crate) struct Registry {
    pub(crate) storage: Arc<Storage>,
    pub(crate) leases: Arc<Leases>,
    pub(crate) mirrors: Arc<Mirrors>,
    pub(crate) access: Arc<Access>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) activity: Arc<Activity>,
    pub(crate) demand: Arc<Demand>,
    pub(crate) tracer: Option<Arc<Tracer>>,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) address: Arc<Address>,
    pub(crate) log: AccessLog,
}

/// How clients reach the server.
#[derive(Debug)]
pub(crate) struct Address {
    /// `http` or `https`.
    pub(crate) scheme: &'static str,
    /// What clients use instead of the address that they see, behind a proxy.
    pub(crate) external_url: Option<String>,
}

/// Where a request comes from.
#[derive(Clone)]
pub(crate) struct From {
    pub(crate) peer: Peer,
    /// For files, when the connection can take them.
    pub(crate) handover: Option<Handover>,
}

/// A request without its body.
struct Call {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    parameters: Parameters,
    identity: Identity,
    handover: Option<Handover>,
}

impl Registry {
    /// Runs file operations on a thread that may block.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Storage) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let storage = Arc::clone(&self.storage);
        Ok(finished(spawn_blocking(move || work(&storage)).await)??)
    }
}

impl Call {
    fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }
}

/// Answers any request, counts it and logs it.
pub(crate) async fn answer(registry: Registry, from: From, request: Request) -> Response {
    let observers = Observers {
        metrics: Arc::clone(&registry.metrics),
        activity: Arc::clone(&registry.activity),
        tracer: registry.tracer.clone(),
    };
    let (request, mut measurement) = registry.log.measure(request, from.peer, observers);
    let response = dispatch(registry, from.handover, request, &mut measurement).await;
    let mut response = response.unwrap_or_else(IntoResponse::into_response);
    let version = (HeaderName::from_static("docker-distribution-api-version"), "registry/2.0");
    response.headers_mut().insert(version.0, HeaderValue::from_static(version.1));
    measurement.attach(response)
}

async fn dispatch(
    registry: Registry,
    handover: Option<Handover>,
    request: Request,
    measurement: &mut Measurement,
) -> Result<Response, ApiError> {
    let (parts, mut body) = request.into_parts();
    // Who waits to be asked for its body has not sent it.
    let sends = !parts.headers.contains_key(EXPECT);
    let (endpoint, call) = match admit(&registry, handover, parts, measurement).await {
        Ok(admitted) => admitted,
        Err(refusal) => {
            if sends {
                receive::drain(&mut body).await;
            }
            return Err(refusal);
        }
    };
    if matches!(call.method, Method::GET | Method::HEAD) {
        return read(&registry, &endpoint, &call).await;
    }
    if let (Endpoint::Lease { repository, key }, "POST") = (&endpoint, call.method.as_str()) {
        // It may wait for long, and changes nothing that would have to be finished.
        return cache::lease(&registry, repository, key, body).await;
    }
    // A client that goes away ends this future, but must not end a change half-way: the
    // task sees the body break off, and leaves everything in order.
    let task = tokio::spawn(async move {
        let result = change(&registry, &endpoint, &call, &mut body).await;
        if result.is_err() {
            receive::drain(&mut body).await;
        }
        result
    });
    finished(task.await)?
}

/// What is asked for, by somebody who may.
async fn admit(
    registry: &Registry,
    handover: Option<Handover>,
    parts: Parts,
    measurement: &mut Measurement,
) -> Result<(Endpoint, Call), ApiError> {
    let endpoint = Endpoint::parse(parts.uri.path())?;
    measurement.set_route(endpoint.name(), endpoint.subject(&parts.method));
    let parameters = Parameters::of(&parts.uri)?;
    let identity = authorization::identify(registry, &parts.headers).await?;
    measurement.set_identity(identity.name());
    let call = Call { method: parts.method, uri: parts.uri, headers: parts.headers, parameters, identity, handover };
    authorization::authorize(registry, &endpoint, &call)?;
    Ok((endpoint, call))
}

async fn read(registry: &Registry, endpoint: &Endpoint, call: &Call) -> Result<Response, ApiError> {
    match endpoint {
        Endpoint::Dashboard => operations::dashboard(registry).await,
        Endpoint::Health => Ok(operations::health()),
        Endpoint::Ready => Ok(operations::ready(registry).await),
        Endpoint::Metrics => operations::metrics(registry),
        Endpoint::Token => authorization::token(registry, call),
        Endpoint::Access => Ok(authorization::access(call)),
        Endpoint::Probe => authorization::probe_refusal(registry, call).map_or_else(|| Ok(probe()), Err),
        Endpoint::Catalog => lists::catalog(registry, call).await,
        Endpoint::Blob { repository, digest } => match mirrored::place(registry, call, repository).await? {
            Some(place) => mirrored::blob(registry, call, &place, digest).await,
            None => blobs::get(registry, call, repository, digest).await,
        },
        Endpoint::Manifest { repository, reference } => match mirrored::place(registry, call, repository).await? {
            Some(place) => mirrored::manifest(registry, call, &place, reference).await,
            None => manifests::get(registry, call, repository, reference).await,
        },
        Endpoint::Tags { repository } => lists::tags(registry, call, repository).await,
        Endpoint::Referrers { repository, digest } => lists::referrers(registry, call, repository, digest).await,
        Endpoint::Discover => Ok(cache::discover()),
        Endpoint::Pins { repository } => cache::pins(registry, repository).await,
        Endpoint::Hot { repository } => hot::list(registry, call, repository).await,
        Endpoint::Upload { repository, id } if !call.is_head() => uploads::status(registry, repository, id).await,
        Endpoint::Uploads { .. }
        | Endpoint::Upload { .. }
        | Endpoint::LookUp { .. }
        | Endpoint::Lease { .. }
        | Endpoint::Pin { .. } => Err(not_allowed(endpoint, call)),
    }
}

async fn change(registry: &Registry, endpoint: &Endpoint, call: &Call, body: &mut Body) -> Result<Response, ApiError> {
    if let Endpoint::Uploads { repository } | Endpoint::Upload { repository, .. } = endpoint {
        refuse_mirrored(registry, repository)?;
    }
    let _upload =
        matches!(endpoint, Endpoint::Uploads { .. } | Endpoint::Upload { .. }).then(|| registry.metrics.upload());
    match (endpoint, call.method.as_str()) {
        (Endpoint::Token, "POST") => authorization::token_by_form(registry, call, body).await,
        (Endpoint::Blob { repository, digest }, "DELETE") => blobs::delete(registry, repository, digest).await,
        (Endpoint::Uploads { repository }, "POST") => uploads::start(registry, call, repository, body).await,
        (Endpoint::Upload { repository, id }, "PATCH") => uploads::append(registry, call, repository, id, body).await,
        (Endpoint::Upload { repository, id }, "PUT") => uploads::finish(registry, call, repository, id, body).await,
        (Endpoint::Upload { repository, id }, "DELETE") => uploads::cancel(registry, repository, id).await,
        (Endpoint::Manifest { repository, reference }, "PUT") => {
            refuse_mirrored(registry, repository)?;
            manifests::put(registry, call, repository, reference, body).await
        }
        (Endpoint::Manifest { repository, reference }, "DELETE") => {
            manifests::delete(registry, repository, reference).await
        }
        (Endpoint::LookUp { repository }, "POST") => cache::look_up(registry, call, repository, body).await,
        (Endpoint::Lease { repository, key }, "PUT") => cache::renew(registry, call, repository, key).await,
        (Endpoint::Lease { repository, key }, "DELETE") => cache::release(registry, call, repository, key).await,
        (Endpoint::Pin { repository, reference }, "PUT") => cache::pin(registry, repository, reference, body).await,
        (Endpoint::Pin { repository, reference }, "DELETE") => cache::unpin(registry, repository, reference).await,
        _ => Err(not_allowed(endpoint, call)),
    }
}

/// Copies come from their registry only.
fn refuse_mirrored(registry: &Registry, repository: &RepositoryName) -> Result<(), ApiError> {
    if registry.mirrors.covers(repository) {
        return Err(ApiError::new(Code::Denied, format!("{repository} is a mirror: nothing is pushed there")));
    }
    Ok(())
}

/// Tells a client that this is a registry and that it may go on.
fn probe() -> Response {
    ([(CONTENT_TYPE, "application/json")], "{}").into_response()
}

fn not_allowed(endpoint: &Endpoint, call: &Call) -> ApiError {
    let error = ApiError::new(Code::Unsupported, format!("{} is not supported here", call.method));
    error.with_header(ALLOW, HeaderValue::from_static(endpoint.methods()))
}

/// The result of a task; one that panicked is a fault of ours.
fn finished<T>(task: Result<T, JoinError>) -> Result<T, ApiError> {
    task.map_err(|error| ApiError::internal(&error))
}

/// A header value made of names and numbers that passed their grammar.
fn value(text: impl ToString) -> Result<HeaderValue, ApiError> {
    HeaderValue::try_from(text.to_string()).map_err(|error| ApiError::internal(&error))
}

/// An empty answer with headers.
fn empty<const N: usize>(status: StatusCode, headers: [(HeaderName, HeaderValue); N]) -> Response {
    (status, axum::response::AppendHeaders(headers)).into_response()
}

const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
