use std::fmt::Write;

use axum::extract::Query;
use axum::http::{StatusCode, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::error::{ApiError, Code};
use crate::range::decimal;

/// The longest page of names, whatever the client asks for.
const MAX_PAGE_ENTRIES: u64 = 10_000;

/// All that RFC 3986 does not call unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The query of a request; a name may occur several times.
#[derive(Debug)]
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(super) fn of(uri: &Uri) -> Result<Self, ApiError> {
        let query = Query::<Vec<(String, String)>>::try_from_uri(uri);
        let malformed = || ApiError::new(Code::Unsupported, "malformed query").with_status(StatusCode::BAD_REQUEST);
        query.map(|Query(pairs)| Self(pairs)).map_err(|_| malformed())
    }

    /// The first value of `name`; an empty one counts as none.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next().filter(|value| !value.is_empty())
    }

    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// A media type: its plus sign, sent bare, was read as a space.
    pub(super) fn media_type(&self, name: &str) -> Option<String> {
        self.get(name).map(|value| value.replace(' ', "+"))
    }

    /// How many entries a page may have.
    pub(super) fn page_limit(&self) -> Result<usize, ApiError> {
        let Some(text) = self.get("n") else { return Ok(MAX_PAGE_ENTRIES as usize) };
        let number = decimal(text).ok_or_else(|| {
            ApiError::new(Code::PaginationNumberInvalid, format!("invalid page size {text:?}: expected a number"))
        })?;
        // Small enough for any usize.
        Ok(number.min(MAX_PAGE_ENTRIES) as usize)
    }
}

/// A `Link` header's value that leads to the next page.
pub(super) fn next_link(path: &str, parameters: &[(&str, &str)]) -> String {
    let mut link = format!("<{path}");
    for (index, (name, value)) in parameters.iter().enumerate() {
        let separator = if index == 0 { '?' } else { '&' };
        // Writing to a string cannot fail.
        let _ = write!(link, "{separator}{name}={}", utf8_percent_encode(value, RESERVED));
    }
    link.push_str(">; rel=\"next\"");
    link
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(query: &str) -> Parameters {
        Parameters::of(&format!("/?{query}").parse().expect("valid")).expect("valid")
    }

    #[test]
    fn page_sizes_are_clamped_and_checked() {
        assert_eq!(parameters("").page_limit().ok(), Some(10_000));
        assert_eq!(parameters("n=0").page_limit().ok(), Some(0));
        assert_eq!(parameters("n=99999999999999999999999").page_limit().ok(), Some(10_000));
        assert!(parameters("n=-1").page_limit().is_err());
        assert!(parameters("n=x").page_limit().is_err());
    }

    #[test]
    fn values_are_decoded_once() {
        let query = parameters("tag=a&tag=b%2541&artifactType=application/a+json&empty=");
        assert_eq!(query.all("tag").collect::<Vec<_>>(), ["a", "b%41"]);
        assert_eq!(query.media_type("artifactType").as_deref(), Some("application/a+json"));
        assert_eq!(query.get("empty"), None);
        let link = next_link("/v2/a/tags/list", &[("n", "2"), ("last", "a/b+c")]);
        assert_eq!(link, "</v2/a/tags/list?n=2&last=a%2Fb%2Bc>; rel=\"next\"");
    }
}
