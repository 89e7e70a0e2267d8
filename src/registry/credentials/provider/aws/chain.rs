//! Where AWS access keys come from: the first source that is configured counts, its failure too.

use jiff::Timestamp;
use serde::Deserialize;
use url::Url;

use super::super::super::Secret;
use super::super::exchange::{Distance, Failure, Question, Web, address, below, read_file};
use super::super::hosts::aws_domain;
use super::super::variables::Variables;
use super::profile::{Profile, Profiles};
use super::sign::{Keys, sign};

const NOTHING: &str = "no AWS access keys: none in AWS_ACCESS_KEY_ID, AWS_WEB_IDENTITY_TOKEN_FILE, a profile or \
    AWS_CONTAINER_CREDENTIALS_*, and there is no instance metadata service";
/// How many roles may lead to one another.
const MAX_ROLES: u8 = 4;

/// Asks for access keys.
pub(super) struct Chain<'a> {
    pub(super) web: &'a Web,
    pub(super) variables: &'a Variables,
    /// Of the registry; where STS is asked unless a variable says otherwise.
    pub(super) region: &'a str,
}

/// What container and instance services answer.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct KeysDocument {
    access_key_id: String,
    secret_access_key: Secret,
    #[serde(default)]
    token: Option<Secret>,
}

impl From<KeysDocument> for Keys {
    fn from(document: KeysDocument) -> Self {
        Self { id: document.access_key_id, secret: document.secret_access_key, session: document.token }
    }
}

/// A role to be taken on.
struct Role<'a> {
    arn: &'a str,
    session: Option<&'a str>,
    external_id: Option<&'a str>,
}

impl Chain<'_> {
    /// # Source
    /// AWS SDKs and Tools Reference Guide, "Standardized credential providers".
    pub(super) fn keys(&self) -> Result<Keys, Failure> {
        if let Some(keys) = self.environment() {
            return Ok(keys);
        }
        if let Some(file) = self.variables.get("AWS_WEB_IDENTITY_TOKEN_FILE") {
            let arn = self.variables.get("AWS_ROLE_ARN").ok_or_else(|| setting("AWS_ROLE_ARN is not set"))?;
            let session = self.variables.get("AWS_ROLE_SESSION_NAME");
            return self.web_identity(&Role { arn: &arn, session: session.as_deref(), external_id: None }, &file);
        }
        if let Some(keys) = self.profile()? {
            return Ok(keys);
        }
        match self.container()? {
            Some(keys) => Ok(keys),
            None => self.instance(),
        }
    }

    fn environment(&self) -> Option<Keys> {
        let secret = self.variables.secret("AWS_SECRET_ACCESS_KEY").or_else(|| self.variables.secret("AWS_SECRET_KEY"));
        let session = self.variables.secret("AWS_SESSION_TOKEN");
        let id = self.variables.get("AWS_ACCESS_KEY_ID").or_else(|| self.variables.get("AWS_ACCESS_KEY"))?;
        Some(Keys { id, secret: secret?, session })
    }

    fn profile(&self) -> Result<Option<Keys>, Failure> {
        let profiles = Profiles::read(self.variables)?;
        let named = self.variables.get("AWS_PROFILE").or_else(|| self.variables.get("AWS_DEFAULT_PROFILE"));
        let name = named.as_deref().unwrap_or("default");
        match profiles.get(name) {
            Some(profile) => self.of_profile(&profiles, name, profile, MAX_ROLES),
            None if named.is_some() => Err(setting(format!("there is no AWS profile {name:?}"))),
            None => Ok(None),
        }
    }

    fn of_profile(
        &self,
        profiles: &Profiles,
        name: &str,
        profile: &Profile,
        roles: u8,
    ) -> Result<Option<Keys>, Failure> {
        let of = |key: &str| profile.get(key).map(String::as_str).filter(|value| !value.is_empty());
        if let Some(arn) = of("role_arn") {
            let role = Role { arn, session: of("role_session_name"), external_id: of("external_id") };
            if let Some(file) = of("web_identity_token_file") {
                return self.web_identity(&role, file).map(Some);
            }
            return self.assume(&role, &self.source(profiles, name, profile, roles)?).map(Some);
        }
        if let Some(keys) = fixed(profile) {
            return Ok(Some(keys));
        }
        match ["credential_process", "sso_session", "sso_start_url", "login_session"]
            .into_iter()
            .find(|key| of(key).is_some())
        {
            Some(key) => {
                Err(setting(format!("AWS profile {name:?} uses {key}, which needs the aws program: set access keys")))
            }
            None => Ok(None),
        }
    }

    /// The keys that may take on the role of `profile`.
    fn source(&self, profiles: &Profiles, name: &str, profile: &Profile, roles: u8) -> Result<Keys, Failure> {
        let unusable =
            || setting(format!("AWS profile {name:?} has a role_arn, but nothing that may take on that role"));
        let Some(source) = profile.get("source_profile") else {
            return match profile.get("credential_source").map(String::as_str) {
                Some("Environment") => self.environment().ok_or_else(unusable),
                Some("EcsContainer") => self.container()?.ok_or_else(unusable),
                Some("Ec2InstanceMetadata") => self.instance(),
                _ => Err(unusable()),
            };
        };
        if source == name {
            return fixed(profile).ok_or_else(unusable);
        }
        let base = profiles.get(source).filter(|_| roles > 0).ok_or_else(unusable)?;
        self.of_profile(profiles, source, base, roles - 1)?.ok_or_else(unusable)
    }

    /// STS, AssumeRoleWithWebIdentity: the token is the proof, so it is not signed.
    fn web_identity(&self, role: &Role<'_>, file: &str) -> Result<Keys, Failure> {
        let token = Secret::new(read_file(file.as_ref())?);
        let fields = role.fields("AssumeRoleWithWebIdentity");
        self.sts(Question::form(self.sts_url()?, &fields, &[("WebIdentityToken", &token)]))
    }

    /// STS, AssumeRole.
    fn assume(&self, role: &Role<'_>, keys: &Keys) -> Result<Keys, Failure> {
        let question = Question::form(self.sts_url()?, &role.fields("AssumeRole"), &[]);
        self.sts(sign(question, keys, &self.sts_region(), "sts", Timestamp::now()))
    }

    fn sts(&self, question: Question) -> Result<Keys, Failure> {
        let text = self.web.ask_text(&question)?;
        let place = "STS".to_owned();
        sts_keys(&text).ok_or(Failure::Malformed { place, reason: "not the document that was expected" })
    }

    fn sts_region(&self) -> String {
        let named = self.variables.get("AWS_REGION").or_else(|| self.variables.get("AWS_DEFAULT_REGION"));
        let plain = |region: &String| region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        named.filter(plain).unwrap_or_else(|| self.region.to_owned())
    }

    fn sts_url(&self) -> Result<Url, Failure> {
        let region = self.sts_region();
        super::endpoint(
            self.variables,
            "AWS_ENDPOINT_URL_STS",
            &format!("https://sts.{region}.{}", aws_domain(&region)),
        )
    }

    /// ECS, and EKS pod identity: a service on a fixed address, or on one that keeps secrets.
    fn container(&self) -> Result<Option<Keys>, Failure> {
        let url = if let Some(path) = self.variables.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") {
            address(&format!("http://169.254.170.2{path}"), "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", |origin| {
                origin.host() == "169.254.170.2" && origin.port() == 80
            })?
        } else if let Some(full) = self.variables.get("AWS_CONTAINER_CREDENTIALS_FULL_URI") {
            address(&full, "AWS_CONTAINER_CREDENTIALS_FULL_URI", |origin| {
                origin.is_loopback() || ["169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"].contains(&origin.host())
            })?
        } else {
            return Ok(None);
        };
        let mut question = Question::get(url, Distance::Machine);
        let token = match self.variables.path("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
            Some(file) => Some(Secret::new(read_file(&file)?)),
            None => self.variables.secret("AWS_CONTAINER_AUTHORIZATION_TOKEN"),
        };
        if let Some(token) = token {
            question = question.secret_header("authorization", &token);
        }
        self.web.ask_json::<KeysDocument>(&question).map(|document| Some(document.into()))
    }

    /// The instance's role, by IMDSv2.
    fn instance(&self) -> Result<Keys, Failure> {
        if self.variables.get("AWS_EC2_METADATA_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Err(Failure::Nothing(NOTHING));
        }
        let base = self.metadata_url()?;
        let question = Question::put(below(&base, "latest/api/token"), Distance::Machine)
            .header("x-aws-ec2-metadata-token-ttl-seconds", "300");
        let token = match self.web.ask_text(&question) {
            Err(Failure::Unreachable { .. }) => return Err(Failure::Nothing(NOTHING)),
            answer => Secret::new(answer?.trim()),
        };
        let get = |path: &str| {
            Question::get(below(&base, path), Distance::Machine).secret_header("x-aws-ec2-metadata-token", &token)
        };
        let roles = self.web.ask_text(&get("latest/meta-data/iam/security-credentials/"))?;
        let role = roles.lines().next().unwrap_or_default().trim();
        if role.is_empty() || !role.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+=,.@-_".contains(&byte)) {
            return Err(Failure::Malformed { place: "instance metadata".to_owned(), reason: "no name of a role" });
        }
        let path = format!("latest/meta-data/iam/security-credentials/{role}");
        self.web.ask_json::<KeysDocument>(&get(&path)).map(Into::into)
    }

    fn metadata_url(&self) -> Result<Url, Failure> {
        let name = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
        let is_v6 = self
            .variables
            .get("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE")
            .is_some_and(|mode| mode.eq_ignore_ascii_case("ipv6"));
        let usual = if is_v6 { "http://[fd00:ec2::254]" } else { "http://169.254.169.254" };
        address(self.variables.get(name).as_deref().unwrap_or(usual), name, |_| true)
    }
}

impl<'a> Role<'a> {
    fn fields(&self, action: &'static str) -> Vec<(&'static str, &'a str)> {
        let mut fields = vec![("Action", action), ("Version", "2011-06-15"), ("RoleArn", self.arn)];
        fields.push(("RoleSessionName", self.session.unwrap_or("yadokari")));
        fields.extend(self.external_id.map(|id| ("ExternalId", id)));
        fields
    }
}

/// Keys written into a profile.
fn fixed(profile: &Profile) -> Option<Keys> {
    let id = profile.get("aws_access_key_id").filter(|id| !id.is_empty())?.clone();
    let secret = Secret::new(profile.get("aws_secret_access_key")?);
    Some(Keys { id, secret, session: profile.get("aws_session_token").map(Secret::new) })
}

/// The `Credentials` element of an answer of STS.
fn sts_keys(text: &str) -> Option<Keys> {
    let document = roxmltree::Document::parse(text).ok()?;
    let credentials = document.descendants().find(|node| node.tag_name().name() == "Credentials")?;
    let of = |name: &str| credentials.children().find(|node| node.tag_name().name() == name)?.text();
    let session = of("SessionToken").map(Secret::new);
    Some(Keys { id: of("AccessKeyId")?.to_owned(), secret: Secret::new(of("SecretAccessKey")?), session })
}

fn setting(text: impl Into<String>) -> Failure {
    Failure::Setting(text.into())
}
