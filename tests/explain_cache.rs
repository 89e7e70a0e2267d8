//! `--explain-cache`: what differs from the nearest record, and what to copy first.

#![allow(clippy::expect_used)]

mod support;

use support::{Registry, assert_success, context, executor, text, write};
use tempfile::TempDir;

/// A registry with a base image; every build is on a runner that has nothing.
struct World {
    registry: Registry,
    base: String,
}

impl World {
    fn new() -> Self {
        let registry = Registry::start();
        let base = registry.push_base();
        Self { registry, base }
    }

    fn context(&self, instructions: &str, files: &[(&str, &str)]) -> TempDir {
        context(&format!("FROM {}\n{instructions}", self.base), files)
    }

    fn build(&self, context: &TempDir, arguments: &[&str]) -> String {
        let output = executor()
            .arg("-c")
            .arg(context.path())
            .args(["--cache=true", "--no-push", "-d", &format!("{}/app:1", self.registry.address)])
            .args(arguments)
            .output()
            .expect("executor runs");
        assert_success(&output);
        text(&output)
    }

    fn explain(&self, context: &TempDir, arguments: &[&str]) -> String {
        self.build(context, &[arguments, &["--explain-cache"]].concat())
    }
}

#[test]
fn each_miss_names_the_part_that_differs() {
    let world = World::new();
    let instructions = "ARG TOKEN\nRUN echo $TOKEN > /dev/null\nCOPY src /src/\nRUN echo one\n";
    let context = world.context(instructions, &[("src/a.c", "1"), ("src/b.c", "1")]);
    world.build(&context, &["--build-arg=TOKEN=hunter2"]);
    let unchanged = world.explain(&context, &["--build-arg=TOKEN=hunter2"]);
    assert!(unchanged.contains("3 steps cached") && !unchanged.contains("missed"), "{unchanged}");

    let argument = world.explain(&context, &["--build-arg=TOKEN=swordfish", "--no-push-cache"]);
    assert!(argument.contains("variable TOKEN changed"), "{argument}");
    assert!(!argument.contains("hunter2") && !argument.contains("swordfish"), "no value of an argument: {argument}");

    write(context.path(), "src/b.c", "2");
    write(context.path(), "src/new.c", "2");
    let files = world.explain(&context, &["--build-arg=TOKEN=hunter2", "--no-push-cache"]);
    assert!(files.contains("file src/b.c changed; file src/new.c is new"), "{files}");
    assert!(!files.contains("a.c"), "{files}");

    write(context.path(), "src/b.c", "1");
    std::fs::remove_file(context.path().join("src/new.c")).expect("remove");
    let dockerfile = format!("FROM {}\n{}", world.base, instructions.replace("echo one", "echo two"));
    write(context.path(), "Dockerfile", &dockerfile);
    let instruction = world.explain(&context, &["--build-arg=TOKEN=hunter2", "--no-push-cache"]);
    assert!(instruction.contains(r#"the instruction was "RUN echo one""#), "{instruction}");
}

#[test]
fn a_changed_base_image_is_named() {
    let world = World::new();
    let context = world.context("RUN echo one > /one\n", &[]);
    world.build(&context, &[]);
    let other = world.context("RUN echo another > /base\n", &[]);
    let pushed = executor().arg("-c").arg(other.path()).args(["-d", &world.base]).output().expect("executor runs");
    assert_success(&pushed);
    let rebuilt = world.explain(&context, &[]);
    assert!(rebuilt.contains("the base image changed: ") && rebuilt.contains(&world.base), "{rebuilt}");
}

#[test]
fn advice_says_what_to_copy_first() {
    let world = World::new();
    let files = [("package.json", "{}"), ("package-lock.json", "{}"), ("src/index.js", "1"), ("make.sh", "echo")];
    let instructions = "WORKDIR /app\nCOPY . .\nRUN echo npm ci\nRUN echo bundle everything\n";
    let context = world.context(instructions, &files);
    let first = world.explain(&context, &[]);
    assert!(!first.contains("advice"), "nothing was invalidated: {first}");
    write(context.path(), "src/index.js", "2");
    let plain = world.build(&context, &["--no-push-cache"]);
    assert!(!plain.contains("advice"), "{plain}");
    let advised = world.explain(&context, &["--no-push-cache"]);
    let line = advised.lines().find(|line| line.contains("advice:")).unwrap_or_else(|| panic!("{advised}"));
    assert!(line.contains("line 3: COPY . .: src/index.js changed, so 2 later steps ran again ("), "{line}");
    assert!(line.contains(r#"copy package.json package-lock.json first, then "RUN echo npm ci""#), "{line}");

    // What the command needs has changed itself: there is no other order.
    write(context.path(), "src/index.js", "1");
    write(context.path(), "package.json", "{ }");
    let needed = world.explain(&context, &["--no-push-cache"]);
    assert!(needed.contains("advice:") && needed.contains("does not need them"), "{needed}");
}

#[test]
fn without_the_repository_a_build_explains_what_it_can() {
    let world = World::new();
    let context = world.context("COPY a /a\n", &[("a", "1")]);
    let nowhere = "--cache-repo=127.0.0.1:1/nothing";
    let built = world.explain(&context, &[nowhere]);
    assert!(built.contains("no record is like it") && built.contains("1 run"), "{built}");
}
