//! Signed records, and caches that somebody has tampered with: misses, never other images.

#![allow(clippy::expect_used)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use support::{Registry, assert_success, context, executor, text, write};
use tempfile::TempDir;
use yadokari::digest::Digest;
use yadokari::image::Reference;
use yadokari::registry::{Client, ClientOptions, Credentials, Purpose};

const DOCKERFILE: &str = "FROM scratch\nCOPY a /a\nCOPY b /b\nWORKDIR /w\n";

/// A registry, a context, and a pair of keys.
struct World {
    registry: Registry,
    context: TempDir,
    keys: TempDir,
}

impl World {
    fn new() -> Self {
        let keys = tempfile::tempdir().expect("directory");
        for name in ["mine", "other"] {
            let script = format!(
                "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {name}.key && openssl pkey -in {name}.key -pubout -out {name}.pub"
            );
            let made = Command::new("sh").args(["-c", &script]).current_dir(keys.path()).output().expect("sh");
            assert_success(&made);
        }
        let context = context(DOCKERFILE, &[("a", "one"), ("b", "one")]);
        Self { registry: Registry::start(), context, keys }
    }

    fn key(&self, flag: &str, name: &str) -> String {
        format!("--cache-{flag}-key={}", self.keys.path().join(name).display())
    }

    fn sign(&self) -> String {
        self.key("sign", "mine.key")
    }

    fn trust(&self) -> String {
        self.key("trusted", "mine.pub")
    }

    /// A build on a runner that has nothing, unless `arguments` name a cache directory.
    fn build(&self, arguments: &[&str]) -> String {
        let output = self.try_build(arguments);
        assert_success(&output);
        text(&output)
    }

    fn try_build(&self, arguments: &[&str]) -> Output {
        let mut command = executor();
        command.arg("-c").arg(self.context.path());
        command.args(["--cache=true", "-d", &format!("{}/app:1", self.registry.address)]);
        command.args(arguments).output().expect("executor runs")
    }

    /// The digest of the image that is right, whatever the cache says.
    fn image(&self) -> BTreeMap<String, String> {
        let target = tempfile::tempdir().expect("directory");
        let url = format!("docker://{}/app:1", self.registry.address);
        let layout = format!("oci:{}:x", target.path().display());
        support::run("skopeo", &["copy", "-q", "--src-tls-verify=false", &url, &layout]);
        let index: Value = read_json(&target.path().join("index.json"));
        let blob = |digest: &Value| {
            let digest = digest.as_str().expect("digest").trim_start_matches("sha256:").to_owned();
            target.path().join("blobs/sha256").join(digest)
        };
        let manifest: Value = read_json(&blob(&index["manifests"][0]["digest"]));
        let mut files = BTreeMap::new();
        for layer in manifest["layers"].as_array().expect("layers") {
            let listed =
                Command::new("tar").arg("-xzOf").arg(blob(&layer["digest"])).args(["--wildcards", "?"]).output();
            let name = Command::new("tar").arg("-tzf").arg(blob(&layer["digest"])).output().expect("tar");
            let name = String::from_utf8_lossy(&name.stdout).trim().to_owned();
            files.insert(name, String::from_utf8_lossy(&listed.expect("tar").stdout).into_owned());
        }
        files
    }

    fn client(&self) -> (Client, Reference) {
        let client = Client::new(ClientOptions::default(), Credentials::none()).expect("client");
        (client, format!("{}/app/cache", self.registry.address).parse().expect("reference"))
    }

    /// All manifests of the cache repository, by tag.
    fn manifests(&self) -> BTreeMap<String, Value> {
        let (client, repository) = self.client();
        let tags = client.list_tags(&repository).expect("tags");
        let fetch = |tag: String| {
            let found =
                client.fetch_manifest(&repository.with_tag(&tag), Purpose::Push).expect("fetch").expect("there");
            (tag, serde_json::from_slice(&found.bytes).expect("JSON"))
        };
        tags.into_iter().map(fetch).collect()
    }

    fn put(&self, tag: &str, manifest: &Value) {
        let (client, repository) = self.client();
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        client.push_manifest(&repository.with_tag(tag), media_type, manifest.to_string().as_bytes()).expect("push");
    }
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("file")).expect("JSON")
}

const RECORD: &str = "dev.yadokari.record";

fn record(manifest: &Value) -> Value {
    serde_json::from_str(manifest["annotations"][RECORD].as_str().expect("record")).expect("JSON")
}

fn with_record(manifest: &Value, record: &Value) -> Value {
    let mut changed = manifest.clone();
    changed["annotations"][RECORD] = record.to_string().into();
    changed
}

fn right() -> BTreeMap<String, String> {
    [("a", "one"), ("b", "one"), ("w/", "")].map(|(name, text)| (name.to_owned(), text.to_owned())).into()
}

#[test]
fn what_a_trusted_key_signed_is_a_hit() {
    let world = World::new();
    let (sign, trust) = (world.sign(), world.trust());
    assert!(world.build(&[&sign]).contains("3 run"));
    let hits = world.build(&[&trust]);
    assert!(hits.contains("3 steps cached, 0 run") && !hits.contains("WARN"), "{hits}");
    let both = world.build(&[&world.key("trusted", "other.pub"), &trust]);
    assert!(both.contains("3 steps cached"), "{both}");
    // Whoever signs trusts itself, and replaces what it does not trust.
    let stranger = world.build(&[&world.key("sign", "other.key"), &world.key("trusted", "other.pub")]);
    assert!(stranger.contains("0 steps cached, 3 run") && stranger.contains("is not trusted"), "{stranger}");
    let again = world.build(&[&world.key("trusted", "other.pub")]);
    assert!(again.contains("3 steps cached"), "{again}");
    assert_eq!(world.image(), right());
}

#[test]
fn an_unsigned_cache_gives_misses_and_is_signed_from_then_on() {
    let world = World::new();
    let store = tempfile::tempdir().expect("directory");
    let local = format!("--cache-dir={}", store.path().display());
    let nothing = format!("--cache-repo={}/nothing", world.registry.address);
    for place in [&[][..], &["--no-push-cache", &nothing, &local]] {
        assert!(world.build(place).contains("3 run"));
        let strict = world.build(&[place, &[&world.trust(), &world.sign()]].concat());
        assert!(strict.contains("0 steps cached, 3 run") && strict.contains("it is not signed"), "{strict}");
        let signed = world.build(&[place, &[&world.trust()]].concat());
        assert!(signed.contains("3 steps cached, 0 run"), "{signed}");
        let lax = world.build(place);
        assert!(lax.contains("3 steps cached, 0 run"), "{lax}");
    }
}

#[test]
fn poison_in_a_repository_gives_misses_and_the_right_image() {
    let world = World::new();
    let (sign, trust) = (world.sign(), world.trust());
    // What an attacker would like to have in the image, signed in all honesty for another step.
    write(world.context.path(), "b", "evil");
    world.build(&[&sign]);
    let evil = world.manifests();
    write(world.context.path(), "b", "one");
    world.build(&[&sign]);
    let good = world.manifests();
    let is_b = |manifest: &Value| record(manifest)["instruction"] == "COPY b /b";
    let poison = evil.values().find(|manifest| is_b(manifest)).expect("record of the other content").clone();
    let evil_layer = record(&poison)["layers"][0].clone();
    for kind in ["moved", "renamed", "layer swapped", "signature cut off", "key swapped"] {
        for (tag, manifest) in good.iter().filter(|(tag, _)| tag.len() == 64 && !evil.contains_key(*tag)) {
            let mut changed = record(manifest);
            let poisoned = match kind {
                "moved" => poison.clone(),
                "renamed" => {
                    let mut other = record(&poison);
                    other["key"] = changed["key"].clone();
                    other["content_key"] = changed["content_key"].clone();
                    with_record(&poison, &other)
                }
                "signature cut off" => {
                    changed.as_object_mut().expect("object").remove("signature");
                    with_record(manifest, &changed)
                }
                "key swapped" => {
                    changed["signature"]["key"] = "0".repeat(64).into();
                    with_record(manifest, &changed)
                }
                _ => {
                    let last = changed["layers"].as_array().expect("layers").len() - 1;
                    changed["layers"][last] = evil_layer.clone();
                    let mut manifest = with_record(manifest, &changed);
                    let named = [evil_layer["blob"].clone(), evil_layer["toc"].clone()];
                    manifest["layers"].as_array_mut().expect("layers").extend(named);
                    manifest
                }
            };
            world.put(tag, &poisoned);
        }
        let strict = world.build(&[&trust, "--no-push-cache"]);
        assert!(!strict.contains("3 steps cached"), "{kind}: {strict}");
        assert!(strict.contains("is not used") || kind == "moved", "{kind}: {strict}");
        assert_eq!(world.image(), right(), "{kind}");
    }
    // The next build that may write puts it right again.
    world.build(&[&trust, &sign]);
    assert!(world.build(&[&trust]).contains("3 steps cached"));
}

#[test]
fn garbage_in_a_repository_gives_misses_and_the_right_image() {
    let world = World::new();
    world.build(&[]);
    let good = world.manifests();
    for kind in ["truncated", "garbage", "null", "another version", "no blobs"] {
        for (tag, manifest) in good.iter().filter(|(tag, _)| tag.len() == 64) {
            let text = record(manifest).to_string();
            let mut changed = manifest.clone();
            match kind {
                "truncated" => changed["annotations"][RECORD] = text[..text.len() / 2].into(),
                "garbage" => changed["annotations"][RECORD] = "\u{0}\u{fffd}]".into(),
                "null" => changed["annotations"][RECORD] = "null".into(),
                "another version" => {
                    changed["annotations"][RECORD] = text.replace("\"version\":1", "\"version\":2").into();
                }
                _ => changed["layers"] = json!([manifest["config"]]),
            }
            assert_ne!(&changed, manifest, "{kind}");
            world.put(tag, &changed);
        }
        let built = world.build(&["--no-push-cache"]);
        assert!(built.contains("0 steps cached, 3 run"), "{kind}: {built}");
        assert_eq!(world.image(), right(), "{kind}");
    }
}

#[test]
fn a_layer_of_other_bytes_under_a_signed_record_is_made_again() {
    let world = World::new();
    world.build(&[&world.sign()]);
    let manifests = world.manifests();
    let layer = manifests.values().map(record).find(|r| r["instruction"] == "COPY a /a").expect("record");
    let digest: Digest = layer["layers"][0]["blob"]["digest"].as_str().expect("digest").parse().expect("digest");
    let path: PathBuf = world.registry.blob(digest.hex());
    let good = fs::read(&path).expect("blob");
    let bad: Vec<u8> = good.iter().rev().copied().collect();
    fs::write(&path, bad).expect("write");
    // The layer is needed whole for the archive.
    let target = tempfile::tempdir().expect("directory");
    let tar = format!("--tar-path={}", target.path().join("image.tar").display());
    let built = world.build(&[&world.trust(), &world.sign(), &tar, "--no-push"]);
    assert!(built.contains(digest.hex()) && built.contains("its step is done again"), "{built}");
    let listed = support::run("tar", &["-tf", &target.path().join("image.tar").display().to_string()]);
    assert!(listed.contains("manifest.json"), "{listed}");
    assert_ne!(fs::read(&path).expect("blob"), good, "nobody has put it right");
}

#[test]
fn keys_that_cannot_be_used_are_named() {
    let world = World::new();
    let missing = world.try_build(&["--cache-sign-key=/nonexistent"]);
    assert!(missing.status.code() == Some(1) && text(&missing).contains("/nonexistent"), "{}", text(&missing));
    let public = world.key("sign", "mine.pub");
    let wrong = world.try_build(&[&public]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong).contains("no private key in it"), "{}", text(&wrong));
    let private = world.try_build(&[&world.key("trusted", "mine.key")]);
    assert!(private.status.code() == Some(2) && text(&private).contains("no public key in it"), "{}", text(&private));
}
