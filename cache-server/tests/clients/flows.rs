//! What people do with these programs all day, beyond one push and one pull.

use serde_json::{Value, json};
use yadokari::attest::Attacher;
use yadokari::image::{Reference, media_type};
use yadokari::registry::{Client, ClientOptions, Credentials, Purpose};
use yadokari::signature::{KeyPair, RANDOM_BYTES, SigningKey};

use super::registry::Registry;
use super::{run, write_layout};

const PLAIN: [&str; 2] = ["--src-tls-verify=false", "--dest-tls-verify=false"];

/// buildah or podman with storage of its own.
struct Engine {
    program: &'static str,
    directory: tempfile::TempDir,
}

impl Engine {
    fn new(program: &'static str) -> Self {
        Self { program, directory: tempfile::tempdir().expect("temporary directory") }
    }

    #[track_caller]
    fn run(&self, arguments: &[&str]) -> String {
        let path = |name: &str| self.directory.path().join(name).display().to_string();
        let (root, state) = (path("root"), path("run"));
        let mut all = vec!["--root", root.as_str(), "--runroot", state.as_str(), "--storage-driver", "vfs"];
        all.extend(arguments);
        run(self.program, &all).trim().to_owned()
    }
}

fn remote(registry: &Registry, name: &str) -> String {
    format!("docker://{}/{name}", registry.address())
}

fn manifest(registry: &Registry, repository: &str, reference: &str) -> Value {
    let reply = registry.get(&format!("/v2/{repository}/manifests/{reference}"));
    assert_eq!(reply.status, 200, "{repository}:{reference} {reply:?}");
    reply.json()
}

/// Pushes an image with skopeo.
fn push(registry: &Registry, name: &str, more: &[&str]) {
    let layout = tempfile::tempdir().expect("temporary directory");
    write_layout(layout.path());
    let (from, to) = (format!("oci:{}:v1", layout.path().display()), remote(registry, name));
    run("skopeo", &[&["copy", PLAIN[1]], more, &[&from, &to]].concat());
}

#[test]
fn buildah_builds_pushes_and_pulls_in_both_formats() {
    let (registry, buildah) = (Registry::start(), Engine::new("buildah"));
    let container = buildah.run(&["from", "scratch"]);
    let file = buildah.directory.path().join("file");
    std::fs::write(&file, "content").expect("written");
    buildah.run(&["copy", "-q", &container, file.to_str().expect("UTF-8"), "/file"]);
    for (format, kind) in [("docker", media_type::DOCKER_MANIFEST), ("oci", media_type::OCI_MANIFEST)] {
        let name = format!("team/built:{format}");
        buildah.run(&["commit", "-q", "--format", format, &container, format]);
        buildah.run(&["push", "-q", "--tls-verify=false", format, &remote(&registry, &name)]);
        assert_eq!(manifest(&registry, "team/built", format)["mediaType"], kind);
        let pulled = Engine::new("buildah");
        pulled.run(&["pull", "-q", "--tls-verify=false", &remote(&registry, &name)]);
        let id = |engine: &Engine, name: &str| {
            engine.run(&["inspect", "--type", "image", "--format", "{{.FromImageID}}", name])
        };
        assert_eq!(id(&pulled, &format!("{}/{name}", registry.address())), id(&buildah, format), "{format}");
    }
}

#[test]
fn podman_pushes_an_index_with_its_images() {
    let (registry, podman) = (Registry::start(), Engine::new("podman"));
    push(&registry, "parts:one", &[]);
    push(&registry, "parts:other", &[]);
    podman.run(&["manifest", "create", "list"]);
    for (part, architecture) in [("one", "amd64"), ("other", "arm64")] {
        let part = remote(&registry, &format!("parts:{part}"));
        podman.run(&["manifest", "add", "--tls-verify=false", "--arch", architecture, "list", &part]);
    }
    for (format, kind) in [("oci", media_type::OCI_INDEX), ("v2s2", media_type::DOCKER_LIST)] {
        let to = remote(&registry, &format!("whole:{format}"));
        podman.run(&["manifest", "push", "--tls-verify=false", "--all", "--format", format, "list", &to]);
        let index = manifest(&registry, "whole", format);
        assert_eq!(index["mediaType"], kind);
        let children = index["manifests"].as_array().expect("a list");
        let architectures: Vec<&Value> = children.iter().map(|child| &child["platform"]["architecture"]).collect();
        assert_eq!(architectures, ["amd64", "arm64"]);
        for child in children {
            manifest(&registry, "whole", child["digest"].as_str().expect("a digest"));
        }
        let copy = format!("{to}-copy");
        run("skopeo", &["copy", "--all", "--preserve-digests", PLAIN[0], PLAIN[1], &to, &copy]);
        assert_eq!(manifest(&registry, "whole", &format!("{format}-copy")), index);
    }
}

#[test]
fn skopeo_syncs_a_repository_out_and_into_another_server() {
    let (one, other) = (Registry::start(), Registry::start());
    let tags = ["v1", "v2", "latest"];
    for tag in tags {
        push(&one, &format!("team/app:{tag}"), &[]);
    }
    let directory = tempfile::tempdir().expect("temporary directory");
    let at = directory.path().to_str().expect("UTF-8");
    let from = format!("{}/team/app", one.address());
    run("skopeo", &["sync", "--src", "docker", "--dest", "dir", PLAIN[0], &from, at]);
    run("skopeo", &["sync", "--src", "dir", "--dest", "docker", PLAIN[1], at, &format!("{}/copy", other.address())]);
    let listed = run("skopeo", &["list-tags", "--tls-verify=false", &remote(&other, "copy/app")]);
    assert_eq!(serde_json::from_str::<Value>(&listed).expect("JSON")["Tags"], json!(["latest", "v1", "v2"]));
    // And from server to server.
    let to = format!("{}/direct", other.address());
    run("skopeo", &["sync", "--src", "docker", "--dest", "docker", PLAIN[0], PLAIN[1], &from, &to]);
    for tag in tags {
        assert_eq!(manifest(&other, "direct/app", tag), manifest(&one, "team/app", tag));
    }
}

#[test]
fn skopeo_compresses_layers_on_the_way() {
    for (format, kind) in [("zstd", media_type::OCI_LAYER_ZSTD), ("gzip", media_type::OCI_LAYER_GZIP)] {
        // skopeo remembers where a layer is in another form, and takes that.
        let registry = Registry::start();
        push(&registry, &format!("packed:{format}"), &["--dest-compress-format", format]);
        assert_eq!(manifest(&registry, "packed", format)["layers"][0]["mediaType"], kind);
        let podman = Engine::new("podman");
        podman.run(&["pull", "--tls-verify=false", &format!("{}/packed:{format}", registry.address())]);
    }
}

#[test]
fn skopeo_takes_signatures_along() {
    let (one, other) = (Registry::start(), Registry::start());
    push(&one, "signed:v1", &[]);
    let client = Client::new(ClientOptions::default(), Credentials::none()).expect("a client");
    let at: Reference = format!("{}/signed:v1", one.address()).parse().expect("a reference");
    let image = client.head_manifest(&at, Purpose::Pull).expect("asked").expect("it is there");
    let pair = KeyPair::new(&[7; RANDOM_BYTES], b"").expect("made").expect("a key");
    let key = SigningKey::from_pem(&pair.private, b"").expect("opens");
    Attacher::new(&client, &at).sign(&image, &key).expect("signed");
    let places = tempfile::tempdir().expect("temporary directory");
    let setting = "default-docker:\n  use-sigstore-attachments: true\n";
    std::fs::write(places.path().join("all.yaml"), setting).expect("written");
    let global = format!("--registries.d={}", places.path().display());
    run("skopeo", &[&global, "copy", PLAIN[0], PLAIN[1], &remote(&one, "signed:v1"), &remote(&other, "copy:v1")]);
    let signature = format!("sha256-{}.sig", image.digest.hex());
    assert_eq!(manifest(&other, "copy", &signature)["layers"], manifest(&one, "signed", &signature)["layers"]);
}

#[test]
fn docker_makes_and_reads_a_manifest_list() {
    let (registry, home) = (Registry::start(), tempfile::tempdir().expect("temporary directory"));
    push(&registry, "app:one", &["--format", "v2s2"]);
    let config = format!("--config={}", home.path().display());
    let docker = |arguments: &[&str]| run("docker", &[&[&config, "manifest"], arguments].concat());
    let name = |tag: &str| format!("{}/app:{tag}", registry.address());
    docker(&["create", "--insecure", &name("list"), &name("one")]);
    docker(&["push", "--insecure", &name("list")]);
    let list: Value = serde_json::from_str(&docker(&["inspect", "--insecure", &name("list")])).expect("JSON");
    assert_eq!(list, manifest(&registry, "app", "list"));
    assert_eq!(list["mediaType"], media_type::DOCKER_LIST);
}
