//! A Dockerfile with its context, as data that an edit can change and that the oracle understands.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// What programs are for on this machine, and on another one.
pub(crate) const HOST: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
pub(crate) const FOREIGN: &str = if cfg!(target_arch = "aarch64") { "amd64" } else { "arm64" };

/// What a file of the context is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    File(String),
    Directory,
    Link(String),
    /// Another name of the file at this path.
    Hard(String),
    /// A tar, perhaps of another time, with files of this content.
    Archive(Vec<(String, String)>, u64),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    /// Seconds since the epoch.
    pub(crate) time: u64,
}

/// A number of files under their paths; the root is the empty path.
pub(crate) type Files = BTreeMap<String, Entry>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Project {
    pub(crate) files: Files,
    pub(crate) stages: Vec<Stage>,
    /// `--build-arg`.
    pub(crate) arguments: BTreeMap<String, String>,
    pub(crate) secret: String,
    pub(crate) target: Option<String>,
    /// What a web server has at `/file`.
    pub(crate) download: String,
    /// The files of the git repository `/r.git` there.
    pub(crate) repository: BTreeMap<String, String>,
    /// What its only commit says.
    pub(crate) message: String,
    /// For which architectures images are asked for; for this machine when for none.
    pub(crate) platforms: Vec<&'static str>,
    /// Blanks after each keyword.
    pub(crate) blanks: usize,
    /// Further flags of the executor.
    pub(crate) flags: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stage {
    pub(crate) name: String,
    pub(crate) from: From,
    /// `FROM --platform`.
    pub(crate) architecture: Option<&'static str>,
    pub(crate) steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum From {
    /// The base image of this number.
    Base(usize),
    Stage(String),
    Scratch,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Copy(Copy),
    Run(Run),
    Workdir(String),
    Env(String, String),
    Arg(String, String),
    /// `ARG TARGETARCH`
    TargetArchitecture,
    User(String),
    Shell(String),
    OnBuild(Box<Step>),
    /// A line that no later step reads: LABEL, EXPOSE, a comment.
    Line(String),
}

/// COPY or ADD into a directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Copy {
    pub(crate) add: bool,
    /// A stage, or `base N`.
    pub(crate) from: Option<String>,
    pub(crate) sources: Vec<String>,
    /// Ends with a slash.
    pub(crate) to: String,
    pub(crate) chown: Option<String>,
    pub(crate) chmod: Option<u32>,
    pub(crate) link: bool,
    /// Name and text.
    pub(crate) heredoc: Option<(String, String)>,
    /// What the web server has is added under the name `file`.
    pub(crate) download: bool,
    /// This directory of the git repository is added.
    pub(crate) repository: Option<String>,
    pub(crate) parents: bool,
    pub(crate) exclude: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) command: Command,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) heredoc: bool,
}

/// What the oracle can do as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// All of these that are there, into the last.
    Cat(Vec<String>, String),
    Text(String, String),
    /// The first bytes.
    Head(usize, String, String),
    Variable(String, String),
    Chmod(u32, String),
    Remove(String),
    MakeDirectory(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mount {
    Bind { from: Option<String>, source: String, target: String },
    Cache { id: String },
    Secret,
    Tmpfs,
}

pub(crate) fn file(text: &str) -> Entry {
    Entry { kind: Kind::File(text.into()), mode: 0o644, time: 1_600_000_000 }
}

pub(crate) fn directory() -> Entry {
    Entry { kind: Kind::Directory, mode: 0o755, ..file("") }
}

pub(crate) fn link(target: &str) -> Entry {
    Entry { kind: Kind::Link(target.into()), ..file("") }
}

pub(crate) fn copy(sources: &[&str], to: &str) -> Copy {
    Copy { sources: sources.iter().map(|s| (*s).into()).collect(), to: to.into(), ..Copy::default() }
}

pub(crate) fn copy_from(from: &str, source: &str, to: &str) -> Step {
    Step::Copy(Copy { from: Some(from.into()), ..copy(&[source], to) })
}

pub(crate) fn run(command: Command) -> Step {
    Step::Run(Run { command, mounts: Vec::new(), heredoc: false })
}

pub(crate) fn run_with(mount: Mount, command: Command) -> Step {
    Step::Run(Run { command, mounts: vec![mount], heredoc: false })
}

pub(crate) fn cat(from: &[&str], to: &str) -> Command {
    Command::Cat(from.iter().map(|s| (*s).into()).collect(), to.into())
}

pub(crate) fn echo(text: &str, to: &str) -> Command {
    Command::Text(text.into(), to.into())
}

pub(crate) fn stage(name: &str, from: From, steps: Vec<Step>) -> Stage {
    Stage { name: name.into(), from, architecture: None, steps }
}

pub(crate) fn project(stages: Vec<Stage>) -> Project {
    Project {
        files: BTreeMap::from([(String::new(), directory())]),
        stages,
        arguments: BTreeMap::new(),
        secret: "hush".into(),
        target: None,
        download: "download".into(),
        repository: BTreeMap::new(),
        message: "message".into(),
        platforms: Vec::new(),
        blanks: 1,
        flags: Vec::new(),
    }
}

/// What the Dockerfile has to name.
pub(crate) struct Names<'a> {
    pub(crate) bases: &'a [String],
    /// Of the web server.
    pub(crate) web: &'a str,
}

impl Project {
    pub(crate) fn set(&mut self, path: &str, entry: Entry) {
        let parents = path.match_indices('/').map(|(at, _)| &path[..at]);
        parents.for_each(|parent| {
            self.files.entry(parent.into()).or_insert_with(directory);
        });
        self.files.insert(path.into(), entry);
    }

    pub(crate) fn architectures(&self) -> &[&'static str] {
        if self.platforms.is_empty() { &[HOST] } else { &self.platforms }
    }

    /// Whether it takes anything from the web server.
    pub(crate) fn uses_web(&self) -> bool {
        let is_remote = |step: &Step| matches!(step, Step::Copy(copy) if copy.download || copy.repository.is_some());
        self.stages.iter().flat_map(|stage| &stage.steps).any(is_remote)
    }

    /// Writes the context anew below `root`, which must be empty.
    pub(crate) fn write(&self, root: &Path) {
        for (path, entry) in &self.files {
            let at = root.join(path);
            match &entry.kind {
                Kind::Directory => fs::create_dir_all(&at).expect("directory"),
                Kind::File(text) => fs::write(&at, text).expect("file"),
                Kind::Link(target) => symlink(target, &at).expect("link"),
                Kind::Hard(other) => fs::hard_link(root.join(other), &at).expect("hard link"),
                Kind::Archive(members, time) => fs::write(&at, archive(members, *time)).expect("archive"),
            }
        }
        // What is in a directory changes its time.
        for (path, entry) in self.files.iter().rev().filter(|(_, entry)| !matches!(entry.kind, Kind::Link(_))) {
            let at = root.join(path);
            fs::set_permissions(&at, fs::Permissions::from_mode(entry.mode)).expect("mode");
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(entry.time);
            fs::File::open(&at).and_then(|file| file.set_modified(time)).expect("time");
        }
    }

    pub(crate) fn dockerfile(&self, names: &Names<'_>) -> String {
        let blanks = " ".repeat(self.blanks);
        let stages = self.stages.iter().map(|stage| {
            let from = match &stage.from {
                From::Base(number) => names.bases[*number].clone(),
                From::Stage(name) => name.clone(),
                From::Scratch => "scratch".into(),
            };
            let steps = stage.steps.iter().map(|step| step.line(&blanks, names));
            let platform = match stage.architecture {
                Some(HOST) => format!("--platform=$BUILDPLATFORM{blanks}"),
                Some(other) => format!("--platform=linux/{other}{blanks}"),
                None => String::new(),
            };
            format!("FROM{blanks}{platform}{from}{blanks}AS {}\n{}", stage.name, steps.collect::<String>())
        });
        stages.collect()
    }
}

fn archive(members: &[(String, String)], time: u64) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, text) in members {
        let mut header = tar::Header::new_ustar();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(time);
        builder.append_data(&mut header, path, text.as_bytes()).expect("member");
    }
    builder.into_inner().expect("archive")
}

impl Step {
    fn line(&self, blanks: &str, names: &Names<'_>) -> String {
        match self {
            Self::Copy(copy) => copy.line(blanks, names),
            Self::Run(run) => run.line(blanks, names),
            Self::Workdir(path) => format!("WORKDIR{blanks}{path}\n"),
            Self::Env(name, value) => format!("ENV{blanks}{name}={value}\n"),
            Self::Arg(name, value) => format!("ARG{blanks}{name}={value}\n"),
            Self::TargetArchitecture => format!("ARG{blanks}TARGETARCH\n"),
            Self::User(name) => format!("USER{blanks}{name}\n"),
            Self::Shell(flag) => format!("SHELL{blanks}[\"/bin/sh\", \"{flag}\"]\n"),
            Self::OnBuild(step) => format!("ONBUILD{blanks}{}", step.line(blanks, names)),
            Self::Line(text) => format!("{text}\n"),
        }
    }
}

fn place(from: &str, names: &Names<'_>) -> String {
    let number = from.strip_prefix("base ").and_then(|number| number.parse::<usize>().ok());
    number.map_or_else(|| from.to_owned(), |number| names.bases[number].clone())
}

impl Copy {
    fn line(&self, blanks: &str, names: &Names<'_>) -> String {
        let Self { add, from, sources, to, chown, chmod, link, heredoc, download, repository, parents, exclude } = self;
        let flags = [
            from.as_ref().map(|from| format!("--from={} ", place(from, names))),
            chown.as_ref().map(|owner| format!("--chown={owner} ")),
            chmod.as_ref().map(|mode| format!("--chmod={mode:o} ")),
            link.then(|| "--link ".to_owned()),
            parents.then(|| "--parents ".to_owned()),
        ];
        let exclude = exclude.iter().map(|pattern| format!("--exclude={pattern} "));
        let flags: String = flags.into_iter().flatten().chain(exclude).collect();
        let mut sources = sources.clone();
        sources.extend(heredoc.iter().map(|(name, _)| format!("<<{name}")));
        sources.extend(download.then(|| format!("http://{}/file", names.web)));
        let part = |directory: &String| if directory.is_empty() { String::new() } else { format!("#main:{directory}") };
        sources.extend(repository.iter().map(|directory| format!("http://{}/r.git{}", names.web, part(directory))));
        let text = heredoc.iter().map(|(name, text)| format!("{text}\n{name}\n")).collect::<String>();
        let keyword = if *add { "ADD" } else { "COPY" };
        format!("{keyword}{blanks}{flags}{} {to}\n{text}", sources.join(" "))
    }
}

impl Run {
    fn line(&self, blanks: &str, names: &Names<'_>) -> String {
        let mounts: String = self.mounts.iter().map(|mount| mount.flag(names)).collect();
        let command = self.command.text();
        if self.heredoc {
            return format!("RUN{blanks}{mounts}<<END\n{command}\nEND\n");
        }
        format!("RUN{blanks}{mounts}{command}\n")
    }
}

impl Mount {
    fn flag(&self, names: &Names<'_>) -> String {
        match self {
            Self::Bind { from, source, target } => {
                let from = from.as_ref().map(|from| format!(",from={}", place(from, names))).unwrap_or_default();
                format!("--mount=type=bind{from},source={source},target={target} ")
            }
            Self::Cache { id } => format!("--mount=type=cache,id={id},target=/cached "),
            Self::Secret => "--mount=type=secret,id=word ".into(),
            Self::Tmpfs => "--mount=type=tmpfs,target=/fast ".into(),
        }
    }
}

impl Command {
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Cat(from, to) => format!("cat {} > {to} 2>/dev/null || true", from.join(" ")),
            Self::Text(text, to) => format!("echo {text} > {to}"),
            Self::Head(bytes, from, to) => format!("busybox head -c {bytes} {from} > {to} 2>/dev/null || true"),
            Self::Variable(name, to) => format!("echo ${name} > {to}"),
            Self::Chmod(mode, path) => format!("chmod {mode:o} {path} 2>/dev/null || true"),
            Self::Remove(path) => format!("rm -rf {path}"),
            Self::MakeDirectory(path) => format!("mkdir -p {path}"),
        }
    }
}
