//! What a builder without a fault would do, written as naively as possible and without a line of the
//! executor's code: it carries out the steps on trees of strings and notes what each one reads. A step
//! has to run when nobody has run one that read the same.
//!
//! What a step reads: a RUN its command, variables, user, directory, mounts, and all layers below it; a
//! COPY, ADD or WORKDIR what it is about to write, with the directories on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::project::{Command, Copy, From, HOST, Mount, Project, Run, Stage, Step};
use crate::tree::{
    APP, Node, Tree, What, base, below, checkout, context, follow, join, node, parent, sources, without,
};

/// What the oracle has to say about a build.
pub(crate) struct Verdict {
    /// What each step of the stages needed reads, in the order of the Dockerfile; what only a further
    /// platform has follows.
    pub(crate) reads: Vec<String>,
    /// The files of the image of each platform, as far as they are known.
    pub(crate) trees: Vec<Tree>,
    /// Whether all that steps take is there.
    pub(crate) is_possible: bool,
}

#[derive(Clone, Default)]
struct State {
    tree: Tree,
    layers: Vec<String>,
    /// What ENV has set; a stage built from this one starts with these values again.
    image: Vec<(String, String)>,
    /// What ENV and ARG have set, the later one counts; in the order in which they were first set, as a
    /// process sees them.
    variables: Vec<(String, String)>,
    user: String,
    directory: String,
    shell: String,
    triggers: Vec<Step>,
    /// What the image is for, and what this stage is for.
    target: &'static str,
    architecture: &'static str,
    /// All that was written in the Dockerfile so far, and what it named: steps of several platforms in
    /// which this is the same are one step.
    defined: String,
    is_impossible: bool,
}

/// Carries the project out, for each of its platforms.
pub(crate) fn evaluate(project: &Project) -> Verdict {
    let context = context(&project.files);
    let target = project.target.as_ref().map_or(project.stages.len() - 1, |name| number(project, name));
    let mut needed = BTreeSet::new();
    need(project, target, &mut needed);
    let mut verdict = Verdict { reads: Vec::new(), trees: Vec::new(), is_possible: true };
    // What several platforms have in common is one step.
    let mut counted = BTreeSet::new();
    for architecture in project.architectures() {
        let mut done: BTreeMap<String, State> = BTreeMap::new();
        for at in &needed {
            let stage = &project.stages[*at];
            let mut state = start(stage, architecture, &done);
            for step in &steps(project, stage) {
                let read = state.step(step, project, &context, &done);
                let is_new = counted.insert((stage.name.clone(), state.defined.clone()));
                verdict.reads.extend(read.filter(|_| is_new));
            }
            verdict.is_possible &= !state.is_impossible;
            done.insert(stage.name.clone(), state);
        }
        verdict.trees.push(done.remove(&project.stages[target].name).expect("target").tree);
    }
    verdict
}

fn number(project: &Project, name: &str) -> usize {
    project.stages.iter().position(|stage| stage.name == name).expect("stage")
}

fn is_stage(project: &Project, name: &str) -> bool {
    project.stages.iter().any(|stage| stage.name == name)
}

/// Its own steps behind the triggers of the stage below.
fn steps(project: &Project, stage: &Stage) -> Vec<Step> {
    let mut steps = Vec::new();
    if let From::Stage(below) = &stage.from {
        for step in &project.stages[number(project, below)].steps {
            if let Step::OnBuild(step) = step {
                steps.push((**step).clone());
            }
        }
    }
    steps.extend(stage.steps.iter().cloned());
    steps
}

fn need(project: &Project, at: usize, needed: &mut BTreeSet<usize>) {
    needed.insert(at);
    let stage = &project.stages[at];
    let mut names: Vec<String> = Vec::new();
    if let From::Stage(name) = &stage.from {
        names.push(name.clone());
    }
    for step in steps(project, stage) {
        match step {
            Step::Copy(copy) => names.extend(copy.from),
            Step::Run(run) => names.extend(run.mounts.into_iter().filter_map(|mount| match mount {
                Mount::Bind { from, .. } => from,
                _ => None,
            })),
            _ => {}
        }
    }
    names.iter().filter(|name| is_stage(project, name)).for_each(|name| need(project, number(project, name), needed));
}

fn start(stage: &Stage, target: &'static str, done: &BTreeMap<String, State>) -> State {
    let architecture = stage.architecture.unwrap_or(target);
    let fresh = State { target, architecture, ..State::default() };
    match &stage.from {
        From::Scratch => State {
            tree: Tree::from([(String::new(), node(What::Directory, 0o755))]),
            defined: format!("scratch {architecture}"),
            ..fresh
        },
        From::Base(number) => State {
            tree: base(*number, architecture),
            layers: vec![format!("base {number} {architecture}")],
            defined: format!("base {number} {architecture}"),
            ..fresh
        },
        From::Stage(name) => {
            let mut state = State { triggers: Vec::new(), ..done[name].clone() };
            state.image.iter().for_each(|(name, value)| set(&mut state.variables, name, value));
            state
        }
    }
}

fn digest(value: &impl Hash) -> String {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

impl State {
    /// What the step reads, when it makes a layer.
    fn step(
        &mut self,
        step: &Step,
        project: &Project,
        context: &Tree,
        done: &BTreeMap<String, State>,
    ) -> Option<String> {
        // An image that only files are taken from is that of the target, whatever the stage is for.
        let tree_of = |from: &Option<String>| match from {
            None => context.clone(),
            Some(name) => match name.strip_prefix("base ") {
                Some(number) => base(number.parse().expect("number"), self.target),
                None => done[name].tree.clone(),
            },
        };
        self.define(step, done);
        match step {
            Step::Copy(copy) => Some(self.copy(copy, &tree_of(&copy.from), project)),
            Step::Run(run) => Some(self.run(run, &tree_of)),
            Step::Workdir(path) => {
                self.directory = path.clone();
                let mut written = Tree::new();
                let owner = self.owner(Some(&self.user.clone()));
                self.make_directories(path.trim_matches('/'), 0o755, owner, &mut written);
                Some(self.written(written))
            }
            Step::Env(name, value) => {
                set(&mut self.image, name, value);
                set(&mut self.variables, name, value);
                None
            }
            Step::Arg(name, default) => {
                let value = project.arguments.get(name).unwrap_or(default);
                set(&mut self.variables, name, value);
                None
            }
            Step::TargetArchitecture => {
                let target = self.target;
                set(&mut self.variables, "TARGETARCH", target);
                None
            }
            Step::User(name) => {
                self.user = name.clone();
                None
            }
            Step::Shell(flag) => {
                self.shell = flag.clone();
                None
            }
            Step::OnBuild(step) => {
                self.triggers.push((**step).clone());
                None
            }
            Step::Line(_) => None,
        }
    }

    /// Takes note of a step that makes a layer.
    fn define(&mut self, step: &Step, done: &BTreeMap<String, State>) {
        let named = |from: &Option<String>| match from {
            Some(name) => done.get(name).map_or(format!("{name} {}", self.target), |state| state.defined.clone()),
            None => String::new(),
        };
        let seen = match step {
            Step::Copy(copy) => named(&copy.from),
            Step::Run(run) => {
                let mounts = run.mounts.iter();
                let sources =
                    mounts.map(|mount| if let Mount::Bind { from, .. } = mount { named(from) } else { String::new() });
                let sources: Vec<String> = sources.collect();
                format!("{sources:?} {:?} {:?} {:?} {:?}", self.variables, self.user, self.directory, self.shell)
            }
            Step::Workdir(_) => self.user.clone(),
            _ => return,
        };
        self.defined = digest(&format!("{} {step:?} {seen}", self.defined));
    }

    fn owner(&self, name: Option<&str>) -> (u64, u64) {
        match name {
            None | Some("" | "root") => (0, 0),
            Some("app") => {
                let is_second =
                    self.tree.get("etc/version").is_some_and(|node| node.what == What::File("base 1\n".into()));
                let id = APP[usize::from(is_second)];
                (id, id)
            }
            Some(number) => (number.parse().expect("number"), number.parse().expect("number")),
        }
    }

    fn make_directories(&mut self, path: &str, mode: u32, owner: (u64, u64), written: &mut Tree) {
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        for directory in ends.map(|end| &path[..end]).filter(|path| !path.is_empty()) {
            if !self.tree.contains_key(directory) {
                self.write(directory, Node { owner, ..node(What::Directory, mode) }, written);
            }
        }
    }

    fn write(&mut self, path: &str, node: Node, written: &mut Tree) {
        let plain = Node { group: None, ..node.clone() };
        if !path.is_empty() {
            written.insert(path.into(), node);
        }
        self.tree.insert(path.into(), plain);
    }

    /// What a layer of these files is to a later step, and to the step itself.
    fn written(&mut self, written: Tree) -> String {
        let mut whole = written.clone();
        for path in written.keys() {
            let mut at = parent(path);
            while !at.is_empty() {
                if let (false, Some(node)) = (whole.contains_key(at), self.tree.get(at)) {
                    whole.insert(at.into(), node.clone());
                }
                at = parent(at);
            }
        }
        let layer = digest(&whole);
        if !whole.is_empty() {
            self.layers.push(layer.clone());
        }
        format!("written {layer}")
    }

    fn copy(&mut self, copy: &Copy, source: &Tree, project: &Project) -> String {
        let to = copy.to.trim_matches('/').to_owned();
        let owner = copy.chown.as_ref().map(|name| self.owner(Some(name)));
        let mut written = Tree::new();
        let below_link = copy.link.then(|| std::mem::take(&mut self.tree));
        self.make_directories(&to, copy.chmod.unwrap_or(0o755), owner.unwrap_or_default(), &mut written);
        for pattern in &copy.sources {
            let found = sources(copy, source, pattern);
            self.is_impossible |= found.is_empty() || found.iter().any(|(_, files)| files.is_none());
            for (name, files) in found {
                self.place(copy, &to, &name, files.unwrap_or_default(), owner, &mut written);
            }
        }
        if let Some(directory) = &copy.repository {
            let files = below(&checkout(&project.repository), directory);
            self.is_impossible |= files.is_empty();
            let files = without(&files, &copy.exclude);
            self.place(copy, &to, "", files, owner, &mut written);
        }
        let downloaded = copy.download.then(|| ("file".to_owned(), project.download.clone(), 0o600));
        let inline = copy.heredoc.clone().map(|(name, text)| (name, format!("{text}\n"), 0o644));
        for (name, text, mode) in inline.into_iter().chain(downloaded) {
            let tree = Tree::from([(String::new(), node(What::File(text), mode))]);
            self.place(copy, &to, &name, tree, owner, &mut written);
        }
        if let Some(tree) = below_link {
            let own = std::mem::replace(&mut self.tree, tree);
            self.tree.extend(own.into_iter().filter(|(path, _)| !path.is_empty()));
        }
        self.written(written)
    }

    fn place(&mut self, copy: &Copy, to: &str, name: &str, files: Tree, owner: Option<(u64, u64)>, written: &mut Tree) {
        let mut first: BTreeMap<String, String> = BTreeMap::new();
        let is_directory = files.get("").is_some_and(|root| root.what == What::Directory);
        // Of a directory it takes what is in it.
        for (path, mut node) in files.into_iter().filter(|(path, _)| !is_directory || !path.is_empty()) {
            let at = join(to, if is_directory { &path } else { name });
            if let (true, What::Archive(members)) = (copy.add && !is_directory, &node.what) {
                for (path, text) in members.clone() {
                    self.write(&join(to, &path), self::node(What::File(text), 0o644), written);
                }
                continue;
            }
            node.owner = owner.unwrap_or(node.owner);
            if let (Some(mode), false) = (copy.chmod, matches!(node.what, What::Link(_))) {
                node.mode = mode;
            }
            let mut plain = node.clone();
            if let Some(group) = node.group.take() {
                let leader = first.entry(group).or_insert_with(|| at.clone()).clone();
                if leader != at {
                    node.what = What::Same(leader.clone());
                }
                plain.group = Some(leader);
            }
            self.write(&at, node, written);
            // They are one file for whoever copies them from here.
            self.tree.insert(at, plain);
        }
    }

    fn run(&mut self, run: &Run, tree_of: &dyn Fn(&Option<String>) -> Tree) -> String {
        let mut seen = self.tree.clone();
        let mut mounted = Vec::new();
        for mount in &run.mounts {
            match mount {
                Mount::Bind { from, source, target } => {
                    let tree = tree_of(from);
                    let mut part = below(&tree, &follow(&tree, source));
                    self.is_impossible |= part.is_empty();
                    part.values_mut().for_each(|node| node.group = None);
                    let target = target.trim_matches('/');
                    seen.extend(part.iter().map(|(path, node)| (join(target, path), node.clone())));
                    mounted.push(format!("{source} at {target}: {}", digest(&part)));
                }
                Mount::Cache { id } => mounted.push(format!("cache {id}")),
                Mount::Secret => mounted.push("secret".into()),
                Mount::Tmpfs => mounted.push("tmpfs".into()),
            }
        }
        let reads = format!(
            "run {:?} {} {:?} {:?} {:?} {:?} {mounted:?} {:?}",
            run.command, run.heredoc, self.shell, self.variables, self.user, self.directory, self.layers
        );
        // No program is for another machine, and only root may write elsewhere.
        self.is_impossible |= self.architecture != HOST;
        self.is_impossible |= !matches!(self.user.as_str(), "" | "root") && !run.command.text().contains("> /tmp/");
        let written = self.carry_out(&run.command, &seen);
        self.written(written);
        digest(&reads)
    }

    fn carry_out(&mut self, command: &Command, seen: &Tree) -> Tree {
        let read = |path: &str| match seen.get(&follow(seen, path)).map(|node| &node.what) {
            Some(What::File(text)) => Some(text.clone()),
            _ => None,
        };
        let mut written = Tree::new();
        match command {
            Command::Cat(from, to) => {
                let text: String = from.iter().filter_map(|path| read(path)).collect();
                self.put(to, text, &mut written);
            }
            Command::Text(text, to) => self.put(to, format!("{text}\n"), &mut written),
            Command::Head(bytes, from, to) => {
                let text = read(from).unwrap_or_default();
                self.put(to, text.chars().take(*bytes).collect(), &mut written);
            }
            Command::Variable(name, to) => {
                let found = self.variables.iter().find(|(known, _)| known == name);
                self.put(to, format!("{}\n", found.map_or("", |(_, value)| value)), &mut written);
            }
            Command::Chmod(mode, path) => {
                let path = follow(&self.tree, path);
                if let Some(node) = self.tree.get(&path).filter(|node| node.mode != *mode).cloned() {
                    self.write(&path, Node { mode: *mode, group: None, ..node }, &mut written);
                }
            }
            Command::Remove(path) => {
                let path = path.trim_matches('/').to_owned();
                let gone = below(&self.tree, &path);
                if self.tree.contains_key(&path) {
                    written.insert(path.clone(), node(What::Gone, 0));
                }
                gone.keys().for_each(|rest| drop(self.tree.remove(&join(&path, rest))));
            }
            Command::MakeDirectory(path) => {
                let owner = self.owner(Some(&self.user.clone()));
                self.make_directories(path.trim_matches('/'), 0o755, owner, &mut written);
            }
        }
        written
    }

    /// As a shell's `>` does it.
    fn put(&mut self, path: &str, text: String, written: &mut Tree) {
        let path = path.trim_matches('/');
        let owner = self.owner(Some(&self.user.clone()));
        let fresh = Node { owner, ..node(What::Directory, 0o644) };
        let old = self.tree.get(path).cloned().unwrap_or(fresh);
        self.write(path, Node { what: What::File(text), group: None, ..old }, written);
    }
}

fn set(variables: &mut Vec<(String, String)>, name: &str, value: &str) {
    match variables.iter_mut().find(|(known, _)| known == name) {
        Some(known) => known.1 = value.to_owned(),
        None => variables.push((name.to_owned(), value.to_owned())),
    }
}
