//! The way through Entra and the registry, over real connections.

use super::*;
use server::{Reply, Request, Server};

#[path = "../../../../../tests/registry/server.rs"]
#[allow(dead_code, reason = "the registry's tests use the rest")]
mod server;

const TENANT: &str = "11111111-2222-3333-4444-555555555555";

fn web() -> Web {
    Web { proxy: crate::registry::ProxySettings::default() }
}

fn variables(pairs: &[(&'static str, String)]) -> Variables {
    let pairs = pairs.to_vec();
    Variables::new(move |name| pairs.iter().find(|(n, _)| *n == name).map(|(_, value)| value.clone()))
}

fn form(request: &Request) -> Vec<(String, String)> {
    url::form_urlencoded::parse(&request.body).into_owned().collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn honest() -> Server {
    Server::start(|request| match request.path.split('?').next().unwrap_or_default() {
        "/oauth2/exchange" => Reply::new(200).body(r#"{"refresh_token":"of the registry"}"#),
        _ => Reply::new(200).body(r#"{"access_token":"of entra","expires_in":"3599"}"#),
    })
}

fn application(server: &Server, more: &[(&'static str, String)]) -> Variables {
    let authority = format!("http://{}/", server.host());
    let mut pairs = vec![("AZURE_CLIENT_ID", "app".to_owned()), ("AZURE_TENANT_ID", TENANT.to_owned())];
    pairs.push(("AZURE_AUTHORITY_HOST", authority));
    pairs.extend_from_slice(more);
    variables(&pairs)
}

#[test]
fn a_client_secret_is_traded_twice() {
    let server = honest();
    let variables = application(&server, &[("AZURE_CLIENT_SECRET", "s&cret".to_owned())]);
    let token = entra(&web(), &variables, AzureCloud::Public, AzureCloud::Public.resource()).expect("token");
    let home = format!("http://{}", server.host()).parse().expect("url");
    let granted = exchange(&web(), &home, "team.azurecr.io", Some(TENANT), &token).expect("exchange");
    let expected = Credential::Basic { username: USERNAME.to_owned(), password: Secret::new("of the registry") };
    assert_eq!(granted.credential, expected);
    let seen = server.seen();
    assert_eq!(seen[0].path, format!("/{TENANT}/oauth2/v2.0/token"));
    let scope = "https://containerregistry.azure.net/.default";
    let grant = ("grant_type", "client_credentials");
    let login = [grant, ("client_id", "app"), ("scope", scope), ("client_secret", "s&cret")];
    assert_eq!(form(&seen[0]), pairs(&login));
    let traded = [
        ("grant_type", "access_token"),
        ("service", "team.azurecr.io"),
        ("tenant", TENANT),
        ("access_token", "of entra"),
    ];
    assert_eq!(form(&seen[1]), pairs(&traded));
}

#[test]
fn a_federated_token_is_read_each_time() {
    let server = honest();
    let folder = tempfile::tempdir().expect("tempdir");
    let file = folder.path().join("token");
    let variables = application(&server, &[("AZURE_FEDERATED_TOKEN_FILE", file.display().to_string())]);
    for text in ["first", "second"] {
        std::fs::write(&file, format!("{text}\n")).expect("write");
        entra(&web(), &variables, AzureCloud::Government, AzureCloud::Government.resource()).expect("token");
    }
    let inline = application(&server, &[("AZURE_FEDERATED_TOKEN", "inline".to_owned())]);
    entra(&web(), &inline, AzureCloud::China, AzureCloud::China.resource()).expect("token");
    let sent: Vec<_> = server.seen().iter().map(|request| form(request).pop().expect("a field").1).collect();
    assert_eq!(sent, ["first", "second", "inline"]);
    let scope = ("scope".to_owned(), "https://management.usgovcloudapi.net/.default".to_owned());
    assert!(form(&server.seen()[0]).contains(&scope));
}

#[test]
fn managed_identities_of_machines_and_of_app_service() {
    let server = honest();
    let base = format!("http://{}", server.host());
    let machine =
        variables(&[("AZURE_POD_IDENTITY_AUTHORITY_HOST", base.clone()), ("AZURE_CLIENT_ID", "id".to_owned())]);
    let service =
        variables(&[("IDENTITY_ENDPOINT", format!("{base}/msi/token")), ("IDENTITY_HEADER", "header".to_owned())]);
    for found in [&machine, &service] {
        assert_eq!(
            entra(&web(), found, AzureCloud::Public, AzureCloud::Public.resource()).expect("token").expose(),
            "of entra"
        );
    }
    let seen = server.seen();
    let resource = "resource=https%3A%2F%2Fcontainerregistry.azure.net";
    assert_eq!(seen[0].path, format!("/metadata/identity/oauth2/token?api-version=2018-02-01&{resource}&client_id=id"));
    assert_eq!(seen[0].header("metadata"), Some("true"));
    assert_eq!(seen[1].path, format!("/msi/token?api-version=2019-08-01&{resource}"));
    assert_eq!(seen[1].header("x-identity-header"), Some("header"));
}

#[test]
fn refusals_name_the_reason_and_no_secret() {
    let server = Server::start(|_| {
        let text = r#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided"}"#;
        Reply::new(401).body(text)
    });
    let variables = application(&server, &[("AZURE_CLIENT_SECRET", "hunter2".to_owned())]);
    let error =
        entra(&web(), &variables, AzureCloud::Public, AzureCloud::Public.resource()).expect_err("refused").to_string();
    assert!(error.ends_with("answered 401: invalid_client: AADSTS7000215: Invalid client secret provided"), "{error}");
    let parrot = Server::start(|request| {
        let mut body = b"you sent ".to_vec();
        body.extend(&request.body);
        Reply::new(400).body(body)
    });
    let variables = application(&parrot, &[("AZURE_CLIENT_SECRET", "hunter2".to_owned())]);
    let error =
        entra(&web(), &variables, AzureCloud::Public, AzureCloud::Public.resource()).expect_err("refused").to_string();
    assert!(error.ends_with("answered 400") && !error.contains("hunter2"), "{error}");
}

#[test]
fn settings_that_cannot_be_used() {
    let secret = ("AZURE_CLIENT_SECRET", "hunter2".to_owned());
    let client = ("AZURE_CLIENT_ID", "app".to_owned());
    let tenant = ("AZURE_TENANT_ID", TENANT.to_owned());
    let evil = ("AZURE_AUTHORITY_HOST", "http://login.example/".to_owned());
    for (pairs, expected) in [
        (vec![secret.clone()], "AZURE_CLIENT_ID is not set"),
        (vec![secret.clone(), client.clone()], "AZURE_TENANT_ID is not set"),
        (vec![secret.clone(), client.clone(), ("AZURE_TENANT_ID", "../x".to_owned())], "AZURE_TENANT_ID is no tenant"),
        (vec![secret, client, tenant, evil], "AZURE_AUTHORITY_HOST is a plain http URL, to which no secret is sent"),
    ] {
        let error = entra(&web(), &variables(&pairs), AzureCloud::Public, AzureCloud::Public.resource())
            .expect_err(expected)
            .to_string();
        assert_eq!(error, expected);
    }
}
