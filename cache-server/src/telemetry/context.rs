use uuid::Uuid;
use yadokari::otlp::TraceParent;

/// Which trace a request belongs to, and its place there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SpanContext {
    pub(crate) trace: u128,
    pub(crate) span: u64,
    /// The client's span.
    pub(crate) parent: Option<u64>,
    sampled: bool,
}

impl SpanContext {
    /// A new span: in the client's trace when the header is good, else in a trace of its own.
    pub(crate) fn of(traceparent: Option<&str>) -> Self {
        let span = random_id();
        match traceparent.and_then(TraceParent::parse) {
            Some(client) => Self { trace: client.trace, span, parent: Some(client.span), sampled: client.sampled },
            None => Self { trace: Uuid::new_v4().as_u128(), span, parent: None, sampled: true },
        }
    }

    /// Whether it is to be recorded; the client decides for its traces.
    pub(crate) fn is_sampled(&self) -> bool {
        self.sampled
    }
}

/// Half of a random UUID that has no fixed bits, and is not zero.
fn random_id() -> u64 {
    let id = Uuid::new_v4().as_u128();
    ((id >> 64) as u64 ^ id as u64).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn a_request_joins_the_clients_trace() {
        let context = SpanContext::of(Some(&format!("00-{TRACE}-00f067aa0ba902b7-01")));
        assert_eq!(format!("{:032x}", context.trace), TRACE);
        assert_eq!((context.parent, context.is_sampled()), (Some(0x00f0_67aa_0ba9_02b7), true));
        assert!(!SpanContext::of(Some(&format!("00-{TRACE}-00f067aa0ba902b7-00"))).is_sampled());
    }

    #[test]
    fn a_malformed_header_begins_a_new_trace() {
        let context = SpanContext::of(Some(&format!("00-{TRACE}")));
        assert!(context.parent.is_none() && context.is_sampled() && context.trace != 0);
    }
}
