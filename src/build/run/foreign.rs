//! RUN for an architecture that is not this machine's.

use super::super::error::BuildError;
use super::super::evaluate::Evaluator;
use crate::image::Platform;
use crate::plan::StageIndex;
use crate::sandbox;

const NO_HANDLER: &str = "its kernel has no binfmt_misc handler for that architecture; install one on the host, with the \
     package qemu-user-static or with `docker run --privileged --rm tonistiigi/binfmt --install all`";
const OTHER_SYSTEM: &str = "that is another operating system";

impl Evaluator<'_> {
    /// Says before a step runs that it cannot: what it would say itself is `exec format error`.
    pub(super) fn check_architecture(&self, stage: StageIndex) -> Result<(), BuildError> {
        let platform = self.variant.programs(self.shop.images, stage);
        let host = Platform::host();
        match obstacle(&platform, &host, &|name| sandbox::runs(name, self.shop.services.work)) {
            Some(reason) => Err(BuildError::Foreign { platform: platform.into(), host: host.into(), reason }),
            None => Ok(()),
        }
    }
}

/// What keeps programs for `platform` from running; `runs` asks the kernel about an architecture.
fn obstacle(platform: &Platform, host: &Platform, runs: &dyn Fn(&str) -> bool) -> Option<&'static str> {
    if platform.os != host.os {
        return Some(OTHER_SYSTEM);
    }
    // The processor may do it: 386 on amd64, arm on arm64.
    if host.rank(platform).is_some() || platform.architecture == host.architecture {
        return None;
    }
    (!runs(&platform.architecture)).then_some(NO_HANDLER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_other_architectures_need_a_handler() {
        let host = Platform::new("linux", "amd64", None);
        let check = |os: &str, architecture: &str, handler: bool| {
            obstacle(&Platform::new(os, architecture, None), &host, &|_| handler)
        };
        assert_eq!(check("linux", "amd64", false), None);
        assert_eq!(check("linux", "386", false), None);
        assert_eq!(check("linux", "arm64", true), None);
        assert_eq!(check("linux", "arm64", false), Some(NO_HANDLER));
        assert_eq!(check("windows", "amd64", true), Some(OTHER_SYSTEM));
    }
}
