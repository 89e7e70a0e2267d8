//! Stages and what they start from and take files from.

use std::collections::{BTreeMap, BTreeSet};

use crate::dockerfile::{self, Dockerfile, Instruction, Kind, Span, Stage, suggestion};
use crate::image::{ImageConfig, Platform};

use super::scope::{Scope, globals};
use super::{Epoch, ImageRef, NamedContext, PlanError, PlanFault, PlanOptions, mount};

/// The stages of a Dockerfile with their names resolved, checked as far as that is possible
/// without the configurations of base images.
#[derive(Debug)]
pub struct Graph<'a> {
    pub(super) dockerfile: &'a Dockerfile,
    pub(super) options: &'a PlanOptions,
    pub(super) globals: Scope,
    pub(super) nodes: Vec<Node>,
    names: BTreeMap<String, usize>,
    pub(super) epoch: Option<Epoch>,
    target: usize,
    /// Stages to evaluate, with what they need.
    roots: Vec<usize>,
    known: Reach,
}

/// One stage of the file.
#[derive(Debug)]
pub(super) struct Node {
    /// Its own name, else `stage-N`.
    pub(super) name: String,
    /// What FROM names.
    pub(super) origin: Origin,
    /// That of its processes.
    pub(super) platform: Platform,
    /// A named context stands in its place: its instructions do not count.
    pub(super) replaced: bool,
}

/// What FROM, `--from` or a mount's `from` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// Nothing.
    Scratch,
    /// An image.
    Image(ImageRef),
    /// A stage, by its number in the file.
    Stage(usize),
    /// Files of a named context, by its key.
    Files(String),
}

/// What the target needs.
#[derive(Debug, Default)]
pub(super) struct Reach {
    /// Number of each stage, with the triggers that run first in it.
    pub(super) stages: BTreeMap<usize, Vec<Instruction>>,
    /// Of FROM, `--from` and mounts.
    pub(super) images: BTreeSet<ImageRef>,
    /// Something is taken from scratch.
    pub(super) scratch: bool,
}

impl<'a> Graph<'a> {
    /// Resolves names, platforms and the target.
    ///
    /// # Errors
    /// A FROM that names nothing usable, an unknown target, a bad stage index, stages that need
    /// each other; in stages that the target does not need as well.
    pub fn new(dockerfile: &'a Dockerfile, options: &'a PlanOptions) -> Result<Self, PlanError> {
        let globals = globals(dockerfile, options)?;
        let known = Reach::default();
        let mut graph = Graph {
            dockerfile,
            options,
            globals,
            nodes: vec![],
            names: BTreeMap::new(),
            epoch: None,
            target: 0,
            roots: vec![],
            known,
        };
        for (index, stage) in dockerfile.stages.iter().enumerate() {
            let node = graph.node(index, stage).map_err(|fault| fault.at(stage.span))?;
            graph.nodes.push(node);
            if let Some(name) = &stage.name {
                graph.names.insert(name.clone(), index);
            }
        }
        graph.target = graph.find_target()?;
        graph.epoch = graph.find_epoch()?;
        graph.roots = vec![graph.target];
        graph.check_circles()?;
        graph.known = graph.reach(&BTreeMap::new())?;
        Ok(graph)
    }

    /// The graph that also evaluates the stages that the target does not need.
    ///
    /// # Errors
    /// A mistake in what those take files from.
    pub fn with_every_stage(mut self) -> Result<Self, PlanError> {
        self.roots = (0..self.nodes.len()).collect();
        self.known = self.reach(&BTreeMap::new())?;
        Ok(self)
    }

    /// The images that the target needs as far as known: those of FROM, `COPY --from` and mounts.
    pub fn images(&self) -> &BTreeSet<ImageRef> {
        &self.known.images
    }

    /// The images that any stage needs, also one that the target does not need; triggers of base
    /// images count when their configuration is given.
    ///
    /// # Errors
    /// A malformed trigger, or a bad name in one.
    pub fn images_of_all_stages(
        &self,
        images: &BTreeMap<ImageRef, ImageConfig>,
    ) -> Result<BTreeSet<ImageRef>, PlanError> {
        Ok(self.reach_from((0..self.nodes.len()).collect(), images)?.images)
    }

    fn node(&self, index: usize, stage: &Stage) -> Result<Node, PlanFault> {
        self.try_node(index, stage).map_err(|fault| match fault {
            PlanFault::BaseReference { name, reason, .. } => {
                PlanFault::BaseReference { name, word: stage.base.clone(), reason }
            }
            other => other,
        })
    }

    fn try_node(&self, index: usize, stage: &Stage) -> Result<Node, PlanFault> {
        let base = self.globals.expand(&stage.base)?;
        if base.is_empty() {
            return Err(PlanFault::BlankBase(stage.base.clone()));
        }
        let own = stage.platform.as_ref().map(|word| self.platform(word)).transpose()?;
        let target = self.options.target_platform();
        // A stage is found by the name as written, though names are kept in lower case.
        let (origin, platform) = match self.names.get(&base) {
            Some(&earlier) => (Origin::Stage(earlier), self.nodes[earlier].platform.clone()),
            None if base == "scratch" => (Origin::Scratch, target.clone()),
            None => {
                let platform = own.clone().unwrap_or_else(|| target.clone());
                match self.named_or_image(&base, &platform)? {
                    // Its platform is that of the stage.
                    Origin::Stage(other) => (Origin::Stage(other), self.nodes[other].platform.clone()),
                    origin => (origin, platform),
                }
            }
        };
        let name = stage.name.clone().unwrap_or_else(|| format!("stage-{index}"));
        let wanted = own.unwrap_or_else(|| target.clone());
        match stage.name.as_ref().map_or(Ok(None), |name| self.replacement(name, &wanted))? {
            Some(Origin::Stage(other)) => {
                let platform = self.nodes[other].platform.clone();
                Ok(Node { name, origin: Origin::Stage(other), platform, replaced: true })
            }
            Some(origin) => Ok(Node { name, origin, platform: wanted, replaced: true }),
            None => Ok(Node { name, origin, platform, replaced: false }),
        }
    }

    /// The named context of that name.
    fn replacement(&self, name: &str, platform: &Platform) -> Result<Option<Origin>, PlanFault> {
        let Some((key, context)) = self.options.contexts.find(name, platform) else { return Ok(None) };
        Ok(Some(match context {
            NamedContext::Stage(stage) => return self.context_stage(name, stage).map(Some),
            NamedContext::Files => Origin::Files(key.to_owned()),
            NamedContext::Scratch => Origin::Scratch,
            NamedContext::Image(reference) => {
                Origin::Image(ImageRef { reference: reference.clone(), platform: platform.clone() })
            }
        }))
    }

    /// The stage that stands in the place of `name`; while FROM is resolved, an earlier one.
    fn context_stage(&self, name: &str, stage: &str) -> Result<Origin, PlanFault> {
        if let Some(index) = self.names.get(&stage.to_lowercase()) {
            return Ok(self.stage_origin(*index));
        }
        let suggestion = suggestion::nearest(stage, self.names.keys().map(String::as_str)).map(str::to_owned);
        Err(PlanFault::ContextStage { name: name.to_owned(), stage: stage.to_owned(), suggestion })
    }

    fn named_or_image(&self, name: &str, platform: &Platform) -> Result<Origin, PlanFault> {
        match self.replacement(name, platform)? {
            Some(origin) => Ok(origin),
            None => image(name, platform.clone()).map(Origin::Image),
        }
    }

    /// Those of a stage that count.
    pub(super) fn instructions(&self, index: usize) -> &'a [Instruction] {
        if self.nodes[index].replaced { &[] } else { &self.dockerfile.stages[index].instructions }
    }

    /// A stage, or what stands in its place.
    fn stage_origin(&self, index: usize) -> Origin {
        let node = &self.nodes[index];
        if node.replaced { node.origin.clone() } else { Origin::Stage(index) }
    }

    fn platform(&self, word: &str) -> Result<Platform, PlanFault> {
        let text = self.globals.expand(word)?;
        if text.is_empty() {
            return Err(PlanFault::BlankPlatform(word.to_owned()));
        }
        text.parse().map_err(|reason| PlanFault::Platform { word: word.to_owned(), reason })
    }

    fn find_target(&self) -> Result<usize, PlanError> {
        let Some(wanted) = self.options.wanted_stage() else {
            return Ok(self.nodes.len().saturating_sub(1));
        };
        self.names.get(&wanted.to_lowercase()).copied().ok_or_else(|| {
            let names = self.nodes.iter().map(|node| node.name.as_str());
            let suggestion = suggestion::nearest(wanted, names).map(str::to_owned);
            PlanError {
                span: None,
                fault: Box::new(PlanFault::UnknownTarget { target: wanted.to_owned(), suggestion }),
            }
        })
    }

    /// The build argument, else the default of a global ARG; empty is unset.
    fn find_epoch(&self) -> Result<Option<Epoch>, PlanError> {
        const NAME: &str = "SOURCE_DATE_EPOCH";
        let given = self.options.build_args.get(NAME).map(String::as_str);
        match given.or_else(|| self.globals.get(NAME)) {
            None | Some("") => Ok(None),
            Some("context") => Ok(Some(Epoch::Context)),
            Some(text) => match text.parse() {
                Ok(seconds) => Ok(Some(Epoch::Seconds(seconds))),
                Err(_) => Err(PlanError { span: None, fault: Box::new(PlanFault::Epoch(text.to_owned())) }),
            },
        }
    }

    /// Number of the wanted stage in the file.
    pub(super) fn target(&self) -> usize {
        self.target
    }

    /// What `COPY --from` names: a stage by number or name, or an image for the target platform.
    pub(super) fn copy_origin(&self, from: &str) -> Result<Origin, PlanFault> {
        let Ok(index) = from.parse::<i64>() else { return self.named_origin(from) };
        let stage = usize::try_from(index).ok().filter(|stage| *stage < self.nodes.len());
        let missing = PlanFault::StageIndex { index, stages: self.nodes.len() };
        stage.map(|stage| self.stage_origin(stage)).ok_or(missing)
    }

    /// What a mount's `from` names: a stage by name, or an image for the target platform.
    pub(super) fn named_origin(&self, from: &str) -> Result<Origin, PlanFault> {
        match self.names.get(&from.to_lowercase()) {
            Some(&stage) => Ok(self.stage_origin(stage)),
            None if from == "scratch" => Ok(Origin::Scratch),
            None => self.named_or_image(from, self.options.target_platform()),
        }
    }

    /// What `instruction` takes files from, besides the context.
    fn origins(&self, instruction: &Instruction) -> Result<Vec<Origin>, PlanError> {
        self.try_origins(&instruction.kind).map_err(|fault| fault.at(instruction.span))
    }

    fn try_origins(&self, kind: &Kind) -> Result<Vec<Origin>, PlanFault> {
        let mut origins = Vec::new();
        match kind {
            Kind::Copy(copy) => {
                if let Some(from) = &copy.from {
                    origins.push(self.copy_origin(from)?);
                }
            }
            Kind::Run(run) => {
                for text in &run.mounts {
                    if let Some(from) = mount::from(text)? {
                        origins.push(self.named_origin(&from)?);
                    }
                }
            }
            _ => {}
        }
        Ok(origins)
    }

    /// The stages that each stage takes files from, with the instruction that does.
    fn dependencies(&self) -> Result<Vec<Vec<(usize, Span)>>, PlanError> {
        let of_stage = |index: usize| {
            let mut needed = Vec::new();
            for instruction in self.instructions(index) {
                for origin in self.origins(instruction)? {
                    if let Origin::Stage(index) = origin {
                        needed.push((index, instruction.span));
                    }
                }
            }
            Ok(needed)
        };
        (0..self.nodes.len()).map(of_stage).collect()
    }

    /// Refuses stages that take files from each other; FROM alone cannot make a circle.
    fn check_circles(&self) -> Result<(), PlanError> {
        let dependencies = self.dependencies()?;
        let mut settled = vec![false; dependencies.len()];
        for (index, node) in self.nodes.iter().enumerate() {
            if let Some((closing, span)) = circle_from(index, &dependencies, &mut settled) {
                let (stage, from) = (node.name.clone(), self.nodes[closing].name.clone());
                return Err(PlanFault::Circular { stage, from }.at(span));
            }
        }
        Ok(())
    }

    /// What the target needs; triggers of base images count when their configuration is given.
    pub(super) fn reach(&self, images: &BTreeMap<ImageRef, ImageConfig>) -> Result<Reach, PlanError> {
        self.reach_from(self.roots.clone(), images)
    }

    /// What the stages in `open` need, and they themselves.
    fn reach_from(&self, mut open: Vec<usize>, images: &BTreeMap<ImageRef, ImageConfig>) -> Result<Reach, PlanError> {
        let mut reach = Reach::default();
        while let Some(index) = open.pop() {
            if reach.stages.contains_key(&index) {
                continue;
            }
            let triggers = self.triggers(index, images)?;
            let mut needed = match &self.nodes[index].origin {
                Origin::Scratch | Origin::Files(_) => Vec::new(),
                origin => vec![origin.clone()],
            };
            for instruction in triggers.iter().chain(self.instructions(index)) {
                needed.extend(self.origins(instruction)?);
            }
            reach.stages.insert(index, triggers);
            for origin in needed {
                match origin {
                    Origin::Scratch => reach.scratch = true,
                    Origin::Files(_) => {}
                    Origin::Stage(stage) => open.push(stage),
                    Origin::Image(image) => {
                        reach.images.insert(image);
                    }
                }
            }
        }
        Ok(reach)
    }

    /// The triggers that the base of stage `index` left, as instructions at its FROM.
    fn triggers(&self, index: usize, images: &BTreeMap<ImageRef, ImageConfig>) -> Result<Vec<Instruction>, PlanError> {
        let texts: Vec<&String> = match &self.nodes[index].origin {
            _ if self.nodes[index].replaced => Vec::new(),
            Origin::Scratch | Origin::Files(_) => Vec::new(),
            Origin::Image(image) => images.get(image).into_iter().flat_map(|c| &c.config.on_build).collect(),
            Origin::Stage(base) => {
                let text = |instruction: &'a Instruction| match &instruction.kind {
                    Kind::OnBuild(text) => Some(text),
                    _ => None,
                };
                self.instructions(*base).iter().filter_map(text).collect()
            }
        };
        let span = self.dockerfile.stages[index].span;
        texts.into_iter().map(|text| trigger(text, span)).collect()
    }
}

fn image(name: &str, platform: Platform) -> Result<ImageRef, PlanFault> {
    match name.parse() {
        Ok(reference) => Ok(ImageRef { reference, platform }),
        Err(reason) => Err(PlanFault::BaseReference { name: name.to_owned(), word: name.to_owned(), reason }),
    }
}

/// Triggers are parsed with the default escape character, as they may come from another file.
fn trigger(text: &str, span: Span) -> Result<Instruction, PlanError> {
    let instruction = dockerfile::parse_trigger(text, '\\').map_err(|error| PlanFault::Trigger(error).at(span))?;
    Ok(Instruction { span, text: format!("ONBUILD {}", instruction.text), ..instruction })
}

/// What closes a circle which can be reached from `start`, if there is one: a stage, and the
/// instruction that needs it; otherwise everything reachable becomes `settled`.
fn circle_from(start: usize, dependencies: &[Vec<(usize, Span)>], settled: &mut [bool]) -> Option<(usize, Span)> {
    // The stages on the way, each with the number of its next dependency.
    let mut way: Vec<(usize, usize)> = if settled[start] { Vec::new() } else { vec![(start, 0)] };
    while let Some((stage, next)) = way.last_mut() {
        let Some((needed, span)) = dependencies[*stage].get(*next) else {
            settled[*stage] = true;
            way.pop();
            continue;
        };
        *next += 1;
        if way.iter().any(|(stage, _)| stage == needed) {
            return Some((*needed, *span));
        }
        if !settled[*needed] {
            way.push((*needed, 0));
        }
    }
    None
}
