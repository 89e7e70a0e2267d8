//! The registry client against Debian's docker-registry, and against servers that misbehave.

#![allow(clippy::expect_used, reason = "a failed step of a test ends it")]

#[path = "registry/auth.rs"]
mod auth;
#[path = "registry/docker.rs"]
mod docker;
#[path = "support/docker_registry.rs"]
mod docker_registry;
#[path = "registry/faults.rs"]
mod faults;
#[path = "registry/images.rs"]
mod images;
#[path = "support/port.rs"]
mod port;
#[path = "registry/server.rs"]
mod server;
#[path = "registry/uploads.rs"]
mod uploads;

use std::io::{self, Read};
use std::thread;

use docker::{PASSWORD, Registry, Settings, USER, pki};
use yadokari::digest::Digest;
use yadokari::image::{Descriptor, Reference, media_type};
use yadokari::registry::{BlobReader, Client, ClientOptions, Credentials, Fault, Purpose, RegistryError};

fn options() -> ClientOptions {
    ClientOptions { retries: 1, ..ClientOptions::default() }
}

fn anonymous() -> Client {
    Client::new(options(), Credentials::none()).expect("client")
}

/// Credentials for every host given.
fn credentials(hosts: &[&str], user: &str, password: &str) -> Credentials {
    let entry = |host: &&str| format!(r#""{host}":{{"username":"{user}","password":"{password}"}}"#);
    let entries: Vec<String> = hosts.iter().map(entry).collect();
    Credentials::from_docker_config(format!(r#"{{"auths":{{{}}}}}"#, entries.join(",")).as_bytes()).expect("config")
}

fn reference(host: &str, rest: &str) -> Reference {
    format!("{host}/{rest}").parse().expect("reference")
}

/// Bytes that do not repeat with a short period.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

fn layer(bytes: &[u8]) -> Descriptor {
    Descriptor::of(media_type::OCI_LAYER_GZIP, bytes)
}

fn push(client: &Client, to: &Reference, bytes: &[u8]) -> Result<Descriptor, RegistryError> {
    let blob = layer(bytes);
    let open = || Ok(Box::new(io::Cursor::new(bytes.to_vec())) as Box<dyn Read + Send>);
    client.push_blob(to, &blob, &open, &|_| {}).map(|()| blob)
}

fn read_all(mut reader: BlobReader) -> Result<Vec<u8>, RegistryError> {
    let mut bytes = Vec::new();
    match reader.read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(error.downcast::<RegistryError>().expect("a registry error inside")),
    }
}

/// The whole text of an error, causes included.
fn chain(error: &RegistryError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}

#[test]
fn blobs_of_every_size_come_back() {
    let registry = Registry::start(&Settings::default());
    let client = anonymous();
    let to = reference(&registry.host, "team/app:1");
    client.check_push(&to).expect("allowed");
    for length in [0, 1, 4 << 20, (4 << 20) + 1, 20 << 20] {
        let bytes = noise(length);
        let blob = layer(&bytes);
        assert!(!client.has_blob(&to, &blob.digest).expect("has_blob"), "{length}");
        let sent = std::cell::RefCell::new(Vec::new());
        let open = || Ok(Box::new(io::Cursor::new(bytes.clone())) as Box<dyn Read + Send>);
        client.push_blob(&to, &blob, &open, &|count| sent.borrow_mut().push(count)).expect("push");
        assert!(client.has_blob(&to, &blob.digest).expect("has_blob"), "{length}");
        let sent = sent.into_inner();
        assert!(sent.is_sorted() && sent.last().copied().unwrap_or(0) == length as u64, "{sent:?}");
        let reader = client.fetch_blob(&to, &blob, Purpose::Pull).expect("fetch");
        assert_eq!(reader.size(), length as u64);
        assert!(read_all(reader).expect("read") == bytes, "{length}");
    }
    assert_eq!(registry.stored("startedat"), 0, "no upload is left open");
}

#[test]
fn chunked_uploads_arrive_whole() {
    let registry = Registry::start(&Settings::default());
    let client =
        Client::new(ClientOptions { chunk_bytes: Some(1 << 20), ..options() }, Credentials::none()).expect("client");
    let to = reference(&registry.host, "app:1");
    for length in [1, 1 << 20, (5 << 20) + 7] {
        let bytes = noise(length);
        let blob = push(&client, &to, &bytes).expect("push");
        assert!(client.fetch_small_blob(&to, &blob, Purpose::Push).expect("fetch") == bytes);
    }
}

#[test]
fn manifests_and_tags() {
    let registry = Registry::start(&Settings::default());
    let client = anonymous();
    let to = reference(&registry.host, "app:v1");
    assert_eq!(client.fetch_manifest(&to, Purpose::Pull).expect("no fault"), None);
    assert_eq!(client.head_manifest(&to, Purpose::Push).expect("no fault"), None);
    let config = push(&client, &to, b"{}").expect("push");
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":"{}","digest":"{}","size":2}},"layers":[]}}"#,
        media_type::OCI_MANIFEST,
        media_type::OCI_CONFIG,
        config.digest
    );
    let digest = client.push_manifest(&to, media_type::OCI_MANIFEST, manifest.as_bytes()).expect("push");
    assert_eq!(digest, Digest::sha256(manifest.as_bytes()));
    let fetched = client.fetch_manifest(&to, Purpose::Pull).expect("fetch").expect("there");
    assert_eq!(fetched.bytes, manifest.as_bytes());
    assert_eq!(fetched.descriptor, Descriptor::new(media_type::OCI_MANIFEST, digest.clone(), manifest.len() as u64));
    let head = client.head_manifest(&to.with_digest(digest.clone()), Purpose::Push).expect("head");
    assert_eq!(head, Some(fetched.descriptor));

    for tag in ["v2", "v3"] {
        client.push_manifest(&to.with_tag(tag), media_type::OCI_MANIFEST, manifest.as_bytes()).expect("push");
    }
    let mut listed = client.list_tags(&to).expect("list");
    listed.sort();
    assert_eq!(listed, ["v1", "v2", "v3"]);

    let wrong = to.with_digest(Digest::sha256(b"other"));
    let error = client.push_manifest(&wrong, media_type::OCI_MANIFEST, manifest.as_bytes()).expect_err("mismatch");
    assert!(matches!(*error.fault, Fault::DigestMismatch { .. }), "{error:?}");
    let error = client.list_tags(&reference(&registry.host, "nothing/here")).expect_err("unknown");
    assert!(
        matches!(&*error.fault, Fault::NotFound(answer) if answer.code.as_deref() == Some("NAME_UNKNOWN")),
        "{error:?}"
    );
}

#[test]
fn blobs_are_mounted_or_the_session_is_cancelled() {
    let registry = Registry::start(&Settings::default());
    let client = anonymous();
    let (from, to) = (reference(&registry.host, "from:1"), reference(&registry.host, "to/deep:1"));
    let blob = push(&client, &from, &noise(1000)).expect("push");
    assert!(client.mount_blob(&to, &blob.digest, "from").expect("mount"));
    assert!(client.has_blob(&to, &blob.digest).expect("has_blob"));
    assert!(!client.mount_blob(&to, &Digest::sha256(b"absent"), "from").expect("no fault"));
    let other = reference(&registry.host, "third:1");
    assert!(!client.mount_blob(&other, &blob.digest, "absent").expect("no fault"));
    assert_eq!(registry.stored("startedat"), 0, "a refused mount leaves no upload open");
}

#[test]
fn basic_authentication() {
    let registry = Registry::start(&Settings { password: true, ..Settings::default() });
    let to = reference(&registry.host, "app:1");
    let good = Client::new(options(), credentials(&[&registry.host], USER, PASSWORD)).expect("client");
    good.check_push(&to).expect("allowed");
    let blob = push(&good, &to, &noise(5 << 20)).expect("push");
    assert!(good.has_blob(&to, &blob.digest).expect("has_blob"));

    let bad = Client::new(options(), credentials(&[&registry.host], USER, "hunter2")).expect("client");
    let error = bad.check_push(&to).expect_err("refused");
    assert!(matches!(*error.fault, Fault::Unauthorized { had_credentials: true, .. }), "{error:?}");
    assert!(!format!("{error:?} {}", chain(&error)).contains("hunter2"));
    let error = anonymous().has_blob(&to, &blob.digest).expect_err("refused");
    assert!(matches!(*error.fault, Fault::Unauthorized { had_credentials: false, .. }), "{error:?}");
    assert!(chain(&error).contains("no credentials are configured"), "{}", chain(&error));
    let error = anonymous().fetch_manifest(&to, Purpose::Pull).expect_err("refused");
    assert!(chain(&error).contains("401 UNAUTHORIZED"), "{}", chain(&error));
}

#[test]
fn certificates_are_checked_unless_told_otherwise() {
    let registry = Registry::start(&Settings { tls: true, ..Settings::default() });
    let to = reference(&registry.host, "app:1");
    let client = |change: &dyn Fn(&mut ClientOptions)| {
        let mut options = options();
        change(&mut options);
        Client::new(options, Credentials::none()).expect("client")
    };
    let trusting = client(&|o| {
        o.registry_certificates.insert(registry.host.clone(), pki("ca.pem"));
    });
    let blob = push(&trusting, &to, &noise(5 << 20)).expect("push");
    assert_eq!(read_all(trusting.fetch_blob(&to, &blob, Purpose::Pull).expect("fetch")).expect("read").len(), 5 << 20);
    let careless = client(&|o| {
        o.skip_tls_verify_registries.insert(registry.host.clone());
    });
    assert!(careless.has_blob(&to, &blob.digest).expect("has_blob"));

    // A certificate of its own, but not the one that signed the server's.
    let wrong = client(&|o| {
        o.registry_certificates.insert(registry.host.clone(), pki("client.pem"));
    });
    let error = wrong.has_blob(&to, &blob.digest).expect_err("untrusted");
    assert!(matches!(*error.fault, Fault::Tls { .. }), "{error:?}");
    let missing = client(&|o| {
        o.registry_certificates.insert(registry.host.clone(), "/nonexistent.pem".into());
    });
    let error = missing.has_blob(&to, &blob.digest).expect_err("no file");
    assert!(chain(&error).contains("/nonexistent.pem"), "{}", chain(&error));
}

#[test]
fn insecure_registries_may_speak_https_all_the_same() {
    let plain = Registry::start(&Settings::default());
    let secure = Registry::start(&Settings { tls: true, ..Settings::default() });
    let settings = ClientOptions { insecure: true, skip_tls_verify: true, ..options() };
    let client = Client::new(settings, Credentials::none()).expect("client");
    client.check_push(&reference(&plain.host, "app:1")).expect("http");
    client.check_push(&reference(&secure.host, "app:1")).expect("https");

    let server = server::Server::start(|_| server::Reply::new(404));
    for tag in ["1", "2"] {
        let found = client.fetch_manifest(&reference(&server.host(), &format!("app:{tag}")), Purpose::Push);
        assert_eq!(found.expect("no fault"), None);
    }
    let asked: Vec<String> = server.seen().into_iter().map(|request| request.path).collect();
    assert_eq!(asked, ["/v2/", "/v2/app/manifests/1", "/v2/app/manifests/2"], "one request finds out");
}

#[test]
fn client_certificates_are_sent() {
    let registry = Registry::start(&Settings { tls: true, client_certificates: true, ..Settings::default() });
    let to = reference(&registry.host, "app:1");
    let mut settings = options();
    settings.registry_certificates.insert(registry.host.clone(), pki("ca.pem"));
    let without = Client::new(settings.clone(), Credentials::none()).expect("client");
    assert!(without.check_push(&to).is_err());
    settings.registry_client_certs.insert(registry.host.clone(), (pki("client.pem"), pki("client.key")));
    Client::new(settings.clone(), Credentials::none()).expect("client").check_push(&to).expect("allowed");
    settings.registry_client_certs.insert(registry.host.clone(), (pki("client.pem"), pki("server.key")));
    let error = Client::new(settings, Credentials::none()).expect("client").check_push(&to).expect_err("wrong key");
    assert!(matches!(*error.fault, Fault::Configuration(_)), "{error:?}");
}

#[test]
fn unreachable_hosts_are_named() {
    // The port of tcpmux, which nobody has.
    let closed = "127.0.0.1:1";
    let error = anonymous().check_push(&reference(closed, "app:1")).expect_err("refused");
    assert!(matches!(*error.fault, Fault::Connect { .. }), "{error:?}");
    assert!(chain(&error).contains(closed), "{}", chain(&error));
    // A label too long for DNS fails without asking any server.
    let host = format!("{}.example", "a".repeat(70));
    let error = anonymous().check_push(&reference(&host, "app:1")).expect_err("no such host");
    assert!(matches!(*error.fault, Fault::HostNotFound { .. }), "{error:?}");
}

#[test]
fn one_client_serves_many_threads() {
    let registry = Registry::start(&Settings::default());
    let client = anonymous();
    let to = reference(&registry.host, "app:1");
    let blobs: Vec<Descriptor> = (0..20_u8).map(|n| push(&client, &to, &[n; 100]).expect("push")).collect();
    thread::scope(|scope| {
        for blob in &blobs {
            let (client, to) = (&client, &to);
            scope.spawn(move || {
                assert!(client.has_blob(to, &blob.digest).expect("has_blob"));
                let reader = client.fetch_blob(to, blob, Purpose::Pull).expect("fetch");
                // A reader may be handed to another thread, and outlives what opened it.
                let reading = thread::spawn(move || read_all(reader).expect("read").len());
                assert_eq!(reading.join().expect("no panic"), 100);
            });
        }
    });
}

#[test]
fn a_gitlab_job_pushes_with_its_own_variables() {
    let registry = Registry::start(&Settings { password: true, ..Settings::default() });
    let host = registry.host.clone();
    let with = |password: &'static str| {
        let host = host.clone();
        let known = Credentials::none().with_environment(move |name| match name {
            "CI_REGISTRY" => Some(host.clone()),
            "CI_REGISTRY_USER" => Some(USER.to_owned()),
            "CI_REGISTRY_PASSWORD" => Some(password.to_owned()),
            _ => None,
        });
        Client::new(options(), known).expect("client")
    };
    let to = reference(&host, "team/app:1");
    let blob = push(&with(PASSWORD), &to, &noise(1000)).expect("push");
    assert!(with(PASSWORD).has_blob(&to, &blob.digest).expect("has_blob"));
    let error = push(&with("hunter2"), &to, &noise(10)).expect_err("wrong password");
    assert!(matches!(*error.fault, Fault::Unauthorized { had_credentials: true, .. }), "{error:?}");
    assert!(!chain(&error).contains("hunter2"));
}
