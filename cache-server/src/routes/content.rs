//! What blobs and manifests have in common when they are served: identity, conditions, bytes.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::try_unfold;
use tokio::task::spawn_blocking;
use yadokari::digest::Digest;

use super::{DOCKER_CONTENT_DIGEST, empty, value};
use crate::error::ApiError;
use crate::storage::Blob;

/// Contents up to this size are answered in one piece.
const SMALL_BYTES: u64 = 64 << 10;
const CHUNK_BYTES: u64 = 256 << 10;

/// The entity tag of what `digest` names.
pub(super) fn entity_tag(digest: &Digest) -> String {
    format!("\"{digest}\"")
}

/// 304 when the client already has what `digest` names.
pub(super) fn not_modified(headers: &HeaderMap, digest: &Digest) -> Result<Option<Response>, ApiError> {
    let tag = entity_tag(digest);
    let mut known = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    if !known.any(|list| names_tag(list, &tag)) {
        return Ok(None);
    }
    let headers = [(ETAG, value(tag)?), (DOCKER_CONTENT_DIGEST, value(digest)?)];
    Ok(Some(empty(StatusCode::NOT_MODIFIED, headers)))
}

/// Weak comparison, as `If-None-Match` wants it. No tag of ours has a comma in it.
fn names_tag(list: &str, tag: &str) -> bool {
    list.split(',').map(str::trim).any(|item| item == "*" || item.strip_prefix("W/").unwrap_or(item) == tag)
}

/// `length` bytes of a blob from `first`. Blocks: it reads a small content at once.
pub(super) fn body(mut blob: Blob, first: u64, length: u64) -> io::Result<Body> {
    blob.file.seek(SeekFrom::Start(first))?;
    if length > SMALL_BYTES {
        return Ok(stream(blob, length));
    }
    let bytes = read_up_to(&blob.file, length)?;
    if (bytes.len() as u64) < length { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(bytes.into()) }
}

/// The next bytes of a blob, read as the client takes them.
///
/// When the file ends early the connection breaks: better than a short answer that
/// looks complete.
fn stream(blob: Blob, length: u64) -> Body {
    let chunks = try_unfold((blob, length), |(blob, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let (blob, chunk) =
            spawn_blocking(move || read_up_to(&blob.file, left.min(CHUNK_BYTES)).map(|c| (blob, c))).await??;
        if chunk.is_empty() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        let left = left - chunk.len() as u64;
        Ok(Some((chunk, (blob, left))))
    });
    Body::from_stream(chunks)
}

fn read_up_to(file: &File, length: u64) -> io::Result<Bytes> {
    // At most a chunk or a small content: fits any usize.
    let mut bytes = Vec::with_capacity(length as usize);
    file.take(length).read_to_end(&mut bytes)?;
    Ok(bytes.into())
}

/// A fixed header value.
pub(super) fn fixed(text: &'static str) -> HeaderValue {
    HeaderValue::from_static(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entity_tags_compare_weakly() {
        let tag = "\"sha256:a\"";
        for list in ["\"sha256:a\"", "W/\"sha256:a\"", "*", "\"x\" , \"sha256:a\""] {
            assert!(names_tag(list, tag), "{list}");
        }
        for list in ["", "sha256:a", "\"sha256:ab\"", "\"x\""] {
            assert!(!names_tag(list, tag), "{list}");
        }
    }
}
