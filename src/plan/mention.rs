//! Where a Dockerfile names an image.

use crate::dockerfile::{Instruction, Kind, Listing, Span, suggestion};

use super::graph::{Graph, Origin};
use super::{ImageRef, mount};

/// Shorter names are near to too much.
const MIN_NAME: usize = 3;

/// The first place that names an image, for the error when it cannot be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mention {
    /// The instruction.
    pub span: Span,
    /// The name as written.
    pub name: String,
    /// A stage of nearly that name.
    pub stage: Option<String>,
}

impl Mention {
    /// The mention with a caret at the name.
    #[must_use]
    pub fn located(mut self, source: &Listing<'_>) -> Self {
        let from = format!("from={}", self.name);
        self.span = source.locate(self.span, [&*format!("--{from}"), &from, &self.name]);
        self
    }
}

impl Graph<'_> {
    /// Where `image` is named first; `None` when only a trigger or a named context asks for it.
    pub fn mention(&self, image: &ImageRef) -> Option<Mention> {
        (0..self.nodes.len()).find_map(|index| self.mention_in(index, image))
    }

    fn mention_in(&self, index: usize, image: &ImageRef) -> Option<Mention> {
        let is_meant = |origin: &Origin| matches!(origin, Origin::Image(found) if found == image);
        let (node, stage) = (&self.nodes[index], self.dockerfile.stages.get(index)?);
        if is_meant(&node.origin) && !node.replaced {
            let earlier = self.nodes.iter().take(index).map(|node| node.name.as_str());
            return Some(mention(stage.span, &stage.base, earlier));
        }
        let named = |instruction: &Instruction| {
            let names = names(&instruction.kind).into_iter();
            let name = names.into_iter().find(|name| self.named_origin(name).is_ok_and(|origin| is_meant(&origin)))?;
            Some(mention(instruction.span, &name, self.nodes.iter().map(|node| node.name.as_str())))
        };
        self.instructions(index).iter().find_map(named)
    }
}

fn mention<'a>(span: Span, name: &str, stages: impl Iterator<Item = &'a str>) -> Mention {
    let stages = stages.filter(|stage| stage.len() >= MIN_NAME);
    let stage = suggestion::nearest(name, stages).map(str::to_owned);
    Mention { span, name: name.to_owned(), stage }
}

/// What `--from` and the mounts of an instruction name.
fn names(kind: &Kind) -> Vec<String> {
    match kind {
        Kind::Copy(copy) => copy.from.iter().cloned().collect(),
        Kind::Run(run) => run.mounts.iter().filter_map(|text| mount::from(text).ok().flatten()).collect(),
        _ => Vec::new(),
    }
}
