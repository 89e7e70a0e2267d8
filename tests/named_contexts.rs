//! `--build-context` from end to end.

#![allow(clippy::expect_used)]

mod support;

use std::fs;
use std::process::Command;

use support::fetched::{Repositories, Server, built, failed};
use support::web::Web;
use support::{context, write};

#[test]
fn named_directories_replace_stages_and_images() {
    let other =
        context("", &[("x", "1"), ("d/y", "2"), ("left-out", "3"), (".dockerignore", "left-out\nDockerfile\n.d*\n")]);
    std::os::unix::fs::chown(other.path().join("x"), Some(7), Some(8)).expect("chown");
    let dockerfile = "FROM scratch AS stage\nCOPY nothing /\n\
        FROM scratch AS middle\nCOPY --from=stage x /from-stage\n\
        FROM scratch\nCOPY --from=middle / /\nCOPY --from=0 d /from-number/\nCOPY --from=example.org/image x /from-image";
    let main = context(dockerfile, &[]);
    let named = |text: &str| format!("--build-context={text}={}", other.path().display());
    let with = |names: &[&str]| {
        let flags: Vec<String> = names.iter().map(|name| named(name)).collect();
        move |command: &mut Command| {
            command.args(&flags);
        }
    };
    let spec = main.path().display().to_string();
    let names = built(&spec, &with(&["stage", "docker.io/none", "example.org/image:latest"]));
    assert_eq!(names, ["from-image", "from-number/", "from-number/y", "from-stage"]);
    write(main.path(), "Dockerfile", "FROM stage AS a\nFROM a\nCOPY --from=stage d/y /z");
    assert_eq!(built(&spec, &with(&["stage"])), ["d/", "d/y", "x", "z"]);
    // That of the platform goes first.
    let platform = format!("stage::linux/{}", if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" });
    let names = built(&spec, &|command| {
        command.args([&named(&platform), "--build-context=stage=/nonexistent-but-unused"]);
        command.arg(format!("--build-context=stage={}", main.path().display()));
    });
    assert_eq!(names, ["d/", "d/y", "x", "z"]);
    // These cannot be replaced.
    write(main.path(), "Dockerfile", "FROM scratch\nCOPY --from=scratch / /e\nCOPY Dockerfile /");
    let names = built(&spec, &with(&["scratch", "context"]));
    assert_eq!(names, ["Dockerfile", "e/"]);
    for value in ["target:x", "oci-layout://x", "/no/such/place", "s3://secret"] {
        let error = failed(&spec, &|command| {
            command.arg(format!("--build-context=n={value}"));
        });
        assert!(error.starts_with("error: ") && !error.contains("secret"), "{value}: {error}");
    }
}

#[test]
fn named_images_repositories_and_files() {
    let registry = support::Registry::start();
    let base = registry.push_base();
    let repositories = Repositories::new();
    let web = Web::start(repositories.root.path(), None);
    fs::write(repositories.root.path().join("one.txt"), "1").expect("file");
    let daemon = Server::git_daemon(repositories.root.path());
    let dockerfile = "FROM shell\n\
        RUN --mount=from=repository,target=/m echo \"$(cat /m/sub/b)\" > /seen && test ! -e /m/.git\n\
        COPY --from=file context /file\nCOPY --from=tools /bin/busybox /tool";
    let main = context(dockerfile, &[]);
    let names = built(&main.path().display().to_string(), &|command| {
        command.arg(format!("--build-context=shell=docker-image://{base}"));
        command.arg(format!("--build-context=tools=docker-image://{base}"));
        command.arg(format!("--build-context=repository=git://{}/r.git?submodules=0#other", daemon.address));
        command.arg(format!("--build-context=file=http://{}/one.txt", web.address));
    });
    for name in ["seen", "file", "tool", "bin/busybox"] {
        assert!(names.contains(&name.to_owned()), "{name} of {names:?}");
    }
}
