use std::fs;
use std::process::Command;

use crate::registry::Registry;
use crate::{Guarded, basic, bearer, create_token, pull, push, token_command, with};

#[test]
fn a_static_token_allows_what_it_says() {
    let Guarded { registry, tokens: [writer, reader], _directory } =
        Guarded::start([("w", "team/**=pull,push"), ("r", "**=pull")]);
    for authorization in [basic("anyone", &writer), bearer(&writer)] {
        assert_eq!(push(&registry, &authorization, "team/app"), 201);
        assert_eq!(push(&registry, &authorization, "other"), 403);
        assert_eq!(pull(&registry, &authorization, "team/app"), 200);
        assert_eq!(with(&registry, &authorization, "DELETE", "/v2/team/app/manifests/v1", b"").status, 403);
        with(&registry, &authorization, "GET", "/v2/_catalog", b"").is_error(403, "DENIED");
    }
    assert_eq!(pull(&registry, &bearer(&reader), "team/app"), 200);
    assert_eq!(push(&registry, &bearer(&reader), "team/app"), 403);
    assert_eq!(with(&registry, &bearer(&reader), "GET", "/v2/_catalog", b"").status, 200);
    for wrong in ["", "yk_000000000000_x", &format!("{writer}x"), &writer[..writer.len() - 1]] {
        for authorization in [basic("anyone", wrong), bearer(wrong)] {
            assert_eq!(pull(&registry, &authorization, "team/app"), 401, "{wrong}");
        }
    }
    assert_eq!(registry.get("/v2/team/app/manifests/v1").status, 401);
}

#[test]
fn a_revoked_token_stops_working() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let file = directory.path().join("tokens.json");
    let token = create_token(&file, "ci", "**=*");
    let registry = Registry::start_with(&["--anonymous=none", "--tokens", file.to_str().expect("UTF-8")]);
    assert_eq!(push(&registry, &bearer(&token), "a"), 201);
    let list = token_command(&file, &["list"]);
    assert!(list.contains("name=\"ci\"") && !list.contains(&token), "{list}");
    token_command(&file, &["revoke", list.split(' ').next().expect("an ID")]);
    registry.signal("HUP");
    while pull(&registry, &bearer(&token), "a") == 200 {
        std::thread::yield_now();
    }
    assert_eq!(pull(&registry, &bearer(&token), "a"), 401);
    let unknown = Command::new(env!("CARGO_BIN_EXE_cache-server"))
        .args(["token", "revoke", "absent", "--tokens"])
        .arg(&file)
        .output()
        .expect("it runs");
    assert_eq!(unknown.status.code(), Some(1));
}

#[test]
fn users_of_an_htpasswd_file() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (users, config) = (directory.path().join("htpasswd"), directory.path().join("config.toml"));
    let hash = |password: &str| bcrypt::hash(password, 4).expect("hashed");
    fs::write(&users, format!("alice:{}\nbob:{}\ncarol:{}\n", hash("a"), hash("b"), hash("c"))).expect("written");
    let file = users.to_str().expect("UTF-8");
    let everything = Registry::start_with(&["--anonymous=none", "--htpasswd", file]);
    assert_eq!(push(&everything, &basic("carol", "c"), "any/where"), 201);
    let settings = "authenticated = [\"base/**=pull\"]\n[users]\nalice = [\"**=*\"]\nbob = [\"team/**=pull\"]\n";
    fs::write(&config, settings).expect("written");
    let config = config.to_str().expect("UTF-8");
    let registry = Registry::start_with(&["--anonymous=none", "--htpasswd", file, "--config", config]);
    for repository in ["team/app", "base/os"] {
        assert_eq!(push(&registry, &basic("alice", "a"), repository), 201);
        assert_eq!(pull(&registry, &basic("bob", "b"), repository), 200);
        assert_eq!(push(&registry, &basic("bob", "b"), repository), 403);
    }
    assert_eq!(pull(&registry, &basic("carol", "c"), "team/app"), 403);
    assert_eq!(pull(&registry, &basic("carol", "c"), "base/os"), 200);
    for (user, password) in [("alice", "b"), ("alice", ""), ("nobody", "a"), ("", "")] {
        assert_eq!(pull(&registry, &basic(user, password), "team/app"), 401, "{user}");
    }
}

#[test]
fn loopback_reads_without_credentials_and_writes_with_them() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let file = directory.path().join("tokens.json");
    let token = create_token(&file, "ci", "**=*");
    let registry = Registry::start_with(&["--tokens", file.to_str().expect("UTF-8")]);
    assert_eq!(push(&registry, &bearer(&token), "a"), 201);
    assert_eq!(registry.get("/v2/a/manifests/v1").status, 200);
    assert_eq!(registry.get("/v2/a/tags/list").status, 200);
    let reply = registry.post("/v2/a/blobs/uploads/");
    reply.is_error(401, "UNAUTHORIZED");
    let challenge = reply.header("www-authenticate").expect("a challenge");
    let address = registry.address();
    let expected =
        format!("Bearer realm=\"http://{address}/token\",service=\"cache-server\",scope=\"repository:a:pull,push\"");
    assert_eq!(challenge, expected);
    assert_eq!(registry.delete("/v2/a/manifests/v1").status, 401);
    // Docker decides by this answer whether it needs to log in at all.
    assert_eq!(registry.get("/v2/").status, 401);
    assert_eq!(with(&registry, &bearer(&token), "GET", "/v2/", b"").status, 200);
    // Wrong credentials are not the same as none.
    assert_eq!(pull(&registry, &bearer("wrong"), "a"), 401);
    for malformed in ["Basic", "Basic !", "Digest x", "Bearer "] {
        assert_eq!(pull(&registry, malformed, "a"), 401, "{malformed}");
    }
}

#[test]
fn without_configuration_loopback_may_do_everything() {
    let registry = Registry::start();
    assert_eq!(registry.get("/v2/").status, 200);
    assert_eq!(push(&registry, &basic("left", "over"), "a"), 201);
    let access = registry.get("/access").json();
    assert_eq!(access["grants"][0], "**=pull,push,delete,read-keys,write-keys");
    // A page of another site makes the browser say so.
    let headers = [("Sec-Fetch-Site", "cross-site")];
    registry.send("POST", "/v2/a/blobs/uploads/", &headers, b"").is_error(403, "DENIED");
}

#[test]
fn what_is_not_readable_cannot_be_mounted() {
    let Guarded { registry, tokens: [owner, other], _directory } = Guarded::start([("o", "**=*"), ("x", "mine/**=*")]);
    assert_eq!(push(&registry, &bearer(&owner), "secret"), 201);
    let digest = yadokari::digest::Digest::sha256(b"layer");
    for query in [format!("mount={digest}&from=secret"), format!("mount={digest}")] {
        let target = format!("/v2/mine/app/blobs/uploads/?{query}");
        assert_eq!(with(&registry, &bearer(&other), "POST", &target, b"").status, 202, "{query}");
        assert_eq!(with(&registry, &bearer(&other), "HEAD", &format!("/v2/mine/app/blobs/{digest}"), b"").status, 404);
        assert_eq!(
            with(&registry, &bearer(&owner), "POST", &target.replace("mine", "its"), b"").status,
            201,
            "{query}"
        );
    }
    for method in ["GET", "HEAD"] {
        let status = with(&registry, &bearer(&other), method, &format!("/v2/secret/blobs/{digest}"), b"").status;
        assert_eq!(status, 403, "{method}");
    }
}

#[test]
fn secrets_are_in_no_log() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (file, log) = (directory.path().join("tokens.json"), directory.path().join("log"));
    let token = create_token(&file, "ci", "**=*");
    let mut command = Command::new(env!("CARGO_BIN_EXE_cache-server"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--log-format=json", "--data"]);
    command.arg(directory.path().join("data")).arg("--tokens").arg(&file);
    command.stderr(fs::File::create(&log).expect("made"));
    let mut registry = Registry::start_command(command, directory.path());
    push(&registry, &bearer(&token), "a");
    pull(&registry, &basic("user", "hunter2"), "a");
    with(&registry, &bearer("eyJhbGciOiJub25lIn0.e30.hunter2"), "GET", "/token?scope=x", b"");
    registry.send("POST", "/token", &[], format!("grant_type=password&username=u&password={token}x").as_bytes());
    registry.signal("TERM");
    registry.wait();
    let text = fs::read_to_string(&log).expect("a log");
    let secret = token.rsplit('_').next().expect("a secret");
    assert!(!text.contains(secret) && !text.contains("hunter2"), "{text}");
    for line in text.lines() {
        serde_json::from_str::<serde_json::Value>(line).expect("each line is JSON");
    }
    assert!(text.contains(r#""identity":"token:ci""#), "{text}");
}
