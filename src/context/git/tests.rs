use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::layer::Content;

#[test]
fn sources_as_they_are_written() {
    let parsed = |text: &str| GitSource::parse(text).unwrap();
    let plain = parsed("https://u:p@h/r.git");
    assert_eq!((plain.remote.as_str(), plain.reference.clone()), ("https://u:p@h/r.git", GitReference::Default));
    assert_eq!(plain.public_remote(), "https://h/r.git");
    assert!(plain.submodules && plain.keep_git_dir.is_none() && plain.subdirectory.is_empty());
    let both = parsed("git@h:a/r.git#v1:sub/../dir/");
    assert_eq!((both.remote.as_str(), both.subdirectory.as_slice()), ("git@h:a/r.git", &b"dir"[..]));
    assert_eq!(both.reference, GitReference::Any("v1".into()));
    let query = parsed("https://h/r.git?tag=v1&subdir=/a&keep-git-dir&submodules=false&commit=ABC");
    assert_eq!((query.remote.as_str(), query.reference), ("https://h/r.git", GitReference::Tag("v1".into())));
    assert_eq!((query.keep_git_dir, query.submodules, query.checksum.as_deref()), (Some(true), false, Some("abc")));
    assert_eq!(parsed("git://h/r#:sub").subdirectory, b"sub");
    assert_eq!(parsed("git://h/r#:../../x").subdirectory, b"x");
}

#[test]
fn sources_that_are_none() {
    for (text, message) in [
        ("github.com/a/b", "expected a URL"),
        ("-o@h:x", "expected a URL"),
        ("a/b@h:x", "expected a URL"),
        ("https://h/r.git?x=1", "unexpected query key \"x\""),
        ("https://h/r.git?x", "unexpected query key \"x\""),
        ("https://h/r.git?ref=", "invalid value of query key \"ref\""),
        ("https://h/r.git?submodules=maybe", "invalid value of query key \"submodules\""),
        ("https://h/r.git?checksum=xyz", "invalid value of query key \"checksum\""),
        ("https://h/r.git?tag=a&tag=a", "query key \"tag\" in git source is repeated"),
        ("https://h/r.git?tag=a&branch=b", "conflicting references"),
        ("https://h/r.git?tag=a#b", "conflicting references"),
        ("https://h/r.git?subdir=a#:b", "conflicting subdirectories"),
        ("https://h/r.git#--upload-pack=x", "invalid git reference"),
        ("https://h/r.git#a..b", "invalid git reference"),
    ] {
        let error = GitSource::parse(text).unwrap_err().to_string();
        assert!(error.contains(message), "{text}: {error}");
    }
    let not_kept = GitSource::parse("https://h/r.git?keep-git-dir=false").unwrap();
    assert!(not_kept.clone().with_flags(true, None).is_err());
    assert_eq!(not_kept.with_flags(false, Some("12")).unwrap().checksum.as_deref(), Some("12"));
}

#[test]
fn sources_as_kaniko_writes_them() {
    let parsed = |text: &str| GitSource::parse_kaniko(text, "https");
    let plain = parsed("token@h/a/r").unwrap();
    assert_eq!((plain.remote.as_str(), plain.address().as_str()), ("https://token@h/a/r", "https://h/a/r"));
    assert_eq!((plain.keep_git_dir, plain.submodules, plain.depth), (Some(true), false, 1));
    let named = parsed("h/r#refs/pull/3/head").unwrap();
    assert_eq!(named.reference, GitReference::Any("refs/pull/3/head".into()));
    let commit = "0123456789012345678901234567890123456789";
    let both = parsed(&format!("h/r#main#{commit}")).unwrap();
    assert_eq!((both.reference, both.containing.as_deref()), (GitReference::Any(commit.into()), Some("main")));
    assert_eq!(parsed("h/r?keep-git-dir=0").unwrap().keep_git_dir, Some(false));
    assert!(parsed("h/r#a#b#c").is_err() && parsed("h/r#-x").is_err() && parsed("h/r#a#-x").is_err());
    let mut narrowed = parsed("h/r").unwrap();
    narrowed.enter("/a/../b/");
    narrowed.enter("../c");
    assert_eq!(narrowed.subdirectory, b"b/c");
}

#[test]
fn flags_change_what_is_fetched() {
    let mut options = GitOptions::default();
    for (key, value) in [("branch", "b"), ("depth", "5"), ("recurse-submodules", "true"), ("insecure-skip-tls", "1")] {
        options.set(key, value).unwrap();
    }
    let mut source = GitSource::parse_kaniko("h/r#a#0123", "https").unwrap();
    options.apply(&mut source).unwrap();
    assert_eq!((source.reference, source.containing), (GitReference::Any("b".into()), None));
    assert_eq!((source.depth, source.submodules, source.verify_tls), (5, true, false));
    for (key, value) in [("depth", "x"), ("depth", "-1"), ("single-branch", ""), ("x", "1")] {
        assert!(GitOptions::default().set(key, value).is_err(), "{key}={value}");
    }
}

#[test]
fn a_login_goes_to_one_host_by_the_environment() {
    let variables = |names: &'static [(&str, &str)]| {
        move |wanted: &str| names.iter().find(|(name, _)| *name == wanted).map(|(_, value)| (*value).to_owned())
    };
    let login = GitLogin::from_lookup(&variables(&[("GIT_TOKEN", "t"), ("GIT_USERNAME", "u"), ("GIT_PASSWORD", "p")]));
    assert_eq!(login.as_ref().map(GitLogin::header).as_deref(), Some("Authorization: Basic dDo="));
    let user = GitLogin::from_lookup(&variables(&[("GIT_TOKEN", ""), ("GIT_USERNAME", "u"), ("GIT_PASSWORD", "p")]));
    assert_eq!(user.as_ref().map(GitLogin::header).as_deref(), Some("Authorization: Basic dTpw"));
    assert!(GitLogin::from_lookup(&|_| None).is_none());
    assert!(!format!("{login:?}").contains("\"t\""));
    let added = |git: &Git, text: &str| {
        let source = GitSource::parse(text).unwrap();
        let run = Run { git, source: &source, directory: Path::new("/") };
        run.configuration().split_off(CONFIGURATION.len())
    };
    let pair = |key: &str, value: &str| vec![(key.to_owned(), value.to_owned())];
    let git = Git::new([]);
    let known = git.clone().with_login(login);
    assert_eq!(added(&git, "https://h/r.git"), []);
    assert_eq!(added(&known, "https://h:8/r.git"), pair("http.https://h:8/.extraHeader", "Authorization: Basic dDo="));
    let of_url = pair("http.https://h/.extraHeader", "Authorization: Basic YUBiOnA=");
    assert_eq!(added(&git, "https://a%40b:p@h/r.git"), of_url);
    assert_eq!(added(&known, "ssh://git@h/r.git"), []);
}

/// A repository with two branches, a lightweight and an annotated tag.
struct Repository(tempfile::TempDir);

impl Repository {
    fn new() -> Self {
        let repository = Self(tempfile::tempdir().unwrap());
        repository.git(&["init", "-q", "-b", "main"]);
        let at = |name: &str| repository.0.path().join(name);
        fs::create_dir(at("sub")).unwrap();
        for (name, text) in [("one", "1"), ("sub/two", "2"), ("run", "x")] {
            fs::write(at(name), text).unwrap();
        }
        fs::set_permissions(at("run"), fs::Permissions::from_mode(0o700)).unwrap();
        symlink("one", at("link")).unwrap();
        symlink("../../../etc", at("out")).unwrap();
        repository.commit("first");
        repository.git(&["tag", "v1"]);
        repository.git(&["tag", "-a", "-m", "tagged", "annotated"]);
        repository.git(&["checkout", "-q", "-b", "other"]);
        fs::write(at("other"), "o").unwrap();
        repository.commit("second");
        repository.git(&["tag", "main"]);
        repository.git(&["checkout", "-q", "refs/heads/main"]);
        repository.git(&["checkout", "-q", "-B", "main"]);
        repository
    }

    fn commit(&self, message: &str) {
        self.git(&["add", "."]);
        self.git(&["commit", "-q", "-m", message]);
    }

    fn git(&self, arguments: &[&str]) -> String {
        let identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "protocol.file.allow=always"];
        let mut command = Command::new("git");
        command.args(identity).args(arguments).current_dir(self.0.path());
        let output = command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1").output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn source(&self, rest: &str) -> GitSource {
        GitSource::parse(&format!("file://{}/.git{rest}", self.0.path().display())).unwrap()
    }
}

/// Local repositories are for tests only.
fn local_git() -> Git {
    let path = std::env::var_os("PATH").unwrap();
    Git { protocols: "file", ..Git::new([("PATH".into(), path)]) }
}

fn checkout(source: &GitSource) -> Result<(Vec<String>, String), GitError> {
    let directory = tempfile::tempdir().unwrap();
    let checkout = local_git().checkout(source, directory.path())?;
    let paths = checkout.view.walk(b"").map(|(path, _)| String::from_utf8_lossy(&path).into_owned());
    Ok((paths.filter(|path| !path.starts_with(".git/")).collect(), checkout.commit))
}

#[test]
fn references_and_directories() {
    let repository = Repository::new();
    let first = repository.git(&["rev-parse", "v1"]);
    let second = repository.git(&["rev-parse", "refs/heads/other"]);
    let all = ["link", "one", "out", "run", "sub", "sub/two"];
    for (rest, commit, paths) in [
        ("", &first, &all[..]),
        ("#v1", &first, &all),
        ("#annotated", &first, &all),
        ("#main", &first, &all),
        ("#refs/tags/annotated", &first, &all),
        ("?tag=main#:sub", &second, &["two"]),
        ("?branch=main#:sub", &first, &["two"]),
        ("#other", &second, &["link", "one", "other", "out", "run", "sub", "sub/two"]),
        (&format!("#{second}:sub"), &second, &["two"]),
        (&format!("#{}:sub", &second[..8]), &second, &["two"]),
        (&format!("?checksum={}#:sub", &first[..7]), &first, &["two"]),
    ] {
        let source = repository.source(rest);
        let (found, at) = checkout(&source).unwrap();
        assert_eq!(
            (found.as_slice(), &at),
            (&paths.iter().map(|&p| p.to_owned()).collect::<Vec<_>>()[..], commit),
            "{rest}"
        );
        let resolved = local_git().resolve(&source).unwrap();
        assert!(resolved.is_none_or(|resolved| resolved == *commit), "{rest}");
    }
}

#[test]
fn files_have_the_modes_that_git_knows() {
    let repository = Repository::new();
    let directory = tempfile::tempdir().unwrap();
    let checkout = local_git().checkout(&repository.source(""), directory.path()).unwrap();
    let mode = |path: &str| checkout.view.get(path.as_bytes()).unwrap().mode;
    assert_eq!((mode("one"), mode("run"), mode("sub")), (0o644, 0o755, 0o755));
    let NodeKind::File(file) = &checkout.view.get(b"sub/two").unwrap().kind else { panic!("no file") };
    let Content::Host(path) = &file.content else { panic!("not on the host") };
    assert_eq!(fs::read(path).unwrap(), b"2");
}

#[test]
fn the_git_directory_stays_when_asked_for() {
    let repository = Repository::new();
    let kept = repository.source("").with_flags(true, None).unwrap();
    assert_eq!(checkout(&kept).unwrap().0[0], ".git");
    let part = repository.source("#:sub").with_flags(true, None).unwrap();
    assert_eq!(checkout(&part).unwrap().0, ["two"]);
}

#[test]
fn submodules_come_along() {
    let (inner, outer) = (Repository::new(), Repository::new());
    let remote = format!("file://{}/.git", inner.0.path().display());
    outer.git(&["submodule", "--quiet", "add", "-b", "main", &remote, "inner"]);
    outer.commit("with a submodule");
    let (paths, _) = checkout(&outer.source("")).unwrap();
    assert!(paths.contains(&"inner/sub/two".to_owned()) && !paths.contains(&"inner/.git".to_owned()), "{paths:?}");
    let (paths, _) = checkout(&outer.source("?submodules=0")).unwrap();
    assert!(paths.contains(&"inner".to_owned()) && !paths.contains(&"inner/one".to_owned()), "{paths:?}");
}

#[test]
fn what_cannot_be_had() {
    let repository = Repository::new();
    let fails = |source: &GitSource| checkout(source).unwrap_err().to_string();
    assert!(fails(&repository.source("#nope")).ends_with("has no \"nope\""));
    assert!(fails(&repository.source("#abcdef12")).ends_with("has no \"abcdef12\""));
    assert!(fails(&repository.source("?checksum=0000")).contains("expected checksum to match 0000"));
    assert!(fails(&repository.source("#:nope")).ends_with("has no directory /nope"));
    assert!(fails(&repository.source("#:one")).ends_with("has no directory /one"));
    // A link does not lead out of the repository.
    assert!(fails(&repository.source("#:out")).ends_with("has no directory /out"));
    let strict = Git::new(local_git().environment);
    let error = strict.resolve(&repository.source("")).unwrap_err().to_string();
    assert!(error.contains("transport 'file' not allowed"), "{error}");
    let secret = GitSource::parse("http://user:secret@127.0.0.1:1/r.git").unwrap();
    let error = strict.resolve(&secret).unwrap_err().to_string();
    assert!(error.contains("127.0.0.1:1/r.git") && !error.contains("secret"), "{error}");
}
