//! Google Container and Artifact Registry: an OAuth access token by Application Default Credentials.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::Timestamp;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::super::{Credential, Secret};
use super::Granted;
use super::exchange::{Distance, Failure, Question, Web, address, below, read_file};
use super::variables::Variables;

const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const TOKEN_URL: &str = "https://oauth2.googleapis.com/token";
const NOTHING: &str = "no Google credentials: none in GOOGLE_APPLICATION_CREDENTIALS, none of gcloud, and there is no \
    metadata server";
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// What a service account's assertion lives; Google's maximum.
const ASSERTION_SECONDS: i64 = 3600;
/// The user name that goes with an access token.
const USERNAME: &str = "oauth2accesstoken";

/// What a credentials file holds; its `type` decides.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Document {
    ServiceAccount {
        client_email: String,
        private_key: Secret,
        private_key_id: Option<String>,
        token_uri: Option<String>,
    },
    AuthorizedUser {
        client_id: String,
        client_secret: Secret,
        refresh_token: Secret,
        token_uri: Option<String>,
    },
    ExternalAccount(External),
}

/// Workload identity federation: somebody else's token is traded for Google's.
#[derive(Deserialize)]
struct External {
    audience: String,
    subject_token_type: String,
    token_url: String,
    credential_source: Subject,
    service_account_impersonation_url: Option<String>,
}

/// Where that token is.
#[derive(Deserialize)]
struct Subject {
    file: Option<PathBuf>,
    url: Option<String>,
    #[serde(default)]
    headers: std::collections::BTreeMap<String, Secret>,
    #[serde(default)]
    format: SubjectFormat,
}

#[derive(Default, Deserialize)]
struct SubjectFormat {
    #[serde(default, rename = "type")]
    kind: String,
    subject_token_field_name: Option<String>,
}

#[derive(Deserialize)]
struct Token {
    access_token: Secret,
    #[serde(default)]
    expires_in: Option<f64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Impersonated {
    access_token: Secret,
    expire_time: String,
}

impl From<Token> for Granted {
    fn from(token: Token) -> Self {
        let credential = Credential::Basic { username: USERNAME.to_owned(), password: token.access_token };
        Self::for_seconds(credential, token.expires_in)
    }
}

/// An access token, from the first place that is configured.
///
/// # Source
/// Google Cloud, "How Application Default Credentials works"; RFC 7523, RFC 8693.
pub(super) fn token(web: &Web, variables: &Variables) -> Result<Granted, Failure> {
    find(web, variables).map(Into::into)
}

/// The same, as it is.
pub(super) fn access_token(web: &Web, variables: &Variables) -> Result<Secret, Failure> {
    find(web, variables).map(|token| token.access_token)
}

fn find(web: &Web, variables: &Variables) -> Result<Token, Failure> {
    match file(variables) {
        Some(path) => of_file(web, &path),
        None => of_metadata(web, variables),
    }
}

/// What says who we are, as far as can be told without asking.
pub(super) fn configured(variables: &Variables) -> Option<String> {
    Some(format!("Google credentials in {}", file(variables)?.display()))
}

/// The variable's file, or the one that gcloud leaves.
fn file(variables: &Variables) -> Option<PathBuf> {
    let directory = || variables.path("CLOUDSDK_CONFIG").unwrap_or_else(|| variables.at_home(".config/gcloud"));
    let left = || Some(directory().join("application_default_credentials.json")).filter(|path| path.is_file());
    variables.path("GOOGLE_APPLICATION_CREDENTIALS").or_else(left)
}

fn of_file(web: &Web, path: &Path) -> Result<Token, Failure> {
    let unusable = |what: &str| Failure::Setting(format!("{}: {what}", path.display()));
    let text = read_file(path)?;
    // The parser's message may quote a secret.
    let document = serde_json::from_str(&text).map_err(|_| {
        unusable("no credentials of a type that is known (service_account, authorized_user, external_account)")
    })?;
    match document {
        Document::ServiceAccount { client_email, private_key, private_key_id, token_uri } => {
            let url = trusted(token_uri.as_deref().unwrap_or(TOKEN_URL), "token_uri", path)?;
            let now = Timestamp::now().as_second();
            let audience = token_uri.as_deref().unwrap_or(TOKEN_URL);
            let claims = json!({"iss": client_email, "scope": SCOPE, "aud": audience, "iat": now,
                "exp": now + ASSERTION_SECONDS});
            let assertion = assertion(&private_key, private_key_id.as_deref(), &claims)
                .ok_or_else(|| unusable("private_key is no RSA key in PEM"))?;
            let grant = "urn:ietf:params:oauth:grant-type:jwt-bearer";
            web.ask_json(&Question::form(url, &[("grant_type", grant)], &[("assertion", &assertion)]))
        }
        Document::AuthorizedUser { client_id, client_secret, refresh_token, token_uri } => {
            let fields = [("grant_type", "refresh_token"), ("client_id", &client_id)];
            let secrets = [("client_secret", &client_secret), ("refresh_token", &refresh_token)];
            let url = trusted(token_uri.as_deref().unwrap_or(TOKEN_URL), "token_uri", path)?;
            web.ask_json(&Question::form(url, &fields, &secrets))
        }
        Document::ExternalAccount(external) => external.token(web, path),
    }
}

/// A JWT, signed with RS256.
///
/// # Source
/// RFC 7515, section 3.1; RFC 7518, section 3.3.
fn assertion(key: &Secret, key_id: Option<&str>, claims: &Value) -> Option<Secret> {
    let pair = match PrivateKeyDer::from_pem_slice(key.expose().as_bytes()).ok()? {
        PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
        PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
        _ => return None,
    };
    let pair = pair.ok()?;
    let mut header = json!({"alg": "RS256", "typ": "JWT"});
    if let (Some(id), Some(fields)) = (key_id, header.as_object_mut()) {
        fields.insert("kid".to_owned(), id.into());
    }
    let encode = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(&header), encode(claims));
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).ok()?;
    Some(Secret::new(format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))))
}

/// The service account that the machine has.
fn of_metadata(web: &Web, variables: &Variables) -> Result<Token, Failure> {
    let host = variables.get("GCE_METADATA_HOST").unwrap_or_else(|| "metadata.google.internal".to_owned());
    let base = address(&format!("http://{host}"), "GCE_METADATA_HOST", |_| true)?;
    let url = below(&base, "computeMetadata/v1/instance/service-accounts/default/token");
    let question = Question::get(url, Distance::Machine).header("metadata-flavor", "Google");
    match web.ask_json(&question) {
        Err(Failure::Unreachable { .. }) => Err(Failure::Nothing(NOTHING)),
        answer => answer,
    }
}

impl External {
    fn token(&self, web: &Web, path: &Path) -> Result<Token, Failure> {
        let subject = self.credential_source.token(web, path)?;
        let fields = [
            ("grant_type", EXCHANGE),
            ("audience", &self.audience),
            ("scope", SCOPE),
            ("requested_token_type", ACCESS_TOKEN),
            ("subject_token_type", &self.subject_token_type),
        ];
        let url = trusted(&self.token_url, "token_url", path)?;
        let token: Token = web.ask_json(&Question::form(url, &fields, &[("subject_token", &subject)]))?;
        match &self.service_account_impersonation_url {
            Some(url) => impersonate(web, &trusted(url, "service_account_impersonation_url", path)?, &token),
            None => Ok(token),
        }
    }
}

fn impersonate(web: &Web, url: &Url, token: &Token) -> Result<Token, Failure> {
    let body = json!({"scope": [SCOPE]}).to_string();
    let question = Question::post(url.clone(), "application/json", &body).bearer(&token.access_token);
    let answer: Impersonated = web.ask_json(&question)?;
    let until = answer.expire_time.parse::<Timestamp>().ok();
    let seconds = until.map(|until| (until.as_second() - Timestamp::now().as_second()) as f64);
    Ok(Token { access_token: answer.access_token, expires_in: seconds })
}

impl Subject {
    fn token(&self, web: &Web, path: &Path) -> Result<Secret, Failure> {
        let unusable = |what: &str| Failure::Setting(format!("{}: credential_source {what}", path.display()));
        let text = match (&self.file, &self.url) {
            (Some(file), _) => read_file(file)?,
            (None, Some(url)) => self.fetch(web, url, path)?,
            (None, None) => return Err(unusable("names neither a file nor a url: others are not supported")),
        };
        if self.format.kind != "json" {
            return Ok(Secret::new(text));
        }
        let name = self.format.subject_token_field_name.as_deref().unwrap_or("access_token");
        let document: Value = serde_json::from_str(&text).map_err(|_| unusable("holds no JSON"))?;
        let token = document.get(name).and_then(Value::as_str);
        token.map(Secret::new).ok_or_else(|| unusable(&format!("has no text in {name:?}")))
    }

    fn fetch(&self, web: &Web, url: &str, path: &Path) -> Result<String, Failure> {
        let url = address(url, &format!("{}: credential_source.url", path.display()), |_| true)?;
        let mut question = Question::get(url, Distance::Machine);
        for (name, value) in &self.headers {
            question = question.secret_header(name, value);
        }
        web.ask_text(&question)
    }
}

/// An address in a credentials file to which a secret goes.
fn trusted(url: &str, name: &str, path: &Path) -> Result<Url, Failure> {
    address(url, &format!("{}: {name}", path.display()), |origin| origin.is_loopback())
}
