use std::sync::Arc;

use object_store::Error as Cause;

/// Why an object store could not be used.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum BucketError {
    #[error("invalid store {0:?}: expected s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX")]
    Address(String),
    #[error("the settings in the environment do not make a store of {address}")]
    Settings {
        address: String,
        #[source]
        cause: Arc<Cause>,
    },
    #[error(
        "access to {bucket} was denied: check the credentials in the environment, and their rights to read, write, list and delete"
    )]
    Denied {
        bucket: String,
        #[source]
        cause: Arc<Cause>,
    },
    #[error("there is no bucket {bucket}: it must be made before the server starts")]
    Missing {
        bucket: String,
        #[source]
        cause: Arc<Cause>,
    },
    #[error(
        "{bucket} does not honour conditional writes ({lacking}): replicas would overwrite each other's changes there"
    )]
    Unconditional { bucket: String, lacking: &'static str },
    #[error(
        "the credentials in the environment cannot sign addresses of {bucket}, which redirects need: use others, or no --redirect"
    )]
    Unsigned {
        bucket: String,
        #[source]
        cause: Arc<Cause>,
    },
    #[error("{0} does not hold data of this version of cache-server")]
    Format(String),
    #[error("failed to {operation} {object} in {bucket}")]
    Request {
        operation: &'static str,
        object: String,
        bucket: String,
        #[source]
        cause: Arc<Cause>,
    },
    #[error("{object} in {bucket} is damaged")]
    Damaged { object: String, bucket: String },
    #[error("other replicas changed {0} all the time")]
    Contended(String),
}

impl BucketError {
    /// The object is not there.
    pub(crate) fn is_absence(&self) -> bool {
        matches!(self, Self::Request { cause, .. } if matches!(**cause, Cause::NotFound { .. }))
    }

    /// Another one wrote the object first.
    pub(super) fn is_conflict(&self) -> bool {
        matches!(self, Self::Request { cause, .. }
            if matches!(**cause, Cause::Precondition { .. } | Cause::AlreadyExists { .. } | Cause::NotFound { .. }))
    }
}
