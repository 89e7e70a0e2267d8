//! What runners ask for most, for those who fill caches beforehand.

use std::collections::HashSet;

use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::authorization::may_read;
use super::{Call, Registry};
use crate::access::{Action, Need};
use crate::demand::Wanted;
use crate::error::ApiError;
use crate::mirror::Mirrors;
use crate::name::{Reference, RepositoryName};
use crate::storage::{Storage, StorageError};

const DEFAULT_ENTRIES: usize = 100;
const MAX_ENTRIES: usize = 1000;
/// Names looked at for each that is listed: what is not here, and parts of others, are left out.
const CANDIDATES: usize = 4;
/// Tags of tables of contents, which records name: `docs/format.md`.
const TOC_PREFIX: &str = "toc-";
/// Tags of what builds remember of base images: `docs/format.md`.
const BASE_PREFIX: &str = "base-";
/// A cache key: 256 bits in hexadecimal.
const KEY_DIGITS: usize = 64;

/// GET: the most wanted records of a repository, and the most wanted images.
pub(super) async fn list(registry: &Registry, call: &Call, repository: &RepositoryName) -> Result<Response, ApiError> {
    let limit =
        call.parameters.get("n").map_or(Ok(DEFAULT_ENTRIES), |_| call.parameters.page_limit())?.min(MAX_ENTRIES);
    let second = now();
    let records =
        registry.demand.top(limit * CANDIDATES, second, |name, reference| name == repository && is_key(reference));
    let shown = |name: &RepositoryName, reference: &Reference| {
        let readable =
            || registry.mirrors.covers(name) || may_read(call, &Need::Repository(Action::Pull, name.clone()));
        is_image(reference) && readable()
    };
    let images = registry.demand.top(limit * CANDIDATES, second, shown);
    let (name, mirrors) = (repository.clone(), registry.mirrors.clone());
    let found = registry.blocking(move |storage| {
        let mut images = still_there(storage, images)?;
        images.truncate(limit);
        let images: Vec<Value> = images.iter().map(|wanted| image(wanted, &mirrors)).collect();
        let mut complete = Vec::new();
        for wanted in records {
            if let Reference::Tag(tag) = &wanted.reference
                && complete.len() < limit
                && storage.has_complete(&name, tag)?
            {
                complete.push(json!({ "key": tag.as_str(), "weight": wanted.weight }));
            }
        }
        Ok(json!({ "images": images, "records": complete }))
    });
    Ok(axum::Json(found.await?).into_response())
}

/// Seconds since 1970.
pub(super) fn now() -> f64 {
    Timestamp::now().as_second() as f64
}

/// Whether a reference can be a record's key.
pub(super) fn is_key(reference: &Reference) -> bool {
    matches!(reference, Reference::Tag(tag) if is_hash(tag.as_str()))
}

fn is_hash(text: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == KEY_DIGITS && text.bytes().all(is_digit)
}

fn is_image(reference: &Reference) -> bool {
    match reference {
        Reference::Tag(tag) => {
            let is_memory = tag.as_str().strip_prefix(BASE_PREFIX).is_some_and(is_hash);
            !is_key(reference) && !is_memory && !tag.as_str().starts_with(TOC_PREFIX)
        }
        Reference::Digest(_) => true,
    }
}

/// Those that are here, each manifest once: by its tag when it was asked for by tag, too. A manifest
/// that is part of an index comes with that.
fn still_there(storage: &Storage, wanted: Vec<Wanted>) -> Result<Vec<Wanted>, StorageError> {
    let (tagged, named): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|w| matches!(w.reference, Reference::Tag(_)));
    let (mut seen, mut found) = (HashSet::new(), Vec::new());
    for wanted in tagged.into_iter().chain(named) {
        let Some(digest) = storage.whole_image(&wanted.repository, &wanted.reference)? else { continue };
        let is_new = seen.insert((wanted.repository.clone(), digest));
        if is_new || matches!(wanted.reference, Reference::Tag(_)) {
            found.push(wanted);
        }
    }
    found.sort_by(|a, b| b.weight.total_cmp(&a.weight));
    Ok(found)
}

fn image(wanted: &Wanted, mirrors: &Mirrors) -> Value {
    let reference = wanted.reference.to_string();
    match mirrors.origin(&wanted.repository) {
        Some((registry, path)) => {
            json!({ "registry": registry, "repository": path, "reference": reference, "weight": wanted.weight })
        }
        None => {
            json!({ "repository": wanted.repository.as_str(), "reference": reference, "weight": wanted.weight })
        }
    }
}
