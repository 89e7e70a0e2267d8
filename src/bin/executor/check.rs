//! `--check`: says what is wrong with the Dockerfile, and builds nothing.

use std::sync::Arc;

use yadokari::build::{self, BuildError, CheckReport, CheckRequest, DockerfileText};
use yadokari::causes::chain;
use yadokari::dockerfile::lint::{CheckError, to_json, to_text};
use yadokari::image::ImageConfig;
use yadokari::plan::ImageRef;
use yadokari::registry::Client;
use yadokari::report::{Event, Observer};

use crate::command_line::display;
use crate::command_line::flags::LogFormat;
use crate::command_line::settings::env;
use crate::contexts::find_context;
use crate::failure::Failure;
use crate::flags::{CheckFormat, CommandLine};
use crate::named::Named;
use crate::{named, settings};

/// Carries out the command line.
pub(crate) fn run(line: &CommandLine) -> Result<(), Failure> {
    let observer = display::observer(&line.log, &env);
    let found = find_context(line, &std::env::temp_dir())?;
    let (path, dockerfile) = settings::dockerfile(&line.build, &found)?;
    let Named { contexts, files: _, layouts } = named::named(&line.build.build_context)?;
    let options = settings::plan_options(&line.build, contexts, &env)?;
    let ignore = found.ignore_patterns(Some(&path))?;
    let client =
        Client::new(settings::client_options(&line.registry, &env)?, settings::registry_credentials(&line.registry)?)?;
    let request = CheckRequest { dockerfile: &dockerfile.bytes, options: &options, ignore: &ignore };
    let report = build::check(request, &|image| match layouts.configuration(&image.reference, &image.platform) {
        Some(found) => found.unwrap_or_else(|error| unresolved("a named context", &error, &observer)),
        None => configuration(&client, image, &observer),
    });
    match format(line) {
        CheckFormat::Text => print_text(report, &dockerfile),
        CheckFormat::Json => print_json(&report, &dockerfile),
    }
}

fn format(line: &CommandLine) -> CheckFormat {
    let default = if line.log.log_format == LogFormat::Json { CheckFormat::Json } else { CheckFormat::Text };
    line.build.check_format.unwrap_or(default)
}

/// The base image's configuration; an empty one when the image cannot be had.
fn configuration(client: &Client, image: &ImageRef, observer: &Arc<dyn Observer>) -> ImageConfig {
    match client.resolve_image(&image.reference, &image.platform) {
        Ok(found) => found.config,
        Err(error) => unresolved(&image.reference.to_string(), &error, observer),
    }
}

fn unresolved(name: &str, error: &dyn std::error::Error, observer: &Arc<dyn Observer>) -> ImageConfig {
    observer.event(Event::Warning(format!("{name}: {}; checking as if its configuration were empty", chain(error))));
    ImageConfig::default()
}

/// Warnings on the standard output; an error goes where errors of builds go.
fn print_text(report: CheckReport, dockerfile: &DockerfileText) -> Result<(), Failure> {
    print!("{}", to_text(&report.warnings, &dockerfile.name, &dockerfile.bytes));
    match report.error {
        Some(error) => Err(Failure::build(error, dockerfile)),
        None if report.warnings.is_empty() => {
            println!("Check complete, no warnings found.");
            Ok(())
        }
        None => Err(Failure::Check),
    }
}

fn print_json(report: &CheckReport, dockerfile: &DockerfileText) -> Result<(), Failure> {
    let describe = |error: &BuildError| CheckError { message: chain(error), span: error.span() };
    let error = report.error.as_ref().map(describe);
    print!("{}", to_json(&report.warnings, error.as_ref(), &dockerfile.name, &dockerfile.bytes));
    if report.warnings.is_empty() && error.is_none() { Ok(()) } else { Err(Failure::Check) }
}
