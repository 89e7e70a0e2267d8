//! One line per request on standard error, written when the answer is out.

use std::io::{self, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use clap::ValueEnum;
use hyper::body::{Frame, SizeHint};
use jiff::Timestamp;

use crate::error::Fault;

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum LogLevel {
    /// Faults of the server only.
    Error,
    /// Faults, and one line per request.
    Info,
}

/// Writes log lines.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AccessLog {
    level: LogLevel,
}

/// One request under way; dropped when it is over, it writes its line.
#[derive(Debug)]
pub(crate) struct Measurement {
    level: LogLevel,
    start: Instant,
    method: Method,
    path: String,
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
    pub(crate) fn new(level: LogLevel) -> Self {
        Self { level }
    }

    /// A line about the server itself.
    pub(crate) fn event(self, level: LogLevel, message: &str) {
        if level <= self.level {
            write_line(level, &format!("message={message:?}"));
        }
    }

    /// Starts the clock, and counts the bytes of the request's body as they are read.
    pub(crate) fn measure(self, request: Request) -> (Request, Measurement) {
        let received = Arc::new(AtomicU64::new(0));
        let measurement = Measurement {
            level: self.level,
            start: Instant::now(),
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            received: Arc::clone(&received),
            outcome: None,
        };
        (request.map(|inner| Body::new(Counted { inner, received })), measurement)
    }
}

impl Measurement {
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

    fn line(&self) -> (LogLevel, String) {
        let ms = self.start.elapsed().as_secs_f64() * 1000.0;
        let received = self.received.load(Ordering::Relaxed);
        let request = format!("method={} path={:?}", self.method, self.path);
        let Some(outcome) = &self.outcome else {
            // The client went away before there was an answer.
            return (LogLevel::Info, format!("{request} status=499 bytes=0 received={received} ms={ms:.3}"));
        };
        let (status, sent) = (outcome.status.as_u16(), outcome.sent);
        let mut line = format!("{request} status={status} bytes={sent} received={received} ms={ms:.3}");
        if sent < outcome.expected {
            line.push_str(" aborted=true");
        }
        match &outcome.fault {
            Some(Fault(fault)) => (LogLevel::Error, format!("{line} error={fault:?}")),
            None => (LogLevel::Info, line),
        }
    }
}

impl Drop for Measurement {
    fn drop(&mut self) {
        let (level, line) = self.line();
        if level <= self.level {
            write_line(level, &line);
        }
    }
}

/// Bytes that the body has by its header, else by itself.
fn body_size(response: &Response) -> u64 {
    let header = response.headers().get(axum::http::header::CONTENT_LENGTH);
    let stated = header.and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
    stated.or_else(|| response.body().size_hint().exact()).unwrap_or(0)
}

fn write_line(level: LogLevel, text: &str) {
    let level = if level == LogLevel::Error { "error" } else { "info" };
    let line = format!("{:.3} level={level} {text}\n", Timestamp::now());
    // Nobody reads the log: no reason to stop serving.
    let _ = io::stderr().lock().write_all(line.as_bytes());
}

/// A request body that counts what is read of it.
struct Counted {
    inner: Body,
    received: Arc<AtomicU64>,
}

/// A response body that counts what is taken of it.
struct Measured {
    inner: Body,
    measurement: Measurement,
}

type Polled = Poll<Option<Result<Frame<Bytes>, axum::Error>>>;

impl HttpBody for Counted {
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
