//! Provenance and software bills of materials, as the executor attaches them.

use std::process::Output;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::support::{Registry, assert_success, context, executor, run, text};
use super::{blob, client, document, fallback_tag, repository};

const APK: &str = "P:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\n\nP:busybox\nV:1.36-r1\nA:x86_64\nL:GPL-2.0-only\n";
const LESS: &str = "P:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\n";
const LOCK: &str = "[[package]]\nname = \"serde\"\nversion = \"1.0.1\"\n";

/// A registry, a base image, keys, and a context with files that tell of packages.
struct Place {
    registry: Registry,
    context: TempDir,
    base: String,
}

impl Place {
    fn new(dockerfile: &str) -> Self {
        let registry = Registry::start();
        let base = registry.push_base();
        let files = [
            ("os-release", "ID=alpine\nVERSION_ID=3.20.1\n"),
            ("installed", APK),
            ("less", LESS),
            ("Cargo.lock", LOCK),
            ("token", "hunter2hunter2\n"),
        ];
        let context = context(&dockerfile.replace("BASE", &base), &files);
        let place = Self { registry, context, base };
        let mut command = executor();
        command.args(["generate-key-pair", "--output-key-prefix"]).arg(place.file("ours"));
        assert_success(&command.output().expect("runs"));
        place
    }

    fn file(&self, name: &str) -> String {
        self.context.path().join(name).display().to_string()
    }

    fn name(&self) -> String {
        format!("{}/app:1", self.registry.address)
    }

    fn build(&self, more: &[&str]) -> Output {
        let mut command = executor();
        command.arg("-c").arg(self.context.path()).args(["-d", &self.name()]).args(more);
        let output = command.env("CI_JOB_URL", "https://gitlab.example/-/jobs/1").output().expect("runs");
        assert_success(&output);
        output
    }

    fn said(&self, kind: &str) -> Value {
        let attestation = format!("--attestation={kind}");
        let mut command = executor();
        let output = command.args(["verify", &self.name(), "--key", &self.file("ours.pub"), &attestation]).output();
        let output = output.expect("runs");
        assert_success(&output);
        let lines = String::from_utf8(output.stdout).expect("text");
        assert_eq!(lines.lines().count(), 1, "{lines}");
        serde_json::from_str(&lines).expect("JSON")
    }
}

#[test]
fn provenance_says_what_went_in_and_no_secret() {
    let place = Place::new(
        "FROM BASE AS first\nARG A API_TOKEN PLAIN\nRUN --mount=type=secret,id=token cat /run/secrets/token > /dev/null\nFROM scratch\nCOPY --from=first /etc/passwd /\n",
    );
    let (key, token) =
        (format!("--sign-key={}", place.file("ours.key")), format!("id=token,src={}", place.file("token")));
    let arguments = [
        "--build-arg=A=value of a",
        "--build-arg=API_TOKEN=tok3n",
        "--build-arg=PLAIN=has hunter2hunter2",
        "--label=l=v",
        "--secret",
        &token,
        &key,
    ];
    place.build(&[&arguments[..], &["--provenance=max"]].concat());
    let statement = place.said("slsaprovenance");
    let definition = &statement["predicate"]["buildDefinition"];
    let parameters = &definition["externalParameters"];
    assert_eq!(parameters["args"], json!({ "A": "value of a", "API_TOKEN": null, "PLAIN": "(hidden)" }));
    assert_eq!(parameters["secrets"], json!(["token"]));
    assert_eq!(parameters["labels"], json!({ "l": "v" }));
    let base: yadokari::image::Reference = place.base.parse().expect("a reference");
    let digest =
        client().head_manifest(&base, yadokari::registry::Purpose::Pull).expect("asked").expect("there").digest;
    let material = &definition["resolvedDependencies"][0];
    assert_eq!(material["digest"], json!({ "sha256": digest.hex() }));
    assert!(
        material["uri"]
            .as_str()
            .expect("text")
            .starts_with(&format!("pkg:docker/{}/base@1?platform=linux%2F", place.registry.address))
    );
    let details = &statement["predicate"]["runDetails"];
    assert_eq!(details["builder"]["id"], "https://gitlab.example/-/jobs/1");
    assert!(details["metadata"]["startedOn"].as_str() <= details["metadata"]["finishedOn"].as_str());
    let whole = statement.to_string();
    assert!(!whole.contains("hunter2") && !whole.contains("tok3n") && !whole.contains(&place.file("")), "{whole}");
}

#[test]
fn the_bill_of_materials_is_that_of_the_merged_image() {
    let place = Place::new(
        "FROM BASE\nCOPY os-release /etc/os-release\nCOPY installed /lib/apk/db/installed\nCOPY Cargo.lock /src/\nCOPY Cargo.lock /gone/\nRUN rm -r /gone\nCOPY less /lib/apk/db/installed\n",
    );
    let key = format!("--sign-key={}", place.file("ours.key"));
    place.build(&["--sbom", "--reproducible", &key]);
    let statement = place.said("spdx");
    let urls = |statement: &Value| -> Vec<String> {
        let packages = statement["predicate"]["packages"].as_array().expect("packages").clone();
        let urls = packages.iter().filter_map(|package| package["externalRefs"][0]["referenceLocator"].as_str());
        urls.map(str::to_owned).collect()
    };
    let expected = ["pkg:apk/alpine/musl@1.2.5-r0?arch=x86_64&distro=alpine-3.20.1", "pkg:cargo/serde@1.0.1"];
    assert_eq!(urls(&statement), expected);
    // The same image again, from the cache or not: the same document, and nothing more beside the image.
    place.build(&["--sbom=true", "--reproducible", &key]);
    assert_eq!(place.said("spdx"), statement);
}

#[test]
fn without_a_key_statements_are_attached_as_they_are() {
    let place = Place::new("FROM BASE\nCOPY installed /lib/apk/db/installed\n");
    place.build(&["--provenance", "--sbom", "--build-arg=A=b"]);
    let (client, at) = (client(), repository(&place.registry, "app"));
    let digest = client.head_manifest(&at, yadokari::registry::Purpose::Push).expect("asked").expect("there").digest;
    let list = document(&client, &at, &fallback_tag(&digest)).expect("a list");
    let entries = list["manifests"].as_array().expect("entries");
    assert_eq!(entries.len(), 2);
    for entry in entries {
        let kind = entry["annotations"]["in-toto.io/predicate-type"].as_str().expect("text");
        let manifest = client.fetch_manifest(
            &at.with_digest(entry["digest"].as_str().expect("text").parse().expect("a digest")),
            yadokari::registry::Purpose::Push,
        );
        let manifest: Value = serde_json::from_slice(&manifest.expect("asked").expect("there").bytes).expect("JSON");
        let statement: Value = serde_json::from_slice(&blob(&client, &at, &manifest["layers"][0])).expect("JSON");
        assert_eq!(statement["predicateType"], kind);
        assert_eq!(statement["subject"][0]["digest"]["sha256"], digest.hex());
        if kind.contains("slsa") {
            let parameters = &statement["predicate"]["buildDefinition"]["externalParameters"];
            assert_eq!(parameters["args"], json!({ "A": null }), "min says names only");
        }
    }
    let output = executor().args(["verify", &place.name(), "--key", &place.file("ours.pub")]).output().expect("runs");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
}

#[test]
fn the_metadata_file_is_that_of_buildx() {
    let place = Place::new("FROM BASE\nCOPY installed /\n");
    let path = place.file("out/metadata.json");
    let file = format!("--metadata-file={path}");
    place.build(&[&file]);
    let read = || -> Value { serde_json::from_str(&run("cat", &[&path])).expect("JSON") };
    let metadata = read();
    let at = repository(&place.registry, "app");
    let pushed = client().head_manifest(&at, yadokari::registry::Purpose::Push).expect("asked").expect("there");
    assert_eq!(metadata["containerimage.digest"], pushed.digest.to_string());
    assert_eq!(metadata["containerimage.descriptor"]["size"], pushed.size);
    assert_eq!(metadata["image.name"], place.name());
    let manifest = document(&client(), &at, "1").expect("there");
    assert_eq!(metadata["containerimage.config.digest"], manifest["config"]["digest"]);
    assert_eq!(metadata["buildx.build.provenance"]["runDetails"]["builder"]["id"], "https://gitlab.example/-/jobs/1");
    assert!(document(&client(), &at, &fallback_tag(&pushed.digest)).is_none(), "nothing is attached for it");
    place.build(&[&file, "--platform=linux/amd64,linux/arm64", "--no-push"]);
    let several = read();
    for platform in ["linux/amd64", "linux/arm64"] {
        let provenance = &several[format!("buildx.build.provenance/{platform}")];
        assert_eq!(provenance["buildDefinition"]["externalParameters"]["platforms"], json!([platform]));
        assert!(several[format!("containerimage.config.digest/{platform}")].is_string());
    }
    assert_eq!(several["containerimage.descriptor"]["mediaType"], "application/vnd.oci.image.index.v1+json");
}
