//! `RUN --mount=type=ssh` with OpenSSH's own agent, inside and outside of the step.

#![allow(clippy::expect_used)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use support::{assert_success, context, executor, run, text};
use tempfile::TempDir;

/// A key, and an image with ssh-add in it.
struct Fixture {
    context: TempDir,
    keys: TempDir,
}

impl Fixture {
    fn new(steps: &str) -> Self {
        let context = context(&format!("FROM scratch\nCOPY root /\nENV PATH=/bin:/usr/bin\n{steps}"), &[]);
        let root = context.path().join("root");
        fs::create_dir_all(root.join("bin")).expect("directory");
        fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox-static is installed");
        for applet in ["sh", "ls", "id", "test", "cat"] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).expect("link");
        }
        let listed = run("ldd", &["/usr/bin/ssh-add"]);
        let libraries = listed.split_whitespace().filter(|word| word.starts_with('/')).map(str::to_owned);
        for file in libraries.chain(["/usr/bin/ssh-add".to_owned()]) {
            let target = root.join(&file[1..]);
            fs::create_dir_all(target.parent().expect("parent")).expect("directory");
            fs::copy(&file, target).expect("copy");
        }
        fs::create_dir_all(root.join("etc")).expect("directory");
        fs::write(root.join("etc/passwd"), "root:x:0:0::/:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n").expect("passwd");
        let keys = tempfile::tempdir().expect("temporary directory");
        for name in ["one", "two"] {
            let path = keys.path().join(name).display().to_string();
            run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", name, "-f", &path]);
        }
        Self { context, keys }
    }

    fn key(&self, name: &str) -> PathBuf {
        self.keys.path().join(name)
    }

    fn fingerprint(&self, name: &str) -> String {
        let line = run("ssh-keygen", &["-lf", &self.key(name).display().to_string()]);
        line.split_whitespace().nth(1).expect("fingerprint").to_owned()
    }

    fn build(&self, arguments: &[&str]) -> Output {
        let mut command = executor();
        command.env_remove("SSH_AUTH_SOCK").arg("--no-push").arg("-c").arg(self.context.path());
        command.args(arguments).output().expect("executor runs")
    }
}

/// An agent of the user; ends with the test.
struct Agent(Child);

impl Agent {
    fn start(socket: &Path) -> Self {
        let mut command = Command::new("ssh-agent");
        command.arg("-D").arg("-a").arg(socket).stdout(Stdio::null());
        let agent = Self(command.spawn().expect("openssh-client is installed"));
        while !socket.exists() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        agent
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn keys_in_files_are_served_to_the_step_alone() {
    let fixture = Fixture::new(
        "RUN --mount=type=ssh ssh-add -l; echo at $SSH_AUTH_SOCK; ls -ln $SSH_AUTH_SOCK\n\
         RUN test -z \"$SSH_AUTH_SOCK\" && test ! -e /run\n",
    );
    let spec = format!("default={},{}", fixture.key("one").display(), fixture.key("two").display());
    // As in a Pod's secret.
    let open = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o644);
    fs::set_permissions(fixture.key("one"), open).expect("mode");
    let output = fixture.build(&["--ssh", &spec]);
    assert_success(&output);
    let log = text(&output);
    assert!(log.contains(&fixture.fingerprint("one")) && log.contains(&fixture.fingerprint("two")), "{log}");
    assert!(log.contains("at /run/buildkit/ssh_agent.0"), "{log}");
    assert!(log.contains("srw-------    1 0        0 "), "{log}");
}

#[test]
fn an_agent_of_the_user_is_reached_by_another_user_but_not_changed() {
    let fixture = Fixture::new(
        "USER user\nRUN --mount=type=ssh,id=mine,target=/agent,uid=1000,gid=1000,mode=0600 \
         id -u; ls -ln /agent; ssh-add -l; ssh-add -D; ssh-add -x < /dev/null; ssh-add -l\n",
    );
    let socket = fixture.keys.path().join("socket");
    let _agent = Agent::start(&socket);
    let added = Command::new("ssh-add").arg(fixture.key("one")).env("SSH_AUTH_SOCK", &socket).output().expect("add");
    assert_success(&added);
    let output = fixture.build(&["--ssh", &format!("mine={}", socket.display())]);
    assert_success(&output);
    let log = text(&output);
    assert!(log.contains("srw-------    1 1000     1000 "), "{log}");
    assert_eq!(log.matches(&fixture.fingerprint("one")).count(), 2, "still there after ssh-add -D:\n{log}");
    let list = Command::new("ssh-add").arg("-l").env("SSH_AUTH_SOCK", &socket).output().expect("list");
    assert!(text(&list).contains(&fixture.fingerprint("one")));
}

#[test]
fn only_a_required_agent_must_be_there() {
    let steps = |options: &str| format!("RUN --mount=type=ssh{options} test ! -e \"$SSH_AUTH_SOCK\" && echo none\n");
    let optional = Fixture::new(&steps("")).build(&[]);
    assert_success(&optional);
    let required = Fixture::new(&steps(",required")).build(&[]);
    assert_eq!(required.status.code(), Some(1));
    assert!(text(&required).contains("no ssh agent \"default\" was given; see --ssh"), "{}", text(&required));
}

#[test]
fn an_agent_that_cannot_be_is_told_at_once() {
    let fixture = Fixture::new("RUN --mount=type=ssh ssh-add -l\n");
    let key = fixture.key("one").display().to_string();
    let spec = format!("default={key}");
    let without = fixture.build(&["--ssh", "default"]);
    assert_eq!(without.status.code(), Some(2), "{}", text(&without));
    assert!(text(&without).contains("SSH_AUTH_SOCK is not set"), "{}", text(&without));

    let mut command = executor();
    command.arg("--no-push").arg("-c").arg(fixture.context.path()).args(["--ssh", &spec]).env("PATH", "/nonexistent");
    let output = command.output().expect("executor runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("ssh-agent is not installed"), "{}", text(&output));

    let secret = "not a key, but a secret all the same";
    fs::write(&key, secret).expect("file");
    let output = fixture.build(&["--ssh", &spec]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains(&format!("did not take key {key}")), "{}", text(&output));
    assert!(!text(&output).contains(secret));
}

#[test]
fn an_agent_is_in_no_key() {
    let fixture = Fixture::new("RUN --mount=type=ssh ssh-add -l\n");
    let cache = tempfile::tempdir().expect("temporary directory");
    let directory = format!("--cache-dir={}", cache.path().display());
    let build = |key: &str| {
        let spec = format!("default={}", fixture.key(key).display());
        fixture.build(&["--ssh", &spec, "--cache", "--no-push-cache", &directory])
    };
    assert_success(&build("one"));
    let second = build("two");
    assert_success(&second);
    assert!(text(&second).contains("2 steps cached, 0 run"), "{}", text(&second));
}
