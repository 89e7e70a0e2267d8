//! `--build-context` from end to end.

#![allow(clippy::expect_used)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::fetched::{Repositories, Server, built, failed};
use support::web::Web;
use support::{assert_success, context, executor, run, text, write};

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
    for (value, message) in [
        ("oci-layout://x", "failed to take an image from oci-layout://x: failed to open"),
        ("/no/such/place", "build context /no/such/place does not exist"),
        ("s3://secret", "--build-context n: unsupported context source \"s3\""),
        ("docker-image://UPPER", "invalid"),
        ("", "--build-context n: the context is empty"),
    ] {
        let error = failed(&spec, &|command| {
            command.arg(format!("--build-context=n={value}"));
        });
        assert!(error.starts_with("error: ") && !error.contains("secret"), "{value}: {error}");
        assert!(error.contains(message), "{value}: {error}");
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

#[test]
fn named_archives_and_stages() {
    let files = context("", &[("x", "1"), ("d/y", "2")]);
    let archive = files.path().join("files.tar.gz").display().to_string();
    run("tar", &["-zcf", &archive, "-C", &files.path().display().to_string(), "x", "d"]);
    let main = context(
        "FROM scratch AS one\nCOPY --from=tar x /one\nFROM scratch AS two\nCOPY nothing /\nFROM image\nCOPY --from=two / /two/",
        &[],
    );
    let spec = main.path().display().to_string();
    let names = built(&spec, &|command| {
        command.arg(format!("--build-context=tar=tar://{archive}"));
        command.args(["--build-context=two=target:one", "--build-context=image=target:two"]);
    });
    assert_eq!(names, ["one", "two/", "two/one"]);
    let error = failed(&spec, &|command| {
        command.args([
            "--build-context=image=target:ona",
            &format!("--build-context=tar=tar://{archive}"),
            "--build-context=two=target:one",
        ]);
    });
    assert!(error.contains("there is no stage \"ona\" before this one (did you mean one?)\n --> "), "{error}");
    let error = failed(&spec, &|command| {
        command.arg("--build-context=tar=tar://stdin");
    });
    assert!(error.contains("\"tar://stdin\" is not supported"), "{error}");
}

/// An image layout with an index: one image for each of two platforms.
fn two_platforms(directory: &Path) {
    let source = context(
        "FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /arch\nENV FROM=layout",
        &[("amd64", "a"), ("arm64", "b")],
    );
    let output = executor()
        .arg("--context")
        .arg(source.path())
        .args(["--no-push", "--platform=linux/amd64,linux/arm64", "--oci-layout-path"])
        .arg(directory)
        .output();
    assert_success(&output.expect("executor runs"));
}

fn blobs(layout: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(layout.join("blobs/sha256")).expect("blobs").map(|entry| entry.expect("entry").path());
    entries.map(|path| (path.clone(), fs::read(&path).expect("blob"))).collect()
}

#[test]
fn images_in_layouts_of_this_machine() {
    let state = tempfile::tempdir().expect("temporary directory");
    let layout = state.path().join("layout");
    two_platforms(&layout);
    let index: serde_json::Value =
        serde_json::from_slice(&fs::read(layout.join("index.json")).expect("index")).expect("JSON");
    let digest = index["manifests"][0]["digest"].as_str().expect("digest").to_owned();
    let shown = layout.display().to_string();
    let main = context("FROM image\nCOPY --from=other arch /copied", &[]);
    let spec = main.path().display().to_string();
    let with = |image: &str, more: &str| {
        let flags = [
            format!("--build-context=image=oci-layout://{image}"),
            format!("--build-context=other=oci-layout://{shown}"),
        ];
        let more = more.to_owned();
        move |command: &mut Command| {
            command.args(&flags).args(more.split_whitespace());
        }
    };
    for address in
        [shown.clone(), format!("{shown}:latest"), format!("{shown}@{digest}"), format!("{shown}:any@{digest}")]
    {
        let names = built(&spec, &with(&address, "--platform=linux/arm64"));
        assert_eq!(names, ["arch", "copied"], "{address}");
    }
    let error = failed(&spec, &with(&shown, "--platform=linux/s390x"));
    assert!(
        error.contains(&format!("failed to take an image from oci-layout://{shown}: it has no image for linux/s390x")),
        "{error}"
    );
    let none = format!("{shown}@sha256:{}", "0".repeat(64));
    let error = failed(&spec, &with(&none, ""));
    assert!(error.contains("is missing or damaged"), "{error}");
    let error = failed(&spec, &with(&format!("{shown}@sha256:x"), ""));
    assert!(error.contains("failed to take an image from"), "{error}");
    // Both platforms, and the linter, too.
    assert_eq!(built(&spec, &with(&shown, "--platform=linux/amd64,linux/arm64")), ["arch", "arch", "copied", "copied"]);
    let check =
        executor().args(["--check", "-c", &spec]).arg(format!("--build-context=image=oci-layout://{shown}")).output();
    let check = check.expect("executor runs");
    assert!(text(&check).contains("Check complete") || text(&check).contains("other"), "{}", text(&check));
    // A layer that is not what its digest says, and a manifest.
    let is_layer = |bytes: &[u8]| !bytes.starts_with(b"{");
    for (kind, message) in [(true, "failed to"), (false, "is missing or damaged")] {
        let damaged: Vec<_> = blobs(&layout).into_iter().filter(|(_, bytes)| is_layer(bytes) == kind).collect();
        for (path, bytes) in &damaged {
            let mut other = bytes.clone();
            let last = other.len() - 1;
            other[last] ^= 1;
            fs::write(path, other).expect("damage");
        }
        let error = failed(&spec, &with(&shown, ""));
        assert!(error.contains(message), "{error}");
        for (path, bytes) in damaged {
            fs::write(path, bytes).expect("repair");
        }
    }
    assert_eq!(built(&spec, &with(&shown, "")), ["arch", "copied"]);
}

#[test]
fn one_of_several_images_in_a_layout_has_a_name() {
    let registry = support::Registry::start();
    let base = registry.push_base();
    let state = tempfile::tempdir().expect("temporary directory");
    let layout = state.path().display().to_string();
    for tag in ["one", "two"] {
        run(
            "skopeo",
            &["copy", "-q", "--src-tls-verify=false", &format!("docker://{base}"), &format!("oci:{layout}:{tag}")],
        );
    }
    let main = context("FROM image\nRUN --mount=from=image,target=/m test -e /m/bin/sh && echo 1 > /ran", &[]);
    let spec = main.path().display().to_string();
    let with = |address: String| {
        move |command: &mut Command| {
            command.arg(format!("--build-context=image=oci-layout://{address}"));
        }
    };
    assert!(built(&spec, &with(format!("{layout}:two"))).contains(&"ran".to_owned()));
    let error = failed(&spec, &with(layout.clone()));
    assert!(error.contains("index.json has no image \"latest\", and 2 images instead of one"), "{error}");
}
