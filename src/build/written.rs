//! COPY, ADD and WORKDIR: steps that are pure functions of what they read. Their layers are
//! written straight from the sources, with nothing unpacked.

use std::collections::BTreeMap;

use super::copy::{plan_copy, plan_workdir, select};
use super::error::BuildError;
use super::evaluate::{Evaluator, StepPlace};
use super::layers::{NewLayer, reset_times, write_layer};
use super::members::members;
use super::records::{Outcome, now};
use super::state::StageState;
use super::turn::Content;
use crate::context::ContextDirectory;
use crate::digest::ContentHash;
use crate::key::content_key;
use crate::layer::{Change, EntryPath};
use crate::plan::{CopyOp, WorkdirOp};
use crate::view::{View, with_ancestors};

impl Evaluator<'_> {
    pub(super) fn copy(
        &self,
        state: &mut StageState,
        op: &CopyOp,
        place: StepPlace<'_>,
        miss: &str,
    ) -> Result<Outcome, BuildError> {
        self.learn(state)?;
        let source = self.source_view(&op.from)?;
        let changes = self.plan_copy(op, state, &source)?;
        self.write(state, changes, place, miss)
    }

    fn plan_copy(&self, op: &CopyOp, state: &StageState, source: &View) -> Result<Vec<Change>, BuildError> {
        let hashes = match self.shop.services.files(&op.from)? {
            Some(directory) => self.selected_hashes(op, directory)?,
            None => BTreeMap::new(),
        };
        let sources = self.shop.remotes.prepare(op, source, hashes, self.shop.materials)?;
        Ok(plan_copy(op, &state.contents().view, &sources.with(source), now())?)
    }

    pub(super) fn workdir(
        &self,
        state: &mut StageState,
        op: &WorkdirOp,
        place: StepPlace<'_>,
        miss: &str,
    ) -> Result<Outcome, BuildError> {
        self.learn(state)?;
        // BuildKit gives this layer the epoch, and no other.
        let time = self.variant.epoch(self.shop.services).unwrap_or_else(now);
        let changes = plan_workdir(op, &state.contents().view, time)?;
        self.write(state, changes, place, miss)
    }

    /// Learns what a stage holds; where a RUN is to come its files are extracted on the way.
    pub(super) fn learn(&self, state: &mut StageState) -> Result<(), BuildError> {
        self.shop.materials.learn(state, self.shop.rooms.extracts())
    }

    fn write(
        &self,
        state: &mut StageState,
        changes: Vec<Change>,
        place: StepPlace<'_>,
        miss: &str,
    ) -> Result<Outcome, BuildError> {
        let mut changes = with_ancestors(&state.contents().view, changes);
        if self.shop.request.reproducible {
            reset_times(&mut changes);
        }
        let content = if self.shop.records.covers(&place.step.op) { Some(self.content_key(&changes)?) } else { None };
        let lease = match self.content(state, content.as_ref(), place)? {
            Content::Hit(hit) => return Ok(hit),
            Content::Missing(lease) => lease,
        };
        self.shop.progress.started(place.number, miss);
        let layer = NewLayer { changes, disk_times: None, created: now() };
        let layer = write_layer(state, layer, self.shop.materials, self.shop.services)?;
        Ok(Outcome::Made { layer: Box::new(layer), content, _lease: lease })
    }

    fn content_key(&self, changes: &[Change]) -> Result<crate::key::Keyed, BuildError> {
        let members = members(changes, &|content| self.shop.materials.content_hash(content))?;
        Ok(content_key(self.shop.salt, &members))
    }

    /// Read already for the definition key.
    fn selected_hashes(
        &self,
        op: &CopyOp,
        directory: &ContextDirectory,
    ) -> Result<BTreeMap<EntryPath, ContentHash>, BuildError> {
        let selected = select(op, directory.view())?;
        let paths = selected.iter().flat_map(|s| s.members.iter().map(|member| s.origin(member)));
        let paths: Vec<EntryPath> = paths.collect();
        self.shop.materials.note_files(directory, &paths)
    }
}
