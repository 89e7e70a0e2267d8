use yadokari::digest::Digest;

use crate::registry::{Registry, Reply};
use crate::{Guarded, basic, bearer, create_token, pull, push, with};

/// A server with one token for `team/**`, and that token.
fn start() -> (Registry, String, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("temporary directory");
    let file = directory.path().join("tokens.json");
    let token = create_token(&file, "ci", "team/**=pull,push");
    (Registry::start_with(&["--tokens", file.to_str().expect("UTF-8")]), token, directory)
}

fn session(registry: &Registry, password: &str, query: &str) -> String {
    let reply = with(registry, &basic("ci", password), "GET", &format!("/token?{query}"), b"");
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(reply.json()["token"], reply.json()["access_token"]);
    assert!(reply.json()["expires_in"].as_u64().expect("a number") >= 60);
    bearer(reply.json()["token"].as_str().expect("a token"))
}

#[test]
fn a_session_holds_the_scopes_that_were_asked_for_and_are_allowed() {
    let (registry, token, _directory) = start();
    let session = session(
        &registry,
        &token,
        "service=cache-server&scope=repository:team/app:pull,push&scope=repository:other:push+repository:team/b:pull",
    );
    assert_eq!(push(&registry, &session, "team/app"), 201);
    assert_eq!(pull(&registry, &session, "team/app"), 200);
    for repository in ["team/b", "other", "team/c"] {
        let reply = with(&registry, &session, "POST", &format!("/v2/{repository}/blobs/uploads/"), b"");
        reply.is_error(401, "UNAUTHORIZED");
        let challenge = reply.header("www-authenticate").expect("a challenge");
        assert!(challenge.contains("error=\"insufficient_scope\""), "{challenge}");
        assert!(challenge.contains(&format!("scope=\"repository:{repository}:pull,push\"")), "{challenge}");
    }
    // Every method of the protocol wants its scope.
    let target = "/v2/team/app/manifests/v1";
    assert_eq!(with(&registry, &session, "DELETE", target, b"").status, 401);
    assert_eq!(with(&registry, &session, "GET", "/v2/_catalog", b"").status, 401);
}

/// The scopes of a 401 answer's challenge.
fn challenged(reply: &Reply) -> Vec<&str> {
    let challenge = reply.header("www-authenticate").expect("a challenge");
    let scope = challenge.split("scope=\"").nth(1).and_then(|rest| rest.split('"').next());
    scope.expect("a scope").split(' ').collect()
}

#[test]
fn a_mount_asks_for_the_scope_of_its_source_once() {
    let Guarded { registry, tokens: [all, team], _directory } =
        Guarded::start([("all", "**=*"), ("team", "team/**=pull,push")]);
    for source in ["team/source", "secret"] {
        assert_eq!(push(&registry, &bearer(&all), source), 201);
    }
    let digest = Digest::sha256(b"layer");
    let mount = |session: &str, from: &str| {
        with(&registry, session, "POST", &format!("/v2/team/app/blobs/uploads/?mount={digest}{from}"), b"")
    };
    for (token, from, wanted, status) in [
        (&team, "&from=team/source", "repository:team/source:pull", 201),
        (&team, "&from=secret", "repository:secret:pull", 202),
        (&all, "&from=secret", "repository:secret:pull", 201),
        (&team, "", "registry:catalog:*", 202),
        (&all, "", "registry:catalog:*", 201),
    ] {
        let narrow = session(&registry, token, "scope=repository:team/app:pull,push");
        let refusal = mount(&narrow, from);
        refusal.is_error(401, "UNAUTHORIZED");
        assert_eq!(challenged(&refusal), [wanted, "repository:team/app:pull,push"]);
        let stranger = registry.post(&format!("/v2/team/app/blobs/uploads/?mount={digest}{from}"));
        assert_eq!(challenged(&stranger), ["repository:team/app:pull,push", wanted], "all at once");
        // What the next token does not allow either is no reason to fail: the client uploads.
        let next = session(&registry, token, &format!("scope={}", challenged(&refusal).join("%20")));
        assert_eq!(mount(&next, from).status, status, "{from}");
    }
}

#[test]
fn a_refusal_is_heard_while_the_body_is_sent() {
    let (registry, _, _directory) = start();
    let body = vec![b'x'; 4_000_000];
    for target in ["/v2/team/app/manifests/v1", "/v2/team/app/blobs/uploads/x", "/v2/A/manifests/v1"] {
        for authorization in ["Bearer x", "Basic !"] {
            let reply = with(&registry, authorization, "PUT", target, &body);
            assert!([400, 401].contains(&reply.status), "{reply:?}");
        }
    }
}

#[test]
fn a_session_cannot_prolong_itself() {
    let (registry, token, _directory) = start();
    let scope = "scope=repository:team/app:pull,push";
    let session = session(&registry, &token, scope);
    assert_eq!(with(&registry, &session, "GET", &format!("/token?{scope}"), b"").status, 401);
}

#[test]
fn logging_in_needs_no_scope_but_right_credentials() {
    let (registry, token, _directory) = start();
    let empty = session(&registry, &token, "account=ci&client_id=docker&offline_token=true");
    assert_eq!(with(&registry, &empty, "GET", "/v2/", b"").status, 200);
    assert_eq!(push(&registry, &empty, "team/app"), 401);
    assert_eq!(with(&registry, &basic("ci", "wrong"), "GET", "/token", b"").status, 401);
}

#[test]
fn anonymous_clients_get_tokens_for_what_everyone_may_do() {
    let (registry, token, _directory) = start();
    assert_eq!(push(&registry, &bearer(&token), "team/app"), 201);
    let reply = registry.get("/token?scope=repository:team/app:pull,push");
    let anonymous = bearer(reply.json()["token"].as_str().expect("a token"));
    assert_eq!(with(&registry, &anonymous, "GET", "/v2/", b"").status, 200);
    assert_eq!(pull(&registry, &anonymous, "team/app"), 200);
    assert_eq!(push(&registry, &anonymous, "team/app"), 401);
}

#[test]
fn a_form_gives_a_token_too() {
    let (registry, token, _directory) = start();
    let form = |password: &str| {
        let scope = "repository%3Ateam%2Fapp%3Apull%2Cpush+repository%3Aother%3Apush";
        let body = format!("grant_type=password&service=x&scope={scope}&username=ci&password={password}");
        registry.send("POST", "/token", &[("Content-Type", "application/x-www-form-urlencoded")], body.as_bytes())
    };
    let session = bearer(form(&token).json()["access_token"].as_str().expect("a token"));
    assert_eq!(push(&registry, &session, "team/app"), 201);
    assert_eq!(push(&registry, &session, "other"), 401);
    assert_eq!(form("wrong").status, 401);
    assert_eq!(registry.send("POST", "/token", &[], b"grant_type=refresh_token&refresh_token=x").status, 400);
    assert_eq!(registry.send("POST", "/token", &[], &vec![b'a'; 100_000]).status, 413);
}

#[test]
fn tokens_of_another_run_or_server_are_refused() {
    let (registry, token, directory) = start();
    let session = session(&registry, &token, "scope=repository:team/app:pull,push");
    let file = directory.path().join("tokens.json");
    let other = Registry::start_with(&["--tokens", file.to_str().expect("UTF-8")]);
    assert_eq!(push(&other, &session, "team/app"), 401);
    // Replicas share a key.
    let key = directory.path().join("key");
    std::fs::write(&key, [7; 32]).expect("written");
    let flags = ["--tokens", file.to_str().expect("UTF-8"), "--signing-key", key.to_str().expect("UTF-8")];
    let (one, two) = (Registry::start_with(&flags), Registry::start_with(&flags));
    let session = self::session(&one, &token, "scope=repository:team/app:pull,push");
    assert_eq!(push(&two, &session, "team/app"), 201);
}

#[test]
fn behind_a_proxy_the_realm_is_where_clients_can_reach_it() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let file = directory.path().join("tokens.json");
    create_token(&file, "ci", "**=*");
    let flags = ["--tokens", file.to_str().expect("UTF-8"), "--external-url", "https://cache.example/"];
    let registry = Registry::start_with(&flags);
    let challenge = registry.get("/v2/").header("www-authenticate").expect("a challenge").to_owned();
    assert!(challenge.starts_with("Bearer realm=\"https://cache.example/token\","), "{challenge}");
}
