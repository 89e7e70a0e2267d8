//! What blobs and manifests have in common when they are served: identity, conditions, bytes.

use std::borrow::Borrow;
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::try_unfold;
use rustix::fs::fstatfs;
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use tokio::task::spawn_blocking;
use yadokari::digest::Digest;

use super::{DOCKER_CONTENT_DIGEST, empty, value};
use crate::error::ApiError;
use crate::handover::{Handover, PART_BYTES, Source};

/// Read at a time: so much a connection holds in memory.
const CHUNK_BYTES: u64 = 256 << 10;
/// Fewer bytes are copied as quickly as they are handed over.
const HANDOVER_BYTES: u64 = 64 << 10;

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

/// `length` bytes of a blob from `first`. Blocks: what is not handed over is read at once, as far as
/// the first chunk goes.
pub(super) fn body<B: Borrow<File> + Send + Sync + 'static>(
    blob: B,
    first: u64,
    length: u64,
    handover: Option<Handover>,
) -> io::Result<Body> {
    if let Some(handover) = handover.filter(|_| length >= HANDOVER_BYTES) {
        return Ok(handed_over(Arc::new(blob), handover, (first, length)));
    }
    let chunk = read_chunk(blob.borrow(), first, length)?;
    let read = chunk.len() as u64;
    Ok(if read == length { chunk.into() } else { stream(blob, chunk, (first + read, length - read)) })
}

/// The `left` bytes of a file from `offset`: what is in memory goes to the connection as it is.
fn handed_over(source: Source, handover: Handover, rest: (u64, u64)) -> Body {
    let chunks = try_unfold((source, handover, rest), |(source, handover, (offset, left))| async move {
        if left == 0 {
            return Ok::<_, io::Error>(None);
        }
        let file: &File = (*source).borrow();
        // At most a part: fits any usize.
        let length = left.min(PART_BYTES as u64) as usize;
        let chunk = if is_cached(file, offset) && is_cached(file, offset + length as u64 - 1) {
            handover.part(&source, offset, length)
        } else {
            let reading = Arc::clone(&source);
            spawn_blocking(move || read_chunk((*reading).borrow(), offset, left)).await??
        };
        let read = chunk.len() as u64;
        Ok(Some((chunk, (source, handover, (offset + read, left - read)))))
    });
    Body::from_stream(chunks)
}

/// Whether a byte of a file can be had without waiting for a disk.
fn is_cached(file: &File, offset: u64) -> bool {
    let mut byte = [0];
    match preadv2(file, &mut [IoSliceMut::new(&mut byte)], offset, ReadWriteFlags::NOWAIT) {
        Ok(read) => read == 1,
        Err(error) => error == Errno::OPNOTSUPP && is_in_memory(file),
    }
}

/// A chunk, and then the `left` bytes of a blob from `offset`, read as the client takes them.
///
/// When the file ends early the connection breaks: better than a short answer that
/// looks complete.
fn stream<B: Borrow<File> + Send + 'static>(blob: B, first: Bytes, rest: (u64, u64)) -> Body {
    let chunks = try_unfold((blob, Some(first), rest), |(blob, ready, (offset, left))| async move {
        if let Some(chunk) = ready {
            return Ok(Some((chunk, (blob, None, (offset, left)))));
        }
        if left == 0 {
            return Ok::<_, io::Error>(None);
        }
        let (blob, chunk) = next_chunk(blob, offset, left).await?;
        let read = chunk.len() as u64;
        Ok(Some((chunk, (blob, None, (offset + read, left - read)))))
    });
    Body::from_stream(chunks)
}

/// The next bytes of a blob: here when they are in memory, which is as quick as a copy, and else
/// on a thread that may block.
async fn next_chunk<B: Borrow<File> + Send + 'static>(blob: B, offset: u64, left: u64) -> io::Result<(B, Bytes)> {
    if let Some(chunk) = cached_chunk(blob.borrow(), offset, left) {
        return Ok((blob, chunk));
    }
    spawn_blocking(move || read_chunk(blob.borrow(), offset, left).map(|chunk| (blob, chunk))).await?
}

/// The next bytes of a file, if they are in memory; whatever hinders that is left to a real read.
fn cached_chunk(file: &File, offset: u64, left: u64) -> Option<Bytes> {
    let mut bytes = vec![0; chunk_size(left)];
    let read = match preadv2(file, &mut [IoSliceMut::new(&mut bytes)], offset, ReadWriteFlags::NOWAIT) {
        Ok(read) => read,
        // A tmpfs has no such reads, since it has no others.
        Err(Errno::OPNOTSUPP) if is_in_memory(file) => file.read_at(&mut bytes, offset).ok()?,
        Err(_) => return None,
    };
    bytes.truncate(read);
    (read > 0).then(|| bytes.into())
}

fn is_in_memory(file: &File) -> bool {
    const TMPFS_MAGIC: i128 = 0x0102_1994;
    // Its type differs between platforms.
    fstatfs(file).is_ok_and(|statistics| i128::from(statistics.f_type) == TMPFS_MAGIC)
}

/// The next bytes of a file: a whole chunk, or `left` when that is less.
fn read_chunk(file: &File, offset: u64, left: u64) -> io::Result<Bytes> {
    let mut bytes = vec![0; chunk_size(left)];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes.into())
}

/// At most a chunk, which fits any usize.
fn chunk_size(left: u64) -> usize {
    left.min(CHUNK_BYTES) as usize
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
            let body = body(open(), first as u64, length as u64, None).expect("read");
            assert!(read(body).await.expect("read") == content[first..first + length], "{first} {length}");
        }
        // A file that is shorter than it was never gives a whole answer.
        assert!(body(open(), content.len() as u64, 1, None).is_err());
        let short = body(open(), 0, content.len() as u64 + 1, None).expect("the first chunk is there");
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
