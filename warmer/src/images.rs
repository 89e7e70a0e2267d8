//! Which images are wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use yadokari::dockerfile::{self, Dockerfile};
use yadokari::image::{ImageConfig, Platform};
use yadokari::plan::{Graph, ImageRef, PlanError, PlanOptions};

use crate::command_line::failure::Source;
use crate::command_line::settings::{self, Environment, SettingsError};
use crate::failure::Failure;
use crate::flags::CommandLine;

/// What the command line names.
pub(crate) struct Wanted {
    images: BTreeSet<ImageRef>,
    file: Option<(Dockerfile, Source)>,
    options: PlanOptions,
}

impl Wanted {
    /// Reads the Dockerfile, if one is named.
    pub(crate) fn read(line: &CommandLine, env: Environment<'_>) -> Result<Self, Failure> {
        let platform = line.custom_platform.as_deref().map(settings::platform).transpose()?;
        let build_args = settings::build_args(&line.build_arg, env);
        let options = PlanOptions { platform, build_args, ..PlanOptions::new(Platform::host()) };
        let image = |reference| ImageRef { reference, platform: options.target_platform().clone() };
        let images = line.image.iter().cloned().map(image).collect();
        let file = line.dockerfile.as_deref().map(read_dockerfile).transpose()?;
        Ok(Self { images, file, options })
    }

    /// The images, as far as the configurations in `known` (triggers can name more) tell.
    pub(crate) fn images(&self, known: &BTreeMap<ImageRef, ImageConfig>) -> Result<BTreeSet<ImageRef>, Failure> {
        let Some((dockerfile, source)) = &self.file else { return Ok(self.images.clone()) };
        let graph = Graph::new(dockerfile, &self.options).map_err(|error| plan_failure(error, source))?;
        let more = graph.images_of_all_stages(known).map_err(|error| plan_failure(error, source))?;
        Ok(self.images.union(&more).cloned().collect())
    }
}

fn read_dockerfile(path: &Path) -> Result<(Dockerfile, Source), Failure> {
    let read = fs::read(path);
    let bytes = read.map_err(|source| SettingsError::Read { what: "Dockerfile", path: path.into(), source })?;
    let source = Source { name: path.display().to_string(), text: String::from_utf8_lossy(&bytes).into_owned() };
    match dockerfile::parse(&bytes) {
        Ok(parsed) => Ok((parsed, source)),
        Err(error) => Err(Failure::Dockerfile { span: Some(error.span), error: Box::new(error), dockerfile: source }),
    }
}

fn plan_failure(error: PlanError, source: &Source) -> Failure {
    Failure::Dockerfile { span: error.span, error: Box::new(error), dockerfile: source.clone() }
}
