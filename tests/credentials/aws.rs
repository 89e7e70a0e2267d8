//! Amazon: every source of access keys, and ECR.

use std::fs;

use super::server::{Reply, Request, Server};
use super::{ECR, basic, field, known, nobody, refusal};

const KEYS: &str = r#"{"Code":"Success","AccessKeyId":"ASIAROLE","SecretAccessKey":"s","Token":"session",
    "Expiration":"2099-01-01T00:00:00Z"}"#;
const STS: &str = r#"<R xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials>
    <SessionToken>session</SessionToken><SecretAccessKey>s</SecretAccessKey><Expiration>2099-01-01T00:00:00Z</Expiration>
    <AccessKeyId>ASIAROLE</AccessKeyId></Credentials></AssumeRoleWithWebIdentityResult></R>"#;

/// `AWS:password`, for twelve hours.
fn authorization() -> Reply {
    Reply::new(200).body(r#"{"authorizationData":[{"authorizationToken":"QVdTOnBhc3N3b3Jk","expiresAt":4e9}]}"#)
}

/// ECR and STS at one address, and metadata services as well.
fn amazon() -> Server {
    Server::start(|request| match request.path.as_str() {
        _ if request.header("x-amz-target").is_some() => authorization(),
        "/latest/api/token" if request.method == "PUT" => Reply::new(200).body("imds"),
        "/latest/meta-data/iam/security-credentials/" => Reply::new(200).body("a-role\n"),
        "/latest/meta-data/iam/security-credentials/a-role" | "/eks" => Reply::new(200).body(KEYS),
        "/" => Reply::new(200).body(STS),
        _ => Reply::new(404),
    })
}

fn signed(request: &Request) -> &str {
    request.header("authorization").expect("signed").split(", Signature=").next().expect("a signature")
}

#[test]
fn access_keys_of_the_environment() {
    let server = amazon();
    let url = format!("http://{}", server.host());
    let credentials = known(&[
        ("AWS_ACCESS_KEY_ID", "AKIA"),
        ("AWS_SECRET_ACCESS_KEY", "s"),
        ("AWS_SESSION_TOKEN", "session"),
        ("AWS_ENDPOINT_URL_ECR", &url),
    ]);
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| assert_eq!(basic(&credentials, ECR), "AWS:password"));
        }
    });
    let seen = server.seen();
    assert_eq!(seen.len(), 1, "one request for all threads, and the token is kept");
    assert_eq!((seen[0].method.as_str(), seen[0].body.as_slice()), ("POST", &b"{}"[..]));
    assert_eq!(seen[0].header("content-type"), Some("application/x-amz-json-1.1"));
    let target = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken";
    assert_eq!(seen[0].header("x-amz-target"), Some(target));
    assert_eq!(seen[0].header("x-amz-security-token"), Some("session"));
    let day = &seen[0].header("x-amz-date").expect("date")[..8];
    let names = "content-type;host;x-amz-date;x-amz-security-token;x-amz-target";
    let expected = format!("AWS4-HMAC-SHA256 Credential=AKIA/{day}/eu-west-1/ecr/aws4_request, SignedHeaders={names}");
    assert_eq!(signed(&seen[0]), expected);
}

#[test]
fn the_public_registry_has_an_answer_of_its_own() {
    let server = Server::start(|_| {
        Reply::new(200).body(r#"{"authorizationData":{"authorizationToken":"QVdTOnBhc3N3b3Jk","expiresAt":4e9}}"#)
    });
    let url = format!("http://{}", server.host());
    let credentials =
        known(&[("AWS_ACCESS_KEY_ID", "AKIA"), ("AWS_SECRET_ACCESS_KEY", "s"), ("AWS_ENDPOINT_URL_ECR_PUBLIC", &url)]);
    assert_eq!(basic(&credentials, "public.ecr.aws"), "AWS:password");
    assert!(signed(&server.seen()[0]).contains("/us-east-1/ecr-public/aws4_request"));
    assert_eq!(server.seen()[0].header("x-amz-target"), Some("SpencerFrontendService.GetAuthorizationToken"));
}

#[test]
fn web_identity() {
    let server = amazon();
    let url = format!("http://{}", server.host());
    let folder = tempfile::tempdir().expect("tempdir");
    let file = folder.path().join("token");
    fs::write(&file, "jwt+of/kubernetes\n").expect("write");
    let credentials = known(&[
        ("AWS_WEB_IDENTITY_TOKEN_FILE", file.to_str().expect("path")),
        ("AWS_ROLE_ARN", "arn:aws:iam::1:role/r"),
        ("AWS_ENDPOINT_URL", &url),
    ]);
    assert_eq!(basic(&credentials, ECR), "AWS:password");
    let seen = server.seen();
    let sent = ["Action", "Version", "RoleArn", "RoleSessionName", "WebIdentityToken"].map(|n| field(&seen[0], n));
    let expected =
        ["AssumeRoleWithWebIdentity", "2011-06-15", "arn:aws:iam::1:role/r", "yadokari", "jwt+of/kubernetes"];
    assert_eq!(sent, expected.map(|value| Some(value.to_owned())));
    assert_eq!(seen[0].header("authorization"), None);
    assert!(signed(&seen[1]).contains("Credential=ASIAROLE/"));
    assert_eq!(seen[1].header("x-amz-security-token"), Some("session"));
}

#[test]
fn profiles_lead_to_roles() {
    let server = amazon();
    let url = format!("http://{}", server.host());
    let folder = tempfile::tempdir().expect("tempdir");
    let (config, keys) = (folder.path().join("config"), folder.path().join("credentials"));
    let roles = "[profile ci]\nrole_arn = arn:aws:iam::1:role/ci\nsource_profile = base\nexternal_id = x\n\
        [profile a]\nrole_arn = r\nsource_profile = b\n[profile b]\nrole_arn = r\nsource_profile = a\n\
        [profile sso]\nsso_session = s\n";
    fs::write(&config, roles).expect("write");
    fs::write(&keys, "[base]\naws_access_key_id = AKIABASE\naws_secret_access_key = s\n").expect("write");
    let with = |profile: &str| {
        known(&[
            ("AWS_CONFIG_FILE", config.to_str().expect("path")),
            ("AWS_SHARED_CREDENTIALS_FILE", keys.to_str().expect("path")),
            ("AWS_PROFILE", profile),
            ("AWS_REGION", "eu-central-1"),
            ("AWS_ENDPOINT_URL", &url),
        ])
    };
    assert_eq!(basic(&with("base"), ECR), "AWS:password");
    assert!(signed(&server.seen()[0]).contains("Credential=AKIABASE/"));
    assert_eq!(basic(&with("ci"), ECR), "AWS:password");
    let seen = server.seen();
    assert_eq!(field(&seen[1], "Action").as_deref(), Some("AssumeRole"));
    assert_eq!(field(&seen[1], "ExternalId").as_deref(), Some("x"));
    assert!(signed(&seen[1]).contains("Credential=AKIABASE/") && signed(&seen[1]).contains("/eu-central-1/sts/"));
    assert!(signed(&seen[2]).contains("Credential=ASIAROLE/") && signed(&seen[2]).contains("/eu-west-1/ecr/"));
    assert!(refusal(&with("missing"), ECR).ends_with(r#"there is no AWS profile "missing""#));
    assert!(refusal(&with("sso"), ECR).contains("uses sso_session"));
    assert!(refusal(&with("a"), ECR).contains("nothing that may take on that role"), "roles in a circle");
    assert_eq!(server.seen().len(), 3);
}

#[test]
fn the_token_of_pod_identity_is_read_each_time() {
    let server = Server::start(|request| match request.path.as_str() {
        "/eks" => Reply::new(200).body(KEYS),
        _ => Reply::new(200).body(r#"{"authorizationData":[{"authorizationToken":"QVdTOnA=","expiresAt":1}]}"#),
    });
    let url = format!("http://{}", server.host());
    let folder = tempfile::tempdir().expect("tempdir");
    let file = folder.path().join("token");
    let credentials = known(&[
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("{url}/eks")),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file.to_str().expect("path")),
        ("AWS_ENDPOINT_URL", &url),
    ]);
    for token in ["first", "second"] {
        fs::write(&file, format!("{token}\n")).expect("write");
        assert_eq!(basic(&credentials, ECR), "AWS:p");
    }
    let sent: Vec<_> =
        server.seen().iter().filter(|r| r.path == "/eks").map(|r| r.headers["authorization"].clone()).collect();
    assert_eq!(sent, ["first", "second"], "a token that has ended is replaced");
}

#[test]
fn container_credentials_come_from_this_machine_only() {
    for url in ["http://10.0.0.1/x", "http://169.254.170.2.evil.example/", "http://127.0.0.1@evil.example/", "x"] {
        let credentials =
            known(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", url), ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "hunter2")]);
        let error = refusal(&credentials, ECR);
        assert!(error.contains("AWS_CONTAINER_CREDENTIALS_FULL_URI is ") && !error.contains("hunter2"), "{error}");
    }
    let escape = known(&[("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "@evil.example/")]);
    assert!(refusal(&escape, ECR).contains("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is "));
}

#[test]
fn roles_of_instances() {
    let server = amazon();
    let url = format!("http://{}", server.host());
    let credentials = known(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &url), ("AWS_ENDPOINT_URL_ECR", &url)]);
    assert_eq!(basic(&credentials, ECR), "AWS:password");
    let seen = server.seen();
    assert_eq!(seen[0].header("x-aws-ec2-metadata-token-ttl-seconds"), Some("300"));
    assert_eq!(seen[1].header("x-aws-ec2-metadata-token"), Some("imds"));
    assert_eq!(seen[2].header("x-aws-ec2-metadata-token"), Some("imds"));
    assert!(signed(&seen[3]).contains("Credential=ASIAROLE/"));
}

#[test]
fn without_any_identity_all_places_are_named() {
    let url = format!("http://{}", nobody());
    let expected = "no AWS access keys: none in AWS_ACCESS_KEY_ID, AWS_WEB_IDENTITY_TOKEN_FILE, a profile or \
        AWS_CONTAINER_CREDENTIALS_*, and there is no instance metadata service";
    let expected = format!("cannot get credentials for {ECR} from AWS: {expected}");
    assert_eq!(refusal(&known(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &url)]), ECR), expected);
    assert_eq!(refusal(&known(&[("AWS_EC2_METADATA_DISABLED", "true")]), ECR), expected);
}
