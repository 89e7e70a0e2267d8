//! Several servers on one place in a bucket.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use yadokari::digest::Digest;

use crate::registry::command::assert_clean;
use crate::registry::{Registry, Reply, noise, with_digest};

fn pair(name: &str) -> (Registry, Registry) {
    let data = Path::new("/replicas").join(name);
    (Registry::start_in(&data), Registry::start_in(&data))
}

#[test]
fn what_one_replica_confirmed_the_other_one_has() {
    let (one, other) = pair("confirmed");
    for number in 0..20 {
        let tag = format!("v{number}");
        let (here, there) = if number % 2 == 0 { (&one, &other) } else { (&other, &one) };
        let digest = here.push_image("a", &tag);
        let pulled = there.get(&format!("/v2/a/manifests/{tag}"));
        assert_eq!(pulled.header("docker-content-digest"), Some(&*digest.to_string()));
        let layer = pulled.json()["layers"][0]["digest"].as_str().expect("a digest").to_owned();
        assert_eq!(there.get(&format!("/v2/a/blobs/{layer}")).body, format!("layer of {tag}").into_bytes());
        let body = json!({ "keys": [tag] }).to_string();
        let found = there.send("POST", "/v2/a/_yadokari/lookup", &[], body.as_bytes()).json();
        assert_eq!(found["records"][0]["digest"], json!(digest));
    }
    let tags = other.get("/v2/a/tags/list").json();
    assert_eq!(tags["tags"].as_array().map(Vec::len), Some(20));
    assert_eq!(one.delete("/v2/a/manifests/v3").status, 202);
    assert_eq!(other.get("/v2/a/tags/list").json()["tags"].as_array().map(Vec::len), Some(19));
}

#[test]
fn an_upload_goes_on_at_another_replica() {
    let (one, other) = pair("uploads");
    // Long enough for pieces, and short enough for one request.
    for length in [900_000, 15_000_000] {
        let content = noise(length);
        let cuts = [0, length / 3, length / 2, length];
        let location = one.open_session("a");
        let patch = |registry: &Registry, from: usize, to: usize| -> Reply {
            let range = format!("{from}-{}", to - 1);
            registry.send("PATCH", &location, &[("Content-Range", &range)], &content[from..to])
        };
        assert_eq!(patch(&one, cuts[0], cuts[1]).status, 202);
        assert_eq!(patch(&other, cuts[1], cuts[2]).status, 202);
        // What the other one has taken, the first one does not take again.
        assert_eq!(patch(&one, cuts[1], cuts[2]).status, 416);
        assert_eq!(one.get(&location).header("range"), Some(&*format!("0-{}", cuts[2] - 1)));
        let digest = Digest::sha256(&content);
        let reply = one.send("PUT", &with_digest(&location, &digest), &[], &content[cuts[2]..]);
        assert_eq!(reply.status, 201, "{reply:?}");
        assert_eq!(other.get(&location).status, 404);
        for registry in [&one, &other] {
            assert!(registry.get(&reply.location()).body == content);
            let range = format!("bytes={}-{}", cuts[1] - 5, cuts[2] + 5);
            let part = registry.send("GET", &reply.location(), &[("Range", &range)], b"");
            assert_eq!(part.status, 206);
            assert!(part.body == content[cuts[1] - 5..=cuts[2] + 5]);
        }
    }
    assert_clean(one.data());
}

#[test]
fn one_runner_holds_a_lease_wherever_it_asks() {
    let (one, other) = pair("leases");
    let path = "/v2/a/_yadokari/leases/key";
    let ask = |registry: &Registry, body: serde_json::Value| {
        registry.send("POST", path, &[("Content-Type", "application/json")], body.to_string().as_bytes()).json()
    };
    let first = ask(&one, json!({ "ttl_ms": 60_000 }));
    assert_eq!(first["state"], "granted", "{first}");
    assert_eq!(ask(&other, json!({ "wait_ms": 700 }))["state"], "held");
    let of = |lease: &serde_json::Value| format!("{path}?lease={}", lease["lease"].as_str().expect("an id"));
    // Renewed and given back wherever the load balancer leads.
    assert_eq!(other.send("PUT", &format!("{}&ttl_ms=60000", of(&first)), &[], b"").status, 204);
    assert_eq!(other.delete(&of(&first)).status, 204);
    assert_eq!(one.delete(&of(&first)).status, 404);
    let second = ask(&other, json!({ "ttl_ms": 60_000 }));
    assert!(second["fence"].as_u64() > first["fence"].as_u64(), "{first} {second}");
    // The first holder, late, is refused by a replica that did not grant the second lease.
    let manifest = one.push_parts("a", "late");
    let fence = first["fence"].to_string();
    let headers = [("Content-Type", "application/vnd.oci.image.manifest.v1+json"), ("Yadokari-Fence", fence.as_str())];
    let late = one.send("PUT", "/v2/a/manifests/key", &headers, manifest.to_string().as_bytes());
    late.is_error(409, "DENIED");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| ask(&one, json!({ "wait_ms": 20_000 })));
        std::thread::sleep(Duration::from_millis(300));
        other.push_image("a", "key");
        assert_eq!(waiting.join().expect("answered")["state"], "present");
    });
}

#[test]
fn a_tag_is_what_the_last_writer_said_and_never_torn() {
    let (one, other) = pair("races");
    let images: Vec<_> = (0..6).map(|number| one.push_parts("a", &number.to_string())).collect();
    let digests: Vec<String> =
        images.iter().map(|image| Digest::sha256(image.to_string().as_bytes()).to_string()).collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = [&one, &other]
            .into_iter()
            .enumerate()
            .map(|(start, registry)| {
                let images = &images;
                scope.spawn(move || {
                    for round in 0..30 {
                        let image = &images[(start * 3 + round) % images.len()];
                        assert_eq!(registry.put_manifest("a", "moving", image).status, 201);
                    }
                })
            })
            .collect();
        for registry in [&one, &other] {
            let (done, digests) = (&done, &digests);
            scope.spawn(move || {
                while !done.load(Ordering::SeqCst) {
                    let reply = registry.get("/v2/a/manifests/moving");
                    if reply.status == 404 {
                        continue;
                    }
                    let digest = Digest::sha256(&reply.body).to_string();
                    assert_eq!(reply.header("docker-content-digest"), Some(&*digest));
                    assert!(digests.contains(&digest));
                }
            });
        }
        writers.into_iter().for_each(|writer| writer.join().expect("all were taken"));
        done.store(true, Ordering::SeqCst);
    });
    // Nobody writes any more: soon both say the same.
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    loop {
        let said = [&one, &other].map(|registry| registry.get("/v2/a/manifests/moving").body);
        if said[0] == said[1] {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "replicas disagree");
    }
    // Put if absent: one of all wins.
    let won: Vec<u16> = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..8)
            .map(|number| {
                let registry = if number % 2 == 0 { &one } else { &other };
                let body = images[number % images.len()].to_string();
                scope.spawn(move || {
                    let headers =
                        [("Content-Type", "application/vnd.oci.image.manifest.v1+json"), ("If-None-Match", "*")];
                    registry.send("PUT", "/v2/a/manifests/once", &headers, body.as_bytes()).status
                })
            })
            .collect();
        racers.into_iter().map(|racer| racer.join().expect("answered")).collect()
    });
    assert_eq!(won.iter().filter(|status| **status == 201).count(), 1, "{won:?}");
    assert_eq!(won.iter().filter(|status| **status == 412).count(), 7, "{won:?}");
}
