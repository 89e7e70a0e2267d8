use std::io;

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_RANGE, RANGE};
use axum::response::{IntoResponse, Response};
use tokio::task::spawn_blocking;
use yadokari::digest::Digest;

use super::content::{self, SMALL_BYTES, entity_tag, fixed, not_modified};
use super::{Call, DOCKER_CONTENT_DIGEST, Registry, finished, value};
use crate::error::{ApiError, Code};
use crate::name::RepositoryName;
use crate::range::Selection;
use crate::storage::Blob;

/// GET and HEAD of a blob.
pub(super) async fn get(
    registry: &Registry,
    call: &Call,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<Response, ApiError> {
    if call.is_head() {
        return head(registry, call, repository, digest).await;
    }
    let (name, wanted) = (repository.clone(), digest.clone());
    let blob = registry.blocking(move |storage| storage.open_blob(&name, &wanted)).await?;
    let blob = blob.ok_or_else(|| unknown(repository, digest))?;
    if let Some(response) = not_modified(&call.headers, digest)? {
        return Ok(response);
    }
    match selection(call, digest, blob.size) {
        Selection::Whole => {
            let length = blob.size;
            answer(StatusCode::OK, digest, length, bytes(blob, 0, length).await?)
        }
        Selection::Part { first, last } => {
            let (length, range) = (last - first + 1, format!("bytes {first}-{last}/{}", blob.size));
            let mut response = answer(StatusCode::PARTIAL_CONTENT, digest, length, bytes(blob, first, length).await?)?;
            response.headers_mut().insert(CONTENT_RANGE, value(range)?);
            Ok(response)
        }
        Selection::Unsatisfiable => Err(out_of_range(blob.size)?),
    }
}

/// DELETE of a blob.
pub(super) async fn delete(
    registry: &Registry,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<Response, ApiError> {
    let (name, wanted) = (repository.clone(), digest.clone());
    let removed = registry.blocking(move |storage| storage.unlink_blob(&name, &wanted)).await?;
    if removed { Ok(StatusCode::ACCEPTED.into_response()) } else { Err(unknown(repository, digest)) }
}

async fn head(
    registry: &Registry,
    call: &Call,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<Response, ApiError> {
    let (name, wanted) = (repository.clone(), digest.clone());
    let size = registry.blocking(move |storage| storage.blob_size(&name, &wanted)).await?;
    let size = size.ok_or_else(|| unknown(repository, digest))?;
    match not_modified(&call.headers, digest)? {
        Some(response) => Ok(response),
        None => answer(StatusCode::OK, digest, size, Body::empty()),
    }
}

/// A range of another content than this one is none: `If-Range` compares strongly.
fn selection(call: &Call, digest: &Digest, size: u64) -> Selection {
    match call.header(IF_RANGE) {
        Some(tag) if tag != entity_tag(digest) => Selection::Whole,
        _ => Selection::of(call.header(RANGE), size),
    }
}

async fn bytes(blob: Blob, first: u64, length: u64) -> Result<Body, ApiError> {
    let read = move || -> io::Result<Body> {
        if length <= SMALL_BYTES {
            return Ok(Body::from(content::load(blob.file, first, length)?));
        }
        content::stream(blob.file, first, length)
    };
    finished(spawn_blocking(read).await)?.map_err(|error| ApiError::internal(&error))
}

fn answer(status: StatusCode, digest: &Digest, length: u64, body: Body) -> Result<Response, ApiError> {
    let headers = [
        (CONTENT_TYPE, fixed("application/octet-stream")),
        (CONTENT_LENGTH, value(length)?),
        (ACCEPT_RANGES, fixed("bytes")),
        (ETAG, value(entity_tag(digest))?),
        (DOCKER_CONTENT_DIGEST, value(digest)?),
    ];
    Ok((status, headers, body).into_response())
}

fn out_of_range(size: u64) -> Result<ApiError, ApiError> {
    let error = ApiError::new(Code::RangeInvalid, format!("the blob has {size} bytes"));
    Ok(error.with_header(CONTENT_RANGE, value(format!("bytes */{size}"))?))
}

fn unknown(repository: &RepositoryName, digest: &Digest) -> ApiError {
    ApiError::new(Code::BlobUnknown, format!("{repository} has no blob {digest}"))
}
