//! Running in place, in a container of our own.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use yadokari::sandbox::{Exit, Hidden, Hiding, IgnoreList, InPlaceSandbox, MountKind, Process, Root, SandboxError};

use crate::fixture::{Fixture, bind, mount, process, run_on, tree};

/// Runs [`steps_in_place`] in a container of our own: this test program again, on a root that
/// nobody else has.
#[test]
fn in_place_in_a_container() {
    let fixture = Fixture::new();
    fs::write(fixture.base("container-of-the-test"), "").unwrap();
    let helper = Path::new(env!("CARGO_BIN_EXE_executor"));
    let mut mounts = vec![
        bind(&std::env::current_exe().unwrap(), "/kaniko/test", true),
        bind(helper, "/kaniko/executor", true),
        bind(fixture.directory.path(), "/cache", false),
    ];
    for path in ["/usr/lib", "/lib", "/lib64"] {
        mounts.extend(Path::new(path).exists().then(|| bind(Path::new(path), path, true)));
    }
    let argv =
        ["/kaniko/test", "--ignored", "--exact", "in_place::steps_in_place", "--nocapture"].map(Into::into).into();
    let ended = fixture.run(&Process { argv, mounts, ..process("") }).unwrap();
    assert_eq!(ended.exit, Exit::Code(0), "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains("1 passed"), "{}", ended.stdout);
    let left: Vec<_> = tree(&fixture.upper());
    assert_eq!(left, ["etc/", "kept", "tmp/"], "what the steps left");
}

#[test]
#[ignore = "only inside the container that in_place_in_a_container makes"]
fn steps_in_place() {
    assert!(Path::new("/container-of-the-test").exists(), "this is not the container of the test");
    let nothing = Hidden::decide(&[], &IgnoreList::default(), Hiding::Auto).unwrap();
    let sandbox = InPlaceSandbox::new("/kaniko/executor".into(), nothing);
    yadokari::sandbox::close_memory().unwrap();
    let run = |process: &Process| run_on(&sandbox, process, &Root::InPlace).unwrap();
    let secret = Path::new("/tmp/secret");
    fs::write(secret, "s3cret").unwrap();
    fs::set_permissions(secret, fs::Permissions::from_mode(0o400)).unwrap();
    let cache = Path::new("/tmp/cache");
    fs::create_dir(cache).unwrap();
    let source = Path::new("/tmp/source");
    fs::create_dir_all(source.join("d")).unwrap();
    fs::write(source.join("d/f"), "f").unwrap();
    fs::create_dir("/full").unwrap();
    fs::write("/full/own", "own").unwrap();
    fs::create_dir("/hidden").unwrap();
    fs::set_permissions("/hidden", fs::Permissions::from_mode(0o700)).unwrap();
    let before = Path::new("/full").metadata().unwrap().mtime();

    let mounts = vec![
        bind(secret, "/run/secrets/token", true),
        bind(cache, "/root/.cache", false),
        bind(source, "/full", true),
        mount(MountKind::Tmpfs { size_bytes: None, readonly: false }, "/scratch"),
        mount(MountKind::Tmpfs { size_bytes: None, readonly: false }, "/hidden"),
        bind(secret, "/dev/pipes/script", true),
    ];
    let script = "stat -c %a /run/secrets/token /scratch /hidden; cat /run/secrets/token /dev/pipes/script /full/d/f; ls /full; echo c > /root/.cache/c; \
                  touch /scratch/x /full/x /kept; sleep 1000 & (sleep 1000 &); echo $HOME $FROM_TEST; cat /proc/$PPID/environ | wc -c";
    let ended = run(&Process { mounts: mounts.clone(), ..process(script) });
    assert_eq!(ended.stdout, "400\n1777\n700\ns3crets3cretfd\n/root\n0\n", "{}", ended.stderr);
    assert_eq!(ended.exit, Exit::Code(0));
    for gone in ["/run", "/scratch", "/dev/pipes", "/root"] {
        assert!(!Path::new(gone).exists(), "{gone}");
    }
    assert_eq!(tree(Path::new("/full")), ["own"]);
    assert_eq!(Path::new("/hidden").metadata().unwrap().permissions().mode() & 0o7777, 0o700);
    assert_eq!(Path::new("/full").metadata().unwrap().mtime(), before);
    assert_eq!(tree(cache), ["c"]);
    assert_eq!(tree(source), ["d/", "d/f"]);

    // A cache on another file system is copied out and in.
    let far = Path::new("/cache/far");
    fs::create_dir(far).unwrap();
    fs::write(far.join("old"), "old").unwrap();
    let ended =
        run(&Process { mounts: vec![bind(far, "/c", false)], ..process("cat /c/old; rm /c/old; echo n > /c/new") });
    assert_eq!((ended.exit, ended.stdout.as_str()), (Exit::Code(0), "old"));
    assert_eq!(tree(far), ["new"]);

    // Failures of a step are told, and clean up too.
    let ended = run(&Process { mounts, user: "app".into(), ..process("cat /run/secrets/token") });
    assert_eq!(ended.exit, Exit::Code(1));
    assert!(!Path::new("/run").exists());
    let ended = run(&Process { argv: vec!["nothing".into()], ..process("") });
    assert_eq!(ended.exit, Exit::Code(127));
    let unknown = run_on(&sandbox, &Process { user: "ghost".into(), ..process("true") }, &Root::InPlace);
    assert!(matches!(unknown, Err(SandboxError::Step(_))));

    for path in ["/tmp/source", "/tmp/cache", "/full", "/hidden"] {
        fs::remove_dir_all(path).unwrap();
    }
    fs::remove_file(secret).unwrap();
}
