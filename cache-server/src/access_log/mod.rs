//! One line per request on standard error, written when the answer is out.

mod line;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Instant, SystemTime};

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use clap::ValueEnum;
use hyper::body::{Frame, SizeHint};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::dashboard::{Activity, Event, Subject};
use crate::error::Fault;
use crate::metrics::{Counted, Finished, Metrics, known_method};
use crate::telemetry::{RequestSpan, SpanContext, Tracer};
use line::Line;

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LogLevel {
    /// Faults of the server only.
    Error,
    /// Faults, and one line per request.
    Info,
}

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LogFormat {
    /// `name=value` pairs.
    Text,
    /// One JSON object.
    Json,
}

/// Writes log lines.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AccessLog {
    level: LogLevel,
    format: LogFormat,
}

/// The other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Who else hears of a request when it is over.
#[derive(Debug)]
pub(crate) struct Observers {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) activity: Arc<Activity>,
    pub(crate) tracer: Option<Arc<Tracer>>,
}

/// One request under way; dropped when it is over, it is counted and writes its line.
#[derive(Debug)]
pub(crate) struct Measurement {
    log: AccessLog,
    observers: Observers,
    _in_flight: Counted,
    start: Instant,
    /// Its span, and when that began.
    span: Option<(SpanContext, SystemTime)>,
    peer: Peer,
    method: Method,
    path: String,
    route: &'static str,
    subject: Option<Subject>,
    identity: Option<Arc<str>>,
    received: Arc<AtomicU64>,
    outcome: Option<Outcome>,
}

#[derive(Debug)]
struct Outcome {
    status: StatusCode,
    /// Bytes that the body should have.
    expected: u64,
    sent: u64,
    fault: Option<Fault>,
}

impl AccessLog {
    pub(crate) fn new(level: LogLevel, format: LogFormat) -> Self {
        Self { level, format }
    }

    /// A line about the server itself.
    pub(crate) fn event(self, level: LogLevel, message: &str) {
        if level <= self.level {
            Line { message: Some(message), ..Line::new(level) }.write(self.format);
        }
    }

    /// Starts the clock, and counts the bytes of the request's body as they are read.
    pub(crate) fn measure(self, request: Request, peer: Peer, observers: Observers) -> (Request, Measurement) {
        let received = Arc::new(AtomicU64::new(0));
        let traceparent = request.headers().get("traceparent").and_then(|value| value.to_str().ok());
        let span = observers.tracer.as_ref().map(|_| (SpanContext::of(traceparent), SystemTime::now()));
        let measurement = Measurement {
            log: self,
            _in_flight: observers.metrics.request(),
            observers,
            start: Instant::now(),
            span,
            peer,
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            route: "none",
            subject: None,
            identity: None,
            received: Arc::clone(&received),
            outcome: None,
        };
        (request.map(|inner| Body::new(CountedBody { inner, received })), measurement)
    }
}

impl Measurement {
    pub(crate) fn set_route(&mut self, route: &'static str, subject: Option<Subject>) {
        self.route = route;
        self.subject = subject;
    }

    pub(crate) fn set_identity(&mut self, identity: &Arc<str>) {
        self.identity = Some(Arc::clone(identity));
    }

    /// Ties the line to the end of the answer's body.
    pub(crate) fn attach(mut self, mut response: Response) -> Response {
        let fault = response.extensions_mut().remove::<Fault>();
        let expected = if self.method == Method::HEAD { 0 } else { body_size(&response) };
        self.outcome = Some(Outcome { status: response.status(), expected, sent: 0, fault });
        response.map(|inner| Body::new(Measured { inner, measurement: self }))
    }

    fn count_sent(&mut self, bytes: usize) {
        if let Some(outcome) = &mut self.outcome {
            outcome.sent += bytes as u64;
        }
    }

    /// The status; 499 when the client went away before there was an answer.
    fn status(&self) -> StatusCode {
        let left = || StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST);
        self.outcome.as_ref().map_or_else(left, |outcome| outcome.status)
    }

    fn count(&self) {
        let (status, received) = (self.status(), self.received.load(Ordering::Relaxed));
        let sent = self.outcome.as_ref().map_or(0, |outcome| outcome.sent);
        let (method, duration) = (&self.method, self.start.elapsed());
        self.observers.metrics.finished(Finished { route: self.route, method, status, duration, received, sent });
        self.observers.activity.record(&Event {
            second: Timestamp::now().as_second(),
            subject: self.subject.as_ref(),
            identity: self.identity.as_deref().unwrap_or_default(),
            status,
            received,
            sent,
        });
    }

    /// No header, no query and no path: those may hold what is secret.
    fn trace(&self) {
        let (Some(tracer), Some((context, start))) = (&self.observers.tracer, self.span) else { return };
        tracer.take(RequestSpan {
            context,
            method: known_method(&self.method).to_owned(),
            route: self.route,
            repository: self.subject.as_ref().map(|subject| subject.repository.to_string()),
            status: self.status().as_u16(),
            peer: self.peer.0.ip().to_string(),
            received: self.received.load(Ordering::Relaxed),
            sent: self.outcome.as_ref().map_or(0, |outcome| outcome.sent),
            start,
            end: start + self.start.elapsed(),
        });
    }

    fn write(&self) {
        let fault = self.outcome.as_ref().and_then(|outcome| outcome.fault.as_ref());
        let level = if fault.is_some() { LogLevel::Error } else { LogLevel::Info };
        if level > self.log.level {
            return;
        }
        let line = Line {
            method: Some(self.method.as_str()),
            path: Some(&self.path),
            status: Some(self.status().as_u16()),
            bytes: Some(self.outcome.as_ref().map_or(0, |outcome| outcome.sent)),
            received: Some(self.received.load(Ordering::Relaxed)),
            ms: Some(self.start.elapsed().as_micros() as f64 / 1000.0),
            peer: Some(self.peer.0),
            identity: self.identity.as_deref(),
            aborted: self.outcome.as_ref().is_some_and(|outcome| outcome.sent < outcome.expected),
            error: fault.map(|Fault(fault)| &**fault),
            ..Line::new(level)
        };
        line.write(self.log.format);
    }
}

impl Drop for Measurement {
    fn drop(&mut self) {
        self.count();
        self.trace();
        self.write();
    }
}

/// Bytes that the body has by its header, else by itself.
fn body_size(response: &Response) -> u64 {
    let header = response.headers().get(axum::http::header::CONTENT_LENGTH);
    let stated = header.and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
    stated.or_else(|| response.body().size_hint().exact()).unwrap_or(0)
}

/// A request body that counts what is read of it.
struct CountedBody {
    inner: Body,
    received: Arc<AtomicU64>,
}

/// A response body that counts what is taken of it.
struct Measured {
    inner: Body,
    measurement: Measurement,
}

type Polled = Poll<Option<Result<Frame<Bytes>, axum::Error>>>;

impl HttpBody for CountedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        self.received.fetch_add(data_bytes(&polled) as u64, Ordering::Relaxed);
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl HttpBody for Measured {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        self.measurement.count_sent(data_bytes(&polled));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

fn data_bytes(polled: &Polled) -> usize {
    match polled {
        Poll::Ready(Some(Ok(frame))) => frame.data_ref().map_or(0, Bytes::len),
        _ => 0,
    }
}
