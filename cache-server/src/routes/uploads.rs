//! Upload sessions and mounts.

use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_RANGE, HeaderName, HeaderValue, LOCATION, RANGE};
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;
use yadokari::digest::{Algorithm, Digest};

use super::authorization::may_mount;
use super::endpoint::digest;
use super::receive::{Received, receive};
use super::{Call, DOCKER_CONTENT_DIGEST, Registry, empty, value};
use crate::error::{ApiError, Code};
use crate::name::RepositoryName;
use crate::range::ChunkRange;
use crate::storage::{Appending, Held, UploadId, UploadStatus};

/// How long a request waits for another one on the same session.
const PATIENCE: Duration = Duration::from_secs(10);
const DOCKER_UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");

/// POST: a mount, a whole blob, or a new session.
pub(super) async fn start(
    registry: &Registry,
    call: &Call,
    repository: &RepositoryName,
    body: &mut Body,
) -> Result<Response, ApiError> {
    if let Some(text) = call.parameters.get("mount")
        && mount(registry, call, repository, &digest(text)?).await?
    {
        return created(repository, &digest(text)?);
    }
    if let Some(text) = call.parameters.get("digest") {
        return store(registry, repository, &digest(text)?, body).await;
    }
    let algorithm = algorithm(call)?;
    let name = repository.clone();
    let status = registry.blocking(move |storage| storage.start_upload(&name, algorithm)).await?;
    session(StatusCode::ACCEPTED, repository, status)
}

/// GET: how far a session is.
pub(super) async fn status(registry: &Registry, repository: &RepositoryName, id: &str) -> Result<Response, ApiError> {
    let held = hold(registry, repository, id).await?;
    session(StatusCode::NO_CONTENT, repository, held.status())
}

/// PATCH: more bytes, as a chunk or as a stream.
pub(super) async fn append(
    registry: &Registry,
    call: &Call,
    repository: &RepositoryName,
    id: &str,
    body: &mut Body,
) -> Result<Response, ApiError> {
    let (upload, chunk) = resume(registry, call, repository, id).await?;
    let upload = take(registry, upload, repository, body, chunk).await?;
    let status = registry.blocking(move |storage| storage.keep_upload(upload)).await?;
    session(StatusCode::ACCEPTED, repository, status)
}

/// PUT: the last bytes, if any, and the digest of all.
pub(super) async fn finish(
    registry: &Registry,
    call: &Call,
    repository: &RepositoryName,
    id: &str,
    body: &mut Body,
) -> Result<Response, ApiError> {
    let text = call.parameters.get("digest");
    let expected = digest(text.ok_or_else(|| ApiError::new(Code::DigestInvalid, "the digest is missing"))?)?;
    let (mut upload, chunk) = resume(registry, call, repository, id).await?;
    upload.prefer(expected.algorithm());
    let upload = take(registry, upload, repository, body, chunk).await?;
    close(registry, repository, &expected, upload).await
}

/// DELETE: the session and its bytes.
pub(super) async fn cancel(registry: &Registry, repository: &RepositoryName, id: &str) -> Result<Response, ApiError> {
    let held = hold(registry, repository, id).await?;
    registry.blocking(move |storage| storage.cancel_upload(held)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// A session that goes on with what this request brings, and which bytes those are, when it says so.
async fn resume(
    registry: &Registry,
    call: &Call,
    repository: &RepositoryName,
    id: &str,
) -> Result<(Appending, Option<ChunkRange>), ApiError> {
    let held = hold(registry, repository, id).await?;
    let chunk = chunk(call, repository, held.status())?;
    Ok((registry.blocking(move |_| held.append()).await?, chunk))
}

/// False when the source lacks the blob: the answer is a session then.
async fn mount(
    registry: &Registry,
    call: &Call,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<bool, ApiError> {
    let source: Option<RepositoryName> = call.parameters.get("from").map(str::parse).transpose()?;
    if !may_mount(registry, call, repository)? {
        return Ok(false);
    }
    let (target, wanted) = (repository.clone(), digest.clone());
    registry.blocking(move |storage| storage.mount_blob(&target, source.as_ref(), &wanted)).await
}

/// A whole blob in one request: a session that nobody else ever hears of.
async fn store(
    registry: &Registry,
    repository: &RepositoryName,
    expected: &Digest,
    body: &mut Body,
) -> Result<Response, ApiError> {
    let upload = registry.storage.begin_upload(repository, expected.algorithm()).await?;
    let id = upload.status().id.to_string();
    let stored = match take(registry, upload, repository, body, None).await {
        Ok(upload) => close(registry, repository, expected, upload).await,
        Err(error) => Err(error),
    };
    if stored.is_err() {
        // Nobody can continue it, so it must not take up space until it is stale.
        // It may be gone already; and if this fails too, that is what happens.
        let _ = cancel(registry, repository, &id).await;
    }
    stored
}

async fn take(
    registry: &Registry,
    upload: Appending,
    repository: &RepositoryName,
    body: &mut Body,
    chunk: Option<ChunkRange>,
) -> Result<Appending, ApiError> {
    match receive(&registry.storage, upload, body, chunk.map(ChunkRange::length)).await? {
        Received::Whole(upload) => Ok(upload),
        Received::WrongLength(upload) => {
            let message = "the body has another length than Content-Range says";
            standing(ApiError::new(Code::SizeInvalid, message), repository, upload.status())
        }
    }
}

async fn close(
    registry: &Registry,
    repository: &RepositoryName,
    expected: &Digest,
    upload: Appending,
) -> Result<Response, ApiError> {
    let (name, wanted) = (repository.clone(), expected.clone());
    let actual = registry.blocking(move |storage| storage.finish_upload(upload, &name, &wanted)).await?;
    if actual != *expected {
        let message = format!("the content has the digest {actual}, not {expected}");
        return Err(ApiError::new(Code::DigestInvalid, message));
    }
    created(repository, expected)
}

/// Waits for the session `id` of `repository`.
async fn hold(registry: &Registry, repository: &RepositoryName, id: &str) -> Result<Held, ApiError> {
    let unknown = || ApiError::new(Code::BlobUploadUnknown, format!("{repository} has no such upload session"));
    let id: UploadId = id.parse().map_err(|_| unknown())?;
    let busy = |_| ApiError::new(Code::Unavailable, "another request is using this upload session");
    timeout(PATIENCE, registry.storage.hold_upload(repository, id)).await.map_err(busy)??.ok_or_else(unknown)
}

/// The chunk that the request holds, when it says so; it must start where the session ends.
fn chunk(call: &Call, repository: &RepositoryName, status: UploadStatus) -> Result<Option<ChunkRange>, ApiError> {
    let Some(header) = call.headers.get(CONTENT_RANGE) else { return Ok(None) };
    let range = header.to_str().ok().and_then(ChunkRange::parse);
    match range.filter(|range| range.first == status.received) {
        Some(range) => Ok(Some(range)),
        None => {
            let message = format!("expected a chunk that starts at {}", status.received);
            standing(ApiError::new(Code::RangeInvalid, message), repository, status)
        }
    }
}

/// The session's algorithm; a client that wants another one than sha256 may say so early.
fn algorithm(call: &Call) -> Result<Algorithm, ApiError> {
    match call.parameters.get("digest-algorithm") {
        None | Some("sha256") => Ok(Algorithm::Sha256),
        Some("sha512") => Ok(Algorithm::Sha512),
        Some(other) => Err(ApiError::new(Code::DigestInvalid, format!("unsupported digest algorithm {other:?}"))),
    }
}

fn created(repository: &RepositoryName, digest: &Digest) -> Result<Response, ApiError> {
    let location = value(format!("/v2/{repository}/blobs/{digest}"))?;
    Ok(empty(StatusCode::CREATED, [(LOCATION, location), (DOCKER_CONTENT_DIGEST, value(digest)?)]))
}

fn session(status: StatusCode, repository: &RepositoryName, upload: UploadStatus) -> Result<Response, ApiError> {
    Ok(empty(status, session_headers(repository, upload)?))
}

/// An error that leaves the session usable and says where it stands.
fn standing<T>(error: ApiError, repository: &RepositoryName, upload: UploadStatus) -> Result<T, ApiError> {
    let headers = session_headers(repository, upload)?;
    Err(headers.into_iter().fold(error, |error, (name, value)| error.with_header(name, value)))
}

/// An empty session has no range of its own; servers say `0-0`.
fn session_headers(
    repository: &RepositoryName,
    upload: UploadStatus,
) -> Result<[(HeaderName, HeaderValue); 3], ApiError> {
    let last = upload.received.saturating_sub(1);
    Ok([
        (LOCATION, value(format!("/v2/{repository}/blobs/uploads/{}", upload.id))?),
        (RANGE, value(format!("0-{last}"))?),
        (DOCKER_UPLOAD_UUID, value(upload.id)?),
    ])
}
