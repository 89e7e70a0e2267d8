/// The trace and the span that a program was called from.
///
/// # Source
/// W3C Trace Context, "traceparent Header".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    /// Of the whole trace; not zero.
    pub trace: u128,
    /// The caller's span; not zero.
    pub span: u64,
    /// Whether the caller records the trace.
    pub sampled: bool,
}

impl TraceParent {
    /// `VERSION-TRACE-SPAN-FLAGS` in lower-case hex digits; `None` for anything else: a bad one begins a new trace.
    pub fn parse(text: &str) -> Option<Self> {
        let mut fields = text.trim().split('-');
        let mut field = |digits: usize| fields.next().filter(|text| text.len() == digits && is_lower_hex(text));
        let (version, trace, span, flags) = (field(2)?, field(32)?, field(16)?, field(2)?);
        let rest = fields.next();
        // Later versions may have more fields, this one not; `ff` is no version.
        if version == "ff" || (version == "00" && rest.is_some()) {
            return None;
        }
        let trace = u128::from_str_radix(trace, 16).ok().filter(|trace| *trace != 0)?;
        let span = u64::from_str_radix(span, 16).ok().filter(|span| *span != 0)?;
        let flags = u8::from_str_radix(flags, 16).ok()?;
        Some(Self { trace, span, sampled: flags & 1 == 1 })
    }
}

fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn trace_span_and_flags_are_read() {
        let parse = |text: &str| TraceParent::parse(text).expect("valid");
        let parent = parse(&format!("00-{TRACE}-00f067aa0ba902b7-01"));
        assert_eq!(format!("{:032x}", parent.trace), TRACE);
        assert_eq!((parent.span, parent.sampled), (0x00f0_67aa_0ba9_02b7, true));
        assert!(!parse(&format!("00-{TRACE}-00f067aa0ba902b7-00")).sampled);
        assert!(parse(&format!("01-{TRACE}-00f067aa0ba902b7-01-more")).sampled);
    }

    #[test]
    fn what_is_malformed_is_none() {
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
            assert_eq!(TraceParent::parse(bad), None, "{bad}");
        }
    }
}
