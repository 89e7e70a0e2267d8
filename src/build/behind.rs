//! Layers that are compressed while the next step runs.

use std::panic::resume_unwind;
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

use super::error::BuildError;
use super::evaluate::StepPlace;
use super::layers::LayerInWriting;
use super::state::{StageState, StateLayer};
use crate::digest::ContentHash;
use crate::key::Keyed;
use crate::store::Lease;

/// A step that ran, and whose layer's blob is not written yet.
pub(super) struct Finishing<'scope> {
    pub(super) place: StepPlace<'scope>,
    /// Its content key, when one was made.
    pub(super) content: Option<Keyed>,
    /// Keeps other builds waiting until the result is saved.
    pub(super) lease: Option<Box<Lease>>,
    /// From its start until its files were read.
    pub(super) took: Duration,
    /// Of the stage with its layer.
    pub(super) identity: Option<ContentHash>,
    pub(super) writing: LayerInWriting<'scope>,
}

/// What goes on behind a stage: one layer at most, so that memory and the spool file stay bounded.
pub(super) struct Behind<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    under_way: Option<ScopedJoinHandle<'scope, Option<StateLayer>>>,
}

impl<'scope, 'env> Behind<'scope, 'env> {
    pub(super) fn new(scope: &'scope Scope<'scope, 'env>) -> Self {
        Self { scope, under_way: None }
    }

    /// Where threads may run until the stage is finished.
    pub(super) fn scope(&self) -> &'scope Scope<'scope, 'env> {
        self.scope
    }

    /// Goes on with `finish` beside the caller, once what was started before is settled. It returns the
    /// layer with its blob, or nothing after a failure that it has noted.
    pub(super) fn start(
        &mut self,
        state: &mut StageState,
        finish: impl FnOnce() -> Option<StateLayer> + Send + 'scope,
    ) -> Result<(), BuildError> {
        self.settle(state)?;
        self.under_way = Some(self.scope.spawn(finish));
        Ok(())
    }

    /// Waits until all layers of `state` are written.
    pub(super) fn settle(&mut self, state: &mut StageState) -> Result<(), BuildError> {
        let Some(under_way) = self.under_way.take() else { return Ok(()) };
        let layer = under_way.join().unwrap_or_else(|panic| resume_unwind(panic));
        state.complete(layer.ok_or(BuildError::Stopped)?);
        Ok(())
    }
}
