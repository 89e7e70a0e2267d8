//! Connections: accepting them, and letting go of them.
//!
//! The loop is our own because axum's has no limit on how long a client may take to
//! send its headers.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::access_log::{AccessLog, LogLevel};

/// A connection may stay idle, or take for its headers, this long.
const HEADER_LIMIT: Duration = Duration::from_secs(60);
/// After this, requests that still run at shutdown are cut off.
const DRAIN_LIMIT: Duration = Duration::from_secs(60);
/// Pause after a failed accept: most often there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Why there is nothing to listen on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    #[error("invalid address {address:?}: expected HOST:PORT")]
    Address {
        address: String,
        #[source]
        cause: io::Error,
    },
    #[error(
        "refusing to listen on {0}: there is no authentication, so anyone who reaches that address could read, \
         write and delete everything; listen on a loopback address, or pass --allow-anonymous"
    )]
    Exposed(SocketAddr),
    #[error("failed to listen on {address}")]
    Bind {
        address: SocketAddr,
        #[source]
        cause: io::Error,
    },
}

/// Listens on the first address of `address`; on other than loopback only if `exposed`.
pub(crate) async fn listen(address: &str, exposed: bool) -> Result<TcpListener, ListenError> {
    let invalid = |cause| ListenError::Address { address: address.to_owned(), cause };
    let mut addresses = lookup_host(address).await.map_err(invalid)?;
    let address = addresses.next().ok_or_else(|| invalid(io::ErrorKind::NotFound.into()))?;
    if !exposed && !address.ip().to_canonical().is_loopback() {
        return Err(ListenError::Exposed(address));
    }
    TcpListener::bind(address).await.map_err(|cause| ListenError::Bind { address, cause })
}

/// Answers requests until `stop`, then finishes those that run. False when some had to be cut off.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    log: AccessLog,
    stop: impl Future<Output = ()>,
) -> bool {
    let (running, _) = watch::channel(());
    let (stopping, _) = watch::channel(false);
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let connection = converse(stream, router.clone(), stopping.subscribe());
                let guard = running.subscribe();
                tokio::spawn(async move {
                    connection.await;
                    drop(guard);
                });
            }
            Err(error) => {
                log.event(LogLevel::Error, &format!("failed to accept a connection: {error}"));
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    stopping.send_replace(true);
    timeout(DRAIN_LIMIT, running.closed()).await.is_ok()
}

/// Serves one connection until the client leaves or the server stops.
async fn converse(stream: TcpStream, router: Router, mut stopping: watch::Receiver<bool>) {
    // Without it small answers wait for acknowledgements; a socket that cannot is served too.
    let _ = stream.set_nodelay(true);
    let service = TowerToHyperService::new(router);
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_LIMIT);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        // Whatever ended it, the client saw it; the access log has the request.
        _ = connection.as_mut() => return,
        _ = stopping.wait_for(|stop| *stop) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}
