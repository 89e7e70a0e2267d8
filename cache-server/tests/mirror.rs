//! The pull-through mirror, with a real registry behind it that stops, and with one that lies.

// Clippy takes only functions marked as tests for tests.
#![allow(clippy::expect_used)]

#[path = "../../tests/support/docker_registry.rs"]
mod docker_registry;
#[path = "mirror/lies.rs"]
mod lies;
#[path = "../../tests/support/port.rs"]
mod port;
mod registry;

use std::io::{BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use docker_registry::DockerRegistry;
use registry::command::serve_in;
use registry::{Registry, digest_of, image, noise, read_head};
use yadokari::digest::Digest;
use yadokari::image::media_type;
use yadokari::registry::{Client, ClientOptions, Credentials};

struct Mirror {
    registry: Registry,
    _directory: tempfile::TempDir,
}

impl Mirror {
    fn of(address: &str, tag_ttl: &str) -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let data = directory.path().join("data");
        let mut command = serve_in(&data);
        command.args(["--mirror-tag-ttl", tag_ttl, "--mirror"]).arg(format!("docker.io=http://{address}"));
        command.env("DOCKER_CONFIG", directory.path());
        Self { registry: Registry::start_command(command, &data), _directory: directory }
    }
}

/// Pushes an image with one layer to a registry; returns its manifest.
fn push(address: &str, name: &str, layer: &[u8]) -> serde_json::Value {
    let client = Client::new(ClientOptions::default(), Credentials::none()).expect("a client");
    let to: yadokari::image::Reference = format!("{address}/{name}").parse().expect("a reference");
    for blob in [layer, b"{}"] {
        let bytes = blob.to_vec();
        let open = move || Ok(Box::new(std::io::Cursor::new(bytes.clone())) as Box<dyn Read + Send>);
        let descriptor = yadokari::image::Descriptor::of(media_type::OCI_LAYER, blob);
        client.push_blob(&to, &descriptor, &open, &|_| {}).expect("pushed");
    }
    let manifest = image(layer);
    client.push_manifest(&to, media_type::OCI_MANIFEST, manifest.to_string().as_bytes()).expect("pushed");
    manifest
}

#[test]
fn images_come_from_the_registry_once_and_stay() {
    let mut upstream = DockerRegistry::start(docker_registry::plain);
    let layer = noise(3_000_000);
    let manifest = push(&upstream.address, "library/alpine:3", &layer);
    let Mirror { registry: mirror, _directory } = Mirror::of(&upstream.address, "3600");
    let blob = Digest::sha256(&layer);
    // As containerd asks, as Docker's registry-mirrors ask, and by its own name.
    for (repository, query) in
        [("library/alpine", "?ns=docker.io"), ("library/alpine", ""), ("docker.io/library/alpine", "")]
    {
        let reply = mirror.get(&format!("/v2/{repository}/manifests/3{query}"));
        assert_eq!((reply.status, reply.body), (200, manifest.to_string().into_bytes()), "{repository}{query}");
        let named = reply.headers.iter().any(|(name, value)| name == "oci-namespace" && value == "docker.io");
        assert_eq!(named, !query.is_empty());
        assert_eq!(
            mirror.head(&format!("/v2/{repository}/blobs/{blob}{query}")).header("content-length"),
            Some("3000000")
        );
        assert!(mirror.get(&format!("/v2/{repository}/blobs/{blob}{query}")).body == layer);
        let part = mirror.send("GET", &format!("/v2/{repository}/blobs/{blob}{query}"), &[("Range", "bytes=5-9")], b"");
        assert_eq!((part.status, part.body), (206, layer[5..10].to_vec()));
        upstream.stop();
    }
    assert_eq!(mirror.get(&format!("/v2/library/alpine/manifests/{}", digest_of(&manifest))).status, 200);
    // What nobody has asked for cannot come: that is no 404.
    mirror.get("/v2/library/debian/manifests/12").is_error(502, "UNAVAILABLE");
    upstream.start_again();
    mirror.get("/v2/library/debian/manifests/12").is_error(404, "MANIFEST_UNKNOWN");
    mirror.get("/v2/library/alpine/manifests/nope?ns=docker.io").is_error(404, "MANIFEST_UNKNOWN");
}

#[test]
fn many_clients_make_one_request() {
    let layer = noise(2_000_000);
    let upstream = Scripted::start(layer.clone(), Behaviour::Right);
    let Mirror { registry: mirror, _directory } = Mirror::of(&upstream.address, "3600");
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                assert_eq!(mirror.get("/v2/a/b/manifests/v1").status, 200);
                assert!(mirror.get(&format!("/v2/a/b/blobs/{}", Digest::sha256(&layer))).body == layer);
            });
        }
    });
    assert_eq!(upstream.manifests.load(Ordering::SeqCst), 1);
    assert_eq!(upstream.blobs.load(Ordering::SeqCst), 1);
}

#[test]
fn a_tag_follows_the_registry_and_is_served_stale_without_it() {
    let mut upstream = DockerRegistry::start(docker_registry::plain);
    let first = push(&upstream.address, "a/b:v1", b"first");
    let Mirror { registry: mirror, _directory } = Mirror::of(&upstream.address, "0");
    let tagged = || mirror.get("/v2/a/b/manifests/v1?ns=docker.io");
    assert_eq!(tagged().header("docker-content-digest"), Some(&*digest_of(&first).to_string()));
    let second = push(&upstream.address, "a/b:v1", b"second");
    assert_eq!(tagged().header("docker-content-digest"), Some(&*digest_of(&second).to_string()));
    assert_eq!(tagged().header("warning"), None);
    upstream.stop();
    let stale = tagged();
    assert_eq!((stale.status, stale.body), (200, second.to_string().into_bytes()));
    let warning = stale.headers.iter().find(|(name, _)| name == "warning").map(|(_, value)| value.as_str());
    assert!(warning.is_some_and(|text| text.starts_with("110 ")), "{warning:?}");
    upstream.start_again();
    assert_eq!(tagged().header("warning"), None);
}

#[test]
fn lies_are_neither_passed_on_in_full_nor_kept() {
    let layer = noise(1_000_000);
    for behaviour in [Behaviour::WrongBytes, Behaviour::Short] {
        let upstream = Scripted::start(layer.clone(), behaviour);
        let Mirror { registry: mirror, _directory } = Mirror::of(&upstream.address, "3600");
        let path = format!("/v2/docker.io/a/b/blobs/{}", Digest::sha256(&layer));
        assert_eq!(mirror.get("/v2/docker.io/a/b/manifests/v1").status, 200);
        for _ in 0..2 {
            let mut stream = mirror.connect();
            let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).expect("sent");
            let mut answer = Vec::new();
            // It may break off with a reset.
            let _ = stream.read_to_end(&mut answer);
            assert!(
                answer.len() < layer.len() || answer.starts_with(b"HTTP/1.1 502"),
                "{behaviour:?} {}",
                answer.len()
            );
        }
        assert_eq!(kept_blobs(&mirror), 0, "{behaviour:?}");
    }
}

#[test]
fn nobody_pushes_to_a_mirror() {
    let upstream = DockerRegistry::start(docker_registry::plain);
    let Mirror { registry: mirror, _directory } = Mirror::of(&upstream.address, "3600");
    mirror.post("/v2/docker.io/a/blobs/uploads/").is_error(403, "DENIED");
    mirror.put_manifest("docker.io/a", "v1", &image(b"layer")).is_error(403, "DENIED");
    // Another name is nobody's copy.
    mirror.push_image("a", "v1");
    assert_eq!(mirror.get("/v2/a/manifests/v1").status, 200);
}

/// Blobs in the data directory or the bucket, whole or not.
fn kept_blobs(mirror: &Registry) -> usize {
    if registry::store::in_bucket() {
        return registry::store::objects(mirror.data(), "blobs/").len();
    }
    std::fs::read_dir(mirror.data().join("blobs")).expect("listed").count()
}

#[derive(Debug, Clone, Copy)]
enum Behaviour {
    Right,
    /// As many bytes as promised, others than promised.
    WrongBytes,
    /// The connection ends early, every time.
    Short,
}

/// A registry of one image that does as it is told.
struct Scripted {
    address: String,
    manifests: Arc<AtomicUsize>,
    blobs: Arc<AtomicUsize>,
}

impl Scripted {
    fn start(layer: Vec<u8>, behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("an address").to_string();
        let (manifests, blobs) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let counts = (Arc::clone(&manifests), Arc::clone(&blobs));
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (layer, counts) = (layer.clone(), counts.clone());
                std::thread::spawn(move || answer(stream, &layer, behaviour, &counts));
            }
        });
        Self { address, manifests, blobs }
    }
}

fn answer(mut stream: TcpStream, layer: &[u8], behaviour: Behaviour, counts: &(Arc<AtomicUsize>, Arc<AtomicUsize>)) {
    let mut reader = BufReader::new(stream.try_clone().expect("cloned"));
    let Some(lines) = read_head(&mut reader) else { return };
    let request = &lines[0];
    let is_get = request.starts_with("GET ");
    let (kind, body) = if request.contains("/manifests/v1") {
        counts.0.fetch_add(usize::from(is_get), Ordering::SeqCst);
        (media_type::OCI_MANIFEST, image(layer).to_string().into_bytes())
    } else if request.contains("/blobs/") {
        counts.1.fetch_add(usize::from(is_get), Ordering::SeqCst);
        std::thread::sleep(std::time::Duration::from_millis(200));
        ("application/octet-stream", layer.to_vec())
    } else {
        ("application/json", b"{}".to_vec())
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let is_blob = request.contains("/blobs/");
    let sent = match behaviour {
        Behaviour::WrongBytes if is_blob => vec![7; body.len()],
        Behaviour::Short if is_blob => body[..body.len() / 2].to_vec(),
        _ => body,
    };
    // The other side may have left.
    let _ = stream.write_all(head.as_bytes());
    let _ = if is_get { stream.write_all(&sent) } else { Ok(()) };
}
