//! What a builder without a fault would do, written as naively as possible and without a line of the
//! executor's code: it carries out the steps on trees of strings and notes what each one reads. A step
//! has to run when nobody has run one that read the same.
//!
//! What a step reads: a RUN its command, variables, user, directory, mounts, and all layers below it; a
//! COPY, ADD or WORKDIR what it is about to write, with the directories on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::project::{Command, Copy, Entry, Files, From, Kind, Mount, Project, Run, Stage, Step};

/// A file of a tree.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    pub(crate) what: What,
    pub(crate) mode: u32,
    pub(crate) owner: (u64, u64),
    /// Names of one file have the same.
    group: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum What {
    Directory,
    File(String),
    Link(String),
    /// A name of what is written under this path.
    Same(String),
    Gone,
    /// Files in a tar.
    Archive(Vec<(String, String)>),
}

pub(crate) type Tree = BTreeMap<String, Node>;

/// What the oracle has to say about a build.
pub(crate) struct Verdict {
    /// What each step of the stages needed reads, in the order of the Dockerfile.
    pub(crate) reads: Vec<String>,
    /// The files of the image, as far as they are known.
    pub(crate) tree: Tree,
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
    lacks_source: bool,
}

fn node(what: What, mode: u32) -> Node {
    Node { what, mode, owner: (0, 0), group: None }
}

/// The files of a base image that the oracle knows; the second one has another version and owner.
pub(crate) fn base(number: usize) -> Tree {
    let mut tree = Tree::new();
    // A base without `/dev`, `/proc` and `/sys` gets them from its first RUN.
    for directory in ["", "bin", "dev", "etc", "proc", "srv", "sys"] {
        tree.insert(directory.into(), node(What::Directory, 0o755));
    }
    tree.insert("tmp".into(), node(What::Directory, 0o777));
    tree.insert("etc/version".into(), node(What::File(format!("base {number}\n")), 0o644));
    tree
}

pub(crate) const APP: [u64; 2] = [1000, 1001];

/// Carries the project out.
pub(crate) fn evaluate(project: &Project) -> Verdict {
    let context = context(&project.files);
    let target = project.target.as_ref().map_or(project.stages.len() - 1, |name| number(project, name));
    let mut needed = BTreeSet::new();
    need(project, target, &mut needed);
    let mut done: BTreeMap<String, State> = BTreeMap::new();
    let (mut reads, mut is_possible) = (Vec::new(), true);
    for at in needed {
        let stage = &project.stages[at];
        let mut state = start(stage, &done);
        for step in &steps(project, stage) {
            reads.extend(state.step(step, project, &context, &done));
        }
        is_possible &= !state.lacks_source;
        done.insert(stage.name.clone(), state);
    }
    Verdict { reads, tree: done.remove(&project.stages[target].name).expect("target").tree, is_possible }
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

fn start(stage: &Stage, done: &BTreeMap<String, State>) -> State {
    match &stage.from {
        From::Scratch => {
            State { tree: Tree::from([(String::new(), node(What::Directory, 0o755))]), ..State::default() }
        }
        From::Base(number) => State { tree: base(*number), layers: vec![format!("base {number}")], ..State::default() },
        From::Stage(name) => {
            let mut state = State { triggers: Vec::new(), ..done[name].clone() };
            state.image.iter().for_each(|(name, value)| set(&mut state.variables, name, value));
            state
        }
    }
}

/// The files of the context that are not ignored.
fn context(files: &Files) -> Tree {
    let rules: Vec<String> = match files.get(".dockerignore").map(|entry| &entry.kind) {
        Some(Kind::File(text)) => {
            text.lines().filter(|l| !l.is_empty() && !l.starts_with('#')).map(Into::into).collect()
        }
        _ => Vec::new(),
    };
    let ignored = |path: &str| {
        let matching = |rule: &&String| {
            let pattern = rule.trim_start_matches('!');
            let inside = path.strip_prefix(pattern).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            let suffix = pattern.strip_prefix("**/*").is_some_and(|suffix| path.ends_with(suffix));
            pattern == "*" || inside || suffix
        };
        rules.iter().rev().find(matching).is_some_and(|rule| !rule.starts_with('!'))
    };
    let shown: Vec<&String> = files.keys().filter(|path| path.is_empty() || !ignored(path)).collect();
    // A directory that is ignored is there for what it holds that is not.
    let holds = |path: &str| shown.iter().any(|other| other.starts_with(&format!("{path}/")));
    let is_there =
        |path: &str, entry: &Entry| path.is_empty() || !ignored(path) || (entry.kind == Kind::Directory && holds(path));
    let seen = files.iter().filter(|(path, entry)| is_there(path, entry));
    seen.map(|(path, entry)| (path.clone(), context_node(path, entry, files))).collect()
}

fn context_node(path: &str, entry: &Entry, files: &Files) -> Node {
    let shared = |path: &str| files.values().any(|entry| matches!(&entry.kind, Kind::Hard(other) if other == path));
    match &entry.kind {
        Kind::File(text) => {
            Node { group: shared(path).then(|| path.to_owned()), ..node(What::File(text.clone()), entry.mode) }
        }
        Kind::Directory => node(What::Directory, entry.mode),
        Kind::Link(target) => node(What::Link(target.clone()), 0o777),
        Kind::Hard(other) => context_node(other, &files[other], files),
        Kind::Archive(members, _) => node(What::Archive(members.clone()), entry.mode),
    }
}

/// Where a path leads when all links are followed; links in the middle as well.
fn follow(tree: &Tree, path: &str) -> String {
    let mut at = String::new();
    let mut left: Vec<String> = path.split('/').rev().map(Into::into).collect();
    for _ in 0..100 {
        let Some(name) = left.pop() else { break };
        match name.as_str() {
            "" | "." => continue,
            ".." => at.truncate(at.rfind('/').unwrap_or(0)),
            _ => {
                let next = join(&at, &name);
                match tree.get(&next).map(|node| &node.what) {
                    Some(What::Link(target)) => {
                        if target.starts_with('/') {
                            at.clear();
                        }
                        left.extend(target.split('/').rev().map(Into::into));
                    }
                    _ => at = next,
                }
            }
        }
    }
    at
}

fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() || name.is_empty() { format!("{directory}{name}") } else { format!("{directory}/{name}") }
}

fn parent(path: &str) -> &str {
    &path[..path.rfind('/').unwrap_or(0)]
}

/// What is at and below `path`, by its path from there.
fn below(tree: &Tree, path: &str) -> Tree {
    let inside = |other: &str| {
        if path.is_empty() { Some(other.to_owned()) } else { other.strip_prefix(path).map(ToOwned::to_owned) }
    };
    let found = tree.iter().filter_map(|(other, node)| Some((inside(other)?, node.clone())));
    let found = found.filter(|(rest, _)| path.is_empty() || rest.is_empty() || rest.starts_with('/'));
    found.map(|(rest, node)| (rest.trim_start_matches('/').to_owned(), node)).collect()
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
        let tree_of = |from: &Option<String>| match from {
            None => context.clone(),
            Some(name) => match name.strip_prefix("base ") {
                Some(number) => base(number.parse().expect("number")),
                None => done[name].tree.clone(),
            },
        };
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
            let found = matches(source, pattern);
            self.lacks_source |= found.is_empty() || found.iter().any(|(_, root)| !source.contains_key(root));
            for (name, root) in found {
                self.place(copy, &to, &name, below(source, &root), owner, &mut written);
            }
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
            let plain = node.clone();
            if let Some(group) = node.group.take() {
                match first.get(&group) {
                    Some(leader) => node.what = What::Same(leader.clone()),
                    None => drop(first.insert(group, at.clone())),
                }
            }
            self.write(&at, node, written);
            self.tree.insert(at, Node { group: None, ..plain });
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
                    self.lacks_source |= part.is_empty();
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
        // Only root may write elsewhere.
        self.lacks_source |= !matches!(self.user.as_str(), "" | "root") && !run.command.text().contains("> /tmp/");
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
                    self.write(&path, Node { mode: *mode, ..node }, &mut written);
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
        self.write(path, Node { what: What::File(text), ..old }, written);
    }
}

fn set(variables: &mut Vec<(String, String)>, name: &str, value: &str) {
    match variables.iter_mut().find(|(known, _)| known == name) {
        Some(known) => known.1 = value.to_owned(),
        None => variables.push((name.to_owned(), value.to_owned())),
    }
}

/// The name and the place of what a source with at most one `*`, in its last part, names.
fn matches(tree: &Tree, pattern: &str) -> Vec<(String, String)> {
    let pattern = pattern.trim_matches('/');
    let last = |path: &str| path[path.rfind('/').map_or(0, |at| at + 1)..].to_owned();
    let Some((head, tail)) = pattern.split_once('*') else {
        let pattern = if pattern == "." { "" } else { pattern };
        return vec![(last(pattern), follow(tree, pattern))];
    };
    let fits = |path: &&String| {
        path.len() >= head.len() + tail.len()
            && path.starts_with(head)
            && path.ends_with(tail)
            && !path[head.len()..].contains('/')
    };
    tree.keys().filter(fits).map(|path| (last(path), follow(tree, path))).collect()
}
