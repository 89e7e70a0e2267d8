use super::*;
use crate::digest::{DiffId, Digest};
use crate::plan::{CopyOp, CopySource, Mount, Network, RunOp, Source, WorkdirOp};

fn run_op() -> RunOp {
    RunOp {
        argv: ["/bin/sh", "-c", "make"].map(String::from).to_vec(),
        script: None,
        env: vec![("PATH".into(), "/bin".into())],
        proxy_env: vec![("http_proxy".into(), "http://p".into())],
        user: String::new(),
        workdir: "/".into(),
        mounts: Vec::new(),
        network: Network::Default,
        hostname: None,
    }
}

fn copy_op() -> CopyOp {
    CopyOp {
        add: None,
        from: Source::Context,
        sources: vec![CopySource::Path("a".into())],
        destination: "/b".into(),
        chown: None,
        chmod: None,
        link: false,
        parents: false,
        excludes: Vec::new(),
    }
}

fn file(path: &str, content: &str) -> InputFile {
    InputFile {
        path: path.into(),
        kind: InputKind::File(ContentHash::of(content.as_bytes())),
        mode: 0o644,
        uid: 0,
        gid: 0,
        xattrs: Default::default(),
    }
}

fn root() -> CacheKey {
    let platform = Platform::new("linux", "amd64", None);
    root_key(Some(&ChainId(Digest::sha256(b"base"))), &platform)
}

/// A changed value here needs a new `KEY_VERSION`.
#[test]
fn golden_values() {
    let root = root();
    let run = run_key(&root, "", &run_op(), &[]).key;
    let copy = copy_key(&root, "", &copy_op(), &[SourceInput::Files(vec![file("a", "x")])]).key;
    let workdir = workdir_key(&root, "", &WorkdirOp { path: "/w".into(), user: String::new() }).key;
    let content = content_key("", &[file("a", "x")]).key;
    let state = state_digest(None, &ContentHash::of(b"toc"));
    insta::assert_snapshot!(format!(
        "version {KEY_VERSION}\nroot {root}\nrun {run}\ncopy {copy}\nworkdir {workdir}\ncontent {content}\nstage {}\nstate {state}",
        stage_key(&run)
    ));
}

#[test]
fn proxies_and_secret_requirement_are_in_no_key() {
    let root = root();
    let mut op = run_op();
    let secret =
        |required| Mount::Secret { id: "s".into(), target: None, env: None, required, mode: 0o400, uid: 0, gid: 0 };
    op.mounts = vec![secret(true)];
    let before = run_key(&root, "", &op, &[]).key;
    op.proxy_env.clear();
    op.mounts = vec![secret(false)];
    assert_eq!(run_key(&root, "", &op, &[]).key, before);
}

#[test]
fn every_other_field_changes_the_key() {
    let changes: [fn(&mut RunOp); 7] = [
        |op| op.argv = vec!["/bin/sh".into(), "-cmake".into()],
        |op| op.env.push(("A".into(), String::new())),
        |op| op.user = "1".into(),
        |op| op.workdir = "/x".into(),
        |op| op.network = Network::None,
        |op| op.mounts.push(Mount::Tmpfs { target: "/t".into(), size_bytes: None, readonly: false }),
        |op| op.mounts.push(Mount::Tmpfs { target: "/t".into(), size_bytes: None, readonly: true }),
    ];
    let root = root();
    let mut keys = vec![run_key(&root, "", &run_op(), &[]).key, run_key(&root, "salt", &run_op(), &[]).key];
    for change in changes {
        let mut op = run_op();
        change(&mut op);
        keys.push(run_key(&root, "", &op, &[]).key);
    }
    let count = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), count);
}

#[test]
fn words_are_framed() {
    let root = root();
    let with = |argv: &[&str]| {
        let argv = argv.iter().map(|w| (*w).to_owned()).collect();
        run_key(&root, "", &RunOp { argv, ..run_op() }, &[]).key
    };
    assert_ne!(with(&["ab", "c"]), with(&["a", "bc"]));
}

#[test]
fn explanation_names_the_file() {
    let root = root();
    let keyed =
        |content| copy_key(&root, "", &copy_op(), &[SourceInput::Files(vec![file("src/a.c", content), file("b", "")])]);
    let (before, now) = (keyed("1"), keyed("2"));
    assert_ne!(before.key, now.key);
    let differences = explain(&before.parts, &now.parts);
    assert_eq!(differences[0].part, "file src/a.c");
    assert_eq!(differences[0].with_values(), "file src/a.c changed", "hashes say nothing");
}

#[test]
fn values_of_variables_stay_out_of_the_parts() {
    let op = RunOp { env: vec![("TOKEN".into(), "hunter2".into())], ..run_op() };
    let keyed = run_key(&root(), "salty", &op, &[]);
    assert!(keyed.parts.values().all(|v| !v.contains("hunter2") && !v.contains("salty")));
}

#[test]
fn diff_ids_make_the_root() {
    let platform = Platform::new("linux", "amd64", None);
    let chain = crate::digest::chain_id(&[DiffId(Digest::sha256(b"1"))]);
    assert_ne!(root_key(chain.as_ref(), &platform), root_key(None, &platform));
}

#[test]
fn of_many_files_the_directory_is_named() {
    let root = root();
    let keyed = |content: &dyn Fn(usize) -> String| {
        let files = (0..200).map(|n| file(&format!("src/{}/{}/f{n}", n % 2, n % 100), &content(n))).collect();
        copy_key(&root, "", &copy_op(), &[SourceInput::Files(files)])
    };
    let (before, now) = (keyed(&|_| "1".into()), keyed(&|n| if n == 7 { "2".into() } else { "1".into() }));
    let differences: Vec<String> = explain(&before.parts, &now.parts).iter().map(ToString::to_string).collect();
    // Two directories deep: three would be a hundred.
    assert_eq!(differences, ["files below src/1/ changed", "the set of files changed"]);
}

#[test]
fn the_nearest_is_of_the_same_instruction_or_stood_at_the_same_place() {
    let parts = |list: &[(&str, &str)]| list.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    let known: Vec<std::collections::BTreeMap<String, String>> = vec![
        parts(&[("command", "other"), ("parent", "1")]),
        parts(&[("command", "same"), ("parent", "9"), ("env A", "1"), ("env B", "1")]),
        parts(&[("command", "same"), ("parent", "9"), ("env A", "2")]),
    ];
    let find = |now: &[(&str, &str)]| {
        let now = parts(now);
        let (found, differences) = nearest(&known, &now)?;
        let number = known.iter().position(|parts| parts == found)?;
        Some((number, differences.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")))
    };
    assert_eq!(
        find(&[("command", "same"), ("parent", "1"), ("env A", "2")]),
        Some((2, "what this step builds on changed".into()))
    );
    assert_eq!(find(&[("command", "new"), ("parent", "1")]), Some((0, "the command changed".into())));
    assert_eq!(find(&[("command", "new"), ("parent", "2")]), None);
    assert_eq!(nearest(&known[..1], &known[0]), None, "the very record says nothing");
}

#[test]
fn what_others_wrote_cannot_steer_a_terminal() {
    let evil = Difference { part: "file \u{1b}[2Jx".into(), before: None, now: Some("a\u{7}".into()) };
    assert!(!evil.with_values().chars().any(char::is_control), "{:?}", evil.with_values());
}

#[test]
fn differences_are_clauses() {
    let parts = |list: &[(&str, &str)]| list.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    let before = parts(&[("command", "1"), ("env A", "1"), ("env B", "1"), ("parent", "1")]);
    let now = parts(&[("command", "1"), ("env A", "2"), ("file x", "1"), ("parent", "2")]);
    assert!(same_instruction(&before, &now));
    let clauses: Vec<String> = explain(&before, &now).iter().map(ToString::to_string).collect();
    assert_eq!(
        clauses,
        ["file x is new", "variable A changed", "variable B is gone", "what this step builds on changed"]
    );
}
