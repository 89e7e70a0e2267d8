use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH, LOCATION};
use axum::response::{IntoResponse, Response};
use yadokari::digest::Digest;

use super::content::{entity_tag, not_modified};
use super::hot;
use super::receive::collect;
use super::{Call, DOCKER_CONTENT_DIGEST, Registry, empty, value};
use crate::document::Document;
use crate::error::{ApiError, Code};
use crate::hasher::Hasher;
use crate::name::{NameError, Reference, RepositoryName, Tag};
use crate::storage::{MAX_MANIFEST_BYTES, ManifestHead, NewManifest, Put, PutIf, Storage};

/// A PUT by digest may set so many tags at once.
const MAX_TAGS: usize = 100;
/// The fencing token of the lease under which a record was made.
const FENCE: HeaderName = HeaderName::from_static("yadokari-fence");
const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const OCI_TAG: HeaderName = HeaderName::from_static("oci-tag");

/// GET and HEAD of a manifest.
pub(super) async fn get(
    registry: &Registry,
    call: &Call,
    repository: &RepositoryName,
    reference: &str,
) -> Result<Response, ApiError> {
    let wanted = existing(repository, reference)?;
    let found = match registry.storage.hot_manifest(repository, &wanted) {
        Some((head, bytes)) => Some((head, if call.is_head() { Body::empty() } else { bytes.into() })),
        None => find(registry, repository, wanted.clone(), call.is_head()).await?,
    };
    // A record that is not here is wanted all the same: whoever misses it makes it.
    if found.is_some() || hot::is_key(&wanted) {
        registry.demand.note(repository, &wanted, hot::now());
    }
    let (head, body) = found.ok_or_else(|| unknown(repository, reference))?;
    match not_modified(&call.headers, &head.digest)? {
        Some(response) => Ok(response),
        None => answer(&head, body),
    }
}

/// A manifest from the disk, without its bytes when only its head is wanted.
async fn find(
    registry: &Registry,
    repository: &RepositoryName,
    wanted: Reference,
    head_only: bool,
) -> Result<Option<(ManifestHead, Body)>, ApiError> {
    let name = repository.clone();
    let find = move |storage: &Storage| {
        if head_only {
            return Ok(storage.manifest_head(&name, &wanted)?.map(|head| (head, Body::empty())));
        }
        Ok(storage.manifest(&name, &wanted)?.map(|(head, bytes)| (head, bytes.into())))
    };
    registry.blocking(find).await
}

/// PUT of a manifest, by tag or by digest.
pub(super) async fn put(
    registry: &Registry,
    call: &Call,
    repository: &RepositoryName,
    reference: &str,
    body: &mut Body,
) -> Result<Response, ApiError> {
    let reference: Reference = reference.parse()?;
    let tags = tags(call, &reference)?;
    let bytes = collect(body, MAX_MANIFEST_BYTES).await?;
    let content_type = call.header(CONTENT_TYPE).and_then(|text| text.split(';').next()).map(str::trim);
    let document = Document::parse(&bytes, content_type)?;
    let manifest = NewManifest { digest: identity(&reference, &bytes)?, bytes, document };
    let response = created(repository, &manifest, &reference, &tags)?;
    let name = repository.clone();
    refuse_overtaken(registry, call, repository, &tags).await?;
    let only_new = call.header(IF_NONE_MATCH).is_some_and(|tag| tag.trim() == "*");
    let (names, put_if) = (tags.clone(), if only_new { PutIf::WholeAndNew } else { PutIf::Whole });
    match registry.blocking(move |storage| storage.put_manifest(&name, &manifest, &tags, put_if)).await? {
        Put::Stored => {
            fulfil(registry, repository, names).await;
            Ok(response)
        }
        Put::Exists(digest) => Err(exists(&digest)?),
        Put::Lacking(missing) => {
            let message = "the manifest needs content that the repository lacks";
            Err(ApiError::for_each_digest(Code::ManifestBlobUnknown, message, &missing))
        }
    }
}

/// Nobody needs to wait any more for what is there now.
async fn fulfil(registry: &Registry, repository: &RepositoryName, tags: Vec<Tag>) {
    if !registry.storage.has_replicas() {
        return registry.leases.fulfil(repository, &tags);
    }
    let name = repository.clone();
    // The manifest is stored; a lease that cannot be ended ends by itself.
    let _ = registry.blocking(move |storage| storage.end_leases(&name, &tags)).await;
}

/// DELETE of a manifest with all its tags, or of one tag.
pub(super) async fn delete(
    registry: &Registry,
    repository: &RepositoryName,
    reference: &str,
) -> Result<Response, ApiError> {
    let wanted = existing(repository, reference)?;
    let name = repository.clone();
    let removed = registry.blocking(move |storage| match &wanted {
        Reference::Tag(tag) => storage.delete_tag(&name, tag),
        Reference::Digest(digest) => storage.delete_manifest(&name, digest),
    });
    if removed.await? { Ok(StatusCode::ACCEPTED.into_response()) } else { Err(unknown(repository, reference)) }
}

/// Refuses a writer that says which lease it holds when somebody else has got a later one.
async fn refuse_overtaken(
    registry: &Registry,
    call: &Call,
    repository: &RepositoryName,
    tags: &[Tag],
) -> Result<(), ApiError> {
    let Some(fence) = call.header(FENCE).and_then(|text| text.parse().ok()) else { return Ok(()) };
    let overtaken = if registry.storage.has_replicas() {
        let (name, tags) = (repository.clone(), tags.to_vec());
        registry.blocking(move |storage| storage.is_any_lease_overtaken(&name, &tags, fence)).await?
    } else {
        tags.iter().any(|tag| registry.leases.is_overtaken(repository, tag, fence))
    };
    if overtaken {
        let error = ApiError::new(Code::Denied, "another client holds a later lease of this key");
        return Err(error.with_status(StatusCode::CONFLICT));
    }
    Ok(())
}

/// `If-None-Match: *` asked for a new tag, and it is there.
fn exists(digest: &Digest) -> Result<ApiError, ApiError> {
    let error = ApiError::new(Code::ManifestInvalid, format!("the tag names {digest} already"));
    let error = error.with_status(StatusCode::PRECONDITION_FAILED);
    Ok(error.with_header(DOCKER_CONTENT_DIGEST, value(digest)?))
}

/// What to look for. A tag that cannot be is one that does not exist; clients probe with such.
fn existing(repository: &RepositoryName, reference: &str) -> Result<Reference, ApiError> {
    reference.parse().map_err(|error| match error {
        NameError::Tag(_) => unknown(repository, reference),
        other => other.into(),
    })
}

/// The tags that a PUT sets.
fn tags(call: &Call, reference: &Reference) -> Result<Vec<Tag>, ApiError> {
    if let Reference::Tag(tag) = reference {
        return Ok(vec![tag.clone()]);
    }
    let tags: Vec<Tag> = call.parameters.all("tag").map(str::parse).collect::<Result<_, NameError>>()?;
    if tags.len() > MAX_TAGS {
        let error = ApiError::new(Code::TagInvalid, format!("more than {MAX_TAGS} tags in one request"));
        return Err(error.with_status(StatusCode::URI_TOO_LONG));
    }
    Ok(tags)
}

/// The digest that the manifest is stored under; one that the client gave is checked.
fn identity(reference: &Reference, bytes: &[u8]) -> Result<Digest, ApiError> {
    let Reference::Digest(expected) = reference else { return Ok(Digest::sha256(bytes)) };
    let actual = Hasher::digest(expected.algorithm(), bytes);
    if actual != *expected {
        let message = format!("the manifest has the digest {actual}, not {expected}");
        return Err(ApiError::new(Code::DigestInvalid, message));
    }
    Ok(actual)
}

fn answer(head: &ManifestHead, body: Body) -> Result<Response, ApiError> {
    let headers = [
        (CONTENT_TYPE, value(&head.media_type)?),
        (CONTENT_LENGTH, value(head.size)?),
        (ETAG, value(entity_tag(&head.digest))?),
        (DOCKER_CONTENT_DIGEST, value(&head.digest)?),
    ];
    Ok((headers, body).into_response())
}

fn created(
    repository: &RepositoryName,
    manifest: &NewManifest,
    reference: &Reference,
    tags: &[Tag],
) -> Result<Response, ApiError> {
    let location = value(format!("/v2/{repository}/manifests/{}", manifest.digest))?;
    let headers = [(LOCATION, location), (DOCKER_CONTENT_DIGEST, value(&manifest.digest)?)];
    let mut response = empty(StatusCode::CREATED, headers);
    if let Some(subject) = &manifest.document.subject {
        response.headers_mut().insert(OCI_SUBJECT, value(subject)?);
    }
    if matches!(reference, Reference::Digest(_)) {
        for tag in tags {
            response.headers_mut().append(OCI_TAG, value(tag)?);
        }
    }
    Ok(response)
}

fn unknown(repository: &RepositoryName, reference: &str) -> ApiError {
    ApiError::new(Code::ManifestUnknown, format!("{repository} has no manifest {reference:?}"))
}
