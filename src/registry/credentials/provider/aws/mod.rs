//! Amazon ECR: GetAuthorizationToken, signed with the access keys that are found.

mod chain;
mod profile;
mod sign;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use serde::Deserialize;
use url::Url;

use super::super::{Credential, Secret};
use super::Granted;
use super::exchange::{Failure, Question, Web, address};
use super::hosts::{EcrHost, aws_domain};
use super::variables::Variables;
use chain::Chain;
pub use sign::Keys;
use sign::sign;

/// The only region that knows about `public.ecr.aws`.
const PUBLIC_REGION: &str = "us-east-1";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    authorization_data: AuthorizationData,
}

/// ECR sends a list, ECR public one object.
#[derive(Deserialize)]
#[serde(untagged)]
enum AuthorizationData {
    Many(Vec<Authorization>),
    One(Authorization),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Authorization {
    authorization_token: Secret,
    /// Seconds since 1970.
    #[serde(default)]
    expires_at: Option<f64>,
}

/// Asks for a token of a private registry.
///
/// # Source
/// Amazon ECR API Reference, "GetAuthorizationToken"; service endpoints by region and FIPS.
pub(super) fn ecr(web: &Web, variables: &Variables, host: &EcrHost) -> Result<Granted, Failure> {
    let service = if host.fips { "ecr-fips" } else { "api.ecr" };
    let usual = format!("https://{service}.{}.{}", host.region, aws_domain(&host.region));
    let url = endpoint(variables, "AWS_ENDPOINT_URL_ECR", &usual)?;
    let target = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken";
    authorize(web, variables, url, &Service { region: &host.region, name: "ecr", target })
}

/// The same for `public.ecr.aws`.
pub(super) fn ecr_public(web: &Web, variables: &Variables) -> Result<Granted, Failure> {
    let usual = format!("https://api.ecr-public.{PUBLIC_REGION}.amazonaws.com");
    let url = endpoint(variables, "AWS_ENDPOINT_URL_ECR_PUBLIC", &usual)?;
    let target = "SpencerFrontendService.GetAuthorizationToken";
    authorize(web, variables, url, &Service { region: PUBLIC_REGION, name: "ecr-public", target })
}

/// Access keys, for a service in `region`.
pub(super) fn keys(web: &Web, variables: &Variables, region: &str) -> Result<Keys, Failure> {
    Chain { web, variables, region }.keys()
}

/// The region that variables or the profile name.
pub(super) fn region(variables: &Variables) -> Result<Option<String>, Failure> {
    let named = ["AWS_REGION", "AWS_DEFAULT_REGION"].into_iter().find_map(|name| variables.get(name));
    let region = match named {
        Some(region) => Some(region),
        None => profile::chosen(variables, &profile::Profiles::read(variables)?, "region"),
    };
    let plain = |region: &String| region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    match region {
        Some(region) if !plain(&region) => Err(Failure::Setting("AWS_REGION is no name of a region".to_owned())),
        region => Ok(region),
    }
}

/// What says who we are, as far as can be told without asking.
pub(super) fn configured(variables: &Variables) -> Option<&'static str> {
    let names = [
        ("AWS_ACCESS_KEY_ID", "AWS access key"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS web identity"),
        ("AWS_PROFILE", "AWS profile"),
    ];
    let container = [
        ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS container credentials"),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS container credentials"),
    ];
    let find = |names: &[(&str, &'static str)]| names.iter().find(|(name, _)| variables.is_set(name)).map(|(_, s)| *s);
    find(&names).or_else(|| profile::exists(variables).then_some("AWS profile")).or_else(|| find(&container))
}

struct Service<'a> {
    region: &'a str,
    name: &'a str,
    target: &'static str,
}

fn authorize(web: &Web, variables: &Variables, url: Url, service: &Service<'_>) -> Result<Granted, Failure> {
    let keys = Chain { web, variables, region: service.region }.keys()?;
    let question = Question::post(url, "application/x-amz-json-1.1", "{}").header("x-amz-target", service.target);
    let answer: Answer = web.ask_json(&sign(question, &keys, service.region, service.name, Timestamp::now()))?;
    let authorization = match answer.authorization_data {
        AuthorizationData::One(one) => Some(one),
        AuthorizationData::Many(many) => many.into_iter().next(),
    };
    let malformed = Failure::Malformed { place: "ECR".to_owned(), reason: "no authorization token in it" };
    authorization.and_then(granted).ok_or(malformed)
}

/// The token is the base64 of `AWS:password`.
fn granted(authorization: Authorization) -> Option<Granted> {
    let text = BASE64_STANDARD.decode(authorization.authorization_token.expose().trim()).ok()?;
    let text = String::from_utf8(text).ok()?;
    let (username, password) = text.split_once(':')?;
    let seconds = authorization.expires_at.map(|at| at - Timestamp::now().as_second() as f64);
    let credential = Credential::Basic { username: username.to_owned(), password: Secret::new(password) };
    Some(Granted::for_seconds(credential, seconds))
}

/// The service's address, which variables may replace.
///
/// # Source
/// AWS SDKs and Tools Reference Guide, "Service-specific endpoints".
fn endpoint(variables: &Variables, name: &str, usual: &str) -> Result<Url, Failure> {
    let ignored = variables.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS").is_some_and(|v| v.eq_ignore_ascii_case("true"));
    let named = [name, "AWS_ENDPOINT_URL"].into_iter().filter(|_| !ignored);
    let found = named.filter_map(|name| Some((name, variables.get(name)?))).next();
    match found {
        Some((name, text)) => address(&text, name, |_| true),
        None => address(usual, "the endpoint of the region", |_| false),
    }
}
