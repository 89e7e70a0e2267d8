//! One build for several platforms: the same Dockerfile, planned once for each.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;

use super::check::{self, Planned};
use super::error::BuildError;
use super::evaluate::{Evaluator, Workshop};
use super::keys::{StageKeys, definition_keys};
use super::request::{BuildRequest, Services};
use super::resolve::{self, BaseImages};
use super::sources::Remotes;
use super::state::StageState;
use crate::dockerfile::Dockerfile;
use crate::image::Platform;
use crate::plan::{Base, Epoch, Plan, StageIndex};

/// The plan for one platform, with its keys.
pub(super) struct Variant {
    /// What the image is for.
    pub(super) platform: Platform,
    pub(super) plan: Plan,
    /// Of each stage.
    pub(super) keys: Vec<StageKeys>,
}

/// Plans every platform, and resolves the base images of all.
pub(super) fn plan(
    dockerfile: &Dockerfile,
    request: &BuildRequest,
    services: &Services<'_>,
) -> Result<(Vec<(Platform, Plan)>, BaseImages), BuildError> {
    let mut images = BaseImages::new();
    let mut plans = Vec::new();
    for options in request.variants() {
        let mut found = Vec::new();
        let plan = resolve::plan(dockerfile, &options, services, &mut images, &mut found);
        // Of several platforms the first one's warnings are enough.
        let warned = if plans.is_empty() {
            let ignore = services.context.ignore();
            let planned = Planned { dockerfile, options: &options, plan: plan.as_ref().ok(), ignore, found };
            check::warn(planned, services.observer)
        } else {
            Ok(())
        };
        plans.push((options.target_platform().clone(), plan?));
        warned?;
    }
    Ok((plans, images))
}

/// Computes all definition keys. Stages that do not depend on the platform have the same in each variant.
pub(super) fn with_keys(
    plans: Vec<(Platform, Plan)>,
    images: &BaseImages,
    services: &Services<'_>,
    remotes: &Remotes,
    salt: &str,
) -> Result<Vec<Variant>, BuildError> {
    let keyed = |(platform, plan): (Platform, Plan)| {
        let keys = definition_keys(&plan, images, services, remotes, salt)?;
        Ok(Variant { platform, plan, keys })
    };
    plans.into_iter().map(keyed).collect()
}

/// Builds the target of each, side by side.
pub(super) fn evaluate<'a>(variants: &'a [Variant], shop: Workshop<'a>) -> Result<Vec<Arc<StageState>>, BuildError> {
    let build = |variant: &'a Variant| Evaluator::new(shop, variant).stage(variant.plan.target);
    if let [only] = variants {
        return build(only).map(|state| vec![state]);
    }
    if !shop.rooms.side_by_side() {
        return variants.iter().map(build).collect();
    }
    thread::scope(|scope| {
        let threads: Vec<_> = variants.iter().map(|variant| scope.spawn(move || build(variant))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    })
}

impl Variant {
    /// `SOURCE_DATE_EPOCH` in seconds, when it is set and the context has a time where it is that one's.
    pub(super) fn epoch(&self, services: &Services<'_>) -> Option<i64> {
        match self.plan.epoch? {
            Epoch::Seconds(seconds) => Some(seconds),
            Epoch::Context => services.context.time(),
        }
    }

    /// The platform that a stage's programs are for: what its base image says, which may be another
    /// than was asked for when the image has no other.
    pub(super) fn programs(&self, images: &BaseImages, stage: StageIndex) -> Platform {
        let stage = &self.plan.stages[stage.0];
        match &stage.base {
            Base::Stage(below) => self.programs(images, *below),
            Base::Scratch => stage.platform.clone(),
            Base::Image(image) => {
                let config = images.get(image).map(|base| &base.config);
                let named = config.filter(|config| !config.architecture.is_empty() && !config.os.is_empty());
                named.map_or_else(|| stage.platform.clone(), |config| config.platform())
            }
        }
    }
}
