//! Tracing: a span for each request, sent to a collector by OTLP over HTTP.
//!
//! Spans wait in a bounded queue and go out in batches from a thread of their own. A collector that
//! is slow or gone costs spans, never a request its time.

mod context;
mod document;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use prometheus_client::metrics::counter::Counter;
use ureq::Agent;
use yadokari::otlp::{self, Collector};
use yadokari::registry::web_agent;

pub(crate) use context::SpanContext;

/// Spans that wait; more are dropped and counted.
const QUEUE: usize = 4096;
/// Spans in one request to the collector.
const BATCH: usize = 512;
/// How long a span waits for others.
const PAUSE: Duration = Duration::from_secs(2);
/// A collector may take so long, when no variable says otherwise.
const LIMIT: Duration = Duration::from_secs(5);

/// A request that is over.
#[derive(Debug, Clone)]
pub(crate) struct RequestSpan {
    pub(crate) context: SpanContext,
    pub(crate) method: String,
    /// Kind of endpoint.
    pub(crate) route: &'static str,
    pub(crate) repository: Option<String>,
    pub(crate) status: u16,
    pub(crate) peer: String,
    /// Bytes of the request's body.
    pub(crate) received: u64,
    /// Bytes of the answer's body.
    pub(crate) sent: u64,
    pub(crate) start: SystemTime,
    pub(crate) end: SystemTime,
}

/// Takes spans; shared by all connections.
#[derive(Debug)]
pub(crate) struct Tracer {
    queue: Mutex<Option<SyncSender<RequestSpan>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    stopping: Arc<AtomicBool>,
    lost: Counter,
}

impl Tracer {
    /// Starts to send to the `collector`; counts in `lost` what it does not get.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub(crate) fn start(collector: Collector, lost: Counter) -> std::io::Result<Self> {
        let (queue, spans) = sync_channel(QUEUE);
        let stopping = Arc::new(AtomicBool::new(false));
        let exporter =
            Exporter { agent: web_agent(false), collector, stopping: Arc::clone(&stopping), lost: lost.clone() };
        let thread = std::thread::Builder::new().name("traces".into()).spawn(move || exporter.run(&spans))?;
        Ok(Self { queue: Mutex::new(Some(queue)), thread: Mutex::new(Some(thread)), stopping, lost })
    }

    /// Takes a span if there is room for it. Never waits.
    pub(crate) fn take(&self, span: RequestSpan) {
        if !span.context.is_sampled() {
            return;
        }
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.as_ref().is_none_or(|queue| queue.try_send(span).is_err()) {
            self.lost.inc();
        }
    }

    /// Sends what waits, and ends. Blocks; a collector that does not answer is tried once more.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        drop(self.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A panic there was counted by nobody, and harms nobody.
        let _ = thread.map(JoinHandle::join);
    }
}

/// The thread's side.
struct Exporter {
    agent: Agent,
    collector: Collector,
    stopping: Arc<AtomicBool>,
    lost: Counter,
}

impl Exporter {
    fn run(&self, spans: &Receiver<RequestSpan>) {
        while let Ok(first) = spans.recv() {
            let batch = collect(first, spans);
            if !self.send(&batch) {
                self.lost.inc_by(batch.len() as u64);
                if self.stopping.load(Ordering::Relaxed) {
                    self.lost.inc_by(spans.try_iter().count() as u64);
                }
            }
        }
    }

    fn send(&self, batch: &[RequestSpan]) -> bool {
        let spans: Vec<_> = batch.iter().map(document::span).collect();
        let body = otlp::document(&self.collector.resource, "cache-server", &spans).to_string();
        let request = self.agent.post(&self.collector.url).header("Content-Type", "application/json");
        let patience = self.collector.timeout.unwrap_or(LIMIT);
        // A trace is for the collector that was named, and nobody else.
        let mut request = request.config().timeout_global(Some(patience)).max_redirects(0).build();
        for (name, value) in &self.collector.headers {
            request = request.header(name, value);
        }
        request.send(body.as_bytes()).is_ok()
    }
}

/// `first`, and what comes soon after it.
fn collect(first: RequestSpan, spans: &Receiver<RequestSpan>) -> Vec<RequestSpan> {
    let (mut batch, end) = (vec![first], Instant::now() + PAUSE);
    while batch.len() < BATCH {
        match spans.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(span) => batch.push(span),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    batch
}
