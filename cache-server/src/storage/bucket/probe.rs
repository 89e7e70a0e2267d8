use object_store::{PutMode, UpdateVersion};
use uuid::Uuid;

use super::{Bucket, BucketError};

/// What `format` says; another value is another program's or a newer layout.
const FORMAT: &[u8] = b"yadokari cache-server objects 1\n";

impl Bucket {
    /// Tries out all that agreement between replicas stands on.
    pub(super) fn probe(&self) -> Result<(), BucketError> {
        let name = format!("probe/{}", Uuid::new_v4());
        let probed = self.probe_with(&name);
        match probed {
            Ok(()) => self.delete(&[name])?,
            // Without rights to write there is nothing to remove either.
            Err(_) => drop(self.delete(&[name])),
        }
        probed?;
        self.check_format()
    }

    fn probe_with(&self, name: &str) -> Result<(), BucketError> {
        let first = self.put(name, "1", PutMode::Create).map_err(|error| self.missing(error))?;
        if !self.is_refused(self.put(name, "2", PutMode::Create))? {
            return Err(self.unconditional("If-None-Match: *"));
        }
        self.put(name, "3", PutMode::Update(first.clone()))?;
        if !self.is_refused(self.put(name, "4", PutMode::Update(first)))? {
            return Err(self.unconditional("If-Match"));
        }
        let read = self.get(name)?.bytes;
        if read == "3" { Ok(()) } else { Err(self.unconditional("reading what was just written")) }
    }

    fn is_refused(&self, put: Result<UpdateVersion, BucketError>) -> Result<bool, BucketError> {
        match put {
            Ok(_) => Ok(false),
            Err(error) if error.is_conflict() => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Nothing but a missing bucket makes writing a new object fail so.
    fn missing(&self, error: BucketError) -> BucketError {
        match error {
            BucketError::Request { cause, .. } if matches!(*cause, object_store::Error::NotFound { .. }) => {
                BucketError::Missing { bucket: self.address.to_string(), cause }
            }
            error => error,
        }
    }

    fn unconditional(&self, lacking: &'static str) -> BucketError {
        BucketError::Unconditional { bucket: self.address.to_string(), lacking }
    }

    fn check_format(&self) -> Result<(), BucketError> {
        match self.put("format", FORMAT, PutMode::Create) {
            Ok(_) => Ok(()),
            Err(error) if error.is_conflict() => {
                let ours = self.get("format")?.bytes == FORMAT;
                if ours { Ok(()) } else { Err(BucketError::Format(self.address.to_string())) }
            }
            Err(error) => Err(error),
        }
    }
}
