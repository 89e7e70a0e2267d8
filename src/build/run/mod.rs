//! RUN: a process on the stage's file system, and what it changed.

mod agent;
mod cache_mounts;
mod foreign;
mod mounts;
mod output;
mod remote_mounts;
mod rooms;

use std::mem;
use std::thread::Scope;

use super::error::BuildError;
use super::evaluate::{Evaluator, StepPlace};
use super::inputs::{mounted_source, stage_files};
use super::layers::{LayerInWriting, NewLayer, reset_times, write_layer, write_layer_behind};
use super::records::{Outcome, now};
use super::state::StageState;
use super::turn::Content;
use crate::key::{Keyed, SourceInput, run_content_key};
use crate::layer::Change;
use crate::plan::{RunOp, Source};
use crate::sandbox::{Exit, Process, Stream};
use crate::view::with_ancestors;

pub(super) use mounts::CopiedSources;
use output::LastLines;
pub use remote_mounts::{RemoteMounts, RemoteMountsOptions};
pub(super) use rooms::Rooms;
use rooms::{Room, SCRIPT_DIRECTORY, StepRun};

/// BuildKit's name of the host that a RUN sees, unless a build argument says another.
const HOSTNAME: &str = "buildkitsandbox";

impl Evaluator<'_> {
    /// A long layer that is not the stage's last is written behind, by threads of `scope`.
    pub(super) fn run<'scope>(
        &self,
        state: &mut StageState,
        op: &RunOp,
        (place, miss): (StepPlace<'_>, &str),
        scope: &'scope Scope<'scope, '_>,
    ) -> Result<(Outcome, Option<LayerInWriting<'scope>>), BuildError> {
        self.learn(state)?;
        let covered = self.shop.records.covers(&place.step.op);
        let content = if covered { Some(self.run_content_key(state, op, &place.keys.mounted)?) } else { None };
        let lease = match self.content(state, content.as_ref(), place)? {
            Content::Hit(hit) => return Ok((hit, None)),
            Content::Missing(lease) => lease,
        };
        self.check_architecture(place.stage)?;
        self.shop.progress.started(place.number, miss);
        // Until the layer is written, the files are read where they are.
        let mut room = self.shop.rooms.enter()?;
        let mut changes = self.execute(&mut room, state, op, place.number)?;
        let disk_times = self.shop.request.reproducible.then(|| reset_times(&mut changes));
        let layer = NewLayer { changes, disk_times, created: now() };
        let (layer, writing) = if layer.is_long() && !self.is_last(place) {
            let (layer, writing) = write_layer_behind(scope, state, layer, self.shop.materials, self.shop.services)?;
            (layer, Some(writing))
        } else {
            (write_layer(state, layer, self.shop.materials, self.shop.services)?, None)
        };
        room.keep(state, self.shop.materials);
        Ok((Outcome::Made { layer: Box::new(layer), content, _lease: lease }, writing))
    }

    /// Whether no step of its stage follows.
    fn is_last(&self, place: StepPlace<'_>) -> bool {
        let steps = &self.variant.plan.stages[place.stage.0].steps;
        steps.last().is_some_and(|last| std::ptr::eq(last, place.step))
    }

    /// What is mounted of stages is there by now: their files count, not how they were made.
    fn run_content_key(&self, state: &StageState, op: &RunOp, mounted: &[SourceInput]) -> Result<Keyed, BuildError> {
        let sources = op.mounts.iter().filter_map(mounted_source).zip(mounted);
        let inputs = sources.map(|((from, path), known)| match from {
            Source::Stage(_) => Ok(SourceInput::Files(stage_files(&self.source_view(from)?, path))),
            Source::Context | Source::Named(_) | Source::Image(_) => Ok(known.clone()),
        });
        let inputs = inputs.collect::<Result<Vec<_>, BuildError>>()?;
        Ok(run_content_key(state.contents().state.as_ref(), self.shop.salt, op, &inputs))
    }

    /// Opens a shell on the terminal, where the step failed and with all that it had.
    fn shell(&self, room: &mut Room<'_>, failed: &StepRun<'_>, number: usize, exit: Exit) -> Result<(), BuildError> {
        self.shop.progress.shell(number, exit);
        let process = Process { argv: vec!["sh".into()], terminal: true, ..failed.process.clone() };
        room.run(&StepRun { process: &process, ..*failed }, &mut |_, _| {}).map(drop)
    }

    /// The argument vector, with the script where it really is.
    fn argv(&self, op: &RunOp) -> Vec<String> {
        let Some(script) = &op.script else { return op.argv.clone() };
        let planned = format!("{SCRIPT_DIRECTORY}/{}", script.name);
        let real = format!("{}/{}", self.shop.rooms.script_directory(), script.name);
        op.argv.iter().map(|word| if *word == planned { real.clone() } else { word.clone() }).collect()
    }

    /// Runs the process; returns what its layer holds, in tar order.
    fn execute(
        &self,
        room: &mut Room<'_>,
        state: &StageState,
        op: &RunOp,
        number: usize,
    ) -> Result<Vec<Change>, BuildError> {
        let mut mounts = self.prepare_mounts(op)?;
        let process = Process {
            argv: self.argv(op),
            env: op.env.iter().chain(&op.proxy_env).cloned().chain(mem::take(&mut mounts.env)).collect(),
            user: op.user.clone(),
            workdir: op.workdir.clone(),
            hostname: op.hostname.clone().unwrap_or_else(|| HOSTNAME.into()),
            network: op.network,
            mounts: mem::take(&mut mounts.mounts),
            terminal: false,
        };
        let progress = self.shop.progress;
        let mut last = LastLines::default();
        let mut output = |stream: Stream, bytes: &[u8]| {
            last.take(bytes);
            progress.output(number, matches!(stream, Stream::Stderr), bytes);
        };
        let sandbox = self.shop.services.sandbox.sandbox.as_ref();
        let step = StepRun { sandbox, state, materials: self.shop.materials, process: &process };
        let (exit, changes) = room.run(&step, &mut output)?;
        if exit != Exit::Code(0) {
            if self.shop.request.shell_on_failure {
                self.shell(room, &step, number, exit)?;
            }
            return Err(BuildError::Process { command: op.argv.join(" "), exit, output: last.into_lines() });
        }
        Ok(with_ancestors(&state.contents().view, changes))
    }
}
