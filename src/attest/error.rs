use crate::digest::Digest;
use crate::registry::RegistryError;

/// Why nothing could be attached or asked for.
#[derive(Debug, thiserror::Error)]
pub enum AttestError {
    /// A request failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// There is no such image.
    #[error("there is no image {0}")]
    NoImage(String),
    /// Others wrote the same tag all the time.
    #[error("{0} could not be added to: others keep writing it")]
    Contended(String),
    /// What is there under the name of signatures or referrers is something else.
    #[error("{tag} holds no {expected}: it stays as it is")]
    Occupied {
        /// Its name.
        tag: String,
        /// What it should hold.
        expected: &'static str,
    },
}

/// Why something that lies beside an image does not count.
#[derive(Debug, thiserror::Error)]
pub enum Rejection {
    /// It could not be read, or is not what its digest says.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The list names it, and it is not there.
    #[error("the registry lists it, but does not have it")]
    NotThere,
    /// It is about another image.
    #[error("it is about {0}, not about this image")]
    OtherSubject(String),
    /// No key that was given signed it.
    #[error("no key that is trusted signed it")]
    NoTrustedKey,
    /// The signature is right, and for another image.
    #[error("what is signed is about another image, not about {0}")]
    OtherImage(Digest),
    /// It is of another kind than its name says.
    #[error("it is {found}, where {wanted} was expected")]
    Kind {
        /// What it is.
        found: String,
        /// What was expected.
        wanted: &'static str,
    },
    /// Not read at all.
    #[error("it has {size} bytes, more than {limit}")]
    TooLarge {
        /// As it says.
        size: u64,
        /// In bytes.
        limit: u64,
    },
    /// Not the document that it should be.
    #[error("malformed: {0}")]
    Malformed(String),
    /// There is too much to look at.
    #[error("not looked at: {0}")]
    TooMany(&'static str),
}

/// A server's word in an error, without what could confuse a terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(120).collect()
}
