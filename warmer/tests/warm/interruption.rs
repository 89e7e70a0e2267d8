//! Warmers that are killed, or wait for each other, while a blob is under way.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::world::{World, damage, succeed, text};

/// Passes on what a registry says, up to a number of bytes; then it goes silent.
struct Proxy {
    address: String,
    allowed: Arc<AtomicU64>,
    passed: Arc<AtomicU64>,
    connections: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    fn new(registry: &str, allowed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("port");
        let address = listener.local_addr().expect("address").to_string();
        let (allowed, passed) = (Arc::new(AtomicU64::new(allowed)), Arc::new(AtomicU64::new(0)));
        let connections: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        let proxy =
            Self { address, allowed: allowed.clone(), passed: passed.clone(), connections: connections.clone() };
        let registry = registry.to_owned();
        // Ends with the test program.
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let far = TcpStream::connect(&registry).expect("registry");
                let both = || (near.try_clone().expect("socket"), far.try_clone().expect("socket"));
                connections.lock().unwrap_or_else(PoisonError::into_inner).extend([both().0, both().1]);
                let (near_end, far_end) = both();
                thread::spawn(move || drop(std::io::copy(&mut &near_end, &mut &far_end)));
                let (near_end, far_end) = both();
                let (allowed, passed) = (allowed.clone(), passed.clone());
                thread::spawn(move || answer(&far_end, &near_end, &allowed, &passed));
            }
        });
        proxy
    }

    fn allow_all(&self) {
        self.allowed.store(u64::MAX, Ordering::SeqCst);
    }

    fn cut_all(&self) {
        for connection in self.connections.lock().expect("connections").drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

fn answer(mut far: &TcpStream, mut near: &TcpStream, allowed: &AtomicU64, passed: &AtomicU64) {
    let mut buffer = [0; 16 << 10];
    while let Ok(count @ 1..) = far.read(&mut buffer) {
        while passed.load(Ordering::SeqCst) >= allowed.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(5));
        }
        if near.write_all(&buffer[..count]).is_err() {
            break;
        }
        passed.fetch_add(count as u64, Ordering::SeqCst);
    }
    let _ = near.shutdown(Shutdown::Write);
}

/// Bytes of the large layer, and where the proxy stops.
const LARGE: usize = 6_000_000;
const STOP: u64 = 4_000_000;

/// An image with one large layer; its name through the proxy.
fn large(world: &World, proxy: &Proxy) -> String {
    let context = tempfile::tempdir().expect("directory");
    let mut noise = vec![0; LARGE];
    fs::File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut noise)).expect("noise");
    fs::write(context.path().join("noise"), noise).expect("file");
    fs::write(context.path().join("Dockerfile"), "FROM scratch\nCOPY noise /\n").expect("Dockerfile");
    let output = crate::executor().arg("-c").arg(context.path()).args(["-d", &world.name("large:1")]).output();
    succeed(output.expect("executor runs"));
    format!("{}/large:1", proxy.address)
}

fn start(world: &World, image: &str) -> Child {
    world.warmer().args(["-i", image]).stderr(Stdio::piped()).spawn().expect("warmer runs")
}

fn partial(world: &World) -> Option<PathBuf> {
    let mut entries = fs::read_dir(world.cache().join("partial")).ok()?;
    Some(entries.next()?.expect("entry").path())
}

/// Waits until the store has all of what the proxy passes on.
fn wait_for_partial(world: &World) -> (PathBuf, u64) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(path) = partial(world) {
            let size = fs::metadata(&path).map_or(0, |metadata| metadata.len());
            if size > STOP * 3 / 4 {
                return (path, size);
            }
        }
        assert!(Instant::now() < deadline, "nothing is fetched");
        thread::sleep(Duration::from_millis(10));
    }
}

fn killed(world: &World, proxy: &Proxy, image: &str) -> (PathBuf, u64) {
    let mut warmer = start(world, image);
    let (path, _) = wait_for_partial(world);
    warmer.kill().expect("kill");
    warmer.wait().expect("ended");
    proxy.cut_all();
    proxy.allow_all();
    proxy.passed.store(0, Ordering::SeqCst);
    let size = fs::metadata(&path).expect("partial blob").len();
    (path, size)
}

#[test]
fn a_killed_warmer_is_gone_on_with_by_range() {
    let world = World::new();
    let proxy = Proxy::new(&world.address, STOP);
    let image = large(&world, &proxy);
    let (path, size) = killed(&world, &proxy, &image);
    assert!(world.warm(&["-i", &image]).contains(": stored, "));
    let rest = LARGE as u64 - size;
    let passed = proxy.passed.load(Ordering::SeqCst);
    assert!((rest..rest + 100_000).contains(&passed), "{passed} bytes for {rest}");
    assert!(!path.exists());
    assert!(world.warm(&["-i", &image, "--force"]).contains(": stored, "), "all bytes are right");
}

#[test]
fn what_a_killed_warmer_left_is_not_trusted() {
    let world = World::new();
    let proxy = Proxy::new(&world.address, STOP);
    let image = large(&world, &proxy);
    let (path, _) = killed(&world, &proxy, &image);
    damage(&path);
    let said = world.warm(&["-i", &image]);
    assert!(said.contains("left of sha256:") && said.contains("is damaged; fetching it again"), "{said}");
    assert!(!path.exists());
    assert!(!world.warm(&["-i", &image, "--force"]).contains("damaged"));
}

#[test]
fn warmers_wait_for_each_other_and_fetch_a_blob_once() {
    let world = World::new();
    let proxy = Proxy::new(&world.address, STOP);
    let image = large(&world, &proxy);
    let first = start(&world, &image);
    wait_for_partial(&world);
    let second = start(&world, &image);
    // It has no way to say that it waits; what counts is that no byte passes twice.
    thread::sleep(Duration::from_millis(300));
    proxy.allow_all();
    for warmer in [first, second] {
        succeed(warmer.wait_with_output().expect("ended"));
    }
    assert!(proxy.passed.load(Ordering::SeqCst) < LARGE as u64 + 100_000);
    assert_eq!(partial(&world), None);
}

#[test]
fn a_signal_ends_a_warmer_and_leaves_what_it_has() {
    let world = World::new();
    let proxy = Proxy::new(&world.address, u64::MAX);
    let image = large(&world, &proxy);
    proxy.allowed.store(proxy.passed.load(Ordering::SeqCst) + STOP, Ordering::SeqCst);
    let warmer = start(&world, &image);
    let (path, _) = wait_for_partial(&world);
    crate::run("kill", &["-TERM", &warmer.id().to_string()]);
    // It is noticed between two pieces.
    proxy.allow_all();
    let output = warmer.wait_with_output().expect("ended");
    assert_eq!(output.status.code(), Some(130), "{}", text(&output));
    assert!(path.exists() && world.warmed().is_empty());
}

#[test]
fn a_blob_of_many_images_is_fetched_once() {
    let world = World::new();
    let common = world.push("common:1", "FROM scratch\nCOPY tree /\n", &[]);
    let names: Vec<String> = (0..4)
        .map(|n| world.push(&format!("own{n}:1"), &format!("FROM HOST/common:1\nCOPY <<E /own\n{n}\nE\n"), &[]))
        .collect();
    let arguments: Vec<&str> = names.iter().chain([&common]).flat_map(|name| ["-i", name]).collect();
    let before = world.log_lines("/blobs/").len();
    world.warm(&arguments);
    // Five configurations, four layers and the one that all have.
    assert_eq!(world.log_lines("/blobs/").len() - before, 10);
}

#[test]
fn nothing_is_removed_under_a_running_warmer() {
    const HOUR: Duration = Duration::from_secs(3600);
    let world = World::new();
    let proxy = Proxy::new(&world.address, STOP);
    let image = large(&world, &proxy);
    let warmer = start(&world, &image);
    wait_for_partial(&world);
    let leases =
        || fs::read_dir(world.cache().join("leases")).expect("leases").map(|entry| entry.expect("entry").path());
    let lease = leases().next().expect("a running warmer is declared");
    // As if it had begun three hours ago, stored one blob two hours ago, and found another six hours ago.
    let mut holder: serde_json::Value = serde_json::from_slice(&fs::read(&lease).expect("lease")).expect("JSON");
    holder["since"] = (holder["since"].as_u64().expect("seconds") - 3 * HOUR.as_secs()).into();
    fs::write(&lease, holder.to_string()).expect("lease");
    let blob = |hours: u32| {
        let path = world.cache().join("blobs/sha256").join(format!("{hours:064}"));
        let file = fs::File::create(&path).expect("blob");
        file.set_modified(std::time::SystemTime::now() - HOUR * hours).expect("time");
        path
    };
    let (written, unused) = (blob(2), blob(6));
    let prune = || {
        let mut prune = crate::executor();
        prune.args(["cache", "prune", "--older-than=1h", "--cache-dir"]).arg(world.cache());
        succeed(prune.output().expect("executor runs"))
    };
    let said = prune();
    assert!(written.exists() && !unused.exists(), "{said}");
    proxy.allow_all();
    succeed(warmer.wait_with_output().expect("ended"));
    // It does not know its own lease any more, which is another's by what it says now.
    fs::remove_file(&lease).expect("lease");
    assert_eq!(leases().count(), 0);
    let said = prune();
    assert!(!written.exists(), "{said}");
}
