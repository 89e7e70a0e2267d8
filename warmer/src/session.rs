//! One run of the program.

use std::sync::Arc;
use std::time::Duration;

use yadokari::report::{Event, Observer};

use crate::command_line::settings::{env, usage};
use crate::command_line::{display, switches};
use crate::daemon;
use crate::extraction::OverlayForm;
use crate::failure::{Failure, INTERRUPTED};
use crate::flags::CommandLine;
use crate::round::{self, Tally};
use crate::stop::Stop;

/// A registry must not be asked more often than this.
const LEAST_INTERVAL: Duration = Duration::from_secs(1);

/// Carries out the command line.
pub(crate) fn run(line: &CommandLine) -> Result<(), Failure> {
    if line.image.is_empty() && line.dockerfile.is_none() && line.hot.is_none() {
        return Err(usage("nothing to fetch: name an --image, a --dockerfile, or a --cache-server with --hot").into());
    }
    let form = line.extract.then(OverlayForm::find).transpose()?;
    let observer = display::observer(&line.log, &env);
    switches::note(observer.as_ref());
    match &line.interval {
        Some(interval) if interval.0 < LEAST_INTERVAL => Err(usage("--interval: at least 1s").into()),
        Some(interval) => daemon::run(line, form, interval.0, &observer),
        None => once(line, form, &observer),
    }
}

fn once(line: &CommandLine, form: Option<OverlayForm>, observer: &Arc<dyn Observer>) -> Result<(), Failure> {
    let stop = Stop::on_signal(INTERRUPTED);
    let tally = round::run(line, form, observer, &stop)?;
    tell(&tally, observer.as_ref());
    let (failed, tried) = (tally.failed, tally.tried());
    if failed > 0 { Err(Failure::Images { failed, tried }) } else { Ok(()) }
}

/// Sums a round up.
pub(crate) fn tell(tally: &Tally, observer: &dyn Observer) {
    let (failed, tried) = (tally.failed, tally.tried());
    observer.event(Event::Info(match tried {
        0 => "no images to fetch".into(),
        _ => format!("{} of {tried} images are in the cache directory", tried - failed),
    }));
}
