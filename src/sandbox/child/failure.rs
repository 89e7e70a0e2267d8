use std::io;

use rustix::io::Errno;

use crate::sandbox::spec::Message;

/// Why the helper gave up.
#[derive(Debug)]
pub(super) enum Failure {
    /// A system call.
    System { what: String, errno: i32 },
    /// The step's own fault.
    Step(String),
}

impl Failure {
    pub(super) fn message(self) -> Message {
        match self {
            Self::System { what, errno } => Message::Failed { what, errno },
            Self::Step(text) => Message::Step(text),
        }
    }
}

/// Says what was tried.
pub(super) trait During<T> {
    fn during(self, what: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T> During<T> for io::Result<T> {
    fn during(self, what: impl FnOnce() -> String) -> Result<T, Failure> {
        let errno = |error: io::Error| error.raw_os_error().unwrap_or(Errno::IO.raw_os_error());
        self.map_err(|error| Failure::System { what: what(), errno: errno(error) })
    }
}

impl<T> During<T> for Result<T, Errno> {
    fn during(self, what: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|errno| Failure::System { what: what(), errno: errno.raw_os_error() })
    }
}
