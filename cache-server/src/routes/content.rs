//! What blobs and manifests have in common when they are served: identity, conditions, bytes.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::try_unfold;
use tokio::task::{JoinHandle, spawn_blocking};
use yadokari::digest::Digest;

use super::{DOCKER_CONTENT_DIGEST, empty, value};
use crate::error::ApiError;

/// Read at a time; a connection holds two of them at most.
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

/// `length` bytes of a file from `first`. Blocks: it reads the first chunk at once.
pub(super) fn body(mut file: File, first: u64, length: u64) -> io::Result<Body> {
    file.seek(SeekFrom::Start(first))?;
    let chunk = read_chunk(&file, length)?;
    let left = length - chunk.len() as u64;
    Ok(if left == 0 { chunk.into() } else { stream(file, chunk, left) })
}

/// A chunk that is being read, and the file that comes back with it.
type NextChunk = JoinHandle<io::Result<(File, Bytes)>>;

/// A chunk, and the next `left` bytes of a file; each chunk is read while the client takes the
/// one before.
///
/// When the file ends early the connection breaks: better than a short answer that
/// looks complete.
fn stream(file: File, first: Bytes, left: u64) -> Body {
    enum Next {
        Ready(File, Bytes),
        Reading(NextChunk),
        End,
    }
    let chunks = try_unfold((Next::Ready(file, first), left), |(next, left)| async move {
        let (file, chunk) = match next {
            Next::Ready(file, chunk) => (file, chunk),
            Next::Reading(task) => task.await??,
            Next::End => return Ok(None),
        };
        if left == 0 {
            return Ok::<_, io::Error>(Some((chunk, (Next::End, 0))));
        }
        let reading = spawn_blocking(move || read_chunk(&file, left).map(|chunk| (file, chunk)));
        Ok(Some((chunk, (Next::Reading(reading), left - left.min(CHUNK_BYTES)))))
    });
    Body::from_stream(chunks)
}

/// The next bytes of a file: a chunk, or `left` when that is less.
fn read_chunk(file: &File, left: u64) -> io::Result<Bytes> {
    let wanted = left.min(CHUNK_BYTES);
    let bytes = read_up_to(file, wanted)?;
    if (bytes.len() as u64) < wanted { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(bytes) }
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

    async fn read(body: Body) -> Result<Vec<u8>, axum::Error> {
        axum::body::to_bytes(body, usize::MAX).await.map(|bytes| bytes.to_vec())
    }

    #[tokio::test]
    async fn a_part_of_a_file_is_served_whatever_its_size() {
        let chunk = CHUNK_BYTES as usize;
        let content: Vec<u8> = (0..3 * chunk + 5).map(|index| (index / 7) as u8).collect();
        let path = tempfile::NamedTempFile::new().expect("temporary file");
        std::fs::write(path.path(), &content).expect("written");
        let open = || File::open(path.path()).expect("opened");
        for (first, length) in [(0, 0), (0, 1), (3, chunk), (3, chunk + 1), (1, 2 * chunk), (0, 3 * chunk + 5)] {
            let body = body(open(), first as u64, length as u64).expect("read");
            assert!(read(body).await.expect("read") == content[first..first + length], "{first} {length}");
        }
        // A file that is shorter than it was never gives a whole answer.
        assert!(body(open(), content.len() as u64, 1).is_err());
        let short = body(open(), 0, content.len() as u64 + 1).expect("the first chunk is there");
        assert!(read(short).await.is_err());
    }

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
