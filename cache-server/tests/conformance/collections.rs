//! Collections of blobs, manifests and tags of every kind that clients make: each is pushed,
//! listed, looked at, pulled and removed again, in this order.

use base64::Engine as _;
use serde_json::{Map, Value, json};
use yadokari::digest::Digest;
use yadokari::image::media_type;

use crate::registry::{Registry, Reply, sha512};

const REPOSITORY: &str = "team/collections";
const ONE: &str = "application/vnd.example.kind.one.v1";
const OTHER: &str = "application/vnd.example.kind.other.v1";

/// What belongs together.
struct Collection {
    hash: fn(&[u8]) -> Digest,
    /// Whether descriptors hold the content, too.
    has_data: bool,
    blobs: Vec<(Digest, Vec<u8>)>,
    /// Parts before what they are part of.
    manifests: Vec<(Digest, Value)>,
    tags: Vec<(String, Digest)>,
}

impl Collection {
    fn new() -> Self {
        Self::hashed(Digest::sha256)
    }

    fn hashed(hash: fn(&[u8]) -> Digest) -> Self {
        Self { hash, has_data: false, blobs: Vec::new(), manifests: Vec::new(), tags: Vec::new() }
    }

    fn descriptor(&self, media_type: &str, content: &[u8]) -> Value {
        let mut descriptor = json!({ "mediaType": media_type, "digest": (self.hash)(content), "size": content.len() });
        if self.has_data {
            descriptor["data"] = json!(base64::engine::general_purpose::STANDARD.encode(content));
        }
        descriptor
    }

    fn blob(&mut self, media_type: &str, content: &[u8]) -> Value {
        let digest = (self.hash)(content);
        if !self.blobs.iter().any(|(known, _)| *known == digest) {
            self.blobs.push((digest, content.to_vec()));
        }
        self.descriptor(media_type, content)
    }

    fn add(&mut self, manifest: Value) -> Value {
        let text = manifest.to_string();
        let descriptor = self.descriptor(manifest["mediaType"].as_str().expect("typed"), text.as_bytes());
        self.manifests.push(((self.hash)(text.as_bytes()), manifest));
        descriptor
    }

    fn tag(&mut self, tag: &str, manifest: &Value) {
        let digest = manifest["digest"].as_str().and_then(|text| text.parse().ok());
        self.tags.push((tag.into(), digest.expect("a digest")));
    }

    /// An image with two layers that no other has.
    fn image(&mut self, name: &str) -> Value {
        let config = json!({ "architecture": "amd64", "os": "linux", "author": name }).to_string();
        let layers: Vec<Value> = [media_type::OCI_LAYER, media_type::OCI_LAYER_GZIP]
            .iter()
            .map(|kind| self.blob(kind, format!("{kind} of {name}").as_bytes()))
            .collect();
        let config = self.blob(media_type::OCI_CONFIG, config.as_bytes());
        json!({ "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": config, "layers": layers })
    }

    fn artifact(&mut self, kind: &str, layer: &Value) -> Value {
        json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_MANIFEST,
            "artifactType": kind,
            "config": self.blob(media_type::OCI_EMPTY, b"{}"),
            "layers": [layer],
            "annotations": { "org.example.kind": kind },
        })
    }

    fn index(&mut self, children: &[Value]) -> Value {
        json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": children })
    }

    /// An index over images of two platforms.
    fn platforms(&mut self, name: &str) -> Value {
        let children = ["amd64", "arm64"].map(|architecture| {
            let image = self.image(&format!("{name} {architecture}"));
            let mut child = self.add(image);
            child["platform"] = json!({ "os": "linux", "architecture": architecture });
            child
        });
        self.index(&children)
    }

    /// Its whole life.
    #[track_caller]
    fn live(&self, registry: &Registry) {
        self.push(registry);
        self.list(registry);
        self.look(registry);
        self.ask_for_referrers(registry);
        self.remove(registry);
    }

    fn push(&self, registry: &Registry) {
        for (digest, content) in &self.blobs {
            let target = format!("/v2/{REPOSITORY}/blobs/uploads/?digest={digest}");
            assert_eq!(registry.send("POST", &target, &[], content).status, 201);
        }
        for (digest, manifest) in &self.manifests {
            put(registry, &digest.to_string(), digest, manifest);
        }
        for (tag, digest) in &self.tags {
            let manifest = self.manifest(digest);
            // A PUT by tag alone means sha256.
            let by_tag = *digest == Digest::sha256(manifest.to_string().as_bytes());
            let reference = if by_tag { tag.clone() } else { format!("{digest}?tag={tag}") };
            let reply = put(registry, &reference, digest, manifest);
            assert_eq!(reply.header("oci-tag"), (!by_tag).then_some(tag.as_str()));
        }
    }

    fn manifest(&self, digest: &Digest) -> &Value {
        &self.manifests.iter().find(|(known, _)| known == digest).expect("one of its own").1
    }

    fn list(&self, registry: &Registry) {
        let mut expected: Vec<&str> = self.tags.iter().map(|(tag, _)| tag.as_str()).collect();
        expected.sort_unstable();
        let tags = |query: &str| registry.get(&format!("/v2/{REPOSITORY}/tags/list{query}")).json()["tags"].clone();
        assert_eq!(tags(""), json!(expected));
        for (position, tag) in expected.iter().enumerate() {
            assert_eq!(tags(&format!("?last={tag}")), json!(expected[position + 1..]), "after {tag}");
        }
    }

    fn look(&self, registry: &Registry) {
        for (reference, digest) in self.references() {
            let manifest = self.manifest(&digest);
            let target = format!("/v2/{REPOSITORY}/manifests/{reference}");
            let accept = [("Accept", media_type::OCI_INDEX), ("Accept", media_type::OCI_MANIFEST)];
            for method in ["HEAD", "GET"] {
                assert_manifest(&registry.send(method, &target, &accept, b""), method, &digest, manifest);
            }
        }
        for (digest, content) in &self.blobs {
            let target = format!("/v2/{REPOSITORY}/blobs/{digest}");
            assert_eq!(registry.head(&target).header("content-length"), Some(&*content.len().to_string()));
            assert_eq!(registry.get(&target).body, *content);
        }
    }

    fn references(&self) -> Vec<(String, Digest)> {
        let digests = self.manifests.iter().map(|(digest, _)| (digest.to_string(), digest.clone()));
        self.tags.iter().cloned().chain(digests).collect()
    }

    /// The descriptors that the subject's list should have.
    fn referrers(&self, subject: &Value) -> Vec<Value> {
        let referring = self.manifests.iter().filter(|(_, manifest)| manifest["subject"]["digest"] == *subject);
        referring.map(|(digest, manifest)| referrer(digest, manifest)).collect()
    }

    fn ask_for_referrers(&self, registry: &Registry) {
        for (_, manifest) in self.manifests.iter().filter(|(_, manifest)| manifest["subject"].is_object()) {
            let subject = &manifest["subject"]["digest"];
            let target = format!("/v2/{REPOSITORY}/referrers/{}", subject.as_str().expect("text"));
            let expected = self.referrers(subject);
            let all = index_of(&registry.get(&target));
            assert_same(&all, &expected);
            for kind in [ONE, OTHER, media_type::OCI_CONFIG, "application/nobody"] {
                let reply = registry.get(&format!("{target}?artifactType={kind}"));
                assert_eq!(reply.header("oci-filters-applied"), Some("artifactType"));
                let of_kind: Vec<Value> = expected.iter().filter(|d| d["artifactType"] == kind).cloned().collect();
                assert_same(&index_of(&reply), &of_kind);
            }
        }
    }

    fn remove(&self, registry: &Registry) {
        let manifest = |reference: &str| format!("/v2/{REPOSITORY}/manifests/{reference}");
        for (tag, digest) in &self.tags {
            assert_eq!(registry.delete(&manifest(tag)).status, 202, "{tag}");
            assert_eq!(registry.head(&manifest(tag)).status, 404, "{tag}");
            assert_eq!(registry.head(&manifest(&digest.to_string())).status, 200, "{tag}");
        }
        let blobs = self.blobs.iter().map(|(digest, _)| format!("/v2/{REPOSITORY}/blobs/{digest}"));
        let manifests = self.manifests.iter().rev().map(|(digest, _)| manifest(&digest.to_string()));
        for target in manifests.chain(blobs) {
            assert_eq!(registry.delete(&target).status, 202, "{target}");
            assert_eq!(registry.head(&target).status, 404, "{target}");
        }
        for (_, manifest) in self.manifests.iter().filter(|(_, manifest)| manifest["subject"].is_object()) {
            let subject = manifest["subject"]["digest"].as_str().expect("text");
            assert_same(&index_of(&registry.get(&format!("/v2/{REPOSITORY}/referrers/{subject}"))), &[]);
        }
    }
}

/// PUTs a manifest without a length, as Go's clients do, and follows the answer.
fn put(registry: &Registry, reference: &str, digest: &Digest, manifest: &Value) -> Reply {
    let kind = manifest["mediaType"].as_str().expect("typed");
    let target = format!("/v2/{REPOSITORY}/manifests/{reference}");
    let body = manifest.to_string();
    let reply = registry.send_unmeasured("PUT", &target, &[("Content-Type", kind)], body.as_bytes());
    assert_eq!(reply.status, 201, "{reference} {reply:?}");
    assert_eq!(reply.header("docker-content-digest"), Some(digest.to_string().as_str()));
    assert_eq!(reply.header("oci-subject"), manifest["subject"]["digest"].as_str());
    assert_manifest(&registry.get(&reply.location()), "GET", digest, manifest);
    reply
}

fn assert_manifest(reply: &Reply, method: &str, digest: &Digest, manifest: &Value) {
    let text = manifest.to_string();
    assert_eq!(reply.status, 200, "{method} {digest}");
    assert_eq!(reply.header("content-type"), manifest["mediaType"].as_str());
    assert_eq!(reply.header("content-length"), Some(text.len().to_string().as_str()));
    assert_eq!(reply.header("docker-content-digest"), Some(digest.to_string().as_str()));
    assert!(method == "HEAD" || reply.body == text.as_bytes(), "{digest}");
}

/// How a list of referrers describes a manifest.
fn referrer(digest: &Digest, manifest: &Value) -> Value {
    let mut entry = Map::new();
    entry.insert("mediaType".into(), manifest["mediaType"].clone());
    entry.insert("digest".into(), json!(digest));
    entry.insert("size".into(), json!(manifest.to_string().len()));
    let kind = [&manifest["artifactType"], &manifest["config"]["mediaType"]].into_iter().find(|kind| kind.is_string());
    kind.map(|kind| entry.insert("artifactType".into(), kind.clone()));
    manifest.get("annotations").map(|annotations| entry.insert("annotations".into(), annotations.clone()));
    Value::Object(entry)
}

#[track_caller]
fn index_of(reply: &Reply) -> Vec<Value> {
    assert_eq!((reply.status, reply.header("content-type")), (200, Some(media_type::OCI_INDEX)), "{reply:?}");
    let index = reply.json();
    assert_eq!((&index["schemaVersion"], &index["mediaType"]), (&json!(2), &json!(media_type::OCI_INDEX)));
    index["manifests"].as_array().expect("a list, empty at least").clone()
}

#[track_caller]
fn assert_same(actual: &[Value], expected: &[Value]) {
    assert_eq!(actual.len(), expected.len(), "{actual:?}");
    for entry in expected {
        assert!(actual.contains(entry), "{entry} is not in {actual:?}");
    }
}

#[test]
fn images() {
    let registry = Registry::start();
    let mut plain = Collection::new();
    let image = plain.image("plain");
    let added = plain.add(image);
    plain.tag("image", &added);
    plain.tag("again", &added);
    plain.live(&registry);

    let mut large = Collection::new();
    let mut image = large.image("large");
    let notes: Map<String, Value> =
        (0..390).map(|number| (format!("note-{number}"), json!("A".repeat(10_000)))).collect();
    image["annotations"] = Value::Object(notes);
    let added = large.add(image);
    large.tag("large", &added);
    large.live(&registry);

    let mut bare = Collection::new();
    let mut image = bare.image("bare");
    image["layers"] = json!([]);
    let added = bare.add(image);
    bare.tag("bare", &added);
    bare.live(&registry);

    let mut with_data = Collection { has_data: true, ..Collection::new() };
    let image = with_data.image("data");
    let added = with_data.add(image);
    with_data.tag("data", &added);
    with_data.live(&registry);
}

#[test]
fn images_of_which_some_layers_are_elsewhere() {
    let registry = Registry::start();
    let mut collection = Collection::new();
    let mut image = collection.image("foreign");
    for kind in ["nondistributable.v1.tar", "nondistributable.v1.tar+gzip"] {
        let kind = format!("application/vnd.oci.image.layer.{kind}");
        let mut foreign = collection.descriptor(&kind, kind.as_bytes());
        foreign["urls"] = json!([format!("https://store.example.com/{kind}")]);
        image["layers"].as_array_mut().expect("a list").push(foreign);
    }
    let added = collection.add(image);
    collection.tag("foreign", &added);
    collection.live(&registry);
}

#[test]
fn indexes() {
    let registry = Registry::start();
    let mut platforms = Collection::new();
    let index = platforms.platforms("platforms");
    let added = platforms.add(index);
    platforms.tag("index", &added);
    platforms.live(&registry);

    let mut nested = Collection::new();
    let children = ["one", "two"].map(|name| {
        let index = nested.platforms(name);
        nested.add(index)
    });
    let index = nested.index(&children);
    let added = nested.add(index);
    nested.tag("nested", &added);
    nested.live(&registry);

    let mut empty = Collection::new();
    let index = empty.index(&[]);
    let added = empty.add(index);
    empty.tag("empty", &added);
    empty.live(&registry);
}

#[test]
fn fields_that_nobody_knows_stay() {
    let registry = Registry::start();
    let mut collection = Collection::new();
    let mut image = collection.image("extra");
    image["org.example.extra"] = json!({ "deep": [1, 2.5, null, "ü"] });
    image["config"]["org.example.extra"] = json!(true);
    let child = collection.add(image);
    let mut index = collection.index(&[child]);
    index["org.example.extra"] = json!("more");
    let added = collection.add(index);
    collection.tag("extra", &added);
    collection.live(&registry);
}

#[test]
fn artifacts() {
    let registry = Registry::start();
    let mut collection = Collection::new();
    let layer = collection.blob(ONE, b"of an artifact");
    let artifact = collection.artifact(ONE, &layer);
    let single = collection.add(artifact);
    collection.tag("artifact", &single);
    // Without layers there is the empty one.
    let empty = collection.blob(media_type::OCI_EMPTY, b"{}");
    let artifact = collection.artifact(OTHER, &empty);
    let hollow = collection.add(artifact);
    collection.tag("hollow", &hollow);
    let mut index = collection.index(&[single, hollow]);
    index["artifactType"] = json!(ONE);
    let added = collection.add(index);
    collection.tag("artifact-index", &added);
    collection.live(&registry);
}

#[test]
fn subjects_and_what_refers_to_them() {
    let registry = Registry::start();
    let mut collection = Collection::new();
    let image = collection.image("subject");
    let subject = collection.add(image);
    collection.tag("image", &subject);
    let mut image = collection.image("referring");
    image["subject"] = subject.clone();
    collection.add(image);
    for kind in [ONE, OTHER] {
        let layer = collection.blob("application/octet-stream", kind.as_bytes());
        let mut artifact = collection.artifact(kind, &layer);
        artifact["subject"] = subject.clone();
        let added = collection.add(artifact);
        collection.tag(if kind == ONE { "one" } else { "other" }, &added);
    }
    collection.live(&registry);

    let mut indexes = Collection::new();
    let index = indexes.platforms("subject");
    let subject = indexes.add(index);
    indexes.tag("index", &subject);
    let mut plain = indexes.platforms("plain");
    plain["subject"] = subject.clone();
    let mut typed = indexes.platforms("typed");
    typed["subject"] = subject;
    typed["artifactType"] = json!(ONE);
    typed["annotations"] = json!({ "org.example.kind": ONE });
    indexes.add(plain);
    indexes.add(typed);
    indexes.live(&registry);
}

#[test]
fn subjects_that_are_not_here() {
    let registry = Registry::start();
    for subject in [Digest::sha256(b"missing"), sha512(b"missing")] {
        let mut collection = Collection::new();
        let layer = collection.blob(ONE, b"of an orphan");
        let mut artifact = collection.artifact(ONE, &layer);
        artifact["subject"] = json!({ "mediaType": media_type::OCI_MANIFEST, "digest": subject, "size": 123 });
        let added = collection.add(artifact);
        collection.tag("orphan", &added);
        collection.live(&registry);
    }
}

#[test]
fn everything_by_sha512() {
    let registry = Registry::start();
    let mut collection = Collection::hashed(sha512);
    let index = collection.platforms("sha512");
    let subject = collection.add(index);
    let layer = collection.blob(ONE, b"of an artifact");
    let mut artifact = collection.artifact(ONE, &layer);
    artifact["subject"] = subject.clone();
    collection.add(artifact);
    collection.tag("sha512", &subject);
    collection.tag("sha512-again", &subject);
    collection.live(&registry);
}

#[test]
fn a_manifest_that_is_not_its_digest_is_refused() {
    let registry = Registry::start();
    let mut collection = Collection::new();
    let image = collection.image("bad");
    for (digest, content) in &collection.blobs {
        let target = format!("/v2/{REPOSITORY}/blobs/uploads/?digest={digest}");
        assert_eq!(registry.send("POST", &target, &[], content).status, 201);
    }
    let text = image.to_string();
    for digest in [Digest::sha256(text.as_bytes()), sha512(text.as_bytes())] {
        let target = format!("/v2/{REPOSITORY}/manifests/{digest}");
        let headers = [("Content-Type", media_type::OCI_MANIFEST)];
        let padded = format!("{text}  ");
        registry.send("PUT", &target, &headers, padded.as_bytes()).is_error(400, "DIGEST_INVALID");
        assert_eq!(registry.head(&target).status, 404);
        assert_eq!(registry.send("PUT", &target, &headers, text.as_bytes()).status, 201);
    }
}
