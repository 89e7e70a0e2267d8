//! Steps on real roots: overlays and plain trees made of busybox, and a container of our own
//! for running in place. Needs root, and busybox at /bin/busybox.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod fixture;
mod in_place;
mod mounts;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use fixture::{Fixture, bind, process, run_on, sandbox, tree};
use rustix::fs::{FileType, Mode};
use yadokari::plan::Network;
use yadokari::sandbox::{Exit, OverlaySandbox, Process, Root, Sandbox, SandboxError};

#[test]
fn a_step_sees_its_root_and_its_exit_is_told() {
    let fixture = Fixture::new();
    assert_eq!(fixture.sh("echo hello; ls /"), "hello\nbin\ndev\netc\nhome\nproc\nsys\ntmp\n");
    let ended = fixture.run(&process("echo no >&2; exit 3")).unwrap();
    assert_eq!((ended.exit, ended.stderr.as_str()), (Exit::Code(3), "no\n"));
    // Only the kernel kills the first process of a namespace.
    assert_eq!(fixture.sh("kill -9 $$; echo alive"), "alive\n");
    assert_eq!(fixture.run(&process("ulimit -t 1; while :; do :; done")).unwrap().exit, Exit::Signal(9));
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
    assert_eq!(fixture.sh("echo $$ $PPID; readlink /proc/1/exe; exit 0"), "1 0\n/bin/busybox\n");
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
    assert!(text.starts_with("uid=1000(app) gid=1001(app) groups=44(video),1001(app)\n"), "{text}");
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

/// Kills another process that runs [`endless_step`]; the pipe ends when nobody has it open.
#[test]
fn a_step_ends_with_its_executor() {
    let fixture = Fixture::new();
    let pipe = fixture.directory.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let mut executor = Command::new(std::env::current_exe().unwrap());
    executor.args(["--ignored", "--exact", "endless_step", "--nocapture"]).stdout(Stdio::null());
    // What it leaves, for it cannot clean up.
    executor.env(PIPE, &pipe).env("TMPDIR", fixture.directory.path());
    let mut executor = executor.spawn().unwrap();
    let mut reader = BufReader::new(fs::File::open(&pipe).unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    executor.kill().unwrap();
    executor.wait().unwrap();
    reader.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
}

const PIPE: &str = "YADOKARI_TEST_PIPE";

#[test]
#[ignore = "only for a_step_ends_with_its_executor, which kills it"]
fn endless_step() {
    let pipe = std::env::var_os(PIPE).unwrap();
    let fixture = Fixture::new();
    let process = process("exec > /pipe; echo ready; sleep 1000 & (sleep 1000 &); sleep 1000");
    fixture.ok(&Process { mounts: vec![bind(pipe.as_ref(), "/pipe", false)], ..process });
}

#[test]
fn no_network_but_loopback() {
    let fixture = Fixture::new();
    let text = fixture.ok(&Process { network: Network::None, ..process("ip -o link; ip -o -4 addr show lo") });
    assert!(text.contains("lo: <LOOPBACK,UP") && text.contains("127.0.0.1/8"), "{text}");
    assert_eq!(text.lines().filter(|line| line.contains("UP")).count(), 1, "{text}");
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
