//! Who else hears of a build than the display: the page of `--report`, the trace.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use yadokari::build::BuildReport;
use yadokari::report::{Event, Observer, PageDetails, Recorder, page};

use crate::command_line::settings::Environment;
use crate::failure::Failure;
use crate::flags::CommandLine;
use crate::telemetry::Telemetry;

/// The page was not written.
#[derive(Debug, thiserror::Error)]
#[error("failed to write --report {}", path.display())]
pub(crate) struct PageError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Takes notes while a build goes on.
pub(crate) struct Observing {
    recorder: Arc<Recorder>,
    page: Option<PathBuf>,
    title: String,
    telemetry: Option<Telemetry>,
}

impl Observing {
    /// Nothing when nobody wants to know.
    pub(crate) fn new(line: &CommandLine, env: Environment<'_>, display: &Arc<dyn Observer>) -> Option<Self> {
        let telemetry = Telemetry::from_env(env).unwrap_or_else(|error| {
            display.event(Event::Warning(format!("no trace will be sent: {error}")));
            None
        });
        let page = line.output.report.clone();
        let is_wanted = page.is_some() || telemetry.is_some();
        let dockerfile = || line.build.dockerfile.display().to_string();
        is_wanted.then(|| Self {
            recorder: Arc::new(Recorder::new(Arc::clone(display))),
            page,
            title: line.output.destination.first().cloned().unwrap_or_else(dockerfile),
            telemetry,
        })
    }

    /// What the build tells its events.
    pub(crate) fn observer(&self) -> Arc<dyn Observer> {
        Arc::<Recorder>::clone(&self.recorder)
    }

    /// Writes and sends, also of a build that failed.
    pub(crate) fn finish(&self, result: &Result<Option<BuildReport>, Failure>) -> Result<(), PageError> {
        let recording = self.recorder.recording();
        if let Some(telemetry) = &self.telemetry {
            telemetry.send(&recording, self.recorder.as_ref());
        }
        let Some(path) = &self.page else { return Ok(()) };
        let found = result.iter().flatten().find_map(|report| report.details.clone()).unwrap_or_default();
        let failure = result.as_ref().err().map(|failure| failure.to_string());
        let details = PageDetails { title: self.title.clone(), saved: found.saved, layers: found.layers, failure };
        let temporary = path.with_extension("partial");
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(Ok(()), fs::create_dir_all);
        let written = parent.and_then(|()| fs::write(&temporary, page(&recording, &details)));
        let written = written.and_then(|()| fs::rename(&temporary, path));
        written.map_err(|source| PageError { path: path.clone(), source })
    }
}
