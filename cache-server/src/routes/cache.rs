//! The cache API: an extension of the registry's, as `openapi.yaml` describes it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::receive::collect;
use super::{Call, Registry, hot};
use crate::dashboard::LookedUp;
use crate::error::{ApiError, Code};
use crate::leases::Acquired;
use crate::name::{NameError, Reference, RepositoryName, Tag};
use crate::records::{LookUp, MAX_KEYS, answer, missed, saved};
use crate::storage::{FOR_EVER, millis, millis_now};

const MAX_BODY_BYTES: u64 = 2 << 20;
/// An answer to a look-up is not much longer than this.
const ANSWER_BYTES: usize = 16 << 20;
/// A lease lasts as long as its holder wants, within these.
const LEASE_TIME: std::ops::RangeInclusive<u64> = 100..=600_000;
const DEFAULT_LEASE_TIME: u64 = 15_000;
/// A request waits no longer: clients and proxies give up on silent answers.
const MAX_WAIT: u64 = 25_000;
/// How often it is looked whether a lease at another replica has ended.
const LEASE_LOOK: Duration = Duration::from_millis(300);

/// What there is besides the registry's own API.
pub(super) fn discover() -> Response {
    let extension = json!({
        "name": "_yadokari",
        "url": "docs/cache-server.md",
        "description": "batch look-up of records, leases, pins, what is wanted most",
        "endpoints": ["_yadokari/lookup", "_yadokari/leases", "_yadokari/pins", "_yadokari/hot"],
    });
    axum::Json(json!({ "extensions": [extension] })).into_response()
}

/// POST: the records under many keys at once.
pub(super) async fn look_up(
    registry: &Registry,
    call: &Call,
    repository: &RepositoryName,
    body: &mut Body,
) -> Result<Response, ApiError> {
    let LookUp { keys } = document(body).await?;
    if keys.len() > MAX_KEYS {
        let error = ApiError::new(Code::SizeInvalid, format!("more than {MAX_KEYS} keys in one request"));
        return Err(error.with_status(StatusCode::PAYLOAD_TOO_LARGE));
    }
    let tags = keys.iter().map(|key| key.parse()).collect::<Result<Vec<Tag>, NameError>>()?;
    let name = repository.clone();
    let (demand, activity) = (Arc::clone(&registry.demand), Arc::clone(&registry.activity));
    let identity = Arc::clone(call.identity.name());
    let bytes = registry.blocking(move |storage| {
        let (found, seen) = storage.look_up(&name, &tags, ANSWER_BYTES)?;
        let now = hot::now();
        // Also what is not here: whoever misses it makes it.
        tags.iter().take(seen).for_each(|tag| demand.note(&name, &Reference::Tag(tag.clone()), now));
        activity.looked_up(&LookedUp {
            second: now as i64,
            repository: &name,
            identity: &identity,
            found: saved(&found),
            missed: &missed(&tags, &found, seen),
        });
        Ok(answer(&tags, &found, seen))
    });
    Ok(([(CONTENT_TYPE, "application/json")], bytes.await?).into_response())
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Wanted {
    wait_ms: u64,
    ttl_ms: Option<u64>,
}

/// POST: asks for a lease, and waits for it or for what it is about.
pub(super) async fn lease(
    registry: &Registry,
    repository: &RepositoryName,
    key: &Tag,
    mut body: Body,
) -> Result<Response, ApiError> {
    let wanted: Wanted = document(&mut body).await?;
    let time = lease_time(wanted.ttl_ms);
    let deadline = Instant::now() + Duration::from_millis(wanted.wait_ms.min(MAX_WAIT));
    loop {
        if is_there(registry, repository, key).await? {
            return Ok(axum::Json(json!({ "state": "present" })).into_response());
        }
        let acquired = acquire(registry, repository, key, time, deadline).await?;
        match acquired {
            Acquired::Granted(lease) if is_there(registry, repository, key).await? => {
                // It came between the question and the lease.
                give_back(registry, repository, key, lease.id).await?;
            }
            Acquired::Granted(lease) => {
                let granted = json!({
                    "state": "granted", "lease": lease.id.to_string(), "fence": lease.fence, "ttl_ms": millis(time),
                });
                return Ok((StatusCode::CREATED, axum::Json(granted)).into_response());
            }
            Acquired::Held if Instant::now() >= deadline => {
                return Ok((StatusCode::ACCEPTED, axum::Json(json!({ "state": "held" }))).into_response());
            }
            Acquired::Held => {}
        }
    }
}

/// The lease; or a while later, or when it ended well, that somebody else holds it.
async fn acquire(
    registry: &Registry,
    repository: &RepositoryName,
    key: &Tag,
    time: Duration,
    deadline: Instant,
) -> Result<Acquired, ApiError> {
    let (name, tag) = (repository.clone(), key.clone());
    if !registry.storage.has_replicas() {
        return Ok(registry.leases.acquire((name, tag), time, deadline).await);
    }
    match registry.blocking(move |storage| storage.take_lease(&name, &tag, time)).await? {
        Ok(lease) => Ok(Acquired::Granted(lease)),
        Err(left) => {
            sleep_until(deadline.min(Instant::now() + left.min(LEASE_LOOK))).await;
            Ok(Acquired::Held)
        }
    }
}

async fn give_back(registry: &Registry, repository: &RepositoryName, key: &Tag, id: Uuid) -> Result<bool, ApiError> {
    let (name, tag) = (repository.clone(), key.clone());
    match registry.storage.has_replicas() {
        true => registry.blocking(move |storage| storage.release_lease(&name, &tag, id)).await,
        false => Ok(registry.leases.release(&(name, tag), id)),
    }
}

/// PUT: the holder is still at it.
pub(super) async fn renew(
    registry: &Registry,
    call: &Call,
    repository: &RepositoryName,
    key: &Tag,
) -> Result<Response, ApiError> {
    let time = lease_time(call.parameters.get("ttl_ms").and_then(|text| text.parse().ok()));
    let (name, tag, id) = (repository.clone(), key.clone(), lease_id(call)?);
    let renewed = match registry.storage.has_replicas() {
        true => registry.blocking(move |storage| storage.renew_lease(&name, &tag, id, time)).await?,
        false => registry.leases.renew(&(name, tag), id, time),
    };
    if renewed { Ok(StatusCode::NO_CONTENT.into_response()) } else { Err(no_lease()) }
}

/// DELETE: the holder gives up, or has stored what it made.
pub(super) async fn release(
    registry: &Registry,
    call: &Call,
    repository: &RepositoryName,
    key: &Tag,
) -> Result<Response, ApiError> {
    let released = give_back(registry, repository, key, lease_id(call)?).await?;
    if released { Ok(StatusCode::NO_CONTENT.into_response()) } else { Err(no_lease()) }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Pinned {
    seconds: Option<u64>,
}

/// PUT: a manifest must stay.
pub(super) async fn pin(
    registry: &Registry,
    repository: &RepositoryName,
    reference: &Reference,
    body: &mut Body,
) -> Result<Response, ApiError> {
    let Pinned { seconds } = document(body).await?;
    let until = seconds.map_or(FOR_EVER, |seconds| millis_now().saturating_add(seconds.saturating_mul(1000)));
    let (name, wanted) = (repository.clone(), reference.clone());
    let pinned = registry.blocking(move |storage| storage.pin(&name, &wanted, until)).await?;
    if pinned { Ok(StatusCode::NO_CONTENT.into_response()) } else { Err(unknown(repository, reference)) }
}

/// DELETE: it may go.
pub(super) async fn unpin(
    registry: &Registry,
    repository: &RepositoryName,
    reference: &Reference,
) -> Result<Response, ApiError> {
    let (name, wanted) = (repository.clone(), reference.clone());
    let unpinned = registry.blocking(move |storage| storage.unpin(&name, &wanted)).await?;
    if unpinned { Ok(StatusCode::NO_CONTENT.into_response()) } else { Err(unknown(repository, reference)) }
}

/// GET: what must stay.
pub(super) async fn pins(registry: &Registry, repository: &RepositoryName) -> Result<Response, ApiError> {
    let name = repository.clone();
    let pins = registry.blocking(move |storage| storage.pins(&name)).await?;
    let entry = |(digest, until): &(_, u64)| {
        let until = (*until != FOR_EVER).then_some(until / 1000);
        json!({ "digest": digest, "until": until })
    };
    Ok(axum::Json(json!({ "pins": pins.iter().map(entry).collect::<Vec<_>>() })).into_response())
}

async fn is_there(registry: &Registry, repository: &RepositoryName, key: &Tag) -> Result<bool, ApiError> {
    let (name, tag) = (repository.clone(), key.clone());
    registry.blocking(move |storage| storage.has_complete(&name, &tag)).await
}

fn lease_time(wanted: Option<u64>) -> Duration {
    let wanted = wanted.unwrap_or(DEFAULT_LEASE_TIME);
    Duration::from_millis(wanted.clamp(*LEASE_TIME.start(), *LEASE_TIME.end()))
}

fn lease_id(call: &Call) -> Result<Uuid, ApiError> {
    call.parameters.get("lease").and_then(|text| text.parse().ok()).ok_or_else(no_lease)
}

fn no_lease() -> ApiError {
    let error = ApiError::new(Code::NameUnknown, "there is no such lease: it has ended, or is another client's");
    error.with_status(StatusCode::NOT_FOUND)
}

fn unknown(repository: &RepositoryName, reference: &Reference) -> ApiError {
    ApiError::new(Code::ManifestUnknown, format!("{repository} has no such manifest or pin: {reference}"))
}

/// The JSON of a body; an empty one counts as `{}`.
async fn document<T: DeserializeOwned>(body: &mut Body) -> Result<T, ApiError> {
    let mut bytes = collect(body, MAX_BODY_BYTES).await?;
    if bytes.is_empty() {
        bytes = b"{}".to_vec();
    }
    let malformed = |error| ApiError::new(Code::Unsupported, format!("malformed request: {error}"));
    serde_json::from_slice(&bytes).map_err(|error| malformed(error).with_status(StatusCode::BAD_REQUEST))
}
