//! The files that a build reads: its context, and those that `--build-context` names.

use std::collections::BTreeMap;
use std::path::Path;

use yadokari::build::ImageLayouts;
use yadokari::context::{self, ContextDirectory, ContextSpec, Fetching, FoundContext, Git, GitLogin};
use yadokari::registry::{Clouds, web_agent};
use yadokari::report::{Event, Observer};

use crate::command_line::settings::env;
use crate::failure::Failure;
use crate::flags::CommandLine;
use crate::settings;
use crate::shelter::Shelter;
use crate::workplace::Workplace;

/// The build context, fetched when it is not a directory. Git gets to know its login here only:
/// what a Dockerfile names is none of its business.
pub(crate) fn find_context(line: &CommandLine, parent: &Path) -> Result<FoundContext, Failure> {
    let spec = settings::context(&line.build, &env)?;
    let location = spec.location()?;
    // Over plain http only to the host that GIT_PULL_METHOD was set for.
    let is_plain = spec.text.starts_with("http://");
    let login = GitLogin::from_lookup(&env).filter(|_| !is_plain);
    let git = Git::new(std::env::vars_os()).with_login(login);
    let agent = web_agent(!is_plain);
    let clouds = Clouds::from_lookup(env);
    let fetching = Fetching { agent: &agent, git: &git, clouds: &clouds, parent };
    Ok(context::find(&location, &spec.sub_path, fetching)?)
}

/// Where the files of this build come from.
pub(crate) struct Contexts {
    pub(crate) main: ContextDirectory,
    /// By key.
    pub(crate) named: BTreeMap<String, ContextDirectory>,
    /// Named contexts that are images of this machine.
    pub(crate) layouts: ImageLayouts,
}

impl Contexts {
    /// Reads the trees of the context that was `found` and of those with names, which are fetched to below `parent`.
    /// What their files hashed to the last time is in `remembered`.
    pub(crate) fn read(
        (found, dockerfile): (FoundContext, &Path),
        (files, layouts): (BTreeMap<String, ContextSpec>, ImageLayouts),
        parent: &Path,
        remembered: Option<&Path>,
    ) -> Result<Self, Failure> {
        let main = found.read(Some(dockerfile), remembered)?;
        Ok(Self { main, named: named_contexts(files, parent, remembered)?, layouts })
    }

    /// The same with the files of the context where `shelter` has them.
    pub(crate) fn sheltered(self, shelter: Option<&Shelter>) -> Self {
        match shelter {
            Some(shelter) => Self { main: self.main.moved(&|file| shelter.find(file)), ..self },
            None => self,
        }
    }

    /// Keeps what files hashed to for the next build with this cache directory, when it has one.
    pub(crate) fn remember(&self, workplace: &Workplace, observer: &dyn Observer) {
        if !workplace.is_kept {
            return;
        }
        for context in self.named.values().chain([&self.main]) {
            if let Err(error) = context.remember() {
                observer.event(Event::Debug(format!("the hashes of the context's files are not kept: {error}")));
            }
        }
    }
}

/// The named contexts that are files. Each has its own ignore file; there is no login for them.
fn named_contexts(
    files: BTreeMap<String, ContextSpec>,
    parent: &Path,
    remembered: Option<&Path>,
) -> Result<BTreeMap<String, ContextDirectory>, Failure> {
    let git = Git::new(std::env::vars_os());
    let clouds = Clouds::from_lookup(|_| None);
    let mut contexts = BTreeMap::new();
    for (key, spec) in files {
        let agent = web_agent(spec.text.starts_with("https://"));
        let fetching = Fetching { agent: &agent, git: &git, clouds: &clouds, parent };
        contexts.insert(key, context::find(&spec.named_location()?, "", fetching)?.read(None, remembered)?);
    }
    Ok(contexts)
}
