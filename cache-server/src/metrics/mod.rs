//! What the server counts, for Prometheus.
//!
//! Labels are routes, methods and statuses, never names of repositories or callers: their
//! number stays small, and anyone may read them.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

use axum::http::{Method, StatusCode};
use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::access::Refusal;

/// Upper ends of the latency buckets, in seconds: manifests take microseconds, uploads minutes.
const LATENCY_BUCKETS: [f64; 13] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0];

/// All counters.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    latency: Family<RouteLabels, Histogram, fn() -> Histogram>,
    received: Family<RouteLabels, Counter>,
    sent: Family<RouteLabels, Counter>,
    refusals: Family<RefusalLabels, Counter>,
    in_flight: Gauge<i64, AtomicI64>,
    uploads: Gauge<i64, AtomicI64>,
    connections: Gauge<i64, AtomicI64>,
    connection_limit: Gauge<u64, AtomicU64>,
    lost_spans: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: &'static str,
    method: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabels {
    reason: &'static str,
}

/// What is under way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gauges {
    pub(crate) connections: i64,
    pub(crate) uploads: i64,
}

/// A request that is over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Finished<'a> {
    pub(crate) route: &'static str,
    pub(crate) method: &'a Method,
    pub(crate) status: StatusCode,
    pub(crate) duration: Duration,
    /// Bytes of the request's body.
    pub(crate) received: u64,
    /// Bytes of the answer's body.
    pub(crate) sent: u64,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("cache_server"),
            requests: Family::default(),
            latency: Family::new_with_constructor(latency_histogram),
            received: Family::default(),
            sent: Family::default(),
            refusals: Family::default(),
            in_flight: Gauge::default(),
            uploads: Gauge::default(),
            connections: Gauge::default(),
            connection_limit: Gauge::default(),
            lost_spans: Counter::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "Version of the program", version);
        registry.register("http_requests", "Requests answered", self.requests.clone());
        let help = "From the request's head to the end of the answer";
        registry.register_with_unit("http_request_duration", help, Unit::Seconds, self.latency.clone());
        registry.register_with_unit("http_received", "Bodies of requests", Unit::Bytes, self.received.clone());
        registry.register_with_unit("http_sent", "Bodies of answers", Unit::Bytes, self.sent.clone());
        registry.register("refusals", "Requests turned away by access control", self.refusals.clone());
        registry.register("http_requests_in_flight", "Requests being answered", self.in_flight.clone());
        registry.register("uploads_in_flight", "Requests whose body is being stored", self.uploads.clone());
        registry.register("connections", "Open connections", self.connections.clone());
        registry.register("spans_lost", "Spans of requests that the collector did not get", self.lost_spans.clone());
        registry.register("connections_limit", "Connections open at most", self.connection_limit.clone());
    }

    /// All values as text.
    pub(crate) fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// Counts the spans that no collector gets.
    pub(crate) fn lost_spans(&self) -> Counter {
        self.lost_spans.clone()
    }

    pub(crate) fn gauges(&self) -> Gauges {
        Gauges { connections: self.connections.get(), uploads: self.uploads.get() }
    }

    pub(crate) fn finished(&self, request: Finished<'_>) {
        let route = RouteLabels { route: request.route };
        let (method, status) = (known_method(request.method), request.status.as_u16());
        self.requests.get_or_create(&RequestLabels { route: request.route, method, status }).inc();
        self.latency.get_or_create(&route).observe(request.duration.as_secs_f64());
        if request.received > 0 {
            self.received.get_or_create(&route).inc_by(request.received);
        }
        if request.sent > 0 {
            self.sent.get_or_create(&route).inc_by(request.sent);
        }
    }

    pub(crate) fn refused(&self, refusal: &Refusal) {
        self.refusals.get_or_create(&RefusalLabels { reason: refusal.name() }).inc();
    }

    pub(crate) fn set_connection_limit(&self, limit: usize) {
        self.connection_limit.set(limit as u64);
    }

    /// Counts a request until the guard is dropped.
    pub(crate) fn request(&self) -> Counted {
        Counted::new(&self.in_flight)
    }

    /// Counts an upload until the guard is dropped.
    pub(crate) fn upload(&self) -> Counted {
        Counted::new(&self.uploads)
    }

    /// Counts a connection until the guard is dropped.
    pub(crate) fn connection(&self) -> Counted {
        Counted::new(&self.connections)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics(…)")
    }
}

/// One thing under way.
#[derive(Debug)]
pub(crate) struct Counted(Gauge<i64, AtomicI64>);

impl Counted {
    fn new(gauge: &Gauge<i64, AtomicI64>) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn latency_histogram() -> Histogram {
    Histogram::new(LATENCY_BUCKETS)
}

/// A client may send any word as method; labels are few.
pub(crate) fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_route_method_and_status() {
        let metrics = Metrics::new();
        let request = Finished {
            route: "blob",
            method: &Method::GET,
            status: StatusCode::OK,
            duration: Duration::from_millis(3),
            received: 0,
            sent: 7,
        };
        metrics.finished(request);
        metrics.finished(Finished { method: &Method::from_bytes(b"BREW").expect("a token"), ..request });
        let upload = metrics.upload();
        let text = metrics.text().expect("written");
        for line in [
            r#"cache_server_http_requests_total{route="blob",method="GET",status="200"} 1"#,
            r#"cache_server_http_requests_total{route="blob",method="other",status="200"} 1"#,
            r#"cache_server_http_sent_bytes_total{route="blob"} 14"#,
            r#"cache_server_http_request_duration_seconds_bucket{le="0.005",route="blob"} 2"#,
            "cache_server_uploads_in_flight 1",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        drop(upload);
        assert!(metrics.text().expect("written").contains("cache_server_uploads_in_flight 0"));
    }
}
