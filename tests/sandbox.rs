//! Steps on real roots: overlays and plain trees made of busybox, and a container of our own
//! for running in place. Needs root, and busybox at /bin/busybox.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use yadokari::plan::Network;
use yadokari::sandbox::{
    Exit, InPlaceSandbox, Mount, MountKind, OverlaySandbox, Process, Root, Sandbox, SandboxError, Stream,
};

const APPLETS: [&str; 24] = [
    "sh", "cat", "ls", "id", "echo", "mount", "hostname", "ps", "sleep", "stat", "touch", "mkdir", "rm", "readlink",
    "env", "true", "kill", "chmod", "ip", "find", "wc", "umask", "dd", "mv",
];

/// Layers, upper and work directory of one step after the other.
struct Fixture {
    directory: TempDir,
    lowers: Vec<PathBuf>,
}

struct Ended {
    exit: Exit,
    stdout: String,
    stderr: String,
}

impl Fixture {
    /// One layer with busybox and a few users.
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path().join("base");
        make_root(&base);
        for name in ["upper", "work"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        Self { lowers: vec![base], directory }
    }

    fn upper(&self) -> PathBuf {
        self.directory.path().join("upper")
    }

    fn base(&self, path: &str) -> PathBuf {
        self.lowers[0].join(path)
    }

    fn run(&self, process: &Process) -> Result<Ended, SandboxError> {
        let work = self.directory.path().join("work");
        let root = Root::Overlay { lowers: &self.lowers, upper: &self.upper(), work: &work, user_xattr: false };
        run_on(&sandbox(), process, &root)
    }

    /// Runs a script that must work; returns what it wrote.
    fn sh(&self, script: &str) -> String {
        self.ok(&process(script))
    }

    fn ok(&self, process: &Process) -> String {
        let ended = self.run(process).unwrap();
        assert_eq!(ended.exit, Exit::Code(0), "{}{}", ended.stdout, ended.stderr);
        ended.stdout
    }
}

fn sandbox() -> OverlaySandbox {
    OverlaySandbox::new(env!("CARGO_BIN_EXE_executor").into())
}

fn run_on(sandbox: &dyn Sandbox, process: &Process, root: &Root<'_>) -> Result<Ended, SandboxError> {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let exit = sandbox.run(process, root, &mut |stream, bytes| match stream {
        Stream::Stdout => stdout.extend_from_slice(bytes),
        Stream::Stderr => stderr.extend_from_slice(bytes),
    })?;
    Ok(Ended { exit, stdout: String::from_utf8(stdout).unwrap(), stderr: String::from_utf8(stderr).unwrap() })
}

fn make_root(base: &Path) {
    for path in ["bin", "etc", "home/app", "tmp"] {
        fs::create_dir_all(base.join(path)).unwrap();
    }
    fs::copy("/bin/busybox", base.join("bin/busybox")).unwrap();
    for applet in APPLETS {
        symlink("busybox", base.join("bin").join(applet)).unwrap();
    }
    fs::write(base.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n").unwrap();
    fs::write(base.join("etc/group"), "root:x:0:\napp:x:1001:\nvideo:x:44:app\n").unwrap();
    fs::set_permissions(base.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
}

fn process(script: &str) -> Process {
    Process {
        argv: ["/bin/sh", "-c", script].map(Into::into).into(),
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        user: String::new(),
        workdir: "/".into(),
        hostname: "buildkitsandbox".into(),
        network: Network::Default,
        mounts: Vec::new(),
    }
}

fn mount(kind: MountKind, target: &str) -> Mount {
    Mount { kind, target: target.into() }
}

fn bind(source: &Path, target: &str, readonly: bool) -> Mount {
    mount(MountKind::Bind { source: source.into(), readonly }, target)
}

/// Every path below `root`, sorted, directories with a slash.
fn tree(root: &Path) -> Vec<String> {
    fn walk(root: &Path, directory: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let is_dir = path.symlink_metadata().unwrap().is_dir();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap();
            found.push(format!("{name}{}", if is_dir { "/" } else { "" }));
            if is_dir {
                walk(root, &path, found);
            }
        }
    }
    let mut found = Vec::new();
    walk(root, root, &mut found);
    found.sort();
    found
}

#[test]
fn a_step_sees_its_root_and_its_exit_is_told() {
    let fixture = Fixture::new();
    assert_eq!(fixture.sh("echo hello; ls /"), "hello\nbin\ndev\netc\nhome\nproc\nsys\ntmp\n");
    let ended = fixture.run(&process("echo no >&2; exit 3")).unwrap();
    assert_eq!((ended.exit, ended.stderr.as_str()), (Exit::Code(3), "no\n"));
    assert_eq!(fixture.run(&process("kill -9 $$")).unwrap().exit, Exit::Signal(9));
}

#[test]
fn the_environment_is_the_given_one() {
    let fixture = Fixture::new();
    let mut process = process("env");
    process.env.push(("A".into(), "b c=d".into()));
    let env = fixture.ok(&process);
    let mut lines: Vec<_> =
        env.lines().filter(|line| !line.starts_with("PWD=") && !line.starts_with("SHLVL=")).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["A=b c=d", "HOME=/root", "PATH=/usr/bin:/bin"]);
}

#[test]
fn nothing_of_the_executor_is_in_reach() {
    let fixture = Fixture::new();
    // A descriptor that is not closed at exec, as a careless library might leave behind.
    let leak = fs::File::open("/etc/passwd").unwrap();
    rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).unwrap();
    assert_eq!(fixture.sh("ls /proc/self/fd"), "0\n1\n2\n3\n", "3 is ls's own");
    assert_eq!(fixture.sh("readlink /proc/self/fd/0"), "/dev/null\n");
    assert_eq!(fixture.sh("cat /proc/1/environ 2>/dev/null | wc -c; readlink /proc/1/exe || echo no"), "0\nno\n");
    let pids = fixture.sh("ls /proc | grep -c '^[0-9]' || ls -d /proc/[0-9]* | wc -l");
    assert!(pids.trim().parse::<u32>().unwrap() <= 5, "{pids}");
}

#[test]
fn the_host_is_protected() {
    let fixture = Fixture::new();
    let script = "for f in /proc/sys/kernel/core_pattern /proc/sysrq-trigger; do echo x 2>/dev/null > $f && echo wrote $f; done; \
                  cat /proc/kcore | wc -c; mkdir /sys/x 2>/dev/null || echo ro; mount -t tmpfs x /tmp 2>/dev/null || echo no mount";
    assert_eq!(fixture.sh(script), "0\nro\nno mount\n");
    let caps = fixture.sh("cat /proc/self/status");
    let line = |name: &str| caps.lines().find(|line| line.starts_with(name)).unwrap().split('\t').nth(1).unwrap();
    // Docker's default set.
    assert_eq!([line("CapEff"), line("CapPrm"), line("CapBnd")], ["00000000a80425fb"; 3]);
    assert_eq!([line("CapInh"), line("CapAmb"), line("NoNewPrivs")], ["0000000000000000", "0000000000000000", "0"]);
}

#[test]
fn other_users_have_no_capabilities() {
    let fixture = Fixture::new();
    let process =
        Process { user: "app".into(), ..process("id; cat /proc/self/status; echo $HOME; echo ok > /dev/stdout") };
    let text = fixture.ok(&process);
    assert!(text.starts_with("uid=1000(app) gid=1001(app) groups=44(video)\n"), "{text}");
    assert!(text.contains("CapEff:\t0000000000000000\n") && text.ends_with("/home/app\nok\n"), "{text}");
}

#[test]
fn unknown_users_are_named() {
    let fixture = Fixture::new();
    for (user, expected) in [
        ("ghost", "unable to find user ghost: no matching entries in passwd file"),
        ("app:ghosts", "unable to find group ghosts: no matching entries in group file"),
    ] {
        let error = fixture.run(&Process { user: user.into(), ..process("true") }).err().unwrap();
        assert_eq!(error.to_string(), expected);
    }
    let numeric = Process { user: "4242:4243".into(), ..process("id -u; id -g; echo $HOME") };
    assert_eq!(fixture.ok(&numeric), "4242\n4243\n/\n");
}

#[test]
fn programs_that_cannot_run() {
    let fixture = Fixture::new();
    fs::write(fixture.base("bin/plain"), "echo no shebang").unwrap();
    fs::set_permissions(fixture.base("bin/plain"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(fixture.base("bin/lost"), "#!/nowhere\n").unwrap();
    fs::set_permissions(fixture.base("bin/lost"), fs::Permissions::from_mode(0o755)).unwrap();
    for (program, code, message) in [
        ("x", 127, "exec: \"x\": executable file not found in $PATH\n"),
        ("/x", 127, "exec: \"/x\": stat /x: no such file or directory\n"),
        ("/etc/passwd", 126, "exec: \"/etc/passwd\": permission denied\n"),
        ("/etc", 126, "exec: \"/etc\": permission denied\n"),
        ("plain", 126, "exec /bin/plain: exec format error\n"),
        ("lost", 127, "exec /bin/lost: no such file or directory\n"),
    ] {
        let ended = fixture.run(&Process { argv: vec![program.into()], ..process("") }).unwrap();
        assert_eq!((ended.exit, ended.stderr.as_str()), (Exit::Code(code), message), "{program}");
    }
}

#[test]
fn what_a_step_finds() {
    let fixture = Fixture::new();
    assert_eq!(
        fixture.sh("hostname; umask; stat -c %a /dev/shm /dev/mqueue /dev/pts"),
        "buildkitsandbox\n0022\n1777\n1777\n755\n"
    );
    let hosts = fixture.sh("cat /etc/hosts");
    assert!(hosts.starts_with("127.0.0.1\tlocalhost buildkitsandbox\n::1\tlocalhost "), "{hosts}");
    assert_eq!(fixture.sh("cat /etc/resolv.conf"), fs::read_to_string("/etc/resolv.conf").unwrap_or_default());
    let script = "echo x > /etc/hosts || echo ro; for d in null zero full random urandom tty; do test -c /dev/$d || echo $d; done; \
                  for l in fd stdin ptmx; do readlink /dev/$l; done; echo x > /dev/null; ls -a /dev | grep '^\\.[a-z]'; true";
    let ended = fixture.run(&process(script)).unwrap();
    assert_eq!(ended.stdout, "ro\n/proc/self/fd\n/proc/self/fd/0\npts/ptmx\n");
}

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
        mount(MountKind::Tmpfs { size_bytes: Some(1 << 20) }, "/cache"),
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
        mount(MountKind::Tmpfs { size_bytes: Some(4096) }, "/small"),
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
fn background_processes_end_with_the_step() {
    let fixture = Fixture::new();
    let start = Instant::now();
    assert_eq!(fixture.sh("sleep 1000 & (sleep 1000 &) ; echo done"), "done\n");
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn orphans_are_reaped() {
    let fixture = Fixture::new();
    let text = fixture.sh("for i in 1 2 3; do (sleep 0 &); done; sleep 0.3; ps -o stat,comm | { while read s c; do case $s in Z*) echo zombie $c;; esac; done; }");
    assert_eq!(text, "");
}

#[test]
fn a_step_can_be_cancelled() {
    let fixture = Fixture::new();
    let sandbox = sandbox();
    let cancel = sandbox.cancel();
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            receiver.recv().unwrap();
            cancel.cancel();
        });
        let work = fixture.directory.path().join("work");
        let root = Root::Overlay { lowers: &fixture.lowers, upper: &fixture.upper(), work: &work, user_xattr: false };
        let result = sandbox.run(&process("echo ready; sleep 1000"), &root, &mut |_, _| sender.send(()).unwrap());
        assert!(matches!(result, Err(SandboxError::Cancelled)), "{result:?}");
        let again = sandbox.run(&process("true"), &root, &mut |_, _| {});
        assert!(matches!(again, Err(SandboxError::Cancelled)), "{again:?}");
    });
}

#[test]
fn no_network_but_loopback() {
    let fixture = Fixture::new();
    let text = fixture.ok(&Process { network: Network::None, ..process("ip -o link; ip -o -4 addr show lo") });
    assert!(text.contains("lo: <LOOPBACK,UP") && text.contains("127.0.0.1/8"), "{text}");
    assert_eq!(text.lines().filter(|line| line.contains("UP")).count(), 1, "{text}");
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
    assert_eq!(tree(&empty.upper()), ["new", "sh"]);
}

#[test]
fn a_plain_tree_is_changed_in_place() {
    let fixture = Fixture::new();
    let before = tree(&fixture.lowers[0]);
    let root = Root::Directory { path: &fixture.lowers[0] };
    let ended = run_on(&sandbox(), &process("echo hi; touch /new"), &root).unwrap();
    assert_eq!((ended.exit, ended.stdout.as_str()), (Exit::Code(0), "hi\n"));
    let after: Vec<_> = tree(&fixture.lowers[0]).into_iter().filter(|path| path != "new").collect();
    assert_eq!(after, before);
}

#[test]
fn much_output_arrives_whole() {
    let fixture = Fixture::new();
    assert_eq!(fixture.sh("dd if=/dev/zero bs=1M count=20 2>/dev/null").len(), 20 << 20);
}

#[test]
fn setuid_programs_work() {
    let fixture = Fixture::new();
    fs::write(fixture.base("etc/passwd"), "root::0:0::/:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n").unwrap();
    fs::create_dir(fixture.base("suid")).unwrap();
    fs::copy("/bin/busybox", fixture.base("suid/su")).unwrap();
    fs::set_permissions(fixture.base("suid/su"), fs::Permissions::from_mode(0o4755)).unwrap();
    let process = Process { user: "app".into(), ..process("id -u; /suid/su root -c 'id -u'") };
    assert_eq!(fixture.ok(&process), "1000\n0\n");
}

#[test]
fn a_helper_that_is_none_is_named() {
    let fixture = Fixture::new();
    let root = Root::Directory { path: &fixture.lowers[0] };
    let missing = run_on(&OverlaySandbox::new("/nowhere/x".into()), &process("true"), &root).err().unwrap();
    assert!(missing.to_string().contains("/nowhere/x"), "{missing}");
    let other = run_on(&OverlaySandbox::new("/bin/true".into()), &process("true"), &root).err().unwrap();
    assert!(matches!(other, SandboxError::Lost(_)), "{other}");
}

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
    let argv = ["/kaniko/test", "--ignored", "--exact", "steps_in_place", "--nocapture"].map(Into::into).into();
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
    let sandbox = InPlaceSandbox::new("/kaniko/executor".into()).unwrap();
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
    let before = Path::new("/full").metadata().unwrap().mtime();

    let mounts = vec![
        bind(secret, "/run/secrets/token", true),
        bind(cache, "/root/.cache", false),
        bind(source, "/full", true),
        mount(MountKind::Tmpfs { size_bytes: None }, "/scratch"),
        bind(secret, "/dev/pipes/script", true),
    ];
    let script = "stat -c %a /run/secrets/token; cat /run/secrets/token /dev/pipes/script /full/d/f; ls /full; echo c > /root/.cache/c; \
                  touch /scratch/x /full/x /kept; sleep 1000 & (sleep 1000 &); echo $HOME $FROM_TEST; cat /proc/$PPID/environ | wc -c";
    let ended = run(&Process { mounts: mounts.clone(), ..process(script) });
    assert_eq!(ended.stdout, "400\ns3crets3cretfd\n/root\n0\n", "{}", ended.stderr);
    assert_eq!(ended.exit, Exit::Code(0));
    for gone in ["/run", "/scratch", "/dev/pipes", "/root"] {
        assert!(!Path::new(gone).exists(), "{gone}");
    }
    assert_eq!(tree(Path::new("/full")), ["own"]);
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

    for path in ["/tmp/source", "/tmp/cache", "/full"] {
        fs::remove_dir_all(path).unwrap();
    }
    fs::remove_file(secret).unwrap();
}
