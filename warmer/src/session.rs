//! One run of the program.

use yadokari::report::{Event, Observer};

use crate::command_line::display;
use crate::command_line::settings::{env, usage};
use crate::failure::{Failure, INTERRUPTED};
use crate::flags::CommandLine;
use crate::round::{self, Tally};
use crate::stop::Stop;

/// Carries out the command line.
pub(crate) fn run(line: &CommandLine) -> Result<(), Failure> {
    if line.image.is_empty() && line.dockerfile.is_none() {
        return Err(usage("nothing to fetch: name an --image, or a --dockerfile").into());
    }
    let observer = display::observer(&line.log, &env);
    let stop = Stop::on_signal(INTERRUPTED);
    let tally = round::run(line, observer.as_ref(), &stop)?;
    conclude(&tally, observer.as_ref())
}

fn conclude(tally: &Tally, observer: &dyn Observer) -> Result<(), Failure> {
    let (failed, tried) = (tally.failed, tally.tried());
    match tried {
        0 => observer.event(Event::Info("no images to fetch".into())),
        _ => observer.event(Event::Info(format!("{} of {tried} images are in the cache directory", tried - failed))),
    }
    if failed > 0 { Err(Failure::Images { failed, tried }) } else { Ok(()) }
}
