//! Takes in request bodies.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::StatusCode;
use bytes::Bytes;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

use super::finished;
use crate::error::{ApiError, Code};
use crate::storage::{Appending, Storage, StorageError};

/// A client that sends nothing for so long is gone.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);
/// Bytes hashed and written at a time. Four times as many may be in memory.
const BATCH_BYTES: usize = 512 << 10;
/// How much of a refused body is read.
const DRAIN_BYTES: usize = 4 << 20;
/// For how long.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);

/// What became of a body.
pub(super) enum Received {
    /// It came in whole.
    Whole(Appending),
    /// It was longer or shorter than announced; nothing of it is kept.
    WrongLength(Appending),
}

/// Adds a body to an upload. One batch is hashed, beside that written, and the next one comes.
///
/// `announced` is the length of the chunk in bytes, if the client said so in `Content-Range`.
///
/// # Errors
/// When the body broke off, or its bytes could not be stored; the upload keeps what came before.
pub(super) async fn receive(
    storage: &Arc<Storage>,
    upload: Appending,
    body: &mut Body,
    announced: Option<u64>,
) -> Result<Received, ApiError> {
    // Room for all of it before the first byte is taken, when the client says how much will come.
    let expected = body.size_hint().exact().unwrap_or(0);
    let mut write = Write::Idle(Box::new(reserve(storage, upload, expected).await?));
    let mut received = 0;
    loop {
        let batch = next_batch(body).await;
        received += batch.size as u64;
        let upload = write.finish().await?;
        if announced.is_some_and(|length| received > length) {
            return roll_back(upload).await;
        }
        write = Write::start(storage, upload, batch.chunks);
        let Some(end) = batch.end else { continue };
        let upload = settle(write.finish().await?).await?;
        if let Err(broken) = end {
            keep(storage, upload).await?;
            return Err(broken);
        }
        let short = announced.is_some_and(|length| received < length);
        return if short { roll_back(upload).await } else { Ok(Received::Whole(upload)) };
    }
}

/// A whole body of at most `limit` bytes, in memory; 413 when there is more.
pub(super) async fn collect(body: &mut Body, limit: u64) -> Result<Vec<u8>, ApiError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = next_chunk(body).await? {
        if (bytes.len() + chunk.len()) as u64 > limit {
            let error = ApiError::new(Code::SizeInvalid, format!("larger than {limit} bytes"));
            return Err(error.with_status(StatusCode::PAYLOAD_TOO_LARGE));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// Reads on, within reason, and forgets what it reads.
///
/// A client that is still sending when the connection is closed on it may lose the answer
/// that was already on its way.
pub(super) async fn drain(body: &mut Body) {
    let reading = async {
        let mut left = DRAIN_BYTES;
        while let Some(Ok(chunk)) = next_data(body).await
            && chunk.len() <= left
        {
            left -= chunk.len();
        }
    };
    // Too long is as good as done.
    let _ = timeout(DRAIN_LIMIT, reading).await;
}

/// A write that runs on another thread, and the upload that it hands back.
enum Write {
    Idle(Box<Appending>),
    Running(JoinHandle<Result<Appending, StorageError>>),
}

impl Write {
    fn start(storage: &Arc<Storage>, mut upload: Appending, chunks: Vec<Bytes>) -> Self {
        if chunks.is_empty() {
            return Self::Idle(Box::new(upload));
        }
        let storage = Arc::clone(storage);
        Self::Running(spawn_blocking(move || {
            storage.reserve(&mut upload, chunks.iter().map(|chunk| chunk.len() as u64).sum())?;
            upload.write(&chunks).map(|()| upload)
        }))
    }

    async fn finish(self) -> Result<Appending, ApiError> {
        match self {
            Self::Idle(upload) => Ok(*upload),
            Self::Running(task) => Ok(finished(task.await)??),
        }
    }
}

async fn reserve(storage: &Arc<Storage>, mut upload: Appending, bytes: u64) -> Result<Appending, ApiError> {
    let storage = Arc::clone(storage);
    Ok(finished(spawn_blocking(move || storage.reserve(&mut upload, bytes).map(|()| upload)).await)??)
}

async fn settle(mut upload: Appending) -> Result<Appending, ApiError> {
    finished(
        spawn_blocking(move || {
            upload.settle();
            upload
        })
        .await,
    )
}

/// What came before a body broke off is worth keeping: the client may go on from there.
async fn keep(storage: &Arc<Storage>, upload: Appending) -> Result<(), ApiError> {
    let storage = Arc::clone(storage);
    finished(spawn_blocking(move || storage.keep_upload(upload)).await)??;
    Ok(())
}

async fn roll_back(mut upload: Appending) -> Result<Received, ApiError> {
    let upload = finished(spawn_blocking(move || upload.roll_back().map(|()| upload)).await)??;
    Ok(Received::WrongLength(upload))
}

/// Some of a body.
struct Batch {
    chunks: Vec<Bytes>,
    /// Bytes in the chunks.
    size: usize,
    /// Set when nothing follows.
    end: Option<Result<(), ApiError>>,
}

async fn next_batch(body: &mut Body) -> Batch {
    let mut batch = Batch { chunks: Vec::new(), size: 0, end: None };
    while batch.size < BATCH_BYTES && batch.end.is_none() {
        match next_chunk(body).await {
            Ok(Some(chunk)) => {
                batch.size += chunk.len();
                batch.chunks.push(chunk);
            }
            Ok(None) => batch.end = Some(Ok(())),
            Err(error) => batch.end = Some(Err(error)),
        }
    }
    batch
}

async fn next_chunk(body: &mut Body) -> Result<Option<Bytes>, ApiError> {
    match timeout(SILENCE_LIMIT, next_data(body)).await {
        Ok(chunk) => {
            chunk.transpose().map_err(|_| ApiError::new(Code::BlobUploadInvalid, "the request body broke off"))
        }
        Err(_) => {
            let error = ApiError::new(Code::BlobUploadInvalid, "the request body stopped coming");
            Err(error.with_status(StatusCode::REQUEST_TIMEOUT))
        }
    }
}

/// The next data; trailers are skipped.
async fn next_data(body: &mut Body) -> Option<Result<Bytes, axum::Error>> {
    loop {
        match poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await? {
            Ok(frame) => match frame.into_data() {
                Ok(data) => return Some(Ok(data)),
                Err(_) => continue,
            },
            Err(error) => return Some(Err(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream::{self, StreamExt as _};
    use tokio::time::{Instant, sleep};

    use super::*;

    /// A body that sends a byte after each pause.
    fn slow(pauses: Vec<Duration>) -> Body {
        Body::from_stream(stream::iter(pauses).then(|pause| async move {
            sleep(pause).await;
            Ok::<_, std::io::Error>(Bytes::from_static(b"x"))
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stops_coming_is_not_waited_for() {
        let started = Instant::now();
        let pauses = vec![SILENCE_LIMIT / 2, SILENCE_LIMIT * 10];
        let error = collect(&mut slow(pauses), 100).await.expect_err("it stopped");
        assert_eq!(axum::response::IntoResponse::into_response(error).status(), StatusCode::REQUEST_TIMEOUT);
        assert_eq!(started.elapsed(), SILENCE_LIMIT / 2 + SILENCE_LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_body_is_taken_to_the_end() {
        let bytes = collect(&mut slow(vec![SILENCE_LIMIT / 2; 20]), 100).await;
        assert_eq!(bytes.expect("slow, not gone").len(), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_wants_is_read_within_reason() {
        let started = Instant::now();
        drain(&mut slow(vec![SILENCE_LIMIT])).await;
        assert_eq!(started.elapsed(), DRAIN_LIMIT);
        let chunk = Bytes::from(vec![0; DRAIN_BYTES / 4]);
        let endless = stream::repeat(chunk).map(Ok::<_, std::io::Error>);
        drain(&mut Body::from_stream(endless)).await;
        assert_eq!(started.elapsed(), DRAIN_LIMIT, "it stops by itself");
    }
}
