//! Contexts that are archives in object stores: S3 and what speaks like it, Google Cloud Storage, Azure Blob Storage.
//!
//! | file | what it knows |
//! |---|---|
//! | `address` | which object |
//! | `service` | endpoints, regions, who we are: a client of `object_store` |
//! | `http` | that client's requests by our own HTTP client, and why a service said no |
//! | `stream` | the object as a stream that goes on where a connection breaks |

mod address;
mod error;
mod http;
mod service;
mod stream;

pub use address::BucketAddress;
pub use error::BucketError;
pub(super) use stream::open;
