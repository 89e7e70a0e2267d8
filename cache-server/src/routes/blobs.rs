use std::io;

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_RANGE, LOCATION, RANGE,
};
use axum::response::{IntoResponse, Response};
use yadokari::digest::Digest;

use super::content::{self, entity_tag, fixed, not_modified};
use super::{Call, DOCKER_CONTENT_DIGEST, Registry, empty, value};
use crate::error::{ApiError, Code};
use crate::handover::Handover;
use crate::name::RepositoryName;
use crate::range::Selection;
use crate::storage::Content;

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
    if let Some(response) = redirect(registry, call, repository, digest).await? {
        return Ok(response);
    }
    let (name, wanted) = (repository.clone(), digest.clone());
    let (range, handover) = (range(call, digest), call.handover.clone());
    let opened = registry.blocking(move |storage| {
        let Some(blob) = storage.open_blob(&name, &wanted)? else { return Ok(None) };
        let opened = Opened::select(blob, range.as_deref(), handover);
        if matches!(&opened.body, Err(error) if error.kind() == io::ErrorKind::NotFound) {
            storage.forget_lost(&wanted)?;
            return Ok(None);
        }
        Ok(Some(opened))
    });
    let opened = opened.await?.ok_or_else(|| unknown(repository, digest))?;
    if let Some(response) = not_modified(&call.headers, digest)? {
        return Ok(response);
    }
    let body = opened.body.map_err(|error| ApiError::internal(&error))?;
    match opened.selection {
        Selection::Whole => answer(StatusCode::OK, digest, opened.size, body),
        Selection::Part { first, last } => {
            let mut response = answer(StatusCode::PARTIAL_CONTENT, digest, last - first + 1, body)?;
            let range = value(format!("bytes {first}-{last}/{}", opened.size))?;
            response.headers_mut().insert(CONTENT_RANGE, range);
            Ok(response)
        }
        Selection::Unsatisfiable => Err(out_of_range(opened.size)?),
    }
}

/// Where the client can read the blob itself, if that is wished and possible. What the store would answer in another
/// way than we do is answered here: it does not know our entity tags, nor our errors.
async fn redirect(
    registry: &Registry,
    call: &Call,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<Option<Response>, ApiError> {
    if !registry.storage.redirects() || call.headers.contains_key(IF_RANGE) {
        return Ok(None);
    }
    let (name, wanted) = (repository.clone(), digest.clone());
    let address = registry.blocking(move |storage| storage.blob_address(&name, &wanted)).await?;
    let Some((address, size)) = address else { return Ok(None) };
    if let Some(response) = not_modified(&call.headers, digest)? {
        return Ok(Some(response));
    }
    if Selection::of(call.header(RANGE), size) == Selection::Unsatisfiable {
        return Err(out_of_range(size)?);
    }
    // What is behind the address never changes, but the address ends.
    let headers = [
        (LOCATION, value(address)?),
        (DOCKER_CONTENT_DIGEST, value(digest)?),
        (CACHE_CONTROL, fixed("private, max-age=600")),
    ];
    Ok(Some(empty(StatusCode::TEMPORARY_REDIRECT, headers)))
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

/// The `Range` header, unless it is about another content than this: `If-Range` compares strongly.
fn range(call: &Call, digest: &Digest) -> Option<String> {
    let same = call.header(IF_RANGE).is_none_or(|tag| tag == entity_tag(digest));
    call.header(RANGE).filter(|_| same).map(str::to_owned)
}

/// A blob of `size` bytes and the part of it that is asked for.
struct Opened {
    size: u64,
    selection: Selection,
    body: io::Result<Body>,
}

impl Opened {
    fn select(blob: Content, range: Option<&str>, handover: Option<Handover>) -> Self {
        let size = blob.size();
        let selection = Selection::of(range, size);
        let body = match selection {
            Selection::Whole => body(blob, 0, size, handover),
            Selection::Part { first, last } => body(blob, first, last - first + 1, handover),
            Selection::Unsatisfiable => Ok(Body::empty()),
        };
        Self { size, selection, body }
    }
}

/// `length` bytes of a blob from `first`; blocks until the first of them are there.
fn body(blob: Content, first: u64, length: u64, handover: Option<Handover>) -> io::Result<Body> {
    match blob {
        Content::File(blob) => content::body(blob, first, length, handover),
        Content::Object(object) => object.stream(first, length).map(Body::from_stream),
    }
}

pub(super) fn answer(status: StatusCode, digest: &Digest, length: u64, body: Body) -> Result<Response, ApiError> {
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

pub(super) fn unknown(repository: &RepositoryName, digest: &Digest) -> ApiError {
    ApiError::new(Code::BlobUnknown, format!("{repository} has no blob {digest}"))
}
