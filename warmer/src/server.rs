//! `--listen`: health and metrics over HTTP.

use std::convert::Infallible;
use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;

use crate::failure::Failure;
use crate::metrics::Metrics;

/// A connection may stay idle, or take for its headers, this long.
const HEADER_LIMIT: Duration = Duration::from_secs(10);

/// Connections at a time.
const CONNECTIONS: usize = 32;

/// Pause after a failed accept: most often there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

const TEXT: &str = "text/plain; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answers requests in a thread of its own, as long as the process lives.
///
/// # Errors
/// When the address cannot be listened on.
pub(crate) fn start(address: &str, metrics: Arc<Metrics>) -> Result<(), Failure> {
    let failed = |source| Failure::Listen { address: address.to_owned(), source };
    let listener = StdListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
    thread::Builder::new().name("http".into()).spawn(move || serve(&runtime, listener, metrics)).map_err(failed)?;
    Ok(())
}

fn serve(runtime: &Runtime, listener: StdListener, metrics: Arc<Metrics>) {
    runtime.block_on(async {
        // Fails only outside of a runtime.
        let Ok(listener) = TcpListener::from_std(listener) else { return };
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let metrics = Arc::clone(&metrics);
            tokio::spawn(async move {
                let service = service_fn(|request| std::future::ready(Ok::<_, Infallible>(answer(&request, &metrics))));
                let mut protocol = http1::Builder::new();
                let protocol = protocol.timer(TokioTimer::new()).header_read_timeout(HEADER_LIMIT);
                // A client that goes away is its own affair.
                let _ = protocol.serve_connection(TokioIo::new(stream), service).await;
                drop(place);
            });
        }
    });
}

fn answer(request: &Request<Incoming>, metrics: &Metrics) -> Response<String> {
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        return respond(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET\n");
    }
    match request.uri().path() {
        "/healthz" => respond(StatusCode::OK, TEXT, "ok\n"),
        "/readyz" if metrics.is_ready() => respond(StatusCode::OK, TEXT, "ok\n"),
        "/readyz" => respond(StatusCode::SERVICE_UNAVAILABLE, TEXT, "not all images are in the cache directory\n"),
        "/metrics" => match metrics.text() {
            Ok(text) => respond(StatusCode::OK, OPEN_METRICS, text),
            Err(error) => respond(StatusCode::INTERNAL_SERVER_ERROR, TEXT, error.to_string()),
        },
        _ => respond(StatusCode::NOT_FOUND, TEXT, "try /healthz, /readyz or /metrics\n"),
    }
}

fn respond(status: StatusCode, media_type: &'static str, text: impl Into<String>) -> Response<String> {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(media_type));
    response
}
