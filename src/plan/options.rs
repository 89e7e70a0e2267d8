//! What the user asks for.

use std::collections::BTreeMap;

use super::NamedContexts;
use crate::image::Platform;

/// What a plan depends on besides the Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanOptions {
    /// `--build-arg`s; one without a value is left out.
    pub build_args: BTreeMap<String, String>,
    /// `--target`; `None` and the empty name are the last stage.
    pub target: Option<String>,
    /// The target platform when one was asked for; it is then forced upon the image.
    pub platform: Option<Platform>,
    /// The builder's own platform; the target platform when none was asked for.
    pub build_platform: Platform,
    /// Labels for the image, over those of the Dockerfile; later ones win.
    pub labels: Vec<(String, String)>,
    /// What takes the place of stages and images.
    pub contexts: NamedContexts,
}

impl PlanOptions {
    /// Options with nothing asked for.
    pub fn new(build_platform: Platform) -> Self {
        let (build_args, labels, contexts) = Default::default();
        Self { build_args, target: None, platform: None, build_platform, labels, contexts }
    }

    /// The platform of stages that do not name another.
    pub fn target_platform(&self) -> &Platform {
        self.platform.as_ref().unwrap_or(&self.build_platform)
    }

    /// The wanted stage, if one was named.
    pub(super) fn wanted_stage(&self) -> Option<&str> {
        self.target.as_deref().filter(|name| !name.is_empty())
    }
}
