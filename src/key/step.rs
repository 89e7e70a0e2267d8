use super::CacheKey;
use super::frame::{Frame, Keyed};
use super::input::{InputFile, SourceInput, add_files};
use crate::digest::ContentHash;
use crate::plan::{AddOptions, Chmod, CopyOp, CopySource, Mount, Network, RunOp, Sharing, WorkdirOp};

/// What a step starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parent<'a> {
    /// The key of what comes before: makes a definition key.
    Definition(&'a CacheKey),
    /// The file system as it is: makes the content key of a RUN. `None` is the empty one.
    State(Option<&'a ContentHash>),
}

impl Parent<'_> {
    fn add_to(self, frame: &mut Frame) {
        match self {
            Self::Definition(key) => frame.part("parent", &key.to_string()),
            Self::State(state) => frame.part("state", &state.map(ToString::to_string).unwrap_or_default()),
        };
    }
}

/// The definition key of a RUN. `mounted` holds, for each bind mount and each cache mount with a
/// source, in order, what it shows.
pub fn run_key(parent: &CacheKey, salt: &str, op: &RunOp, mounted: &[SourceInput]) -> Keyed {
    run(Parent::Definition(parent), salt, op, mounted)
}

/// The content key of a RUN on the file system with the state digest `state`.
pub fn run_content_key(state: Option<&ContentHash>, salt: &str, op: &RunOp, mounted: &[SourceInput]) -> Keyed {
    run(Parent::State(state), salt, op, mounted)
}

fn run(parent: Parent<'_>, salt: &str, op: &RunOp, mounted: &[SourceInput]) -> Keyed {
    // No `..`: a new field cannot be forgotten. Proxies are left out on purpose.
    let RunOp { argv, script, env, proxy_env: _, user, workdir, mounts, network, hostname } = op;
    let mut frame = Frame::new("run");
    parent.add_to(&mut frame);
    frame.sealed_part("salt", salt);
    frame.list("argv", argv.len());
    for word in argv {
        frame.field("word", word.as_bytes());
    }
    frame.note("command".into(), super::frame::short_hash(argv.join("\0").as_bytes()));
    if let Some(script) = script {
        frame.part("script name", &script.name).sealed_part("script", &script.body);
    }
    frame.list("env", env.len());
    for (name, value) in env {
        frame.sealed_part(&format!("env {name}"), value);
    }
    frame.part("user", user).part("workdir", workdir).part("network", network_name(*network));
    // Without one a key is what it was before there could be one.
    if let Some(hostname) = hostname {
        frame.part("hostname", hostname);
    }
    frame.list("mounts", mounts.len());
    for (number, mount) in mounts.iter().enumerate() {
        frame.part(&format!("mount {number}"), &mount_options(mount));
    }
    frame.list("mounted", mounted.len());
    for input in mounted {
        input.add_to(&mut frame);
    }
    frame.finish()
}

fn network_name(network: Network) -> &'static str {
    match network {
        Network::Default => "default",
        Network::None => "none",
        Network::Host => "host",
    }
}

/// Options only: contents of binds are in `mounted`, of caches and secrets in no key.
fn mount_options(mount: &Mount) -> String {
    match mount {
        Mount::Bind { from: _, source, target, writable } => format!("bind {source:?} {target:?} {writable}"),
        Mount::Cache { id, target, sharing, readonly, from, mode, uid, gid } => {
            let source = from.as_ref().map(|(_, path)| path.as_str());
            let sharing = match sharing {
                Sharing::Shared => "shared",
                Sharing::Private => "private",
                Sharing::Locked => "locked",
            };
            format!("cache {id:?} {target:?} {sharing} {readonly} {source:?} {mode:o} {uid} {gid}")
        }
        Mount::Tmpfs { target, size_bytes, readonly: false } => format!("tmpfs {target:?} {size_bytes:?}"),
        Mount::Tmpfs { target, size_bytes, readonly: true } => format!("tmpfs {target:?} {size_bytes:?} readonly"),
        Mount::Secret { id, target, env, required: _, mode, uid, gid } => {
            format!("secret {id:?} {target:?} {env:?} {mode:o} {uid} {gid}")
        }
        Mount::Ssh { id, target, required: _, mode, uid, gid } => {
            format!("ssh {id:?} {target:?} {mode:o} {uid} {gid}")
        }
    }
}

/// The definition key of a COPY or ADD; `inputs` are what its sources are, in order.
pub fn copy_key(parent: &CacheKey, salt: &str, op: &CopyOp, inputs: &[SourceInput]) -> Keyed {
    // `from` is in `inputs`, by key or by file.
    let CopyOp { add, from: _, sources, destination, chown, chmod, link, parents, excludes } = op;
    let mut frame = Frame::new("copy");
    Parent::Definition(parent).add_to(&mut frame);
    frame.sealed_part("salt", salt);
    add_options(&mut frame, add.as_ref());
    frame.list("sources", sources.len());
    for source in sources {
        add_source(&mut frame, source);
    }
    frame.part("destination", destination);
    frame.part("chown", chown.as_deref().unwrap_or_default());
    frame.part("chmod", &chmod.as_ref().map(chmod_text).unwrap_or_default());
    frame.part("flags", &format!("link={link} parents={parents}"));
    frame.list("excludes", excludes.len());
    for pattern in excludes {
        frame.field("exclude", pattern.as_bytes());
    }
    frame.list("inputs", inputs.len());
    for input in inputs {
        input.add_to(&mut frame);
    }
    frame.finish()
}

fn add_options(frame: &mut Frame, options: Option<&AddOptions>) {
    let Some(AddOptions { checksum, keep_git_dir, unpack }) = options else {
        frame.field("add", b"");
        return;
    };
    frame.part("add", &format!("checksum={checksum:?} keep-git-dir={keep_git_dir} unpack={unpack:?}"));
}

fn add_source(frame: &mut Frame, source: &CopySource) {
    match source {
        CopySource::Path(path) => frame.field("path", path.as_bytes()),
        CopySource::Inline { name, content } => frame.part("heredoc", name).sealed_part("heredoc text", content),
        CopySource::Url(url) => frame.field("url", url.as_bytes()),
        CopySource::Git(url) => frame.field("git", url.as_bytes()),
    };
}

fn chmod_text(chmod: &Chmod) -> String {
    match chmod {
        Chmod::Octal(mode) => format!("{mode:o}"),
        Chmod::Symbolic(text) => text.clone(),
    }
}

/// The definition key of a WORKDIR.
pub fn workdir_key(parent: &CacheKey, salt: &str, op: &WorkdirOp) -> Keyed {
    let WorkdirOp { path, user } = op;
    let mut frame = Frame::new("workdir");
    Parent::Definition(parent).add_to(&mut frame);
    frame.sealed_part("salt", salt).part("path", path).part("user", user);
    frame.finish()
}

/// The content key of a layer that COPY, ADD or WORKDIR is about to write: its members in tar
/// order, ancestors included.
pub fn content_key(salt: &str, members: &[InputFile]) -> Keyed {
    let mut frame = Frame::new("content");
    frame.sealed_part("salt", salt);
    add_files(&mut frame, members);
    frame.finish()
}
