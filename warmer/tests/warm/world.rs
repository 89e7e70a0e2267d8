//! A real registry with images that the real executor pushes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Once;

use tempfile::TempDir;

#[path = "../../../tests/support/port.rs"]
mod port;
pub(crate) use port::free_port;

#[path = "../../../tests/support/docker_registry.rs"]
mod docker_registry;
use docker_registry::DockerRegistry;

/// Debian's `docker-registry` on a free loopback port, and an empty cache directory.
pub(crate) struct World {
    registry: DockerRegistry,
    pub(crate) address: String,
    directory: TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        let registry = DockerRegistry::start(docker_registry::plain);
        let directory = tempfile::tempdir().expect("temporary directory");
        Self { address: registry.address.clone(), registry, directory }
    }

    pub(crate) fn stop_registry(&mut self) {
        self.registry.stop();
    }

    pub(crate) fn name(&self, image: &str) -> String {
        format!("{}/{image}", self.address)
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.directory.path().join("cache")
    }

    /// Builds `dockerfile` (its `HOST/` is the registry) with a directory of files, and pushes it.
    pub(crate) fn push(&self, image: &str, dockerfile: &str, arguments: &[&str]) -> String {
        let context = self.context(dockerfile);
        let name = self.name(image);
        let output = executor().arg("-c").arg(context.path()).args(["-d", &name]).args(arguments).output();
        succeed(output.expect("executor runs"));
        name
    }

    /// Two layers, with nothing in them but `content`.
    pub(crate) fn push_small(&self, image: &str, content: &str) -> String {
        self.push(image, &format!("FROM scratch\nCOPY <<E /one\n{content}\nE\nCOPY <<E /two\n{content}2\nE\n"), &[])
    }

    /// A build context: `tree/` has a shell, a Dockerfile is beside it.
    pub(crate) fn context(&self, dockerfile: &str) -> TempDir {
        let context = tempfile::tempdir().expect("temporary directory");
        let bin = context.path().join("tree/bin");
        fs::create_dir_all(&bin).expect("directory");
        fs::copy("/bin/busybox", bin.join("busybox")).expect("busybox-static is installed");
        for applet in ["sh", "cat", "echo"] {
            std::os::unix::fs::symlink("busybox", bin.join(applet)).expect("link");
        }
        let text = dockerfile.replace("HOST/", &format!("{}/", self.address));
        fs::write(context.path().join("Dockerfile"), text).expect("Dockerfile");
        context
    }

    /// The warmer on this world's cache directory.
    pub(crate) fn warmer(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_warmer"));
        without_credentials(&mut command).arg("--cache-dir").arg(self.cache());
        command
    }

    /// What the warmer says when it succeeds.
    pub(crate) fn warm(&self, arguments: &[&str]) -> String {
        succeed(self.warmer().args(arguments).output().expect("warmer runs"))
    }

    /// Exit code and words of a warmer that fails.
    pub(crate) fn warm_in_vain(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.warmer().args(arguments).output().expect("warmer runs");
        assert!(!output.status.success(), "{}", text(&output));
        (output.status.code(), text(&output))
    }

    /// The entries of `index.json`.
    pub(crate) fn index(&self) -> Vec<serde_json::Value> {
        let bytes = fs::read(self.cache().join("index.json")).expect("index.json");
        let index: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
        index["manifests"].as_array().expect("list").clone()
    }

    /// Their names, sorted.
    pub(crate) fn warmed(&self) -> Vec<String> {
        let name = |entry: serde_json::Value| {
            entry["annotations"]["org.opencontainers.image.ref.name"].as_str().expect("name").to_owned()
        };
        let mut names: Vec<String> = self.index().into_iter().map(name).collect();
        names.sort();
        names
    }

    /// Where the registry keeps a blob.
    pub(crate) fn served_blob(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").expect("sha256");
        let blobs = self.registry.data().join("docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(hex).join("data")
    }

    /// Where the cache directory keeps a blob.
    pub(crate) fn cached_blob(&self, digest: &str) -> PathBuf {
        self.cache().join("blobs").join(digest.replace(':', "/"))
    }

    /// The requests so far that fetch something.
    pub(crate) fn fetches(&self) -> usize {
        self.log_lines("").len()
    }

    /// All that the registry logged.
    pub(crate) fn log(&self) -> String {
        self.registry.log()
    }

    /// Those of them that have `part` in their path.
    pub(crate) fn log_lines(&self, part: &str) -> Vec<String> {
        let log = self.log();
        let is_fetch = |line: &&str| line.contains("\"GET /v2/") && !line.contains("\"GET /v2/ ");
        log.lines().filter(is_fetch).filter(|line| line.contains(part)).map(str::to_owned).collect()
    }

    /// The manifest that the registry has, and its digest.
    pub(crate) fn manifest(&self, name: &str) -> (serde_json::Value, String) {
        let image = format!("docker://{name}");
        let raw = run("skopeo", &["inspect", "--tls-verify=false", "--raw", &image]);
        let digest = run("skopeo", &["inspect", "--tls-verify=false", "--format", "{{.Digest}}", &image]);
        (serde_json::from_str(&raw).expect("JSON"), digest.trim().to_owned())
    }
}

/// The executor beside the warmer; built when it is not there (testing the whole workspace keeps
/// it up to date).
pub(crate) fn executor() -> Command {
    static BUILT: Once = Once::new();
    let path = Path::new(env!("CARGO_BIN_EXE_warmer")).with_file_name("executor");
    BUILT.call_once(|| {
        if !path.exists() {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
            let build = Command::new(env!("CARGO")).args(["build", "--bin", "executor"]).current_dir(root).output();
            succeed(build.expect("cargo runs"));
        }
    });
    let mut command = Command::new(path);
    without_credentials(&mut command);
    command
}

fn without_credentials(command: &mut Command) -> &mut Command {
    command.env("DOCKER_CONFIG", "/nonexistent").env_remove("REGISTRY_AUTH_FILE").stdin(Stdio::null())
}

pub(crate) fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What a program said; it must have succeeded.
pub(crate) fn succeed(output: Output) -> String {
    assert!(output.status.success(), "exit {:?}\n{}", output.status, text(&output));
    text(&output)
}

pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    succeed(Command::new(program).args(arguments).output().expect(program))
}

/// Changes the last byte of a file and not its size.
pub(crate) fn damage(path: &Path) {
    let mut bytes = fs::read(path).expect("blob");
    *bytes.last_mut().expect("not empty") ^= 1;
    fs::write(path, bytes).expect("blob");
}
