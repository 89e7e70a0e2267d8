//! `--hot`: a node is filled with what the runners of a cache-server ask for.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Once;

use crate::world::{World, executor, succeed};

/// A cache-server that mirrors the world's registry as docker.io; killed when dropped.
struct Server {
    process: Child,
    address: String,
    log: PathBuf,
    // Kept open: the server must not see a closed standard output.
    _output: BufReader<ChildStdout>,
}

fn program() -> PathBuf {
    static BUILT: Once = Once::new();
    let path = Path::new(env!("CARGO_BIN_EXE_warmer")).with_file_name("cache-server");
    BUILT.call_once(|| {
        if !path.exists() {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
            let build = Command::new(env!("CARGO")).args(["build", "-p", "cache-server"]).current_dir(root).output();
            succeed(build.expect("cargo runs"));
        }
    });
    path
}

impl Server {
    fn start(directory: &Path, upstream: &str) -> Self {
        let log = directory.join("log");
        let mut command = Command::new(program());
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(directory.join("data"));
        command.arg("--mirror").arg(format!("docker.io=http://{upstream}")).env("DOCKER_CONFIG", directory);
        command.stderr(std::fs::File::create(&log).expect("made")).stdout(Stdio::piped());
        let mut process = command.spawn().expect("cache-server starts");
        let mut output = BufReader::new(process.stdout.take().expect("piped"));
        let mut line = String::new();
        output.read_line(&mut line).expect("one line");
        let address = line.trim().strip_prefix("listening on http://").expect("the address").to_owned();
        Self { process, address, log, _output: output }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests so far.
    fn requests(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.log).expect("a log");
        text.lines().filter(|line| line.contains(" method=")).map(str::to_owned).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Builds with a cache directory of its own, and the server as mirror and cache.
fn build(server: &Server, context: &Path, cache: &Path) -> String {
    let mut command = executor();
    command.arg("-c").arg(context).args(["--no-push", "--cache=true", "--cache-dir"]).arg(cache);
    command.args(["--cache-server", &server.url(), "--registry-mirror", &server.address]);
    succeed(command.output().expect("executor runs"))
}

#[test]
fn a_fresh_runner_on_a_warmed_node_asks_nobody_for_the_base() {
    let mut world = World::new();
    world.push("library/base:1", "FROM scratch\nCOPY tree /\nENV PATH=/bin\n", &[]);
    let directory = tempfile::tempdir().expect("temporary directory");
    let server = Server::start(directory.path(), &world.address);
    let context = world.context("FROM base:1\nRUN echo made > /made\n");
    // A runner without anything: what it asks for is what is wanted.
    build(&server, context.path(), &directory.path().join("first"));
    let said = world.warm(&["--cache-server", &server.url(), "--hot", "5"]);
    let records = said.lines().find_map(|line| line.split_once(" wanted records are in the cache directory"));
    let (there, wanted) = records.and_then(|(line, _)| line.split_once("] ")?.1.split_once(" of ")).expect(&said);
    assert!(said.contains("base:1") && there == wanted && wanted != "0", "{said}");
    assert_eq!(world.warmed().len(), 1, "{:?}", world.warmed());
    let before = server.requests().len();
    world.stop_registry();
    let said = build(&server, context.path(), &world.cache());
    // Whether the cache is a cache-server is asked beside planning, before anybody knows what will be needed.
    let is_probe = |line: &String| line.contains("path=\"/v2/\"") || line.contains("/_oci/ext/discover\"");
    let asked: Vec<String> = server.requests().split_off(before).into_iter().filter(|line| !is_probe(line)).collect();
    assert!(asked.is_empty(), "{said}\n{asked:#?}");
}

#[test]
fn without_the_server_other_images_are_fetched_all_the_same() {
    let world = World::new();
    let base = world.push_small("base:1", "base");
    // The port of tcpmux, which nobody has.
    let free = "127.0.0.1:1";
    let url = format!("http://{free}");
    let said = world.warm(&["--image", &base, "--cache-server", &url, "--hot", "5"]);
    assert!(said.contains(free), "{said}");
    assert_eq!(world.warmed(), [base]);
    let (code, _) = world.warm_in_vain(&["--cache-server", &url, "--hot", "5"]);
    assert_eq!(code, Some(1));
    // A plain registry knows nothing of it.
    let plain = format!("http://{}", world.address);
    let (code, said) = world.warm_in_vain(&["--cache-server", &plain, "--hot", "5"]);
    assert!(code == Some(1) && said.contains("does not say what its runners ask for"), "{said}");
    for wrong in [&["--hot", "5"][..], &["--hot", "5", "--cache-server", "ftp://x"], &["--cache-server", &url]] {
        assert_eq!(world.warm_in_vain(wrong).0, Some(2), "{wrong:?}");
    }
}
