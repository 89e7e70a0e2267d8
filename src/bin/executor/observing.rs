//! Who else hears of a build than the display: the page of `--report`, the trace.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use yadokari::build::BuildReport;
use yadokari::report::{Event, Observer, PageDetails, Recorder, page};

use crate::command_line::settings::Environment;
use crate::failure::Failure;
use crate::flags::CommandLine;
use crate::telemetry::Telemetry;
use crate::whole;

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
    /// Whether all is written: the end of a build and a signal may come at the same time.
    finished: Mutex<bool>,
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
            finished: Mutex::default(),
        })
    }

    /// What the build tells its events.
    pub(crate) fn observer(&self) -> Arc<dyn Observer> {
        Arc::<Recorder>::clone(&self.recorder)
    }

    /// Writes and sends, also of a build that failed.
    pub(crate) fn finish(&self, result: &Result<Option<BuildReport>, Failure>) -> Result<(), PageError> {
        let found = result.iter().flatten().find_map(|report| report.details.clone()).unwrap_or_default();
        let failure = result.as_ref().err().map(|failure| failure.to_string());
        self.write(PageDetails { title: self.title.clone(), saved: found.saved, layers: found.layers, failure })
    }

    /// Writes and sends what is known of a build that a signal ends.
    pub(crate) fn stopped(&self) {
        let failure = Some("error: stopped by a signal".to_owned());
        // Nobody is left who could be told.
        let _ = self.write(PageDetails { title: self.title.clone(), failure, ..PageDetails::default() });
    }

    fn write(&self, details: PageDetails) -> Result<(), PageError> {
        let mut finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut *finished, true) {
            return Ok(());
        }
        let recording = self.recorder.recording();
        let written = self.page.as_ref().map_or(Ok(()), |path| {
            whole::write(path, &page(&recording, &details)).map_err(|source| PageError { path: path.clone(), source })
        });
        if let Some(telemetry) = &self.telemetry {
            telemetry.send(&recording, self.recorder.as_ref());
        }
        written
    }
}
