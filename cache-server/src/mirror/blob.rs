use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream::try_unfold;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use yadokari::digest::Digest;
use yadokari::image::{Descriptor, media_type};
use yadokari::registry::Purpose;

use super::{FetchError, Mirrors, Place, lock};
use crate::storage::{Appending, Storage};

const CHUNK_BYTES: usize = 256 << 10;

/// A blob on its way from a mirrored registry. Whoever wants it reads the same growing file.
#[derive(Debug)]
pub(crate) struct Flight {
    file: File,
    /// Bytes, as the registry says.
    pub(crate) size: u64,
    progress: watch::Receiver<Progress>,
}

/// How far a blob has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// So many bytes may be read.
    Received(u64),
    /// All of it, checked and stored.
    Stored,
    /// It broke off, or was not what it should be.
    Failed,
}

impl Mirrors {
    /// The flight of a blob that is not here; the first call starts it, and it ends whoever leaves.
    ///
    /// # Errors
    /// [`FetchError`] when the registry cannot be asked.
    pub(crate) async fn flight(
        self: &Arc<Self>,
        storage: &Arc<Storage>,
        place: &Place,
        digest: &Digest,
    ) -> Result<Option<Arc<Flight>>, FetchError> {
        let key = (place.repository.clone(), digest.clone());
        let running = lock(&self.flights).get(&key).cloned();
        if running.is_some() {
            return Ok(running);
        }
        let Some(size) = size(storage, place, digest).await? else { return Ok(None) };
        let mut upload = storage.begin_upload(&place.repository, digest.algorithm()).await?;
        let (sender, progress) = watch::channel(Progress::Received(0));
        let flight = Arc::new(Flight { file: upload.reader()?, size, progress });
        {
            let mut flights = lock(&self.flights);
            if let Some(running) = flights.get(&key) {
                // Another request was faster; its upload is used, this one is dropped as stale.
                let (running, storage) = (Arc::clone(running), Arc::clone(storage));
                spawn_blocking(move || storage.abandon_upload(upload));
                return Ok(Some(running));
            }
            flights.insert(key.clone(), Arc::clone(&flight));
        }
        let (mirrors, storage, place) = (Arc::clone(self), Arc::clone(storage), place.clone());
        let wanted = Descriptor::new(media_type::OCI_LAYER, digest.clone(), size);
        // Not one of the threads that serve: it may take long.
        std::thread::spawn(move || {
            let carried = carry(&storage, &place, &wanted, upload, &sender);
            place.source.watch.note(&carried, size);
            lock(&mirrors.flights).remove(&key);
            // Whoever reads has the file open; whoever comes now finds the blob.
            sender.send_replace(if carried.is_ok() { Progress::Stored } else { Progress::Failed });
        });
        Ok(Some(flight))
    }
}

/// What a manifest here says, else what the registry says.
async fn size(storage: &Arc<Storage>, place: &Place, digest: &Digest) -> Result<Option<u64>, FetchError> {
    let (storage, place, digest) = (Arc::clone(storage), place.clone(), digest.clone());
    let asked = spawn_blocking(move || match storage.named_size(&place.repository, &digest)? {
        Some(size) => Ok(Some(size)),
        None => Ok(place.source.client.blob_size(&place.source.reference, &digest)?),
    });
    asked.await.map_err(io::Error::other)?
}

/// Brings the blob here. The reader gives out its last bytes only when digest and size are right.
fn carry(
    storage: &Storage,
    place: &Place,
    wanted: &Descriptor,
    mut upload: Appending,
    progress: &watch::Sender<Progress>,
) -> Result<(), FetchError> {
    let carried = pour(storage, place, wanted, &mut upload, progress);
    match carried {
        Ok(()) => storage.finish_upload(upload, &place.repository, &wanted.digest).map(drop)?,
        Err(_) => storage.abandon_upload(upload)?,
    }
    carried
}

fn pour(
    storage: &Storage,
    place: &Place,
    wanted: &Descriptor,
    upload: &mut Appending,
    progress: &watch::Sender<Progress>,
) -> Result<(), FetchError> {
    storage.reserve(upload, wanted.size)?;
    let mut reader = place.source.client.fetch_blob(&place.source.reference, wanted, Purpose::Pull)?;
    let mut received = 0;
    loop {
        let mut chunk = vec![0; CHUNK_BYTES];
        let count = reader.read(&mut chunk)?;
        if count == 0 {
            return Ok(());
        }
        chunk.truncate(count);
        upload.write(&[Bytes::from(chunk)])?;
        received += count as u64;
        progress.send_replace(Progress::Received(received));
    }
}

impl Flight {
    /// Waits for the first bytes; false when there will be none.
    pub(crate) async fn departed(&self) -> bool {
        let mut progress = self.progress.clone();
        let moved = progress.wait_for(|progress| *progress != Progress::Received(0)).await;
        moved.is_ok_and(|progress| *progress != Progress::Failed)
    }

    /// Waits for the end; true when the blob is stored.
    pub(crate) async fn landed(&self) -> bool {
        let mut progress = self.progress.clone();
        let ended = progress.wait_for(|progress| !matches!(progress, Progress::Received(_))).await;
        ended.is_ok_and(|progress| *progress == Progress::Stored)
    }

    /// The whole blob, as it comes. Breaks off when it does.
    pub(crate) fn body(self: &Arc<Self>) -> Body {
        let chunks = try_unfold((Arc::clone(self), 0), |(flight, position)| async move {
            if position == flight.size {
                return Ok::<_, io::Error>(None);
            }
            let end = flight.available(position).await?;
            let length = (end - position).min(CHUNK_BYTES as u64);
            let reading = Arc::clone(&flight);
            let chunk = spawn_blocking(move || {
                // At most a chunk: fits any usize.
                let mut chunk = vec![0; length as usize];
                reading.file.read_exact_at(&mut chunk, position).map(|()| Bytes::from(chunk))
            });
            Ok(Some((chunk.await??, (flight, position + length))))
        });
        Body::from_stream(chunks)
    }

    /// Where what may be read ends; waits until that is beyond `position`.
    async fn available(&self, position: u64) -> io::Result<u64> {
        let mut progress = self.progress.clone();
        let enough = progress.wait_for(|progress| match progress {
            Progress::Received(bytes) => *bytes > position,
            Progress::Stored | Progress::Failed => true,
        });
        match enough.await.map_err(io::Error::other).map(|progress| *progress)? {
            Progress::Received(bytes) => Ok(bytes.min(self.size)),
            Progress::Stored => Ok(self.size),
            Progress::Failed => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}
