//! The cache API, over the same data as the registry's: look-ups, put if absent, leases, pins.

// Clippy takes only functions marked as tests for tests.
#![allow(clippy::expect_used)]

mod registry;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use registry::{Registry, Reply, digest_of, noise};
use serde_json::{Value, json};
use yadokari::digest::Digest;
use yadokari::image::media_type;

fn key(number: u64) -> String {
    format!("{number:064x}")
}

fn ask(registry: &Registry, method: &str, path: &str, body: &Value) -> Reply {
    registry.send(method, path, &[("Content-Type", "application/json")], body.to_string().as_bytes())
}

fn look_up(registry: &Registry, repository: &str, keys: &[String]) -> Vec<(String, Value)> {
    let reply = ask(registry, "POST", &format!("/v2/{repository}/_yadokari/lookup"), &json!({ "keys": keys }));
    assert_eq!(reply.status, 200, "{reply:?}");
    let records = reply.json()["records"].as_array().expect("a list").clone();
    records.iter().map(|r| (r["key"].as_str().expect("a key").to_owned(), r.clone())).collect()
}

fn keys_of(found: &[(String, Value)]) -> Vec<&str> {
    found.iter().map(|(key, _)| key.as_str()).collect()
}

fn lease(registry: &Registry, key: &str, body: &Value) -> Value {
    let reply = ask(registry, "POST", &format!("/v2/a/_yadokari/leases/{key}"), body);
    assert!(reply.status < 300, "{reply:?}");
    reply.json()
}

#[test]
fn it_says_that_it_is_there() {
    let registry = Registry::start();
    for path in ["/v2/_oci/ext/discover", "/v2/a/b/_oci/ext/discover"] {
        let reply = registry.get(path);
        assert_eq!((reply.status, &reply.json()["extensions"][0]["name"]), (200, &json!("_yadokari")));
    }
}

#[test]
fn records_pushed_as_manifests_are_found_in_one_request() {
    let registry = Registry::start();
    registry.push_image("a", &key(1));
    let second = registry.push_image("a", &key(2));
    registry.push_image("b", &key(3));
    let keys: Vec<String> = [9, 2, 3, 1].map(key).to_vec();
    let found = look_up(&registry, "a", &keys);
    assert_eq!(keys_of(&found), [key(2), key(1)]);
    assert_eq!(found[0].1["digest"], json!(second));
    // As it was pushed, so that its digest can be checked.
    assert_eq!(digest_of(&found[0].1["manifest"]), second);
    assert_eq!(look_up(&registry, "nothing", &keys), []);
    assert_eq!(look_up(&registry, "a", &[]), []);
}

#[test]
fn incomplete_records_are_absent_until_they_are_whole_again() {
    let registry = Registry::start();
    registry.push_image("a", &key(1));
    registry.push_image("a", &key(2));
    let layer = format!("layer of {}", key(1));
    let path = format!("/v2/a/blobs/{}", Digest::sha256(layer.as_bytes()));
    assert_eq!(registry.delete(&path).status, 202);
    assert_eq!(keys_of(&look_up(&registry, "a", &[key(1), key(2)])), [key(2)]);
    registry.push_blob("a", layer.as_bytes());
    assert_eq!(keys_of(&look_up(&registry, "a", &[key(1), key(2)])), [key(1), key(2)]);
    if registry::store::in_bucket() {
        return;
    }
    // A file that vanished is noticed by whoever asks for it.
    let digest = Digest::sha256(layer.as_bytes());
    let file = registry.data().join("blobs/sha256").join(&digest.hex()[..2]).join(digest.hex());
    std::fs::remove_file(file).expect("removed");
    assert_eq!(registry.get(&path).status, 404);
    assert_eq!(keys_of(&look_up(&registry, "a", &[key(1), key(2)])), [key(2)]);
}

#[test]
fn bad_look_ups_are_refused() {
    let registry = Registry::start();
    let path = "/v2/a/_yadokari/lookup";
    for body in [json!([]), json!({}), json!({ "keys": 1 }), json!({ "keys": [1] })] {
        ask(&registry, "POST", path, &body).is_error(400, "UNSUPPORTED");
    }
    ask(&registry, "POST", path, &json!({ "keys": ["../x"] })).is_error(400, "TAG_INVALID");
    let many: Vec<String> = (0..10_001).map(key).collect();
    ask(&registry, "POST", path, &json!({ "keys": many })).is_error(413, "SIZE_INVALID");
    registry.get(path).is_error(405, "UNSUPPORTED");
    ask(&registry, "POST", "/v2/A/_yadokari/lookup", &json!({ "keys": [] })).is_error(400, "NAME_INVALID");
}

#[test]
fn a_long_answer_says_what_it_left_out() {
    let registry = Registry::start();
    let mut manifest = registry.push_parts("a", "x");
    // 3 MiB each; the answer ends beyond 16.
    for number in 0..8 {
        manifest["annotations"] = json!({ "filler": "x".repeat(3 << 20), "number": number.to_string() });
        assert_eq!(registry.put_manifest("a", &key(number), &manifest).status, 201);
    }
    let mut wanted: Vec<String> = (0..8).map(key).collect();
    let mut seen = Vec::new();
    while !wanted.is_empty() {
        let reply = ask(&registry, "POST", "/v2/a/_yadokari/lookup", &json!({ "keys": wanted })).json();
        seen.extend(reply["records"].as_array().expect("a list").iter().map(|r| r["key"].clone()));
        wanted = serde_json::from_value(reply.get("rest").cloned().unwrap_or(json!([]))).expect("keys");
    }
    assert_eq!(seen, (0..8).map(|n| json!(key(n))).collect::<Vec<_>>());
}

#[test]
fn a_tag_is_put_if_absent() {
    let registry = Registry::start();
    let first = registry.push_image("a", &key(1));
    let other = registry.push_parts("a", "other");
    let put = |manifest: &Value| {
        let headers = [("Content-Type", media_type::OCI_MANIFEST), ("If-None-Match", "*")];
        registry.send("PUT", &format!("/v2/a/manifests/{}", key(1)), &headers, manifest.to_string().as_bytes())
    };
    let refused = put(&other);
    assert_eq!(refused.status, 412, "{refused:?}");
    assert_eq!(refused.header("docker-content-digest"), Some(&*first.to_string()));
    let layer = format!("layer of {}", key(1));
    registry.delete(&format!("/v2/a/blobs/{}", Digest::sha256(layer.as_bytes())));
    // What is there is of no use: it may be replaced.
    assert_eq!(put(&other).status, 201);
}

#[test]
fn one_lease_at_a_time_and_dead_holders_lose_it() {
    let registry = Registry::start();
    assert_eq!(lease(&registry, &key(2), &json!({ "ttl_ms": 60_000 }))["state"], "granted");
    assert_eq!(lease(&registry, &key(2), &json!({}))["state"], "held");
    let first = lease(&registry, &key(1), &json!({ "ttl_ms": 300 }));
    assert_eq!(first["state"], "granted");
    // Nobody renews it: the next one in line gets it.
    let second = lease(&registry, &key(1), &json!({ "wait_ms": 20_000, "ttl_ms": 60_000 }));
    assert_eq!(second["state"], "granted");
    assert!(second["fence"].as_u64() > first["fence"].as_u64());
    let path =
        |lease: &Value| format!("/v2/a/_yadokari/leases/{}?lease={}", key(1), lease["lease"].as_str().expect("an id"));
    assert_eq!(registry.send("PUT", &path(&first), &[], b"").status, 404);
    assert_eq!(registry.send("PUT", &path(&second), &[], b"").status, 204);
    // The first one, late, says which lease it had.
    let manifest = registry.push_parts("a", "x");
    let fence = first["fence"].to_string();
    let headers = [("Content-Type", media_type::OCI_MANIFEST), ("Yadokari-Fence", fence.as_str())];
    let target = format!("/v2/a/manifests/{}", key(1));
    registry.send("PUT", &target, &headers, manifest.to_string().as_bytes()).is_error(409, "DENIED");
    assert_eq!(registry.delete(&path(&second)).status, 204);
    assert_eq!(registry.delete(&path(&second)).status, 404);
}

#[test]
fn a_record_ends_the_wait_for_it() {
    let registry = Registry::start();
    assert_eq!(lease(&registry, &key(1), &json!({ "ttl_ms": 60_000 }))["state"], "granted");
    let (made, present) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..30 {
            scope.spawn(|| {
                let mut state = String::from("held");
                while state == "held" {
                    state =
                        lease(&registry, &key(1), &json!({ "wait_ms": 20_000 }))["state"].as_str().expect("one").into();
                }
                let count = if state == "present" { &present } else { &made };
                count.fetch_add(1, Ordering::SeqCst);
            });
        }
        std::thread::sleep(Duration::from_millis(300));
        registry.push_image("a", &key(1));
    });
    assert_eq!((made.into_inner(), present.into_inner()), (0, 30));
    assert_eq!(lease(&registry, &key(1), &json!({}))["state"], "present");
}

#[test]
fn two_hundred_builders_of_one_step_build_it_once() {
    const BUILDERS: usize = 200;
    let registry = Registry::start();
    let (made, present) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..BUILDERS {
            scope.spawn(|| {
                loop {
                    let answer = lease(&registry, &key(1), &json!({ "wait_ms": 20_000, "ttl_ms": 60_000 }));
                    match answer["state"].as_str() {
                        Some("granted") => {
                            std::thread::sleep(Duration::from_millis(300));
                            registry.push_image("a", &key(1));
                            made.fetch_add(1, Ordering::SeqCst);
                            break;
                        }
                        Some("present") => {
                            present.fetch_add(1, Ordering::SeqCst);
                            break;
                        }
                        other => assert_eq!(other, Some("held")),
                    }
                }
            });
        }
    });
    assert_eq!((made.into_inner(), present.into_inner()), (1, BUILDERS - 1));
}

fn hot(registry: &Registry, query: &str) -> (Vec<String>, Vec<String>) {
    let found = registry.get(&format!("/v2/cache/_yadokari/hot{query}"));
    assert_eq!(found.status, 200, "{found:?}");
    let list = |name: &str| found.json()[name].as_array().expect("a list").clone();
    let image = |entry: &Value| {
        format!("{}:{}", entry["repository"].as_str().expect("one"), entry["reference"].as_str().expect("one"))
    };
    let records = list("records").iter().map(|entry| entry["key"].as_str().expect("one").to_owned()).collect();
    (list("images").iter().map(image).collect(), records)
}

#[test]
fn the_hot_set_is_what_is_asked_for_most() {
    let registry = Registry::start();
    for tag in ["v1", "v2", "v3"] {
        registry.push_image("team/base", tag);
    }
    (1..=3).for_each(|number| drop(registry.push_image("cache", &key(number))));
    registry.push_image("other", &key(4));
    // What builds remember of a base image is none.
    let memory = format!("base-{}", key(5));
    registry.push_image("cache", &memory);
    // Pushing is not asking.
    assert_eq!(hot(&registry, ""), (vec![], vec![]));
    (0..2).for_each(|_| assert_eq!(registry.get("/v2/team/base/manifests/v2").status, 200));
    registry.get("/v2/team/base/manifests/v1");
    registry.get("/v2/team/base/manifests/absent");
    (0..5).for_each(|_| assert_eq!(registry.get(&format!("/v2/cache/manifests/{memory}")).status, 200));
    look_up(&registry, "cache", &[key(3), key(9)]);
    look_up(&registry, "cache", &[key(3), key(1)]);
    look_up(&registry, "other", &[key(4)]);
    let images = vec!["team/base:v2".to_owned(), "team/base:v1".to_owned()];
    assert_eq!(hot(&registry, ""), (images.clone(), vec![key(3), key(1)]));
    assert_eq!(hot(&registry, "?n=1"), (images[..1].to_vec(), vec![key(3)]));
    registry.get("/v2/cache/_yadokari/hot?n=x").is_error(400, "PAGINATION_NUMBER_INVALID");
    // What is gone is not wanted any more, and a child of an index comes with that.
    let child = registry.push_image("team/base", "child");
    let index = json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_INDEX,
        "manifests": [{ "mediaType": media_type::OCI_MANIFEST, "digest": child, "size": 1 }],
    });
    assert_eq!(registry.put_manifest("team/base", "index", &index).status, 201);
    registry.delete("/v2/team/base/manifests/v2");
    registry.delete("/v2/team/base/manifests/child");
    (0..3).for_each(|_| assert_eq!(registry.get("/v2/team/base/manifests/index").status, 200));
    (0..3).for_each(|_| assert_eq!(registry.get(&format!("/v2/team/base/manifests/{child}")).status, 200));
    assert_eq!(hot(&registry, "").0, ["team/base:index", "team/base:v1"]);
}

#[test]
fn pinned_images_outlive_newer_ones() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let data = directory.path().join("data");
    let registry = Registry::start_in_with(&data, &["--max-bytes", "8MiB"]);
    let push = |tag: &str| {
        let mut layer = noise(2 << 20);
        layer[..tag.len()].copy_from_slice(tag.as_bytes());
        registry.push_blob("a", &layer);
        registry.push_blob("a", b"{}");
        assert_eq!(registry.put_manifest("a", tag, &registry::image(&layer)).status, 201);
    };
    push("pinned");
    ask(&registry, "PUT", "/v2/a/_yadokari/pins/none", &json!({})).is_error(404, "MANIFEST_UNKNOWN");
    assert_eq!(ask(&registry, "PUT", "/v2/a/_yadokari/pins/pinned", &json!({})).status, 204);
    let pins = registry.get("/v2/a/_yadokari/pins").json();
    assert_eq!(pins["pins"][0]["until"], json!(null));
    ["b", "c", "d", "e"].into_iter().for_each(push);
    assert_eq!(registry.get("/v2/a/manifests/pinned").status, 200);
    assert_eq!(registry.get("/v2/a/manifests/b").status, 404);
    assert_eq!(registry.delete("/v2/a/_yadokari/pins/pinned").status, 204);
    assert_eq!(registry.delete("/v2/a/_yadokari/pins/pinned").status, 404);
    assert_eq!(registry.get("/v2/a/_yadokari/pins").json(), json!({ "pins": [] }));
}
