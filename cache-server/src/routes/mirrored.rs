//! Pulls of repositories that are copies of another registry's.

use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header::{HeaderName, RANGE, WARNING};
use axum::response::Response;
use yadokari::causes::chain;
use yadokari::digest::Digest;

use super::authorization::may_read;
use super::{Call, Registry, blobs, manifests, value};
use crate::access::{Action, Need};
use crate::access_log::LogLevel;
use crate::error::{ApiError, Code};
use crate::mirror::{FetchError, Freshness, Place};
use crate::name::{Reference, RepositoryName};

const OCI_NAMESPACE: HeaderName = HeaderName::from_static("oci-namespace");

/// The mirror that a pull is about, if it is.
pub(super) async fn place(
    registry: &Registry,
    call: &Call,
    repository: &RepositoryName,
) -> Result<Option<Place>, ApiError> {
    let namespace = call.parameters.get("ns");
    let place = match registry.mirrors.place(repository, namespace) {
        None if namespace.is_none() => fallback(registry, repository).await?,
        place => place,
    };
    // What was authorized is the name in the request; the copy may have another one.
    Ok(place.filter(|place| may_read(call, &Need::Repository(Action::Pull, place.repository.clone()))))
}

/// Where a name that nobody pushed to may come from.
async fn fallback(registry: &Registry, repository: &RepositoryName) -> Result<Option<Place>, ApiError> {
    let Some(place) = registry.mirrors.fallback(repository) else { return Ok(None) };
    let name = repository.clone();
    let is_ours = registry.blocking(move |storage| storage.has_repository(&name)).await?;
    Ok((!is_ours).then_some(place))
}

/// GET and HEAD of a manifest.
pub(super) async fn manifest(
    registry: &Registry,
    call: &Call,
    place: &Place,
    reference: &str,
) -> Result<Response, ApiError> {
    let wanted: Reference = reference.parse()?;
    let freshness = registry.mirrors.refresh(&registry.storage, place, &wanted).await;
    let freshness = freshness.map_err(|error| unavailable(registry, place, error))?;
    let mut response = manifests::get(registry, call, &place.repository, reference).await?;
    if let Freshness::Stale(error) = freshness {
        let text = format!("serving {}:{reference} as it was: {}", place.repository, chain(&error));
        registry.log.event(LogLevel::Error, &text);
        let warning = HeaderValue::from_static("110 - \"response is stale: the mirrored registry cannot be asked\"");
        response.headers_mut().insert(WARNING, warning);
    }
    named(response, place)
}

/// GET and HEAD of a blob.
pub(super) async fn blob(
    registry: &Registry,
    call: &Call,
    place: &Place,
    digest: &Digest,
) -> Result<Response, ApiError> {
    let (name, wanted) = (place.repository.clone(), digest.clone());
    if registry.blocking(move |storage| storage.blob_size(&name, &wanted)).await?.is_some() {
        return named(blobs::get(registry, call, &place.repository, digest).await?, place);
    }
    let flight = registry.mirrors.flight(&registry.storage, place, digest).await;
    let Some(flight) = flight.map_err(|error| unavailable(registry, place, error))? else {
        return Err(blobs::unknown(&place.repository, digest));
    };
    if call.headers.contains_key(RANGE) {
        // Parts are cut from the whole.
        flight.landed().await;
        return named(blobs::get(registry, call, &place.repository, digest).await?, place);
    }
    if !call.is_head() && !flight.departed().await {
        return Err(undelivered());
    }
    let body = if call.is_head() { axum::body::Body::empty() } else { flight.body() };
    named(blobs::answer(StatusCode::OK, digest, flight.size, body)?, place)
}

fn named(mut response: Response, place: &Place) -> Result<Response, ApiError> {
    if let Some(namespace) = &place.namespace {
        response.headers_mut().insert(OCI_NAMESPACE, value(namespace)?);
    }
    Ok(response)
}

/// A registry that refuses or fails is no registry without the thing: the client may try another.
fn unavailable(registry: &Registry, place: &Place, error: FetchError) -> ApiError {
    if error.is_absence() {
        return ApiError::new(
            Code::ManifestUnknown,
            format!("the mirrored registry has no such thing in {}", place.repository),
        );
    }
    if let FetchError::Storage(error) = error {
        return error.into();
    }
    registry.log.event(LogLevel::Error, &format!("mirror of {}: {}", place.repository, chain(&error)));
    undelivered()
}

fn undelivered() -> ApiError {
    let message = "the mirrored registry cannot be asked, or did not deliver, and there is no copy";
    ApiError::new(Code::Unavailable, message).with_status(StatusCode::BAD_GATEWAY)
}
