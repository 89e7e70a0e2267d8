//! What a check found, as text and as JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::Warning;
use super::warning::Token;
use crate::dockerfile::{Listing, Span};

/// The error that ended a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckError {
    /// What is wrong.
    pub message: String,
    /// Where, when it has a place.
    pub span: Option<Span>,
}

/// The warnings for people: rule and URL, message, source lines with a caret. Nothing for none.
pub fn to_text(warnings: &[Warning], file_name: &str, source: &[u8]) -> String {
    let text = String::from_utf8_lossy(source);
    let listing = Listing::new(file_name, &text);
    let show = |warning: &Warning| {
        let url = warning.rule.url().map_or(String::new(), |url| format!(" - {url}"));
        let shown = listing.show(&warning.message, place(warning, &listing));
        format!("\nWARNING: {}{url}\n{shown}", warning.rule.name)
    };
    warnings.iter().map(show).collect()
}

/// The warning's span with its token as the caret.
fn place(warning: &Warning, listing: &Listing<'_>) -> Span {
    let find = |token: &Token| listing.find(warning.span, &token.text, token.last);
    Span { caret: warning.token.as_ref().and_then(find), ..warning.span }
}

/// The result for programs, with two spaces of indentation.
///
/// # Source
/// BuildKit, `frontend/subrequests/lint`, `LintResults`; without the definition that a source has
/// there.
pub fn to_json(warnings: &[Warning], error: Option<&CheckError>, file_name: &str, source: &[u8]) -> String {
    let results = Results {
        warnings: warnings.iter().map(WarningJson::from).collect(),
        sources: [SourceJson { filename: file_name, data: STANDARD.encode(source), language: "Dockerfile" }],
        build_error: error.map(|error| ErrorJson { message: &error.message, location: error.span.into() }),
    };
    // Strings and numbers alone can always be written.
    serde_json::to_string_pretty(&results).unwrap_or_default() + "\n"
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Results<'a> {
    warnings: Vec<WarningJson<'a>>,
    sources: [SourceJson<'a>; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    build_error: Option<ErrorJson<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WarningJson<'a> {
    rule_name: &'a str,
    description: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    detail: &'a str,
    location: LocationJson,
}

#[derive(Serialize)]
struct SourceJson<'a> {
    filename: &'a str,
    data: String,
    language: &'a str,
}

#[derive(Serialize)]
struct ErrorJson<'a> {
    message: &'a str,
    location: LocationJson,
}

#[derive(Serialize)]
struct LocationJson {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ranges: Vec<RangeJson>,
}

#[derive(Serialize)]
struct RangeJson {
    start: PositionJson,
    end: PositionJson,
}

#[derive(Serialize)]
struct PositionJson {
    line: usize,
}

impl<'a> From<&'a Warning> for WarningJson<'a> {
    fn from(warning: &'a Warning) -> Self {
        WarningJson {
            rule_name: warning.rule.name,
            description: warning.rule.description,
            url: warning.rule.url(),
            detail: &warning.message,
            location: Some(warning.span).into(),
        }
    }
}

impl From<Option<Span>> for LocationJson {
    fn from(span: Option<Span>) -> Self {
        let span = span.filter(|span| span.start > 0);
        let range =
            |span: Span| RangeJson { start: PositionJson { line: span.start }, end: PositionJson { line: span.end } };
        LocationJson { ranges: span.map(range).into_iter().collect() }
    }
}
