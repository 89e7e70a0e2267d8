//! Files that go to a connection without TLS inside the kernel (`sendfile`), around hyper.
//!
//! hyper knows bytes only. A body may yield a placeholder for a part of a file: bytes of one static
//! region, as many as the part has. hyper passes them on untouched, as slices of a vectored write;
//! the stream below it knows the region by its address, and sends the part in their place.
//!
//! Meanwhile the socket is corked: sendfile hands over 64 KiB at a time, which is not a whole number of
//! segments, and each remainder would go out, and wake the other side, by itself.

use std::borrow::Borrow;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use rustix::fs::sendfile;
use rustix::net::sockopt::set_tcp_cork;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// Bytes of a file that are handed over at a time.
pub(crate) const PART_BYTES: usize = 1 << 20;

/// Never written to, and never read: it takes no memory.
static PLACEHOLDER: [u8; PART_BYTES] = [0; PART_BYTES];

/// A file, and whatever must stay as long as it is read.
pub(crate) type Source = Arc<dyn Borrow<File> + Send + Sync>;

/// The parts of files that a connection is about to send; a clone is the same.
#[derive(Clone, Default)]
pub(crate) struct Handover(Arc<Mutex<VecDeque<Part>>>);

struct Part {
    source: Source,
    offset: u64,
    left: usize,
}

/// A connection that sends parts of files where placeholders for them stand.
pub(crate) struct HandingOver {
    stream: TcpStream,
    parts: Handover,
    corked: bool,
}

impl Handover {
    /// The placeholder of up to [`PART_BYTES`] of a file, from `offset` on. It must be the next data
    /// of the body that is being sent on this connection.
    pub(crate) fn part(&self, source: &Source, offset: u64, length: usize) -> Bytes {
        let placeholder = Bytes::from_static(&PLACEHOLDER[..length.min(PART_BYTES)]);
        self.lock().push_back(Part { source: Arc::clone(source), offset, left: placeholder.len() });
        placeholder
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Part>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HandingOver {
    pub(crate) fn new(stream: TcpStream, parts: Handover) -> Self {
        Self { stream, parts, corked: false }
    }

    /// Holds back segments that are not full, or no longer. A socket that cannot sends them as they come.
    fn cork(&mut self, corked: bool) {
        if self.corked != corked && set_tcp_cork(&self.stream, corked).is_ok() {
            self.corked = corked;
        }
    }

    /// Sends up to `length` bytes of the first part. Parts are of files that do not change: one
    /// that ends early was damaged, and the client must not take what it got for all.
    fn poll_send(&self, context: &mut Context<'_>, length: usize) -> Poll<io::Result<usize>> {
        let mut parts = self.parts.lock();
        let Some(part) = parts.front_mut() else { return Poll::Ready(Err(io::ErrorKind::InvalidData.into())) };
        loop {
            ready!(self.stream.poll_write_ready(context))?;
            let file: &File = (*part.source).borrow();
            let (offset, length) = (&mut part.offset, length.min(part.left));
            let send = || Ok(sendfile(&self.stream, file, Some(offset), length)?);
            match self.stream.try_io(Interest::WRITABLE, send) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Ok(sent) => {
                    part.left -= sent;
                    if part.left == 0 {
                        parts.pop_front();
                    }
                    return Poll::Ready(Ok(sent));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

fn is_placeholder(bytes: &[u8]) -> bool {
    !bytes.is_empty() && PLACEHOLDER.as_ptr_range().contains(&bytes.as_ptr())
}

impl AsyncRead for HandingOver {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for HandingOver {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if is_placeholder(bytes) {
            self.cork(true);
            return self.poll_send(context, bytes.len());
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    /// Whatever comes before a placeholder first, so that everything is sent in its order.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let plain = slices.iter().take_while(|slice| !is_placeholder(slice)).count();
        match slices.first() {
            Some(first) if plain == 0 => {
                self.cork(true);
                self.poll_send(context, first.len())
            }
            _ => Pin::new(&mut self.stream).poll_write_vectored(context, &slices[..plain]),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.cork(false);
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (HandingOver, Handover, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let client = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("connected");
        let parts = Handover::default();
        let (server, _) = listener.accept().await.expect("accepted");
        (HandingOver::new(server, parts.clone()), parts, client)
    }

    fn source(content: &[u8]) -> Source {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(content).expect("written");
        Arc::new(file)
    }

    #[tokio::test]
    async fn parts_of_files_come_where_their_placeholders_stand() {
        let (mut server, parts, mut client) = pair().await;
        let content: Vec<u8> = (0..3 * PART_BYTES).map(|index| (index / 5) as u8).collect();
        let file = source(&content);
        let first = parts.part(&file, 7, PART_BYTES);
        let second = parts.part(&file, 2 * PART_BYTES as u64, 9);
        let sending = tokio::spawn(async move {
            let slices = [IoSlice::new(b"head"), IoSlice::new(&first)];
            assert_eq!(server.write_vectored(&slices).await.expect("sent"), 4);
            server.write_all(&first).await.expect("sent");
            server.write_all(&second).await.expect("sent");
            server.write_all(b"tail").await.expect("sent");
        });
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.expect("received");
        sending.await.expect("no panic");
        let expected =
            [b"head", &content[7..7 + PART_BYTES], &content[2 * PART_BYTES..2 * PART_BYTES + 9], b"tail"].concat();
        assert!(received == expected);
    }

    #[tokio::test]
    async fn a_file_that_is_too_short_breaks_the_connection() {
        let (mut server, parts, _client) = pair().await;
        let placeholder = parts.part(&source(b"short"), 0, 10);
        let error = server.write_all(&placeholder).await.expect_err("five bytes are missing");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        // Nor does a placeholder without a part send anything.
        let (mut server, _parts, _client) = pair().await;
        assert!(server.write_all(&placeholder).await.is_err());
    }
}
