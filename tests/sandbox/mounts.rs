//! Roots, mounts, and what they leave.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::time::Duration;

use yadokari::sandbox::{MountKind, Process};

use crate::fixture::{Fixture, bind, mount, process, tree};

#[test]
fn mount_points_leave_no_trace() {
    let fixture = Fixture::new();
    let secret = fixture.directory.path().join("secret");
    fs::write(&secret, "s3cret").unwrap();
    let times = |path: &Path| (path.metadata().unwrap().mtime(), path.metadata().unwrap().mtime_nsec());
    let before = times(&fixture.base("etc"));
    let mounts = vec![
        bind(&secret, "/run/secrets/token", true),
        bind(&secret, "/dev/pipes/script", true),
        bind(&secret, "/etc/deep/er/file", true),
        mount(MountKind::Tmpfs { size_bytes: Some(1 << 20), readonly: false }, "/cache"),
        bind(&secret, "/cache/inner", true),
    ];
    let text = fixture
        .ok(&Process { mounts, ..process("cat /run/secrets/token /dev/pipes/script /etc/deep/er/file /cache/inner") });
    assert_eq!(text, "s3crets3crets3crets3cret");
    let left: Vec<_> = tree(&fixture.upper()).into_iter().filter(|path| path != "etc/").collect();
    assert_eq!(left, [""; 0]);
    if fixture.upper().join("etc").exists() {
        assert_eq!(times(&fixture.upper().join("etc")), before);
    }
}

#[test]
fn what_the_step_adds_beside_mount_points_stays() {
    let fixture = Fixture::new();
    let secret = fixture.directory.path().join("secret");
    fs::write(&secret, "x").unwrap();
    let process =
        Process { mounts: vec![bind(&secret, "/run/a/b", true)], ..process("touch /run/a/c /etc/new; mkdir /new") };
    let start = std::time::SystemTime::now() - Duration::from_secs(2);
    fixture.ok(&process);
    assert_eq!(tree(&fixture.upper()), ["etc/", "etc/new", "new/", "run/", "run/a/", "run/a/c"]);
    assert!(fixture.upper().join("etc").metadata().unwrap().modified().unwrap() > start);
}

#[test]
fn mount_points_stay_inside_the_root() {
    let fixture = Fixture::new();
    let outside = fixture.directory.path().join("outside");
    fs::create_dir(&outside).unwrap();
    symlink(&outside, fixture.base("abs")).unwrap();
    symlink("../../../../../../etc", fixture.base("rel")).unwrap();
    symlink("../run/resolv", fixture.base("etc/resolv.conf")).unwrap();
    let file = fixture.directory.path().join("file");
    fs::write(&file, "inside").unwrap();
    let mounts = vec![bind(&file, "/abs/x", true), bind(&file, "/rel/y", true)];
    let text = fixture.ok(&Process { mounts, ..process("cat /etc/y /abs/x; test -f /run/resolv && echo ok") });
    assert_eq!(text, "insideinsideok\n");
    assert_eq!(tree(&outside), [""; 0]);
    assert!(!fixture.upper().join("run").exists());
}

#[test]
fn mounts_of_every_kind() {
    let fixture = Fixture::new();
    let [source, one, two] = ["source", "one", "two"].map(|name| fixture.directory.path().join(name));
    for directory in [&source, &one.join("d"), &two.join("d")] {
        fs::create_dir_all(directory).unwrap();
    }
    fs::write(source.join("f"), "f").unwrap();
    fs::write(one.join("d/a"), "1").unwrap();
    fs::write(two.join("d/a"), "2").unwrap();
    fs::write(two.join("d/b"), "2").unwrap();
    symlink("/d", two.join("link")).unwrap();
    let layers = |source: &str, writable| MountKind::Layers {
        lowers: vec![one.clone(), two.clone()],
        source: source.into(),
        writable,
    };
    let mounts = vec![
        bind(&source, "/ro", true),
        bind(&source, "/rw", false),
        mount(MountKind::Discard { source: source.clone() }, "/discard"),
        mount(MountKind::Discard { source: source.join("f") }, "/discard-file"),
        mount(layers("/link", false), "/layers"),
        mount(layers("/d/b", true), "/layer-file"),
        mount(MountKind::Tmpfs { size_bytes: Some(4096), readonly: false }, "/small"),
    ];
    let script = "touch /ro/x 2>/dev/null || echo ro; echo rw > /rw/new; echo lost > /discard/f; cat /discard/f; echo lost > /discard-file; \
                  cat /layers/a /layers/b /layer-file; touch /layers/x 2>/dev/null || echo ro; echo w > /layer-file; \
                  dd if=/dev/zero of=/small/x bs=4k count=4 2>/dev/null || echo full";
    assert_eq!(fixture.ok(&Process { mounts, ..process(script) }), "ro\nlost\n222ro\nfull\n");
    assert_eq!(tree(&source), ["f", "new"]);
    assert_eq!(fs::read_to_string(source.join("f")).unwrap(), "f");
    assert_eq!(tree(&two), ["d/", "d/a", "d/b", "link"]);
    assert_eq!(tree(&fixture.upper()), ["etc/"], "the parent of what was mounted in it");
    assert_eq!(
        tree(&fixture.directory.path().join("work")).iter().filter(|path| path.starts_with(".yadokari")).count(),
        0
    );
}

#[test]
fn the_working_directory_is_made_and_stays() {
    let fixture = Fixture::new();
    let process = Process { user: "app".into(), workdir: "/srv/app".into(), ..process("/bin/busybox pwd; touch x") };
    assert_eq!(fixture.ok(&process), "/srv/app\n");
    for path in ["srv", "srv/app"] {
        let metadata = fixture.upper().join(path).metadata().unwrap();
        assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o7777), (1000, 1001, 0o755), "{path}");
    }
    let file = Process { workdir: "/etc/passwd".into(), ..process };
    let error = fixture.run(&file).err().unwrap().to_string();
    assert!(error.contains("/etc/passwd") && error.to_lowercase().contains("not a directory"), "{error}");
}

#[test]
fn many_layers_few_layers_none() {
    let mut fixture = Fixture::new();
    let long = "l".repeat(200);
    for number in 0..199 {
        let layer = fixture.directory.path().join(format!("{long}{number}"));
        fs::create_dir(&layer).unwrap();
        fs::write(layer.join("top"), number.to_string()).unwrap();
        fs::write(layer.join(format!("f{number}")), "").unwrap();
        fixture.lowers.push(layer);
    }
    assert_eq!(fixture.sh("cat /top; ls -d /f* | wc -l"), "198199\n");

    let empty = Fixture { lowers: Vec::new(), ..Fixture::new() };
    fs::copy("/bin/busybox", empty.upper().join("sh")).unwrap();
    let process = Process { argv: ["/sh", "-c", "echo hi > /new"].map(Into::into).into(), ..process("") };
    empty.ok(&process);
    // As with BuildKit (golden case from-scratchish), a bare root keeps these three.
    assert_eq!(tree(&empty.upper()), ["dev/", "new", "proc/", "sh", "sys/"]);
}
