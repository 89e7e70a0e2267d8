//! Graph to plan.

use std::collections::{BTreeMap, BTreeSet};

use crate::dockerfile::Instruction;
use crate::dockerfile::lint::{Warning, check_stage};
use crate::image::ImageConfig;

use super::graph::{Graph, Node, Origin, Reach};
use super::scope::proxies;
use super::stage::{Declared, StageBuilder};
use super::{Base, ImageRef, Plan, PlanError, Source, Stage, StageIndex};

/// How far an evaluation came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evaluation {
    /// To the end.
    Ready(Plan),
    /// These images are needed as well; call again with all of them.
    NeedsImages(BTreeSet<ImageRef>),
}

impl Graph<'_> {
    /// Expands everything that the target needs.
    ///
    /// `images` holds the configuration of every image asked for so far, whether it is a base or
    /// only a source of files. `warnings` get what is bad style in the stages that the target
    /// needs, up to an error; nothing while images are missing.
    ///
    /// # Errors
    /// The first mistake in a stage that the target needs.
    pub fn evaluate(
        &self,
        images: &BTreeMap<ImageRef, ImageConfig>,
        warnings: &mut Vec<Warning>,
    ) -> Result<Evaluation, PlanError> {
        let reach = self.reach(images)?;
        let missing: BTreeSet<_> = reach.images.iter().filter(|image| !images.contains_key(image)).cloned().collect();
        if !missing.is_empty() {
            return Ok(Evaluation::NeedsImages(missing));
        }
        let mut assembly = Assembly::new(self, images, &reach);
        for (index, triggers) in &reach.stages {
            assembly.add(*index, triggers, warnings)?;
        }
        Ok(Evaluation::Ready(assembly.finish()))
    }
}

/// The plan in the making.
struct Assembly<'a> {
    graph: &'a Graph<'a>,
    images: &'a BTreeMap<ImageRef, ImageConfig>,
    stages: Vec<Stage>,
    sources: Sources<'a>,
    /// By number in the file: what children inherit besides the configuration.
    declared: BTreeMap<usize, Declared>,
}

/// Where files can come from at one moment.
pub(super) struct Sources<'a> {
    pub(super) graph: &'a Graph<'a>,
    /// Proxy build arguments.
    pub(super) proxies: Vec<(String, String)>,
    /// Stages of the file that are complete, by number in the file.
    finished: BTreeMap<usize, StageIndex>,
    /// An empty stage for `--from=scratch`, when anything wants it.
    scratch: StageIndex,
}

impl Sources<'_> {
    /// The source that `origin` is, `None` when it is a stage that is not complete.
    pub(super) fn source(&self, origin: &Origin) -> Option<Source> {
        match origin {
            Origin::Scratch => Some(Source::Stage(self.scratch)),
            Origin::Image(image) => Some(Source::Image(image.clone())),
            Origin::Files(name) => Some(Source::Named(name.clone())),
            Origin::Stage(index) => self.finished.get(index).copied().map(Source::Stage),
        }
    }
}

impl<'a> Assembly<'a> {
    fn new(graph: &'a Graph<'a>, images: &'a BTreeMap<ImageRef, ImageConfig>, reach: &Reach) -> Self {
        let sources = Sources {
            graph,
            proxies: proxies(&graph.options.build_args),
            finished: BTreeMap::new(),
            scratch: StageIndex(0),
        };
        let mut stages = Vec::with_capacity(reach.stages.len() + 1);
        if reach.scratch {
            stages.push(empty_stage(graph));
        }
        Self { graph, images, stages, sources, declared: BTreeMap::new() }
    }

    /// Evaluates one stage; those before it that it needs are complete.
    fn add(&mut self, index: usize, triggers: &[Instruction], warnings: &mut Vec<Warning>) -> Result<(), PlanError> {
        let (node, dockerfile) = (&self.graph.nodes[index], self.graph.dockerfile);
        let instructions = || triggers.iter().chain(self.graph.instructions(index));
        warnings.extend(check_stage(instructions(), dockerfile.directives.escape));
        let (base, config, declared) = self.inherited(node);
        warnings.extend(self.graph.check_platform(index, &config));
        let mut builder = StageBuilder::new(&self.sources, node, config, declared, warnings);
        if let Origin::Files(name) = &node.origin {
            builder.adopt_files(name, dockerfile.stages[index].span);
        }
        for instruction in instructions() {
            builder.instruction(instruction)?;
        }
        let (stage, declared) = builder.finish(base);
        self.sources.finished.insert(index, StageIndex(self.stages.len()));
        self.declared.insert(index, declared);
        self.stages.push(stage);
        Ok(())
    }

    /// What a stage starts with; an image's triggers are gone, they run instead.
    fn inherited(&self, node: &Node) -> (Base, ImageConfig, Option<Declared>) {
        let (base, mut config, declared) = match &node.origin {
            Origin::Scratch | Origin::Files(_) => (Base::Scratch, empty_config(node), None),
            // Both are there: the images were asked for, and FROM names earlier stages only.
            Origin::Image(image) => {
                (Base::Image(image.clone()), self.images.get(image).cloned().unwrap_or_default(), None)
            }
            Origin::Stage(base) => {
                let index = self.sources.finished.get(base).copied().unwrap_or(StageIndex(0));
                let config = self.stages.get(index.0).map(|stage| stage.config.clone()).unwrap_or_default();
                (Base::Stage(index), config, self.declared.get(base).cloned())
            }
        };
        config.config.on_build.clear();
        (base, config, declared)
    }

    fn finish(mut self) -> Plan {
        let target = self.sources.finished.get(&self.graph.target()).copied().unwrap_or(StageIndex(0));
        if let Some(stage) = self.stages.get_mut(target.0) {
            self.graph.complete(&mut stage.config);
        }
        let declared = self.declared.values().flat_map(|declared| &declared.arguments);
        let arguments = declared.map(|argument| argument.name.clone()).collect();
        Plan { stages: self.stages, target, arguments, epoch: self.graph.epoch }
    }
}

impl Graph<'_> {
    /// What only the image that is the result gets: the labels asked for, and its platform.
    fn complete(&self, config: &mut ImageConfig) {
        config.config.labels.extend(self.options.labels.iter().cloned());
        if let Some(target) = &self.options.platform {
            let same = target.os == config.os && target.architecture == config.architecture;
            config.os.clone_from(&target.os);
            config.architecture.clone_from(&target.architecture);
            if target.variant.is_some() || !same {
                config.variant.clone_from(&target.variant);
            }
            if target.os_version.is_some() || !same {
                config.os_version.clone_from(&target.os_version);
            }
        }
        let platform = config.platform();
        config.os = platform.os;
        config.architecture = platform.architecture;
        config.variant = platform.variant;
    }
}

fn empty_config(node: &Node) -> ImageConfig {
    let mut config = ImageConfig {
        architecture: node.platform.architecture.clone(),
        os: node.platform.os.clone(),
        os_version: node.platform.os_version.clone(),
        variant: node.platform.variant.clone(),
        ..ImageConfig::default()
    };
    config.config.working_dir = "/".to_owned();
    config
}

fn empty_stage(graph: &Graph<'_>) -> Stage {
    let platform = graph.options.target_platform().clone();
    let node = Node { name: "scratch".to_owned(), origin: Origin::Scratch, platform, replaced: false };
    let config = empty_config(&node);
    Stage {
        name: node.name,
        base: Base::Scratch,
        platform: node.platform,
        steps: Vec::new(),
        config,
        history: Vec::new(),
    }
}
