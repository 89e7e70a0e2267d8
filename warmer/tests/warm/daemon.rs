//! `--interval` and `--listen`.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::world::{World, free_port, run, text};

struct Daemon {
    process: Child,
    address: String,
}

impl Daemon {
    fn start(world: &World, arguments: &[&str]) -> Self {
        let port = free_port();
        let address = format!("127.0.0.1:{port}");
        let mut command = world.warmer();
        command.args(["--interval", "1s", "--listen", &address]).args(arguments);
        let process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("warmer runs");
        Self { process, address }
    }

    /// Status line and body; empty as long as nobody listens.
    fn get(&self, path: &str) -> String {
        let mut answer = String::new();
        if let Ok(mut stream) = TcpStream::connect(&self.address) {
            let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address);
            stream.write_all(request.as_bytes()).expect("request");
            stream.read_to_string(&mut answer).expect("answer");
        }
        answer
    }

    fn wait_for(&self, path: &str, part: &str) {
        wait(&format!("{path} says {part}"), || self.get(path).contains(part));
    }

    /// Exit code and words.
    fn terminate(self) -> (Option<i32>, String) {
        run("kill", &["-TERM", &self.process.id().to_string()]);
        let output = self.process.wait_with_output().expect("ended");
        (output.status.code(), text(&output))
    }
}

fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_daemon_follows_a_tag_without_fetching_what_it_has() {
    let mut world = World::new();
    let name = world.push_small("one:1", "before");
    let daemon = Daemon::start(&world, &["-i", &name]);
    daemon.wait_for("/readyz", " 200 OK");
    daemon.wait_for("/metrics", "yadokari_warmer_images_total{outcome=\"stored\"} 1");
    let fetches = world.fetches();
    daemon.wait_for("/metrics", "yadokari_warmer_images_total{outcome=\"cached\"} 2");
    assert_eq!(world.fetches(), fetches, "a HEAD is enough");
    world.push_small("one:1", "after");
    let digest = world.manifest(&name).1;
    wait("the moved tag is there", || world.index()[0]["digest"] == digest.as_str());
    assert!(daemon.get("/metrics").contains("# EOF"));
    world.stop_registry();
    daemon.wait_for("/readyz", " 503 ");
    assert!(daemon.get("/healthz").contains(" 200 OK") && daemon.get("/other").contains(" 404 "));
    let (code, said) = daemon.terminate();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("looking again in") && said.contains("ended by a signal"), "{said}");
}

#[test]
fn a_daemon_that_cannot_begin_ends() {
    let world = World::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("port");
    let address = taken.local_addr().expect("address").to_string();
    let (code, said) = world.warm_in_vain(&["-i", "a", "--interval", "1h", "--listen", &address]);
    assert!(code == Some(1) && said.contains(&address), "{said}");
    for wrong in
        [&["--interval", "0s"][..], &["--listen", "127.0.0.1:0"], &["--interval", "1h", "--customPlatform", "x"]]
    {
        let (code, said) = world.warm_in_vain(&[&["-i", "a"], wrong].concat());
        assert_eq!(code, Some(2), "{said}");
    }
}

#[test]
fn a_daemon_reads_its_dockerfile_anew_and_outlives_a_wrong_one() {
    let world = World::new();
    let (one, two) = (world.push_small("one:1", "one"), world.push_small("two:1", "two"));
    let context = world.context("FROM HOST/one:1\n");
    let dockerfile = context.path().join("Dockerfile");
    let daemon = Daemon::start(&world, &["-d", dockerfile.to_str().expect("path")]);
    daemon.wait_for("/readyz", " 200 OK");
    assert_eq!(world.warmed(), std::slice::from_ref(&one));
    std::fs::write(&dockerfile, "FETCH\n").expect("write");
    daemon.wait_for("/readyz", " 503 ");
    std::fs::write(&dockerfile, format!("FROM {two}\n")).expect("write");
    daemon.wait_for("/readyz", " 200 OK");
    wait("both are there", || world.warmed() == [one.clone(), two.clone()]);
    let (code, said) = daemon.terminate();
    assert_eq!(code, Some(0));
    assert!(said.contains("unknown instruction: FETCH"), "{said}");
}
