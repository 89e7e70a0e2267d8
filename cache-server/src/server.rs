//! Connections: accepting them, and letting go of them.
//!
//! The loop is our own because axum's has no limit on how long a client may take to
//! send its headers.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::access_log::{LogLevel, Peer};
use crate::handover::{HandingOver, Handover};
use crate::metrics::Counted;
use crate::patient::Patient;
use crate::routes::{From, Registry, answer};
use crate::watched::Watched;

/// A connection may stay idle, or take for its headers, this long.
const HEADER_LIMIT: Duration = Duration::from_secs(60);
/// A TLS handshake may take this long.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// Pause after a failed accept: most often there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// Headers, and bytes of a body that wait to be taken; more headers than that are refused.
const READ_BUFFER_BYTES: usize = 128 << 10;
const MAX_HEADERS: usize = 100;

/// Why there is nothing to listen on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    #[error("invalid address {address:?}: expected HOST:PORT")]
    Address {
        address: String,
        #[source]
        cause: io::Error,
    },
    #[error("failed to listen on {address}")]
    Bind {
        address: SocketAddr,
        #[source]
        cause: io::Error,
    },
}

/// How connections are served.
#[derive(Debug)]
pub(crate) struct Limits {
    /// Connections open at a time; more wait until one ends.
    pub(crate) connections: usize,
    /// After a stop, requests that still run are cut off when this has passed.
    pub(crate) shutdown: Duration,
}

/// The first address that `text` means.
pub(crate) async fn resolve(text: &str) -> Result<SocketAddr, ListenError> {
    let invalid = |cause| ListenError::Address { address: text.to_owned(), cause };
    let mut addresses = lookup_host(text).await.map_err(invalid)?;
    addresses.next().ok_or_else(|| invalid(io::ErrorKind::NotFound.into()))
}

pub(crate) async fn listen(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|cause| ListenError::Bind { address, cause })
}

/// Answers requests until `stop`, then finishes those that run. False when some had to be cut off.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<Arc<Watched<ServerConfig>>>,
    registry: Registry,
    limits: Limits,
    stop: impl Future<Output = ()>,
) -> bool {
    let (running, _) = watch::channel(());
    let (stopping, _) = watch::channel(false);
    let places = Arc::new(Semaphore::new(limits.connections));
    registry.metrics.set_connection_limit(limits.connections);
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = &mut stop => break,
        };
        match accepted {
            Ok((stream, peer, place)) => {
                let connection = Connection {
                    stream,
                    peer: Peer(peer),
                    stopping: stopping.subscribe(),
                    _counted: registry.metrics.connection(),
                    _place: place,
                };
                let (tls, registry, guard) = (tls.clone(), registry.clone(), running.subscribe());
                tokio::spawn(async move {
                    connection.converse(tls, registry).await;
                    drop(guard);
                });
            }
            Err(error) => {
                registry.log.event(LogLevel::Error, &format!("failed to accept a connection: {error}"));
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    stopping.send_replace(true);
    timeout(limits.shutdown, running.closed()).await.is_ok()
}

/// The next connection, when there is a place for one.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, place))
}

/// A client that is connected.
struct Connection {
    stream: TcpStream,
    peer: Peer,
    stopping: watch::Receiver<bool>,
    _counted: Counted,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    /// Serves it until the client leaves or the server stops.
    async fn converse(self, tls: Option<Arc<Watched<ServerConfig>>>, registry: Registry) {
        // Without it small answers wait for acknowledgements; a socket that cannot is served too.
        let _ = self.stream.set_nodelay(true);
        let Some(tls) = tls else {
            let handover = Handover::default();
            let stream = HandingOver::new(self.stream, handover.clone());
            return exchange(stream, Some(handover), self.peer, self.stopping, registry).await;
        };
        let handshake = TlsAcceptor::from(tls.get()).accept(self.stream);
        // Whoever fails it sees that; it is no request, so there is nothing to log.
        if let Ok(Ok(stream)) = timeout(HANDSHAKE_LIMIT, handshake).await {
            exchange(stream, None, self.peer, self.stopping, registry).await;
        }
    }
}

/// Requests and answers on one connection.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    handover: Option<Handover>,
    peer: Peer,
    mut stopping: watch::Receiver<bool>,
    registry: Registry,
) {
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let (registry, from) = (registry.clone(), From { peer, handover: handover.clone() });
        async move { Ok::<_, Infallible>(answer(registry, from, request.map(Body::new)).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_LIMIT);
    builder.max_buf_size(READ_BUFFER_BYTES).max_headers(MAX_HEADERS).writev(true);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(Patient::new(stream)), service));
    tokio::select! {
        // Whatever ended it, the client saw it; the access log has the request.
        _ = connection.as_mut() => return,
        _ = stopping.wait_for(|stop| *stop) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}
