//! Busybox roots, and steps on them.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use yadokari::plan::Network;
use yadokari::sandbox::{Exit, Mount, MountKind, OverlaySandbox, Process, Root, Sandbox, SandboxError, Stream};

pub(crate) const APPLETS: [&str; 24] = [
    "sh", "cat", "ls", "id", "echo", "mount", "hostname", "ps", "sleep", "stat", "touch", "mkdir", "rm", "readlink",
    "env", "true", "kill", "chmod", "ip", "find", "wc", "umask", "dd", "mv",
];

/// Layers, upper and work directory of one step after the other.
pub(crate) struct Fixture {
    pub(crate) directory: TempDir,
    pub(crate) lowers: Vec<PathBuf>,
}

pub(crate) struct Ended {
    pub(crate) exit: Exit,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Fixture {
    /// One layer with busybox and a few users.
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path().join("base");
        make_root(&base);
        for name in ["upper", "work"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        Self { lowers: vec![base], directory }
    }

    pub(crate) fn upper(&self) -> PathBuf {
        self.directory.path().join("upper")
    }

    pub(crate) fn base(&self, path: &str) -> PathBuf {
        self.lowers[0].join(path)
    }

    pub(crate) fn run(&self, process: &Process) -> Result<Ended, SandboxError> {
        let work = self.directory.path().join("work");
        let root = Root::Overlay { lowers: &self.lowers, upper: &self.upper(), work: &work, user_xattr: false };
        run_on(&sandbox(), process, &root)
    }

    /// Runs a script that must work; returns what it wrote.
    pub(crate) fn sh(&self, script: &str) -> String {
        self.ok(&process(script))
    }

    pub(crate) fn ok(&self, process: &Process) -> String {
        let ended = self.run(process).unwrap();
        assert_eq!(ended.exit, Exit::Code(0), "{}{}", ended.stdout, ended.stderr);
        ended.stdout
    }
}

pub(crate) fn sandbox() -> OverlaySandbox {
    OverlaySandbox::new(env!("CARGO_BIN_EXE_executor").into())
}

pub(crate) fn run_on(sandbox: &dyn Sandbox, process: &Process, root: &Root<'_>) -> Result<Ended, SandboxError> {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let exit = sandbox.run(process, root, &mut |stream, bytes| match stream {
        Stream::Stdout => stdout.extend_from_slice(bytes),
        Stream::Stderr => stderr.extend_from_slice(bytes),
    })?;
    Ok(Ended { exit, stdout: String::from_utf8(stdout).unwrap(), stderr: String::from_utf8(stderr).unwrap() })
}

pub(crate) fn make_root(base: &Path) {
    for path in ["bin", "dev", "etc", "home/app", "proc", "sys", "tmp"] {
        fs::create_dir_all(base.join(path)).unwrap();
    }
    fs::copy("/bin/busybox", base.join("bin/busybox")).unwrap();
    for applet in APPLETS {
        symlink("busybox", base.join("bin").join(applet)).unwrap();
    }
    fs::write(base.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n").unwrap();
    fs::write(base.join("etc/group"), "root:x:0:\napp:x:1001:\nvideo:x:44:app\n").unwrap();
    fs::set_permissions(base.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
}

pub(crate) fn process(script: &str) -> Process {
    Process {
        argv: ["/bin/sh", "-c", script].map(Into::into).into(),
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        user: String::new(),
        workdir: "/".into(),
        hostname: "buildkitsandbox".into(),
        network: Network::Default,
        mounts: Vec::new(),
        terminal: false,
    }
}

pub(crate) fn mount(kind: MountKind, target: &str) -> Mount {
    Mount { kind, target: target.into() }
}

pub(crate) fn bind(source: &Path, target: &str, readonly: bool) -> Mount {
    mount(MountKind::Bind { source: source.into(), readonly }, target)
}

/// Every path below `root`, sorted, directories with a slash.
pub(crate) fn tree(root: &Path) -> Vec<String> {
    fn walk(root: &Path, directory: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let is_dir = path.symlink_metadata().unwrap().is_dir();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap();
            found.push(format!("{name}{}", if is_dir { "/" } else { "" }));
            if is_dir {
                walk(root, &path, found);
            }
        }
    }
    let mut found = Vec::new();
    walk(root, root, &mut found);
    found.sort();
    found
}
