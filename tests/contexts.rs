//! Contexts that are no directory, from end to end: archives, web servers, git repositories.

#![allow(clippy::expect_used)]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use support::fetched::{FILES, Repositories, Server, build, built, failed};
use support::web::Web;
use support::{assert_success, context, executor, run, text, write};
use tempfile::TempDir;

/// A directory with archives of a context in every form.
fn archives() -> TempDir {
    let files = context("FROM scratch\nCOPY . /", &FILES);
    write(files.path(), "sub/Dockerfile", "FROM scratch\nCOPY b /in-sub");
    let archives = tempfile::tempdir().expect("temporary directory");
    for (name, flag) in [("c.tar", "-c"), ("c.tar.gz", "-zc"), ("c.tar.bz2", "-jc"), ("c.tar.xz", "-Jc")] {
        let file = archives.path().join(name);
        run("tar", &[flag, "-f", &file.display().to_string(), "-C", &files.path().display().to_string(), "."]);
    }
    let plain = fs::read(archives.path().join("c.tar")).expect("archive");
    fs::write(archives.path().join("c.tar.zst"), zstd::encode_all(plain.as_slice(), 1).expect("zstd")).expect("file");
    archives
}

/// Without `a`, which the ignore file leaves out.
const ALL: [&str; 5] = [".dockerignore", "Dockerfile", "sub/", "sub/Dockerfile", "sub/b"];

#[test]
fn archives_of_this_machine() {
    let archives = archives();
    for name in ["c.tar", "c.tar.gz", "c.tar.bz2", "c.tar.xz", "c.tar.zst"] {
        let spec = format!("tar://{}", archives.path().join(name).display());
        assert_eq!(built(&spec, &|_| ()), ALL, "{name}");
    }
    let spec = format!("tar://{}", archives.path().join("c.tar.gz").display());
    assert_eq!(
        built(&spec, &|command| {
            command.args(["--context-sub-path", "sub"]);
        }),
        ["in-sub"]
    );
    let error = failed(&spec, &|command| {
        command.args(["-f", "sub/Dockerfile"]);
    });
    assert!(error.contains("\"/b\": not found") && error.contains("\n --> sub/Dockerfile:2:6"), "{error}");
    let error = failed(&spec, &|command| {
        command.args(["--context-sub-path", "none"]);
    });
    assert!(error.contains("build context has no directory \"none\""), "{error}");
}

#[test]
fn an_archive_on_standard_input() {
    let archives = archives();
    let input = |name: &'static str| {
        let path = archives.path().join(name);
        move |command: &mut Command| {
            command.stdin(fs::File::open(&path).expect("archive"));
        }
    };
    assert_eq!(built("tar://stdin", &input("c.tar.gz")), ALL);
    let error = failed("tar://stdin", &|command| {
        command.stdin(Stdio::null());
    });
    assert!(error.contains("standard input is no tar archive"), "{error}");
    // `script` gives it a terminal.
    let command = format!("{} -c tar://stdin --no-push", env!("CARGO_BIN_EXE_executor"));
    let output = Command::new("script").args(["-qec", &command, "/dev/null"]).stdin(Stdio::null()).output();
    let output = output.expect("script is installed");
    assert!(!output.status.success() && text(&output).contains("that is a terminal"), "{}", text(&output));
}

#[test]
fn hostile_archives() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let victim = directory.path().join("victim");
    fs::write(&victim, "safe").expect("file");
    let at = |name: &str| directory.path().join(name);
    for (name, member) in [("up", "../../../../../../../../../../../../tmp/yadokari-escaped"), ("in", "a/../../x")] {
        fs::write(at(name), tar_of(&[(member, None)])).expect("archive");
        let error = failed(&format!("tar://{}", at(name).display()), &|_| ());
        assert!(error.contains("failed to unpack build context"), "{error}");
        assert!(!Path::new("/tmp/yadokari-escaped").exists());
    }
    // A link out of the context, and a write through it: ends up inside, under the link's target.
    let outside = directory.path().display().to_string();
    let planted = tar_of(&[("l", Some(outside.as_str())), ("l/victim", None), ("Dockerfile", Some("/etc/passwd"))]);
    fs::write(at("link"), planted).expect("archive");
    let error = failed(&format!("tar://{}", at("link").display()), &|_| ());
    assert_eq!(fs::read_to_string(&victim).expect("file"), "safe");
    assert!(error.contains("failed to read Dockerfile") && !error.contains("root:"), "{error}");
    // A hard link to what only the machine has, and a Dockerfile that would never end.
    for (name, kind, link, message) in [
        ("hard", tar::EntryType::Link, "/etc/passwd", "hard link to /etc/passwd, which is not there"),
        ("pipe", tar::EntryType::Fifo, "", "failed to read Dockerfile"),
        ("device", tar::EntryType::Char, "", "failed to read Dockerfile"),
    ] {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_path("Dockerfile").expect("short");
        header.set_entry_type(kind);
        header.set_link_name_literal(link).expect("short");
        header.set_mode(0o644);
        header.set_size(0);
        header.set_device_major(1).expect("small");
        header.set_device_minor(5).expect("small");
        header.set_cksum();
        builder.append(&header, &b""[..]).expect("member");
        fs::write(at(name), builder.into_inner().expect("archive")).expect("archive");
        let error = failed(&format!("tar://{}", at(name).display()), &|_| ());
        assert!(error.contains(message) && !error.contains("root:"), "{name}: {error}");
    }
    fs::write(at("text"), "no archive at all".repeat(100)).expect("file");
    let error = failed(&format!("tar://{}", at("text").display()), &|_| ());
    assert!(error.contains("is no tar archive"), "{error}");
}

#[test]
fn names_of_removals_are_files_in_an_archive() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let files = context("FROM scratch\nCOPY d/a /", &[("d/a", "1"), ("d/.wh.a", "2"), ("d/.wh..wh..opq", "3")]);
    let build = |dockerfile: &str| {
        write(files.path(), "Dockerfile", dockerfile);
        let archive = directory.path().join("c.tar").display().to_string();
        run("tar", &["-cf", &archive, "-C", &files.path().display().to_string(), "Dockerfile", "d"]);
        [format!("tar://{archive}"), files.path().display().to_string()]
    };
    for spec in build("FROM scratch\nCOPY d/a /") {
        assert_eq!(built(&spec, &|_| ()), ["a"], "nothing removed it");
    }
    for spec in build("FROM scratch\nCOPY --exclude=**/.wh.* d /") {
        assert_eq!(built(&spec, &|_| ()), ["a"]);
    }
    for spec in build("FROM scratch\nCOPY d/.wh.a /renamed") {
        assert_eq!(built(&spec, &|_| ()), ["renamed"]);
    }
    for spec in build("FROM scratch\nCOPY d /") {
        let error = failed(&spec, &|_| ());
        assert!(error.contains("/.wh..wh..opq to layer: names that start with .wh. are reserved"), "{error}");
    }
}

/// Members that a proper program would not write: a file, or a link to somewhere.
fn tar_of(members: &[(&str, Option<&str>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, target) in members {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(if target.is_some() { tar::EntryType::Symlink } else { tar::EntryType::Regular });
        target.iter().for_each(|target| header.set_link_name_literal(target).expect("short"));
        header.set_mode(0o644);
        header.set_size(if target.is_some() { 0 } else { 5 });
        header.set_cksum();
        builder.append(&header, if target.is_some() { &b""[..] } else { b"wrong" }).expect("member");
    }
    builder.into_inner().expect("archive")
}

#[test]
fn archives_from_a_web_server() {
    let archives = archives();
    let open = Web::start(archives.path(), None);
    assert_eq!(built(&format!("http://{}/c.tar.gz?signature=secret", open.address), &|_| ()), ALL);
    let error = failed(&format!("http://u:secret@{}/none?k=secret", open.address), &|_| ());
    assert!(error.contains("404") && !error.contains("secret"), "{error}");
    let closed = Web::start(archives.path(), Some("Basic dTpwYXNz"));
    assert_eq!(built(&format!("http://u:pass@{}/c.tar", closed.address), &|_| ()), ALL);
    let error = failed(&format!("http://u:secret@{}/c.tar", closed.address), &|_| ());
    assert!(error.contains("401") && !error.contains("secret"), "{error}");
    let error = failed("http://registry.invalid/c.tar", &|_| ());
    assert!(error.contains("use https://"), "{error}");
    let error = failed("ftp://secret/c.tar", &|_| ());
    assert!(error.contains("\"ftp://\" is not supported") && !error.contains("secret"), "{error}");
}

/// Without what is in `.git`.
fn files(names: Vec<String>) -> Vec<String> {
    names.into_iter().filter(|name| !name.starts_with(".git/")).collect()
}

const TRACKED: [&str; 8] =
    [".dockerignore", ".gitmodules", "Dockerfile", "a", "inner/", "sub/", "sub/Dockerfile", "sub/b"];

#[test]
fn git_repositories_as_kaniko_names_them() {
    let repositories = Repositories::new();
    let web = Web::start(repositories.root.path(), None);
    let http = |command: &mut Command| {
        command.env("GIT_PULL_METHOD", "http");
    };
    let spec = |rest: &str| format!("git://{}/r.git{rest}", web.address);
    let names = built(&spec(""), &http);
    assert!(names.contains(&".git/HEAD".to_owned()), "{names:?}");
    // The ignore file counts, as in Kaniko.
    assert_eq!(files(names), TRACKED.into_iter().filter(|name| *name != "a").collect::<Vec<_>>());
    let later = |rest: &str| built(&spec(rest), &http).contains(&"later".to_owned());
    assert!(later("#other") && later("#refs/heads/other") && !later("#refs/heads/main"));
    assert!(!later(&format!("#refs/heads/other#{}", repositories.first)));
    assert!(!later(&format!("#{}", repositories.first)));
    let with = |flags: &'static [&'static str]| {
        move |command: &mut Command| {
            command.env("GIT_PULL_METHOD", "http").args(flags);
        }
    };
    assert!(built(&spec(""), &with(&["--git=branch=other", "--git=depth=0"])).contains(&"later".to_owned()));
    let deep = built(&spec(""), &with(&["--git", "recurse-submodules=true", "--git", "single-branch=true"]));
    assert!(deep.contains(&"inner/deep".to_owned()), "{deep:?}");
    assert_eq!(built(&spec(""), &with(&["--context-sub-path", "sub"])), ["in-sub"]);
    assert!(failed(&spec("#none"), &http).contains("has no \"none\""));
    // Kaniko takes it without a word.
    let (output, _) = build(&spec(""), &with(&["--git=depht=1"]));
    assert_success(&output);
    assert!(text(&output).contains("unexpected key \"depht\""), "{}", text(&output));
    assert!(failed(&spec(""), &with(&["--git=depth=x"])).contains("depth"));
}

#[test]
fn the_same_commit_gives_the_same_image() {
    let repositories = Repositories::new();
    let web = Web::start(repositories.root.path(), None);
    let state = tempfile::tempdir().expect("temporary directory");
    let build = || {
        let output = executor()
            .env("GIT_PULL_METHOD", "http")
            .args(["--no-push", "--no-push-cache", "--cache=true", "--cache-dir"])
            .arg(state.path())
            .args(["-c", &format!("git://{}/r.git", web.address)])
            .output()
            .expect("executor runs");
        assert_success(&output);
        text(&output)
    };
    build();
    let second = build();
    assert!(second.contains(" cached ("), "{second}");
}

#[test]
fn git_repositories_as_buildkit_names_them() {
    let repositories = Repositories::new();
    let web = Web::start(repositories.root.path(), None);
    let spec = |rest: &str| format!("http://{}/r.git{rest}", web.address);
    let names = built(&spec(""), &|_| ());
    let with_submodule: Vec<&str> = TRACKED.iter().copied().chain(["inner/Dockerfile", "inner/deep"]).collect();
    let mut sorted = with_submodule.clone();
    sorted.sort_unstable();
    assert_eq!(names, sorted);
    assert_eq!(built(&spec("#other:sub"), &|_| ()), ["in-sub"]);
    assert!(built(&spec("?keep-git-dir=1"), &|_| ()).contains(&".git/HEAD".to_owned()));
    let keep = |command: &mut Command| {
        command.args(["--build-arg", "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1"]);
    };
    assert!(built(&spec(""), &keep).contains(&".git/HEAD".to_owned()));
}

#[test]
fn passwords_open_the_door_and_are_never_shown() {
    let repositories = Repositories::new();
    let http = |command: &mut Command| {
        command.env("GIT_PULL_METHOD", "http");
    };
    // token: and user:pass
    let token = Web::start(repositories.root.path(), Some("Basic c2VjcmV0LXRva2VuOg=="));
    let user = Web::start(repositories.root.path(), Some("Basic dXNlcjpwYXNz"));
    let git = |web: &Web, user: &str| format!("git://{user}{}/r.git", web.address);
    let recursive = |command: &mut Command| {
        command.args(["--git", "recurse-submodules=true"]);
    };
    let names = built(&git(&token, ""), &|command| {
        http(command);
        recursive(command);
        command.env("GIT_TOKEN", "secret-token").env("GIT_USERNAME", "x").env("GIT_PASSWORD", "y");
    });
    assert!(names.contains(&"inner/deep".to_owned()), "{names:?}");
    for (name, text) in git_files(&git(&user, "user:pass@")) {
        assert!(!text.contains("pass") && !text.contains("dXNlcjpwYXNz"), "{name}: {text}");
    }
    built(&git(&user, ""), &|command| {
        http(command);
        command.env("GIT_USERNAME", "user").env("GIT_PASSWORD", "pass");
    });
    let tools = tempfile::tempdir().expect("temporary directory");
    let log = logging_git(tools.path());
    built(&git(&user, "user:pass@"), &|command| {
        http(command);
        command.env("PATH", format!("{}:{}", tools.path().display(), std::env::var("PATH").expect("PATH")));
    });
    let log = fs::read_to_string(log).expect("log");
    assert!(log.contains("ls-remote") && log.contains("fetch") && !log.contains("user"), "{log}");
    for spec in [git(&token, ""), git(&token, "me:secret-word@")] {
        for verbosity in ["info", "trace"] {
            let error = failed(&spec, &|command| {
                http(command);
                command.env("GIT_PASSWORD", "secret-word").env("GIT_TRACE_CURL", "1").args(["-v", verbosity]);
            });
            assert!(error.contains("failed to get the build context"), "{error}");
            assert!(!error.contains("secret") && !error.contains("Basic "), "{error}");
        }
    }
}

/// A `git` in `directory` that writes down its command lines, and where.
fn logging_git(directory: &Path) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let (program, log) = (directory.join("git"), directory.join("log"));
    let git = run("sh", &["-c", "command -v git"]);
    let script = format!("#!/bin/sh\necho \"$@\" >> {}\nexec {} \"$@\"\n", log.display(), git.trim());
    fs::write(&program, script).expect("script");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("mode");
    log
}

/// What is in `.git` of a context: a build that copies it out.
fn git_files(spec: &str) -> Vec<(String, String)> {
    let state = tempfile::tempdir().expect("temporary directory");
    write(state.path(), "Dockerfile", "FROM scratch\nCOPY .git /");
    let layout = state.path().join("layout");
    let mut command = executor();
    command.current_dir(state.path()).env("GIT_PULL_METHOD", "http").args(["-c", spec, "--no-push"]);
    assert_success(&command.arg("--oci-layout-path").arg(&layout).output().expect("executor runs"));
    let unpacked = tempfile::tempdir().expect("temporary directory");
    for blob in fs::read_dir(layout.join("blobs/sha256")).expect("blobs") {
        let path = blob.expect("blob").path();
        if !fs::read(&path).expect("blob").starts_with(b"{") {
            run("tar", &["-xf", &path.display().to_string(), "-C", &unpacked.path().display().to_string()]);
        }
    }
    let read = |name: &str| (name.to_owned(), fs::read_to_string(unpacked.path().join(name)).expect("file"));
    vec![read("config"), read("FETCH_HEAD")]
}

#[test]
fn archives_and_files_over_https() {
    let archives = archives();
    let at = |name: &str| archives.path().join(name).display().to_string();
    let subject = [
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost",
        "-addext",
        "basicConstraints=critical,CA:FALSE",
    ];
    let request =
        ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", &at("key"), "-out", &at("cert")];
    run("openssl", &[&request[..], &subject].concat());
    let port = support::free_port();
    let server = Command::new("openssl")
        .args(["s_server", "-quiet", "-WWW", "-cert", "cert", "-key", "key", "-accept", &format!("127.0.0.1:{port}")])
        .current_dir(archives.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let server = Server { process: server.expect("openssl"), address: format!("127.0.0.1:{port}") };
    server.wait();
    let url = format!("https://localhost:{port}/c.tar.gz");
    let trusting = |command: &mut Command| {
        command.env("SSL_CERT_FILE", at("cert"));
    };
    assert_eq!(built(&url, &trusting), ALL);
    let adding = context(&format!("FROM scratch\nADD {url} /"), &[]);
    assert_eq!(built(&adding.path().display().to_string(), &trusting), ["c.tar.gz"]);
    let error = failed(&url, &|_| ());
    assert!(error.contains("failed to fetch a file from localhost"), "{error}");
}

#[test]
fn files_that_have_not_changed_are_remembered_in_the_cache_directory() {
    use std::os::unix::fs::MetadataExt as _;
    let kept = tempfile::tempdir().expect("directory");
    let dockerfile = kept.path().join("Dockerfile");
    fs::write(&dockerfile, "FROM scratch\nCOPY . /\n").expect("Dockerfile");
    let cache = kept.path().join("cache");
    // A context that has been there for a while: what has just changed is not remembered.
    let build = |arguments: &[&str]| {
        let mut command = executor();
        command.args(["-c", "/usr/share/common-licenses", "--no-push", "--no-push-cache", "-f"]).arg(&dockerfile);
        command.args(["-d", "app:1", "--cache-repo", "127.0.0.1:9/cache", "--cache-dir"]).arg(&cache).args(arguments);
        text(&command.output().expect("executor runs"))
    };
    assert!(build(&["--cache=false"]).contains("1 run"));
    assert!(!cache.exists());
    assert!(build(&["--cache"]).contains("0 steps cached, 1 run"));
    let remembered = || {
        let files = fs::read_dir(cache.join("contexts")).expect("contexts");
        files.map(|file| file.expect("entry").metadata().expect("file").ino()).collect::<Vec<_>>()
    };
    let first = remembered();
    assert_eq!(first.len(), 1);
    assert!(build(&["--cache"]).contains("1 steps cached, 0 run"));
    assert_eq!(remembered(), first, "there was nothing to add");
}
