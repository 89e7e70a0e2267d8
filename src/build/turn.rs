//! One build at a time makes a result; others on the same directory wait for it.

use std::time::{Duration, Instant};

use super::error::BuildError;
use super::evaluate::{Evaluator, StepPlace};
use super::records::{Outcome, Records};
use super::state::StageState;
use crate::cache::Hit;
use crate::key::{CacheKey, Keyed};
use crate::report::Event;
use crate::store::{Holder, Lease, Turn};

/// How long a build waits for another one's step: whoever is slower than this is not waited for.
const PATIENCE: Duration = Duration::from_secs(3600);

/// How often it looks whether it has a reason to stop.
const PAUSE: Duration = Duration::from_secs(2);

/// What is known of a step under its content key.
pub(super) enum Content {
    /// Its layer was taken from a record.
    Hit(Outcome),
    /// It has to run; others wait until the lease is dropped.
    Missing(Option<Box<Lease>>),
}

impl Evaluator<'_> {
    /// Takes the layer of a record under the content key. Where there is none, waits while another
    /// build on the same directory makes it, and looks again.
    pub(super) fn content(
        &self,
        state: &mut StageState,
        content: Option<&Keyed>,
        place: StepPlace<'_>,
    ) -> Result<Content, BuildError> {
        let Some(key) = content.map(|content| content.key) else { return Ok(Content::Missing(None)) };
        if let Some(outcome) = take(state, self.shop.records.look_up(&[key]).pop().flatten()) {
            return Ok(Content::Hit(outcome));
        }
        let lease = self.wait_for_turn(&key, place)?;
        // Whoever had the lease before has saved its result before it let go.
        let found = take(state, self.shop.records.look_up_local(&key));
        Ok(found.map_or(Content::Missing(lease), Content::Hit))
    }

    fn wait_for_turn(&self, key: &CacheKey, place: StepPlace<'_>) -> Result<Option<Box<Lease>>, BuildError> {
        let deadline = Instant::now() + PATIENCE;
        let mut patience = Duration::ZERO;
        loop {
            match self.shop.services.store.turn(key, patience) {
                Turn::Mine(lease) => return Ok(Some(Box::new(lease))),
                Turn::Without | Turn::Over => return Ok(None),
                Turn::Taken(_) if Instant::now() >= deadline => return Ok(None),
                Turn::Taken(holder) if patience.is_zero() => self.tell_wait(holder, place),
                Turn::Taken(_) => {}
            }
            self.shop.failure.check()?;
            patience = PAUSE;
        }
    }

    fn tell_wait(&self, holder: Option<Holder>, place: StepPlace<'_>) {
        let whom =
            holder.map_or("another process".into(), |holder| format!("process {} on {}", holder.pid, holder.host));
        let text = format!("{}: waiting for {whom}, which makes the same result", place.step.title);
        self.shop.services.observer.event(Event::Info(text));
    }
}

fn take(state: &mut StageState, hit: Option<Hit>) -> Option<Outcome> {
    let hit = hit?;
    let (layer, tier) = Records::only_layer(&hit)?;
    state.push(layer);
    Some(Outcome::Hit { hit: Box::new(hit.record), tier })
}
