use uuid::Uuid;

/// Which trace a request belongs to, and its place there.
///
/// # Source
/// W3C Trace Context, `traceparent`.
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
        match traceparent.and_then(parse) {
            Some((trace, parent, sampled)) => Self { trace, span, parent: Some(parent), sampled },
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

/// Trace, parent and whether it is sampled.
fn parse(header: &str) -> Option<(u128, u64, bool)> {
    let mut fields = header.trim().split('-');
    let mut field = |digits: usize| fields.next().filter(|text| text.len() == digits && is_lower_hex(text));
    let (version, trace, parent, flags) = (field(2)?, field(32)?, field(16)?, field(2)?);
    let rest = fields.next();
    // Later versions may have more fields, this one not; `ff` is no version.
    if version == "ff" || (version == "00" && rest.is_some()) {
        return None;
    }
    let trace = u128::from_str_radix(trace, 16).ok().filter(|trace| *trace != 0)?;
    let parent = u64::from_str_radix(parent, 16).ok().filter(|parent| *parent != 0)?;
    let flags = u8::from_str_radix(flags, 16).ok()?;
    Some((trace, parent, flags & 1 == 1))
}

fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
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
        assert!(SpanContext::of(Some(&format!("01-{TRACE}-00f067aa0ba902b7-01-more"))).parent.is_some());
    }

    #[test]
    fn a_malformed_header_begins_a_new_trace() {
        let zero = "0".repeat(32);
        for bad in [
            "",
            "00",
            &format!("00-{TRACE}-00f067aa0ba902b7"),
            &format!("00-{TRACE}-00f067aa0ba902b7-01-more"),
            &format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            &format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
            &format!("00-{zero}-00f067aa0ba902b7-01"),
            &format!("00-{TRACE}-0000000000000000-01"),
            &format!("00-{TRACE}-+0f067aa0ba902b7-01"),
        ] {
            let context = SpanContext::of(Some(bad));
            assert!(context.parent.is_none() && context.is_sampled() && context.trace != 0, "{bad}");
        }
    }
}
