//! What a client is told when a request fails.
//!
//! # Source
//! OCI distribution-spec, "Error codes"; statuses as the reference registry gives them.

use std::error::Error;
use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use serde::Serialize;
use serde_json::{Value, json};
use yadokari::causes::chain;

use crate::document::DocumentError;
use crate::name::NameError;
use crate::storage::StorageError;

/// Reasons in an answer; an index can lack tens of thousands of manifests.
const MAX_REASONS: usize = 100;

/// Machine-readable reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Code {
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    Denied,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    PaginationNumberInvalid,
    RangeInvalid,
    SizeInvalid,
    TagInvalid,
    Unauthorized,
    Unavailable,
    Unknown,
    Unsupported,
}

impl Code {
    fn status(self) -> StatusCode {
        match self {
            Self::BlobUnknown | Self::BlobUploadUnknown | Self::ManifestUnknown | Self::NameUnknown => {
                StatusCode::NOT_FOUND
            }
            Self::Denied => StatusCode::FORBIDDEN,
            Self::RangeInvalid => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::Unsupported => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

/// A failed request: its status, one or more reasons, and headers that say more.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    reasons: Vec<Reason>,
    headers: Vec<(HeaderName, HeaderValue)>,
    fault: Option<Fault>,
}

#[derive(Debug, Serialize)]
struct Reason {
    code: Code,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<Value>,
}

/// What went wrong on our side, with its causes; for the log, not for the client.
/// It travels to the access log in the response's extensions.
#[derive(Debug, Clone)]
pub(crate) struct Fault(pub(crate) Arc<str>);

impl ApiError {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        let reason = Reason { code, message: message.into(), detail: None };
        Self { status: code.status(), reasons: vec![reason], headers: Vec::new(), fault: None }
    }

    /// One reason per digest, of the first hundred.
    pub(crate) fn for_each_digest(code: Code, message: &str, digests: &[yadokari::digest::Digest]) -> Self {
        let reason = |digest| Reason { code, message: message.into(), detail: Some(json!({ "digest": digest })) };
        let reasons = digests.iter().take(MAX_REASONS).map(reason).collect();
        Self { status: code.status(), reasons, headers: Vec::new(), fault: None }
    }

    /// A fault of the server itself.
    pub(crate) fn internal(fault: &(dyn Error + 'static)) -> Self {
        Self::new(Code::Unknown, "internal error").with_fault(&chain(fault))
    }

    /// The same, with what went wrong for the log.
    pub(crate) fn with_fault(self, fault: &str) -> Self {
        Self { fault: Some(Fault(fault.into())), ..self }
    }

    pub(crate) fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// The same with another value of a header, if it has that header.
    pub(crate) fn replacing_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.iter_mut().filter(|(n, _)| *n == name).for_each(|(_, v)| *v = value.clone());
        self
    }

    pub(crate) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

impl From<StorageError> for ApiError {
    fn from(error: StorageError) -> Self {
        if let StorageError::TooLarge { .. } = error {
            return Self::new(Code::SizeInvalid, error.to_string()).with_status(StatusCode::PAYLOAD_TOO_LARGE);
        }
        if let StorageError::Overtaken = error {
            return Self::new(Code::RangeInvalid, error.to_string());
        }
        let internal = Self::internal(&error);
        if error.is_unavailable() {
            let message = "the object store does not answer as it should";
            return Self { fault: internal.fault, ..Self::new(Code::Unavailable, message) };
        }
        if !error.is_full() {
            return internal;
        }
        let full = Self::new(Code::Unavailable, "no space left for new content");
        Self { fault: internal.fault, ..full }.with_status(StatusCode::INSUFFICIENT_STORAGE)
    }
}

impl From<NameError> for ApiError {
    fn from(error: NameError) -> Self {
        let code = match error {
            NameError::Repository(_) => Code::NameInvalid,
            NameError::Tag(_) => Code::TagInvalid,
            NameError::Digest(_) => Code::DigestInvalid,
        };
        Self::new(code, error.to_string())
    }
}

impl From<DocumentError> for ApiError {
    fn from(error: DocumentError) -> Self {
        Self::new(Code::ManifestInvalid, error.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response<Body> {
        let body = json!({ "errors": self.reasons }).to_string();
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        headers.extend(self.headers);
        if let Some(fault) = self.fault {
            response.extensions_mut().insert(fault);
        }
        response
    }
}
