//! Which images are wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use yadokari::dockerfile::{self, Dockerfile};
use yadokari::image::{ImageConfig, Platform, Reference};
use yadokari::plan::{Graph, ImageRef, PlanError, PlanOptions};

use crate::command_line::failure::Source;
use crate::command_line::settings::{self, Environment, SettingsError};
use crate::command_line::web_dockerfile;
use crate::failure::Failure;
use crate::flags::CommandLine;

/// What the command line names.
pub(crate) struct Wanted {
    images: Vec<Reference>,
    file: Option<(Dockerfile, Source)>,
    /// One per platform.
    variants: Vec<PlanOptions>,
}

impl Wanted {
    /// Reads the Dockerfile, if one is named; `more` are wanted besides.
    pub(crate) fn read(line: &CommandLine, env: Environment<'_>, more: &BTreeSet<Reference>) -> Result<Self, Failure> {
        let platforms: Vec<_> = line.custom_platform.iter().map(|text| settings::platform(text)).collect();
        let platforms = platforms.into_iter().collect::<Result<BTreeSet<_>, _>>()?;
        let build_args = settings::build_args(&line.build_arg, env);
        let host = PlanOptions { build_args, ..PlanOptions::new(Platform::host()) };
        let variant = |platform| PlanOptions { platform: Some(platform), ..host.clone() };
        let mut variants: Vec<PlanOptions> = platforms.into_iter().map(variant).collect();
        if variants.is_empty() {
            variants.push(host);
        }
        let file = line.dockerfile.as_deref().map(read_dockerfile).transpose()?;
        let images = line.image.iter().chain(more).cloned().collect();
        let wanted = Self { images, file, variants };
        // What is wrong in the Dockerfile comes before anything happens.
        wanted.images(&BTreeMap::new())?;
        Ok(wanted)
    }

    /// The images, as far as the configurations in `known` (triggers can name more) tell.
    pub(crate) fn images(&self, known: &BTreeMap<ImageRef, ImageConfig>) -> Result<BTreeSet<ImageRef>, Failure> {
        let mut images = BTreeSet::new();
        for options in &self.variants {
            let image = |reference| ImageRef { reference, platform: options.target_platform().clone() };
            images.extend(self.images.iter().cloned().map(image));
            if let Some((dockerfile, source)) = &self.file {
                let graph = Graph::new(dockerfile, options).map_err(|error| plan_failure(error, source))?;
                images.extend(graph.images_of_all_stages(known).map_err(|error| plan_failure(error, source))?);
            }
        }
        Ok(images)
    }
}

fn read_dockerfile(name: &str) -> Result<(Dockerfile, Source), Failure> {
    let (name, bytes) = match web_dockerfile::is_url(name) {
        true => web_dockerfile::fetch(name)?,
        false => (name.to_owned(), read_file(Path::new(name))?),
    };
    let source = Source { name, text: String::from_utf8_lossy(&bytes).into_owned() };
    match dockerfile::parse(&bytes) {
        Ok(parsed) => Ok((parsed, source)),
        Err(error) => Err(Failure::Dockerfile { span: Some(error.span), error: Box::new(error), dockerfile: source }),
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, SettingsError> {
    fs::read(path).map_err(|source| SettingsError::Read { what: "Dockerfile", path: path.into(), source })
}

fn plan_failure(error: PlanError, source: &Source) -> Failure {
    Failure::Dockerfile { span: error.span, error: Box::new(error), dockerfile: source.clone() }
}
