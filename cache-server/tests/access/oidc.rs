use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::issuer::{AUDIENCE, Issuer, header, public_pem, rsa_key, seconds};
use crate::registry::Registry;
use crate::{basic, bearer, pull, push, with};

/// A server that trusts the issuer, and nobody else.
fn start(issuer: &Issuer, more: &str) -> (Registry, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("temporary directory");
    let config = directory.path().join("config.toml");
    fs::write(&config, format!("anonymous = \"none\"\n{}{more}", issuer.configuration())).expect("written");
    (Registry::start_with(&["--config", config.to_str().expect("UTF-8")]), directory)
}

#[test]
fn a_branch_reads_mains_records_and_writes_only_its_own() {
    let issuer = Issuer::start();
    let (registry, _directory) = start(&issuer, "");
    let main = bearer(&issuer.sign(&issuer.claims("main", true)));
    let branch = bearer(&issuer.sign(&issuer.claims("fix", false)));
    let (mains, own) = ("cache/g/app/protected/main", "cache/g/app/branch/fix");
    assert_eq!(push(&registry, &main, mains), 201);
    assert_eq!(pull(&registry, &branch, mains), 200);
    assert_eq!(push(&registry, &branch, own), 201);
    for poisoned in [mains, "cache/g/app/protected/fix", "cache/g/app/branch/main", "cache/other/app/branch/fix", "x"] {
        assert_eq!(push(&registry, &branch, poisoned), 403, "{poisoned}");
    }
    // Nor by other ways into a repository.
    let digest = yadokari::digest::Digest::sha256(b"layer");
    for (method, target) in [
        ("POST", format!("/v2/{mains}/blobs/uploads/?mount={digest}&from={own}")),
        ("DELETE", format!("/v2/{mains}/manifests/v1")),
        ("DELETE", format!("/v2/{mains}/blobs/{digest}")),
        ("PATCH", format!("/v2/{mains}/blobs/uploads/x")),
    ] {
        assert_eq!(with(&registry, &branch, method, &target, b"").status, 403, "{method} {target}");
    }
    // And main does not read what branches wrote.
    assert_eq!(pull(&registry, &main, own), 403);
    let access = with(&registry, &branch, "GET", "/access", b"").json();
    assert_eq!(access["identity"], "gitlab:g/app@fix");
}

#[test]
fn merge_requests_and_forks_are_not_protected() {
    let issuer = Issuer::start();
    let (registry, _directory) = start(&issuer, "");
    for (name, value) in [("pipeline_source", "merge_request_event"), ("job_project_path", "upstream/app")] {
        let mut claims = issuer.claims("main", true);
        claims[name] = json!(value);
        assert_eq!(push(&registry, &bearer(&issuer.sign(&claims)), "cache/g/app/protected/main"), 403, "{name}");
    }
}

#[test]
fn only_projects_of_listed_owners_come_in() {
    let issuer = Issuer::start();
    let (registry, _directory) = start(&issuer, "owners = [\"other\", \"42\"]");
    let mut claims = issuer.claims("fix", false);
    assert_eq!(push(&registry, &bearer(&issuer.sign(&claims)), "cache/g/app/branch/fix"), 401);
    claims["namespace_id"] = json!("42");
    assert_eq!(push(&registry, &bearer(&issuer.sign(&claims)), "cache/g/app/branch/fix"), 201);
    claims["namespace_id"] = json!("7");
    claims["project_path"] = json!("otherwise/app");
    assert_eq!(push(&registry, &bearer(&issuer.sign(&claims)), "cache/otherwise/app/branch/fix"), 401);
    claims["project_path"] = json!("other/app");
    assert_eq!(push(&registry, &bearer(&issuer.sign(&claims)), "cache/other/app/branch/fix"), 201);
}

#[test]
fn tokens_with_wrong_claims_are_refused() {
    let issuer = Issuer::start();
    let (registry, _directory) = start(&issuer, "");
    let good = issuer.claims("main", true);
    let repository = "cache/g/app/protected/main";
    assert_eq!(push(&registry, &basic("oidc", &issuer.sign(&good)), repository), 201);
    let changed = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    let without = |name: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().expect("an object").remove(name);
        claims
    };
    for (what, claims) in [
        ("expired", changed("exp", json!(seconds(-60)))),
        ("not valid yet", changed("nbf", json!(seconds(60)))),
        ("other audience", changed("aud", json!("https://elsewhere.example"))),
        ("other audiences", changed("aud", json!(["a", "b"]))),
        ("other issuer", changed("iss", json!("https://evil.example"))),
        ("issuer with a slash", changed("iss", json!(format!("{}/", issuer.url)))),
        ("no expiry", without("exp")),
        ("no audience", without("aud")),
        ("no issuer", without("iss")),
        ("expiry that is no number", changed("exp", json!("never"))),
    ] {
        let reply = with(&registry, &bearer(&issuer.sign(&claims)), "GET", "/v2/", b"");
        assert_eq!(reply.status, 401, "{what}");
    }
    let several = changed("aud", json!(["a", AUDIENCE]));
    assert_eq!(pull(&registry, &bearer(&issuer.sign(&several)), repository), 200);
}

#[test]
fn forged_tokens_are_refused() {
    let issuer = Issuer::start();
    let (registry, _directory) = start(&issuer, "");
    let claims = issuer.claims("main", true);
    let good = issuer.sign(&claims);
    let (_, rest) = good.split_once('.').expect("three parts");
    let (payload, signature) = rest.split_once('.').expect("three parts");
    let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let evil = rsa_key();
    let evil_key = EncodingKey::from_rsa_pem(&evil).expect("a key");
    let mut with_own_key = header("main");
    with_own_key.jwk = Some(Jwk::from_encoding_key(&evil_key, Algorithm::RS256).expect("a JWK"));
    let mut with_address = header("main");
    with_address.jku = Some(format!("{}/jwks", issuer.url));
    let mut critical = header("main");
    critical.crit = Some(vec!["exp".into()]);
    let own = EncodingKey::from_rsa_pem(&issuer.key).expect("a key");
    let confused = Header { kid: Some("main".into()), ..Header::new(Algorithm::HS256) };
    let public = EncodingKey::from_secret(&public_pem(&issuer.key));
    let protected = encoded(&issuer.claims("other", true));
    let head = |algorithm: &str| encoded(&json!({ "alg": algorithm, "kid": "main", "typ": "JWT" }));
    for (what, token) in [
        ("signed by another key", encode(&header("main"), &claims, &evil_key).expect("signed")),
        ("key in the header", encode(&with_own_key, &claims, &evil_key).expect("signed")),
        ("key address in the header", encode(&with_address, &claims, &evil_key).expect("signed")),
        ("HS256 with the public key", encode(&confused, &claims, &public).expect("signed")),
        ("unknown key", encode(&header("other"), &claims, &evil_key).expect("signed")),
        ("alg none without a signature", format!("{}.{payload}.", head("none"))),
        ("alg None with a signature", format!("{}.{payload}.{signature}", head("None"))),
        ("alg changed", format!("{}.{payload}.{signature}", head("RS512"))),
        ("claims changed", format!("{}.{protected}.{signature}", head("RS256"))),
        ("signature cut", good[..good.len() - 4].to_owned()),
        ("two parts", format!("{}.{payload}", head("RS256"))),
        ("critical extension", encode(&critical, &claims, &own).expect("signed")),
        ("huge", format!("{}.{}.{signature}", head("RS256"), "A".repeat(20_000))),
    ] {
        for authorization in [bearer(&token), basic("oidc", &token)] {
            let reply = with(&registry, &authorization, "GET", "/v2/", b"");
            assert_eq!(reply.status, 401, "{what}: {reply:?}");
        }
        let target = "/token?scope=repository:cache/g/app/protected/main:push";
        assert_eq!(with(&registry, &basic("oidc", &token), "GET", target, b"").status, 401, "{what}");
    }
}

#[test]
fn strangers_cannot_make_the_server_flood_the_issuer() {
    let issuer = Issuer::start();
    let (registry, _directory) = start(&issuer, "");
    let key = EncodingKey::from_rsa_pem(&rsa_key()).expect("a key");
    for number in 0..20 {
        let token = encode(&header(&format!("key-{number}")), &issuer.claims("x", true), &key).expect("signed");
        assert_eq!(with(&registry, &bearer(&token), "GET", "/v2/", b"").status, 401);
    }
    assert!(issuer.requests() <= 4, "{}", issuer.requests());
    assert_eq!(push(&registry, &bearer(&issuer.sign(&issuer.claims("fix", false))), "cache/g/app/branch/fix"), 201);
}

#[test]
fn an_issuer_that_is_down_is_not_a_wrong_token() {
    let issuer = Issuer::start();
    let token = issuer.sign(&json!({ "iss": "http://127.0.0.1:9", "aud": AUDIENCE, "exp": seconds(60) }));
    let directory = tempfile::tempdir().expect("temporary directory");
    let config = directory.path().join("config.toml");
    let text = format!("[[oidc]]\nkind = \"gitlab\"\nissuer = \"http://127.0.0.1:9\"\naudience = \"{AUDIENCE}\"\n");
    fs::write(&config, text).expect("written");
    let registry = Registry::start_with(&["--config", config.to_str().expect("UTF-8")]);
    with(&registry, &bearer(&token), "GET", "/v2/", b"").is_error(503, "UNAVAILABLE");
}
