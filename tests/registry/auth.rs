//! Token servers, honest and otherwise.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use yadokari::digest::Digest;
use yadokari::image::media_type;
use yadokari::registry::{Client, Credentials, Fault, Purpose};

use super::server::{Reply, Request, Server};
use super::{anonymous, chain, credentials, noise, options, push, reference};

fn manifest() -> Reply {
    Reply::new(200).with("Content-Type", media_type::OCI_MANIFEST).body("{}")
}

/// A registry that wants `Bearer <token>`, and is its own token server below `/token`.
fn with_tokens(token: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Server {
    Server::start_with(move |host| {
        move |request| {
            if request.path.starts_with("/token") {
                return token(request);
            }
            let name = request.path.split('/').nth(2).unwrap_or_default();
            let actions = if request.method == "GET" || request.method == "HEAD" { "pull" } else { "pull,push" };
            match request.header("authorization") {
                Some("Bearer good") if request.method == "HEAD" => Reply::new(404),
                Some("Bearer good") if request.method == "POST" => Reply::new(202).with("Location", "/session"),
                Some("Bearer good") if request.method == "GET" => manifest(),
                Some("Bearer good") => Reply::new(201),
                _ => Reply::challenge(format!(
                    r#"Bearer realm="http://{host}/token?own=1",service="the service",scope="repository:{name}:{actions}""#
                )),
            }
        }
    })
}

fn good_token() -> Reply {
    Reply::new(200).body(r#"{"token":"good","expires_in":300}"#)
}

#[test]
fn one_token_serves_many_requests() {
    let server = with_tokens(|_| good_token());
    let client = anonymous();
    thread::scope(|scope| {
        for number in 0..20 {
            let (client, server) = (&client, &server);
            scope.spawn(move || {
                let digest = Digest::sha256(&[number]);
                assert!(!client.has_blob(&reference(&server.host(), "app:1"), &digest).expect("has_blob"));
            });
        }
    });
    assert_eq!(server.count("GET", "/token"), 1, "one fetch for all threads");
    let asked = server.seen().into_iter().find(|r| r.path.starts_with("/token")).expect("asked").path;
    assert_eq!(asked, "/token?own=1&service=the+service&scope=repository%3Aapp%3Apull&client_id=yadokari");

    let before = server.seen().len();
    client.has_blob(&reference(&server.host(), "app:2"), &Digest::sha256(b"x")).expect("has_blob");
    assert_eq!(server.seen().len(), before + 1, "a known token is sent at once");
    client.has_blob(&reference(&server.host(), "other:1"), &Digest::sha256(b"x")).expect("has_blob");
    assert_eq!(server.seen().len(), before + 3, "a known realm needs no second challenge");
}

#[test]
fn who_may_push_does_not_ask_to_pull() {
    let server = with_tokens(|_| good_token());
    let client = anonymous();
    let to = reference(&server.host(), "app:1");
    client.check_push(&to).expect("allowed");
    assert_eq!(client.fetch_manifest(&to, Purpose::Push).expect("fetch").expect("there").bytes, b"{}");
    push(&client, &to, &noise(10)).expect("push");
    assert_eq!(server.count("GET", "/token"), 1);
}

#[test]
fn passwords_go_to_the_realm_only() {
    let server = with_tokens(|request| match request.header("authorization") {
        Some("Basic dTpw") => good_token(),
        _ => Reply::new(401),
    });
    let client = Client::new(options(), credentials(&[&server.host()], "u", "p")).expect("client");
    client.fetch_manifest(&reference(&server.host(), "app:1"), Purpose::Pull).expect("fetch");
    let at_registry = server.seen().into_iter().filter(|r| r.path.starts_with("/v2/"));
    let headers: Vec<Option<String>> = at_registry.map(|r| r.header("authorization").map(str::to_owned)).collect();
    assert_eq!(headers, [None, Some("Bearer good".to_owned())]);
    let error = anonymous().fetch_manifest(&reference(&server.host(), "app:1"), Purpose::Pull).expect_err("refused");
    assert!(matches!(*error.fault, Fault::Unauthorized { had_credentials: false, .. }), "{error:?}");
}

#[test]
fn servers_that_know_only_post() {
    for status in [401, 404, 405] {
        let server = with_tokens(move |request| match request.method.as_str() {
            "POST" => Reply::new(200).body(r#"{"access_token":"good"}"#),
            _ => Reply::new(status),
        });
        let client = Client::new(options(), credentials(&[&server.host()], "u", "p&q")).expect("client");
        client.fetch_manifest(&reference(&server.host(), "app:1"), Purpose::Pull).expect("fetch");
        let post = server.seen().into_iter().find(|r| r.method == "POST").expect("posted");
        let form = "grant_type=password&client_id=yadokari&service=the+service&scope=repository%3Aapp%3Apull\
            &username=u&password=p%26q";
        assert_eq!(String::from_utf8_lossy(&post.body), form);
    }
}

#[test]
fn identity_and_registry_tokens() {
    let server = with_tokens(|_| good_token());
    let config = |entry: &str| format!(r#"{{"auths":{{"{}":{{{entry}}}}}}}"#, server.host());
    let client = |entry: &str| {
        let known = Credentials::from_docker_config(config(entry).as_bytes()).expect("config");
        Client::new(options(), known).expect("client")
    };
    let image = reference(&server.host(), "app:1");
    client(r#""identitytoken":"refresh me""#).fetch_manifest(&image, Purpose::Pull).expect("fetch");
    let post = server.seen().into_iter().find(|r| r.method == "POST").expect("posted");
    assert!(String::from_utf8_lossy(&post.body).ends_with("&refresh_token=refresh+me"));
    let before = server.count("GET", "/token") + server.count("POST", "/token");
    client(r#""registrytoken":"good""#).fetch_manifest(&image, Purpose::Pull).expect("fetch");
    assert_eq!(server.count("GET", "/token") + server.count("POST", "/token"), before, "used as it is");
}

#[test]
fn an_expired_token_is_replaced_once() {
    let number = AtomicUsize::new(0);
    let server = Server::start_with(move |host| {
        move |request| {
            if request.path.starts_with("/token") {
                let token = number.fetch_add(1, Ordering::SeqCst);
                return Reply::new(200).body(format!(r#"{{"token":"t{token}","expires_in":300}}"#));
            }
            let valid = if request.path.ends_with("/1") { "Bearer t0" } else { "Bearer t1" };
            match request.header("authorization") {
                Some(sent) if sent == valid => manifest(),
                _ => Reply::challenge(format!(r#"Bearer realm="http://{host}/token",scope="repository:app:pull""#)),
            }
        }
    });
    let client = anonymous();
    client.fetch_manifest(&reference(&server.host(), "app:1"), Purpose::Pull).expect("fetch");
    client.fetch_manifest(&reference(&server.host(), "app:2"), Purpose::Pull).expect("the server changed its mind");
    assert_eq!(server.count("GET", "/token"), 2);
}

#[test]
fn short_lives_are_noticed() {
    let server = with_tokens(|_| Reply::new(200).body(r#"{"token":"good","expires_in":1}"#));
    let client = anonymous();
    let image = reference(&server.host(), "app:1");
    client.fetch_manifest(&image, Purpose::Pull).expect("fetch");
    thread::sleep(std::time::Duration::from_millis(1000));
    client.fetch_manifest(&image, Purpose::Pull).expect("fetch");
    assert_eq!(server.count("GET", "/token"), 2);
    assert_eq!(server.count("GET", "/v2/"), 3, "renewed before it is refused");
}

#[test]
fn a_server_that_is_never_content_is_left() {
    let server = Server::start_with(|host| {
        move |request| match request.path.starts_with("/token") {
            true => good_token(),
            false => Reply::challenge(format!(r#"Bearer realm="http://{host}/token",scope="repository:app:pull""#)),
        }
    });
    let error = anonymous().fetch_manifest(&reference(&server.host(), "app:1"), Purpose::Pull).expect_err("never");
    assert!(matches!(*error.fault, Fault::Unauthorized { .. }), "{error:?}");
    assert!(server.seen().len() <= 6, "{}", server.seen().len());
}

#[test]
fn scopes_demanded_later_are_added_in_front() {
    let server = Server::start_with(|host| {
        move |request| {
            if request.path.starts_with("/token") {
                let wide = request.path.contains("repository%3Aextra%3Apull&scope=repository%3Aapp%3Apull");
                return Reply::new(200).body(format!(r#"{{"token":"{}"}}"#, if wide { "good" } else { "narrow" }));
            }
            let challenge = |scope: &str| {
                Reply::challenge(format!(
                    r#"Bearer realm="http://{host}/token",scope="{scope}",error="insufficient_scope""#
                ))
            };
            match request.header("authorization") {
                Some("Bearer good") => manifest(),
                Some(_) => challenge("repository:extra:pull"),
                None => challenge("repository:app:pull"),
            }
        }
    });
    anonymous().fetch_manifest(&reference(&server.host(), "app:1"), Purpose::Pull).expect("fetch");
    assert_eq!(server.count("GET", "/token"), 2);
}

#[test]
fn bad_realms_get_nothing() {
    for realm in ["http://169.254.169.254/token", "file:///etc/passwd", "https://u:p@127.0.0.1/", "not a url", ""] {
        let server = Server::start(move |_| Reply::challenge(format!(r#"Bearer realm="{realm}",service="s""#)));
        let client = Client::new(options(), credentials(&[&server.host()], "u", "hunter2")).expect("client");
        let error = client.fetch_manifest(&reference(&server.host(), "app:1"), Purpose::Pull).expect_err(realm);
        let expected =
            matches!(&*error.fault, Fault::Forbidden { .. } | Fault::Malformed { .. } | Fault::Unauthorized { .. });
        assert!(expected, "{realm}: {error:?}");
        assert!(!format!("{error:?} {}", chain(&error)).contains("hunter2"));
        assert!(server.seen().iter().all(|request| request.header("authorization").is_none()), "{realm}");
    }
}

#[test]
fn a_token_server_cannot_pass_the_password_on() {
    let thief = Server::start(|_| Reply::new(200).body(r#"{"token":"stolen"}"#));
    let elsewhere = format!("http://{}/take", thief.host());
    let server = with_tokens(move |_| Reply::new(307).with("Location", &elsewhere));
    let client = Client::new(options(), credentials(&[&server.host(), &thief.host()], "u", "p")).expect("client");
    let _ = client.fetch_manifest(&reference(&server.host(), "app:1"), Purpose::Pull).expect_err("a useless token");
    assert!(!thief.seen().is_empty(), "redirects are followed");
    assert!(thief.seen().iter().all(|request| request.header("authorization").is_none()));

    let inside = with_tokens(|_| Reply::new(307).with("Location", "http://169.254.169.254/latest"));
    let error = anonymous().fetch_manifest(&reference(&inside.host(), "app:1"), Purpose::Pull).expect_err("inside");
    assert!(matches!(*error.fault, Fault::Forbidden { .. }), "{error:?}");
}

#[test]
fn token_documents_are_checked() {
    for body in ["", "{}", "[]", r#"{"token":""}"#, r#"{"token":7}"#] {
        let server = with_tokens(move |_| Reply::new(200).body(body));
        let error = anonymous().fetch_manifest(&reference(&server.host(), "app:1"), Purpose::Pull).expect_err(body);
        assert!(matches!(*error.fault, Fault::Malformed { .. }), "{body}: {error:?}");
    }
    let server = with_tokens(|_| Reply::new(200).body(format!(r#"{{"token":"{}"}}"#, "x".repeat(70_000))));
    let error = anonymous().fetch_manifest(&reference(&server.host(), "app:1"), Purpose::Pull).expect_err("large");
    assert!(matches!(*error.fault, Fault::TooLarge { limit: 65_536 }), "{error:?}");
    let server = with_tokens(|_| Reply::new(200).body(r#"{"token":"line\r\nbreak: x"}"#));
    assert!(anonymous().fetch_manifest(&reference(&server.host(), "app:1"), Purpose::Pull).is_err());
}

#[test]
fn a_refused_mount_scope_is_no_failure() {
    let server =
        with_tokens(|request| if request.path.matches("scope=").count() > 1 { Reply::new(403) } else { good_token() });
    let client = anonymous();
    let to = reference(&server.host(), "app:1");
    assert!(!client.mount_blob(&to, &Digest::sha256(b"x"), "private").expect("no fault"));
    push(&client, &to, &noise(10)).expect("push");
}

#[test]
fn a_host_that_we_are_sent_to_is_met_as_nobody() {
    let elsewhere = with_tokens(|_| good_token());
    let location = format!("http://{}/v2/app/manifests/1", elsewhere.host());
    let server = Server::start(move |request| match request.header("authorization") {
        Some("Basic dTpw") => Reply::new(307).with("Location", &location),
        _ => Reply::challenge("Basic realm=x"),
    });
    let client = Client::new(options(), credentials(&[&server.host(), &elsewhere.host()], "u", "p")).expect("client");
    client.fetch_manifest(&reference(&server.host(), "app:1"), Purpose::Pull).expect("fetch").expect("there");
    let sent: Vec<Option<String>> =
        elsewhere.seen().iter().map(|r| r.header("authorization").map(str::to_owned)).collect();
    assert_eq!(sent, [None, None, Some("Bearer good".to_owned())]);
}
