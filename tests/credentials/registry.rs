//! What the registry client does with them. Clouds' registries are reached by plain HTTP through a proxy: the server.

use yadokari::image::{Reference, media_type};
use yadokari::registry::{Client, ClientOptions, ProxySettings, Purpose};

use super::server::{Reply, Request, Server};
use super::{ECR, known, nobody};

fn reference(text: &str) -> Reference {
    text.parse().expect("reference")
}

fn manifest() -> Reply {
    Reply::new(200).with("Content-Type", media_type::OCI_MANIFEST).body("{}")
}

/// The environment's credentials against `registry`, whatever its name.
fn fetch(variables: &[(&str, &str)], proxy: Option<&Server>, image: &str) -> Result<Vec<u8>, String> {
    let image = reference(image);
    let proxy = ProxySettings { http: proxy.map(|s| format!("http://{}", s.host())), ..ProxySettings::default() };
    let insecure_registries = [image.registry().to_owned()].into();
    let options = ClientOptions { retries: 0, proxy, insecure_registries, ..ClientOptions::default() };
    let client = Client::new(options, known(variables)).expect("client");
    let fetched = client.fetch_manifest(&image, Purpose::Pull).map_err(|error| error.fault.to_string())?;
    Ok(fetched.expect("found").bytes.to_vec())
}

/// A registry behind a proxy; lets in who has `authorization`.
fn guarded(authorization: Option<&'static str>) -> Server {
    Server::start(move |request: &Request| match request.method.as_str() {
        "CONNECT" => Reply::new(200),
        _ if authorization.is_some() && request.header("authorization") == authorization => manifest(),
        _ => Reply::challenge(r#"Basic realm="x""#),
    })
}

#[test]
fn ecr_gets_what_amazon_granted() {
    let registry = guarded(Some("Basic QVdTOnBhc3N3b3Jk"));
    let amazon = Server::start(|_| {
        Reply::new(200).body(r#"{"authorizationData":[{"authorizationToken":"QVdTOnBhc3N3b3Jk","expiresAt":4e9}]}"#)
    });
    let url = format!("http://{}", amazon.host());
    let variables =
        [("AWS_ACCESS_KEY_ID", "AKIA"), ("AWS_SECRET_ACCESS_KEY", "s"), ("AWS_ENDPOINT_URL_ECR", url.as_str())];
    assert_eq!(fetch(&variables, Some(&registry), &format!("{ECR}/app:1")).expect("fetch"), b"{}");
    assert_eq!(amazon.seen().len(), 1);
}

#[test]
fn a_cloud_that_grants_nothing_is_blamed_only_when_it_matters() {
    let metadata = nobody();
    let variables = [("GCE_METADATA_HOST", metadata.as_str())];
    let closed = guarded(None);
    let error = fetch(&variables, Some(&closed), "gcr.io/p/app:1").expect_err("refused");
    assert!(error.starts_with("cannot get credentials for gcr.io from Google: no Google credentials"), "{error}");
    let open = Server::start(|request| if request.method == "CONNECT" { Reply::new(200) } else { manifest() });
    assert_eq!(fetch(&variables, Some(&open), "gcr.io/p/app:1").expect("public"), b"{}");
    assert!(open.seen().iter().all(|request| request.header("authorization").is_none()));
}

/// A registry with a token server, which is open to guests but not to those with a wrong password.
fn public_with_tokens(guests: bool) -> Server {
    Server::start_with(move |host| {
        move |request: &Request| match request.header("authorization") {
            None if request.path.starts_with("/token") && guests => Reply::new(200).body(r#"{"token":"guest"}"#),
            _ if request.path.starts_with("/token") => Reply::new(403).body(r#"{"details":"no such user"}"#),
            Some("Bearer guest") => manifest(),
            _ => Reply::challenge(format!(r#"Bearer realm="http://{host}/token",scope="repository:a:pull""#)),
        }
    })
}

#[test]
fn a_variable_that_is_refused_does_not_hide_a_public_image() {
    for (guests, expected) in [(true, Ok(b"{}".to_vec())), (false, Err("answered 403: no such user"))] {
        let server = public_with_tokens(guests);
        let host = server.host();
        let variables = [("CI_REGISTRY", host.as_str()), ("CI_JOB_TOKEN", "ended")];
        let found = fetch(&variables, None, &format!("{host}/a:1"));
        match expected {
            Ok(bytes) => assert_eq!(found, Ok(bytes)),
            Err(text) => assert!(found.as_ref().is_err_and(|error| error.ends_with(text)), "{found:?}"),
        }
        let sent = server.seen().into_iter().find(|request| request.path.starts_with("/token")).expect("asked");
        assert_eq!(sent.header("authorization"), Some("Basic Z2l0bGFiLWNpLXRva2VuOmVuZGVk"));
    }
}
