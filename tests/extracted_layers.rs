//! Extracted base layers: several at a time, shared by builds, looked over before use.

#![allow(clippy::expect_used)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use support::{Registry, assert_success, context, executor, text};

fn build(dockerfile: &str, state: &Path, arguments: &[&str]) -> Output {
    let context = context(dockerfile, &[]);
    let mut command = executor();
    command.arg("--context").arg(context.path()).arg("--cache-dir").arg(state);
    command.args(arguments).output().expect("executor runs")
}

/// An image of several layers, each of which changes what is below.
fn push_layered(registry: &Registry) -> String {
    let name = format!("{}/layered:1", registry.address);
    let dockerfile = format!(
        "FROM {}
RUN mkdir -p /srv/kept /srv/gone /srv/turned && echo 1 > /srv/kept/one && echo 1 > /srv/gone/one && ln -s srv /link
RUN echo 2 > /srv/kept/two && echo two > /link/through
RUN rm -r /srv/gone && rm -r /srv/turned && echo file > /srv/turned
RUN rm /srv/kept/one && mkdir /srv/gone && echo new > /srv/gone/new
",
        registry.push_base()
    );
    let state = tempfile::tempdir().expect("temporary directory");
    assert_success(&build(&dockerfile, state.path(), &["-d", &name]));
    name
}

const LOOK: &str = "\
RUN cat /srv/kept/two /srv/through /srv/turned /srv/gone/new && ls /srv/kept /srv/gone \\
    && test ! -e /srv/kept/one && test ! -e /srv/gone/one && test -L /link";

/// What the step wrote.
fn seen(output: &Output) -> Vec<String> {
    assert_success(output);
    let log = text(output);
    let lines = log.lines().filter(|line| line.starts_with("[stage-0 1/1] ")).map(|line| line[14..].to_owned());
    lines.collect()
}

#[test]
fn layers_extracted_side_by_side_are_the_image() {
    let registry = Registry::start();
    let name = push_layered(&registry);
    let state = tempfile::tempdir().expect("temporary directory");
    let dockerfile = format!("FROM {name}\n{LOOK}\n");
    let expected = ["2", "two", "file", "new", "/srv/gone:", "new", "", "/srv/kept:", "two"];
    assert_eq!(seen(&build(&dockerfile, state.path(), &["--no-push"])), expected);
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("directory").map(|entry| entry.expect("entry").path());
    entries.flat_map(|path| if path.is_dir() && !path.is_symlink() { files_below(&path) } else { vec![path] }).collect()
}

#[test]
fn a_damaged_extracted_layer_is_extracted_again() {
    let registry = Registry::start();
    let name = push_layered(&registry);
    let state = tempfile::tempdir().expect("temporary directory");
    let dockerfile = format!("FROM {name}\n{LOOK}\n");
    // The layers are shared, the results of steps are not.
    let cache = format!("{}/cache", registry.address);
    let flags = ["--no-push", "--cache", "--cache-run-layers=false", "--cache-repo", &cache];
    let first = seen(&build(&dockerfile, state.path(), &flags));
    let again = build(&dockerfile, state.path(), &flags);
    assert!(!text(&again).contains("has changed"), "untouched layers are used as they are: {}", text(&again));
    let victim = files_below(state.path()).into_iter().find(|path| path.ends_with("srv/kept/two"));
    fs::write(victim.expect("extracted layers are shared below the cache directory"), "wrong\n").expect("write");
    let mended = build(&dockerfile, state.path(), &flags);
    assert!(text(&mended).contains("has changed: extracting it again"), "{}", text(&mended));
    assert_eq!(seen(&mended), first);
}
