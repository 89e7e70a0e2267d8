//! Why an archive in a bucket could not be had. No text in it is a secret.

use std::fmt;

use super::BucketAddress;
use super::http::{Failure, Refusal};
use crate::registry::CredentialsError;

/// Why an archive in a bucket could not be had.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// An address that names no bucket. It is left out: it may hold a password.
    #[error("the address of the build context names no object in a bucket: expected {expected}")]
    Address {
        /// How one is written.
        expected: &'static str,
    },
    /// A variable that cannot be used.
    #[error("{0}")]
    Setting(String),
    /// Nobody says who we are.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// There is no such bucket.
    #[error("{place}: there is no bucket {bucket:?}: check its name{}", region_advice(.region))]
    NoBucket {
        /// Where.
        place: Place,
        /// Which.
        bucket: String,
        /// Where it was looked for.
        region: Option<String>,
    },
    /// There is no such object in the bucket.
    #[error("{place}: there is no such object in the bucket{}", meant(.suggestion))]
    NoObject {
        /// Which.
        place: Place,
        /// What may have been meant.
        suggestion: Option<Box<BucketAddress>>,
    },
    /// The service knows us, or does not, and gives nothing out.
    #[error("{place}: access denied ({answer}): {advice}")]
    Denied {
        /// What.
        place: Place,
        /// What it said.
        answer: String,
        /// What would open it.
        advice: &'static str,
    },
    /// The bucket is elsewhere.
    #[error("{place}: the bucket is in region {found:?} and not in {asked:?}: set AWS_REGION={found}")]
    Region {
        /// What.
        place: Place,
        /// Where it is.
        found: String,
        /// Where it was looked for.
        asked: String,
    },
    /// It sends us elsewhere, where our credentials must not go.
    #[error(
        "{place}: the service answered {status}, a redirect, which is not followed: name the right endpoint or region"
    )]
    Redirect {
        /// What.
        place: Place,
        /// HTTP status.
        status: u16,
    },
    /// Another answer that is none.
    #[error("{place}: the service answered {answer}")]
    Refused {
        /// What.
        place: Place,
        /// What it said.
        answer: String,
    },
    /// No answer.
    #[error("{place}: no answer: {reason}: check the endpoint and the network")]
    Unreachable {
        /// What.
        place: Place,
        /// Why.
        reason: String,
    },
    /// An answer that makes no sense, or ends too early.
    #[error("{place}: the answer of the service cannot be used: {reason}")]
    Answer {
        /// What.
        place: Place,
        /// Why.
        reason: String,
    },
    /// The connection broke in the middle, again and again.
    #[error("{place}: the connection broke after {received} of {size} bytes: {reason}")]
    Broken {
        /// What.
        place: Place,
        /// How many came.
        received: u64,
        /// How many there are.
        size: u64,
        /// Why.
        reason: String,
    },
}

/// An object, and whom it was asked of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub(super) address: Box<BucketAddress>,
    /// Scheme, host and port.
    pub(super) endpoint: Box<str>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at {})", self.address, self.endpoint)
    }
}

/// What is known when something fails.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    pub(super) place: Place,
    pub(super) region: Option<String>,
    pub(super) advice: &'static str,
}

impl Attempt {
    /// Says what the last request met with.
    pub(super) fn explain(&self, failure: Option<Failure>, otherwise: &object_store::Error) -> BucketError {
        let place = self.place.clone();
        match failure {
            Some(Failure::Refused(refusal)) => self.refused(refusal),
            Some(Failure::Unreachable(reason)) => BucketError::Unreachable { place, reason },
            None => BucketError::Answer { place, reason: innermost(otherwise) },
        }
    }

    fn refused(&self, refusal: Refusal) -> BucketError {
        let (place, answer) = (self.place.clone(), refusal.to_string());
        let code = refusal.code.as_deref().unwrap_or_default();
        if let (Some(found), Some(asked)) = (&refusal.region, &self.region)
            && found != asked
        {
            return BucketError::Region { place, found: found.clone(), asked: asked.clone() };
        }
        match (refusal.status, code) {
            (404, "NoSuchBucket" | "ContainerNotFound") => {
                let bucket = place.address.bucket.clone();
                BucketError::NoBucket { place, bucket, region: self.region.clone() }
            }
            (404, "NoSuchKey" | "BlobNotFound" | "") => {
                let suggestion = place.address.suggestion().map(Box::new);
                BucketError::NoObject { place, suggestion }
            }
            (401 | 403, _) | (404 | 409, "ResourceNotFound" | "PublicAccessNotPermitted") => {
                BucketError::Denied { place, answer, advice: self.advice }
            }
            (status @ 300..=399, _) => BucketError::Redirect { place, status },
            _ => BucketError::Refused { place, answer },
        }
    }
}

fn region_advice(region: &Option<String>) -> String {
    region.as_ref().map_or_else(String::new, |region| format!(", and the region (AWS_REGION), which is {region:?}"))
}

fn meant(suggestion: &Option<Box<BucketAddress>>) -> String {
    match suggestion {
        Some(address) => format!(": a context is an archive; {address} may be meant"),
        None => ": check the key".to_owned(),
    }
}

/// What is at the bottom of an error; what lies above repeats it.
fn innermost(error: &object_store::Error) -> String {
    let mut error: &dyn std::error::Error = error;
    while let Some(cause) = error.source() {
        error = cause;
    }
    error.to_string().chars().filter(|c| !c.is_control()).take(300).collect()
}
