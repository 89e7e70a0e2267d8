//! `--interval`: round after round, until a signal.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use yadokari::report::{Event, Observer, human_duration};

use crate::extraction::OverlayForm;
use crate::failure::Failure;
use crate::flags::CommandLine;
use crate::metrics::Metrics;
use crate::round::{self, Tally};
use crate::server;
use crate::session::tell;
use crate::stop::Stop;

/// Runs until a signal. A round that fails is a warning: the next may do better.
///
/// # Errors
/// Wrong usage, and an address that cannot be listened on.
pub(crate) fn run(
    line: &CommandLine,
    form: Option<OverlayForm>,
    interval: Duration,
    observer: &Arc<dyn Observer>,
) -> Result<(), Failure> {
    let stop = Stop::on_signal(0);
    let metrics = Arc::new(Metrics::new());
    if let Some(address) = &line.listen {
        server::start(address, Arc::clone(&metrics))?;
    }
    loop {
        let began = Instant::now();
        let result = round::run(line, form, observer, &stop);
        metrics.round(result.as_ref().ok(), began.elapsed());
        match result {
            Err(Failure::Interrupted) => break,
            Err(failure) if failure.is_usage() => return Err(failure),
            result => report(result, observer.as_ref()),
        }
        let pause = jittered(interval);
        observer.event(Event::Info(format!("looking again in {}", human_duration(pause))));
        if stop.sleep(pause) {
            break;
        }
    }
    observer.event(Event::Info("ended by a signal".into()));
    Ok(())
}

fn report(result: Result<Tally, Failure>, observer: &dyn Observer) {
    match result {
        Ok(tally) => tell(&tally, observer),
        Err(failure) => {
            let text = failure.to_string();
            observer.event(Event::Warning(text.trim_start_matches("error: ").trim_end().to_owned()));
        }
    }
}

/// Between nine and eleven tenths, so that many warmers do not ask a registry together.
fn jittered(interval: Duration) -> Duration {
    // Each `RandomState` has keys of its own.
    let random = RandomState::new().hash_one(0) as f64 / u64::MAX as f64;
    interval.mul_f64(0.9 + random / 5.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_near() {
        let pauses: Vec<Duration> = (0..100).map(|_| jittered(Duration::from_secs(100))).collect();
        assert!(pauses.iter().all(|pause| (90..=110).contains(&pause.as_secs())));
        assert!(pauses.iter().any(|pause| *pause != pauses[0]));
    }
}
