//! Who may do what with the endpoints that a plain registry does not have.

use serde_json::json;
use yadokari::image::media_type;

use crate::registry::command::serve_in;
use crate::registry::{Registry, image};
use crate::{Guarded, bearer, create_token, push};

const KEY: &str = "aaaa";

/// A request, and which of the callers of the test may make it, by the names of their tokens.
type Rule = (&'static str, String, &'static [&'static str]);

fn status(registry: &Registry, token: Option<&str>, method: &str, target: &str) -> u16 {
    let manifest = image(b"layer").to_string();
    let body: &[u8] = match (method, target.contains("/manifests/")) {
        ("PUT", true) => manifest.as_bytes(),
        ("POST", _) if target.ends_with("/lookup") => b"{\"keys\":[]}",
        ("GET" | "HEAD" | "DELETE", _) => b"",
        _ => b"{}",
    };
    let authorization = token.map(bearer).unwrap_or_default();
    let mut headers = vec![("Content-Type", media_type::OCI_MANIFEST), ("If-None-Match", "*")];
    if token.is_some() {
        headers.push(("Authorization", &authorization));
    }
    registry.send(method, target, &headers, body).status
}

#[test]
fn every_endpoint_asks_for_its_right_and_for_no_other() {
    let grants = [
        ("pull", "cache=pull"),
        ("push", "cache=pull,push"),
        ("read-keys", "cache=read-keys"),
        ("write-keys", "cache=write-keys"),
        ("delete", "cache=delete"),
        ("other", "other/**=*"),
        ("reader", "**=pull"),
        ("all", "**=*"),
    ];
    let Guarded { registry, tokens, _directory } = Guarded::start(grants);
    let tokens: Vec<(&str, String)> = grants.map(|(name, _)| name).into_iter().zip(tokens).collect();
    assert_eq!(push(&registry, &bearer(&tokens[7].1), "cache"), 201);
    let reading: &[&str] = &["pull", "push", "read-keys", "reader", "all"];
    let leasing: &[&str] = &["push", "write-keys", "all"];
    let lease = format!("/v2/cache/_yadokari/leases/{KEY}");
    let rules: Vec<Rule> = vec![
        ("POST", "/v2/cache/_yadokari/lookup".into(), reading),
        ("GET", "/v2/cache/_yadokari/hot".into(), reading),
        ("GET", "/v2/cache/_yadokari/pins".into(), reading),
        ("POST", lease.clone(), leasing),
        ("PUT", format!("{lease}?lease=x"), leasing),
        ("DELETE", format!("{lease}?lease=x"), leasing),
        ("PUT", "/v2/cache/_yadokari/pins/v1".into(), leasing),
        ("DELETE", "/v2/cache/_yadokari/pins/v1".into(), leasing),
        ("PUT", format!("/v2/cache/manifests/{KEY}"), &["push", "all"]),
        ("GET", format!("/v2/cache/manifests/{KEY}"), &["pull", "push", "reader", "all"]),
        ("DELETE", format!("/v2/cache/manifests/{KEY}"), &["delete", "all"]),
        ("GET", "/v2/cache/tags/list".into(), &["pull", "push", "reader", "all"]),
        ("GET", "/v2/_catalog".into(), &["reader", "all"]),
        ("GET", "/".into(), &["reader", "all"]),
    ];
    for (method, target, allowed) in &rules {
        let anonymous = status(&registry, None, method, target);
        assert_eq!(anonymous, 401, "anonymous: {method} {target}");
        for (name, token) in &tokens {
            let status = status(&registry, Some(token), method, target);
            let refused = status == 401 || status == 403;
            assert_eq!(!refused, allowed.contains(name), "{name}: {method} {target}: {status}");
        }
        assert_eq!(status(&registry, Some("yk_000000000000_x"), method, target), 401, "{method} {target}");
    }
    // Whoever asks may know that the server is there and how it is doing, and nothing of its contents.
    for open in ["/healthz", "/readyz", "/metrics", "/v2/_oci/ext/discover"] {
        assert_eq!(status(&registry, None, "GET", open), 200, "{open}");
    }
}

#[test]
fn the_hot_set_names_what_the_caller_may_pull() {
    let Guarded { registry, tokens: [all, one], _directory } = Guarded::start([("all", "**=*"), ("one", "cache=pull")]);
    for repository in ["secret", "cache"] {
        assert_eq!(push(&registry, &bearer(&all), repository), 201);
        let target = format!("/v2/{repository}/manifests/v1");
        assert_eq!(status(&registry, Some(&all), "HEAD", &target), 304);
    }
    let names = |token: &str| {
        let headers = [("Authorization", bearer(token))];
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let images = registry.send("GET", "/v2/cache/_yadokari/hot", &headers, b"").json()["images"].clone();
        let images = images.as_array().expect("a list").clone();
        let mut names: Vec<_> = images.iter().map(|image| image["repository"].clone()).collect();
        names.sort_by_key(ToString::to_string);
        names
    };
    assert_eq!(names(&all), [json!("cache"), json!("secret")]);
    assert_eq!(names(&one), [json!("cache")]);
}

#[test]
fn a_mirror_is_pulled_from_by_those_who_may() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let file = directory.path().join("tokens.json");
    let (hub, bare) = (create_token(&file, "hub", "docker.io/**=pull"), create_token(&file, "bare", "library/**=pull"));
    let data = directory.path().join("data");
    // The port of tcpmux, which nobody has.
    let upstream = "127.0.0.1:1";
    let mut command = serve_in(&data);
    command.args(["--anonymous=none", "--tokens"]).arg(&file);
    command.arg("--mirror").arg(format!("docker.io=http://{upstream}"));
    command.env("DOCKER_CONFIG", directory.path());
    let registry = Registry::start_command(command, &data);
    let own = "/v2/docker.io/library/alpine/manifests/3";
    let by_namespace = "/v2/library/alpine/manifests/3?ns=docker.io";
    // 502: the server went to ask.
    assert_eq!(status(&registry, Some(&hub), "GET", own), 502);
    assert_eq!(status(&registry, Some(&bare), "GET", own), 403);
    // The name in the request is one that `bare` may pull, but the copy has another one.
    assert_eq!(status(&registry, Some(&bare), "GET", by_namespace), 404);
    assert_eq!(status(&registry, Some(&hub), "GET", by_namespace), 403);
    assert_eq!(status(&registry, None, "GET", own), 401);
    // Nobody pushes there, whatever they may.
    let all = create_token(&file, "all", "**=*");
    registry.signal("HUP");
    while status(&registry, Some(&all), "GET", "/v2/_catalog") == 401 {
        std::thread::yield_now();
    }
    assert_eq!(status(&registry, Some(&all), "PUT", own), 403);
}
