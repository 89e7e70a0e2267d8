//! Byte ranges: what a download selects, and where an uploaded chunk belongs. Pure.
//!
//! # Source
//! RFC 9110, section 14; OCI distribution-spec, "Pushing a blob in chunks".

/// The bytes of a blob that a request selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Selection {
    /// All of them: no range, several ranges, or a header that means nothing to us.
    Whole,
    /// From `first` to `last`, inclusive; `first <= last < size`.
    Part { first: u64, last: u64 },
    /// Nothing that the blob has.
    Unsatisfiable,
}

impl Selection {
    /// Reads a `Range` header for a blob of `size` bytes.
    ///
    /// A range that ends before it starts is refused rather than ignored: the
    /// conformance suite asks for that.
    pub(crate) fn of(header: Option<&str>, size: u64) -> Self {
        let Some((first, last)) = header.and_then(single_range) else { return Self::Whole };
        match (decimal(first), decimal(last)) {
            (Some(first), Some(last)) => Self::clamp(first, last, size),
            (Some(first), None) if last.is_empty() => Self::clamp(first, u64::MAX, size),
            (None, Some(0)) if first.is_empty() => Self::Unsatisfiable,
            (None, Some(count)) if first.is_empty() => Self::clamp(size.saturating_sub(count), u64::MAX, size),
            _ => Self::Whole,
        }
    }

    fn clamp(first: u64, last: u64, size: u64) -> Self {
        if first > last || first >= size {
            return Self::Unsatisfiable;
        }
        Self::Part { first, last: last.min(size - 1) }
    }
}

/// The two ends of the only range in a `Range` header.
fn single_range(header: &str) -> Option<(&str, &str)> {
    let (unit, range) = header.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") || range.contains(',') {
        return None;
    }
    range.trim().split_once('-')
}

/// Where a chunk lies in its blob, both ends inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChunkRange {
    pub(crate) first: u64,
    pub(crate) last: u64,
}

impl ChunkRange {
    /// Reads the bare `first-last` that clients put in `Content-Range`.
    pub(crate) fn parse(header: &str) -> Option<Self> {
        let (first, last) = header.trim().split_once('-')?;
        let (first, last) = (decimal(first)?, decimal(last)?);
        (first <= last && last < u64::MAX).then_some(Self { first, last })
    }

    /// Bytes in the chunk.
    pub(crate) fn length(self) -> u64 {
        self.last - self.first + 1
    }
}

/// Decimal digits as a number; one too large for the type becomes its maximum.
pub(crate) fn decimal(digits: &str) -> Option<u64> {
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_select_what_rfc_9110_says() {
        let part = |first, last| Selection::Part { first, last };
        let huge = "9".repeat(40);
        for (header, expected) in [
            ("bytes=500-1499", part(500, 1499)),
            ("bytes=500-", part(500, 2047)),
            ("bytes=-500", part(1548, 2047)),
            ("bytes=-5000", part(0, 2047)),
            ("bytes=2000-5000", part(2000, 2047)),
            ("bytes=0-0", part(0, 0)),
            ("bytes=500-0", Selection::Unsatisfiable),
            ("bytes=2048-", Selection::Unsatisfiable),
            ("bytes=5000-10000", Selection::Unsatisfiable),
            ("bytes=-0", Selection::Unsatisfiable),
            (&format!("bytes={huge}-"), Selection::Unsatisfiable),
            (&format!("bytes=1-{huge}"), part(1, 2047)),
            ("bytes=0-1,5-6", Selection::Whole),
            ("items=0-1", Selection::Whole),
            ("bytes=-", Selection::Whole),
            ("bytes=a-b", Selection::Whole),
            ("bytes", Selection::Whole),
        ] {
            assert_eq!(Selection::of(Some(header), 2048), expected, "{header}");
        }
        assert_eq!(Selection::of(None, 2048), Selection::Whole);
        assert_eq!(Selection::of(Some("bytes=0-"), 0), Selection::Unsatisfiable);
    }

    #[test]
    fn chunk_ranges_are_bare() {
        let range = ChunkRange::parse("5-9").expect("valid");
        assert_eq!((range.first, range.last, range.length()), (5, 9, 5));
        let huge = format!("0-{}", "9".repeat(30));
        for bad in ["", "-", "5", "9-5", "a-b", "bytes 0-1/2", "bytes=0-1", "-1-2", &huge] {
            assert_eq!(ChunkRange::parse(bad), None, "{bad}");
        }
    }
}
