//! Cache repositories in registries that refuse something, as real ones do: the build goes on and says so
//! once. `docs/registries.md` has the list.

#![allow(clippy::expect_used)]

mod support;

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use support::front::{self, Asked, Refusal, Rule};
use support::{Registry, assert_success, context, executor, text, write};
use tempfile::TempDir;

fn no(status: u16, code: &'static str, message: &'static str) -> Option<Refusal> {
    Some(Refusal { status, headers: "", code, message })
}

/// A registry that refuses something of what is below `/v2/cache/`.
struct Quirk {
    name: &'static str,
    rule: Rule,
    /// What is said about it, once, as a warning or else as information.
    warning: Option<&'static str>,
    information: Option<&'static str>,
    /// Whether the results are in the repository afterwards.
    saves: bool,
}

const QUIRKS: &[Quirk] = &[
    Quirk {
        name: "a repository that has to be created (Amazon ECR, Artifact Registry)",
        rule: |asked| {
            let missing = "The repository with name 'cache' does not exist in the registry";
            asked.path.starts_with("/v2/cache/").then(|| no(404, "NAME_UNKNOWN", missing)).flatten()
        },
        warning: Some("create it first"),
        information: None,
        saves: false,
    },
    Quirk {
        name: "unknown tags are bad requests (Amazon ECR)",
        rule: |asked| {
            let is_missing = asked.is("GET", "/manifests/") && asked.status == Some(404);
            is_missing.then(|| no(400, "TAG_INVALID", "no such tag")).flatten()
        },
        warning: None,
        information: Some("refuses look-ups, these are misses"),
        saves: true,
    },
    Quirk {
        name: "no right to push (GitLab, GitHub: tokens of forks)",
        rule: |asked| {
            let is_push = asked.is("POST", "/blobs/uploads/") || asked.is("PUT", "/manifests/");
            is_push.then(|| no(403, "DENIED", "requested access to the resource is denied")).flatten()
        },
        warning: Some("--no-push-cache"),
        information: None,
        saves: false,
    },
    Quirk {
        name: "no token with the right to push (Docker Hub, Quay)",
        rule: |asked| {
            let is_push = asked.is("POST", "/blobs/uploads/");
            is_push.then(|| no(401, "UNAUTHORIZED", "access to the requested resource is not authorized")).flatten()
        },
        warning: Some("takes nothing"),
        information: None,
        saves: false,
    },
    Quirk {
        name: "no right to pull (GitLab: a project of others)",
        rule: |asked| asked.is("GET", "/manifests/").then(|| no(403, "DENIED", "no pull here")).flatten(),
        warning: Some("cannot be read"),
        information: None,
        saves: true,
    },
    Quirk {
        name: "pulls are counted (Docker Hub)",
        rule: |asked| {
            let limit = "You have reached your pull rate limit";
            let refusal =
                Refusal { status: 429, headers: "Retry-After: 3600\r\n", code: "TOOMANYREQUESTS", message: limit };
            asked.is("GET", "/manifests/").then_some(refusal)
        },
        warning: Some("retry after 3600 s"),
        information: None,
        saves: true,
    },
    Quirk {
        name: "a quota that is used up (Harbor)",
        rule: |asked| {
            let quota = "adding 1 MiB of storage resource, which when updated to current usage will exceed the quota";
            asked.is("PUT", "/manifests/").then(|| no(403, "DENIED", quota)).flatten()
        },
        warning: Some("exceed the quota"),
        information: None,
        saves: false,
    },
    Quirk {
        name: "a mirror of another registry (Harbor, Artifact Registry, Quay)",
        rule: |asked| asked.is("POST", "/blobs/").then(|| no(405, "UNSUPPORTED", "push to a proxy cache")).flatten(),
        warning: Some("push to a proxy cache"),
        information: None,
        saves: false,
    },
    Quirk {
        name: "images only (Artifactory, old Harbor, old Quay)",
        rule: |asked| {
            let is_artifact = asked.is("PUT", "/manifests/") && asked.body.contains("artifactType");
            is_artifact.then(|| no(400, "MANIFEST_INVALID", "manifest invalid")).flatten()
        },
        warning: None,
        information: Some("takes no artifacts"),
        saves: true,
    },
    Quirk {
        name: "out of order (any)",
        rule: |asked| asked.path.starts_with("/v2/cache/").then(|| no(503, "UNAVAILABLE", "out of order")).flatten(),
        warning: Some("is off after 3 failures"),
        information: None,
        saves: false,
    },
    Quirk {
        name: "out of order when it is written to (any)",
        rule: |asked| asked.is("PUT", "/v2/cache/manifests/").then(|| no(500, "UNKNOWN", "disk full")).flatten(),
        warning: Some("disk full"),
        information: None,
        saves: false,
    },
    Quirk {
        name: "extensions are an error (any)",
        rule: |asked| asked.is("GET", "/_oci/").then(|| no(400, "UNSUPPORTED", "no extensions")).flatten(),
        warning: None,
        information: None,
        saves: true,
    },
];

const STEPS: usize = 6;

struct World {
    registry: Registry,
    context: TempDir,
}

impl World {
    fn new() -> Self {
        let copies: String = (0..STEPS).map(|step| format!("COPY f /d{step}/\n")).collect();
        Self { registry: Registry::start(), context: context(&format!("FROM scratch\n{copies}"), &[("f", "1")]) }
    }

    /// Builds on a runner that has nothing, with the cache repository at `address`; whose image is pushed
    /// past it.
    fn build(&self, address: &str, arguments: &[&str]) -> String {
        let mut command = executor();
        command.arg("-c").arg(self.context.path());
        command.args(["--cache=true", &format!("--cache-repo={address}/cache")]);
        command.args(["-d", &format!("{}/app:1", self.registry.address)]).args(arguments);
        let output = command.output().expect("executor runs");
        assert_success(&output);
        text(&output)
    }

    fn is_saved(&self) -> bool {
        let tag = format!("{}/app:1", self.registry.address);
        let again = self.build(&self.registry.address, &["--no-push-cache"]);
        support::run("skopeo", &["inspect", "--tls-verify=false", &format!("docker://{tag}")]);
        again.contains(&format!("{STEPS} steps cached"))
    }
}

fn lines<'a>(log: &'a str, level: &str) -> Vec<&'a str> {
    log.lines().filter(|line| line.starts_with(level)).collect()
}

fn check(quirk: &Quirk) {
    let world = World::new();
    let rule = quirk.rule;
    let log = world.build(&front::start(&world.registry.address, rule), &["--push-retry=0"]);
    assert!(log.contains(&format!("{STEPS} run")), "{}: {log}", quirk.name);
    let warnings = lines(&log, "WARN");
    assert_eq!(warnings.len(), usize::from(quirk.warning.is_some()), "{}: {log}", quirk.name);
    assert!(quirk.warning.is_none_or(|text| warnings[0].contains(text)), "{}: {warnings:?}", quirk.name);
    let told = |text: &&str| lines(&log, "INFO").iter().filter(|line| line.contains(*text)).count();
    assert!(quirk.information.as_ref().is_none_or(|text| told(text) == 1), "{}: {log}", quirk.name);
    assert_eq!(world.is_saved(), quirk.saves, "{}: {log}", quirk.name);
}

#[test]
fn a_registry_that_refuses_something_costs_one_line() {
    QUIRKS.iter().for_each(check);
}

#[test]
fn a_tag_that_cannot_be_moved_stays_as_it_is() {
    let immutable: Rule = |asked| {
        let exists = "The image tag already exists in the 'cache' repository and cannot be overwritten because the repository is immutable.";
        let is_tag = asked.is("PUT", "/manifests/") && asked.path.starts_with("/v2/cache/");
        is_tag.then(|| no(400, "TAG_INVALID", exists)).flatten()
    };
    let world = World::new();
    world.build(&world.registry.address, &[]);
    std::thread::sleep(std::time::Duration::from_secs(2));
    // All records are too old, and cannot be replaced.
    let log = world.build(&front::start(&world.registry.address, immutable), &["--cache-ttl=1s"]);
    assert!(log.contains(&format!("{STEPS} run")), "{log}");
    assert_eq!(lines(&log, "WARN"), Vec::<&str>::new(), "{log}");
    assert_eq!(log.matches("has immutable tags").count(), 1, "{log}");
}

/// The layers of an image, as hex.
fn raw_layers(name: &str) -> Vec<String> {
    let name = format!("docker://{name}");
    let image = support::run("skopeo", &["inspect", "--raw", "--tls-verify=false", &name]);
    let image: Value = serde_json::from_str(&image).expect("JSON");
    let layers = image["layers"].as_array().expect("layers").iter();
    layers.map(|layer| layer["digest"].as_str().expect("digest").trim_start_matches("sha256:").to_owned()).collect()
}

/// The layer of the first COPY.
fn first_layer(registry: &Registry) -> PathBuf {
    registry.blob(&raw_layers(&format!("{}/app:1", registry.address))[0])
}

/// A hit whose layer cannot be had is a miss, however late that shows.
#[test]
fn a_layer_that_cannot_be_had_is_made_again() {
    let denied: Rule =
        |asked| asked.is("GET", "/v2/cache/blobs/").then(|| no(403, "DENIED", "signed URL expired")).flatten();
    let other = Registry::start();
    for kind in ["denied", "lost", "truncated", "changed"] {
        let world = World::new();
        world.build(&world.registry.address, &[]);
        let (blob, mut address) = (first_layer(&world.registry), world.registry.address.clone());
        let bytes = fs::read(&blob).expect("layer");
        match kind {
            "denied" => address = front::start(&address, denied),
            "lost" => fs::remove_file(&blob).expect("remove"),
            "truncated" => fs::write(&blob, &bytes[..bytes.len() / 2]).expect("write"),
            _ => fs::write(&blob, bytes.iter().rev().copied().collect::<Vec<u8>>()).expect("write"),
        }
        // Another registry gets the image, so that every layer has to be had.
        write(world.context.path(), "g", "2");
        let tag = format!("{}/app:{kind}", other.address);
        let log = world.build(&address, &["-d", &tag]);
        assert!(log.contains("its step is done again"), "{kind}: {log}");
        let out = tempfile::tempdir().expect("directory");
        let layout = format!("oci:{}:x", out.path().display());
        support::run("skopeo", &["copy", "-q", "--src-tls-verify=false", &format!("docker://{tag}"), &layout]);
    }
}

/// The same build saves what it had to make again, though it learns of the loss only from the push.
#[test]
fn a_record_whose_layer_was_lost_is_saved_again_at_once() {
    let caches = Registry::start();
    let base = caches.push_base();
    for step in ["COPY f /one", "RUN cat /proc/sys/kernel/random/uuid > /one"] {
        let project = context(&format!("FROM {base}\n{step}\nCOPY f /two\n"), &[("f", step)]);
        // Each registry for images is a new one, so that every layer has to be had.
        let build = || {
            let images = Registry::start();
            let name = format!("{}/app:1", images.address);
            let mut command = executor();
            command.arg("-c").arg(project.path()).args(["-d", &name, "--cache=true"]);
            let output = command.arg(format!("--cache-repo={}/cache", caches.address)).output().expect("executor runs");
            assert_success(&output);
            let layers = raw_layers(&name);
            (text(&output), layers[layers.len() - 2].clone())
        };
        let (_, lost) = build();
        fs::remove_file(caches.blob(&lost)).expect("remove");
        let (log, made) = build();
        assert!(log.contains("its step is done again"), "{step}: {log}");
        let (log, found) = build();
        assert!(!log.contains("its step is done again") && log.contains("2 steps cached, 0 run"), "{step}: {log}");
        assert_eq!(found, made, "{step}");
    }
}

#[test]
fn a_front_without_a_rule_changes_nothing() {
    let world = World::new();
    let front = front::start(&world.registry.address, |_: &Asked| None);
    assert_eq!(lines(&world.build(&front, &[]), "WARN"), Vec::<&str>::new());
    assert!(world.is_saved());
}
