//! Credentials that a pipeline finds in its environment: no service is asked for them.

use super::super::docker::normalise;
use super::super::{Credential, Secret};
use super::helper::{Helper, Helpers};
use super::hosts::without_https_port;
use super::variables::Variables;

/// The credential for `registry` that variables hold, and the provider's name.
///
/// # Source
/// Kaniko (`KANIKO_<HOST>_USER`), GitLab "Predefined CI/CD variables", GitHub "Working with the Container registry".
pub(super) fn find(variables: &Variables, helpers: &Helpers, registry: &str) -> Option<(Credential, &'static str)> {
    let host = without_https_port(registry);
    let kaniko = helpers.ask(Helper::Environment, || kaniko(variables, registry));
    let gitlab = || gitlab(variables, host).or_else(|| gitlab_proxy(variables, host));
    let gitlab = || Some((helpers.ask(Helper::GitLab, gitlab)?, "GitLab"));
    let github = || Some((helpers.ask(Helper::GitHub, || github(variables, host))?, "GitHub"));
    kaniko.map(|found| (found, "Kaniko's variables")).or_else(gitlab).or_else(github)
}

/// Entries and what stands behind them, for people.
pub(super) fn kinds(variables: &Variables, helpers: &Helpers) -> Vec<(String, String)> {
    let candidates = [("CI_REGISTRY", "GitLab job"), ("CI_DEPENDENCY_PROXY_SERVER", "GitLab dependency proxy")];
    let gitlab = candidates.into_iter().filter_map(|(name, text)| Some((normalise(&variables.get(name)?), text)));
    let all = gitlab.chain([("ghcr.io".to_owned(), "GitHub token")]);
    let has = |(host, _): &(String, &str)| find(variables, helpers, host).is_some();
    all.filter(has).map(|(host, text)| (host, text.to_owned())).collect()
}

fn basic(username: impl Into<String>, password: Secret) -> Credential {
    Credential::Basic { username: username.into(), password }
}

/// `KANIKO_<HOST>_USER` and `_PASSWORD`, for the host or a domain above it; a host with a port has no such name.
fn kaniko(variables: &Variables, registry: &str) -> Option<Credential> {
    let host = if registry == "docker.io" { "index.docker.io" } else { registry };
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if !host.bytes().all(fits) {
        return None;
    }
    let mut domain = Some(host);
    while let Some(name) = domain {
        let upper = name.to_ascii_uppercase().replace(['-', '.'], "_");
        let username = variables.get(&format!("KANIKO_{upper}_USER"));
        let password = variables.secret(&format!("KANIKO_{upper}_PASSWORD"));
        if let (Some(username), Some(password)) = (username, password) {
            return Some(basic(username, password));
        }
        domain = name.split_once('.').map(|(_, above)| above);
    }
    None
}

fn gitlab(variables: &Variables, host: &str) -> Option<Credential> {
    is_named(variables, "CI_REGISTRY", host)?;
    let pair = |user: &str, password: &str| Some(basic(variables.get(user)?, variables.secret(password)?));
    let job = || Some(basic("gitlab-ci-token", variables.secret("CI_JOB_TOKEN")?));
    pair("CI_REGISTRY_USER", "CI_REGISTRY_PASSWORD")
        .or_else(|| pair("CI_DEPLOY_USER", "CI_DEPLOY_PASSWORD"))
        .or_else(job)
}

/// Images of others that a GitLab group keeps for itself.
fn gitlab_proxy(variables: &Variables, host: &str) -> Option<Credential> {
    is_named(variables, "CI_DEPENDENCY_PROXY_SERVER", host)?;
    Some(basic(variables.get("CI_DEPENDENCY_PROXY_USER")?, variables.secret("CI_DEPENDENCY_PROXY_PASSWORD")?))
}

fn github(variables: &Variables, host: &str) -> Option<Credential> {
    let token = (host == "ghcr.io").then(|| variables.secret("GITHUB_TOKEN")).flatten()?;
    Some(basic(variables.get("GITHUB_ACTOR").unwrap_or_else(|| "x-access-token".to_owned()), token))
}

fn is_named(variables: &Variables, name: &str, host: &str) -> Option<()> {
    let named = normalise(variables.get(name)?.trim());
    (!host.is_empty() && without_https_port(&named) == host).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [(&str, &str); 13] = [
        ("CI_REGISTRY", "registry.gitlab.example:5050"),
        ("CI_REGISTRY_USER", "ci-user"),
        ("CI_REGISTRY_PASSWORD", "ci"),
        ("CI_JOB_TOKEN", "job"),
        ("CI_DEPENDENCY_PROXY_SERVER", "gitlab.example:443"),
        ("CI_DEPENDENCY_PROXY_USER", "proxy-user"),
        ("CI_DEPENDENCY_PROXY_PASSWORD", "proxy"),
        ("GITHUB_TOKEN", "hub"),
        ("GITHUB_ACTOR", "octocat"),
        ("KANIKO_MY_HOST_EXAMPLE_USER", "k"),
        ("KANIKO_MY_HOST_EXAMPLE_PASSWORD", "kaniko"),
        ("KANIKO_INDEX_DOCKER_IO_USER", "d"),
        ("KANIKO_INDEX_DOCKER_IO_PASSWORD", "docker"),
    ];

    fn without(missing: &'static [&str]) -> Variables {
        let held = ALL.iter().filter(move |(name, _)| !missing.contains(name));
        Variables::new(move |name| held.clone().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned()))
    }

    fn shown(variables: &Variables, registry: &str) -> String {
        match find(variables, &Helpers::default(), registry) {
            Some((Credential::Basic { username, password }, _)) => format!("{username}:{}", password.expose()),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn each_variable_serves_its_own_registry() {
        let all = without(&[]);
        for (registry, expected) in [
            ("registry.gitlab.example:5050", "ci-user:ci"),
            ("gitlab.example:443", "proxy-user:proxy"),
            ("gitlab.example", "proxy-user:proxy"),
            ("ghcr.io", "octocat:hub"),
            ("my-host.example", "k:kaniko"),
            ("below.my-host.example", "k:kaniko"),
            ("docker.io", "d:docker"),
            ("registry.gitlab.example", "None"),
            ("registry.gitlab.example:5051", "None"),
            ("evilregistry.gitlab.example:5050", "None"),
            ("registry.gitlab.example:5050.evil", "None"),
            ("x.gitlab.example", "None"),
            ("ghcr.io.evil.example", "None"),
            ("x.ghcr.io", "None"),
            ("ghcr.io:8443", "None"),
            ("my-host.example:5000", "None"),
            ("evilmy-host.example", "None"),
            ("", "None"),
        ] {
            assert_eq!(shown(&all, registry), expected, "{registry}");
        }
    }

    #[test]
    fn what_is_missing_is_made_up_for() {
        let registry = "registry.gitlab.example:5050";
        assert_eq!(shown(&without(&["CI_REGISTRY_PASSWORD"]), registry), "gitlab-ci-token:job");
        assert_eq!(shown(&without(&["CI_REGISTRY_USER", "CI_JOB_TOKEN"]), registry), "None");
        assert_eq!(shown(&without(&["CI_REGISTRY"]), registry), "None");
        assert_eq!(shown(&without(&["GITHUB_ACTOR"]), "ghcr.io"), "x-access-token:hub");
        let kinds = |variables: &Variables| kinds(variables, &Helpers::default());
        assert_eq!(kinds(&without(&[])).len(), 3);
        assert_eq!(kinds(&without(&["CI_REGISTRY", "CI_DEPENDENCY_PROXY_USER", "GITHUB_TOKEN"])), []);
    }
    #[test]
    fn only_those_that_may_be_asked_answer() {
        let all = without(&[]);
        for (helper, registry) in [
            (Helper::Environment, "my-host.example"),
            (Helper::GitLab, "registry.gitlab.example:5050"),
            (Helper::GitHub, "ghcr.io"),
        ] {
            let (only, others) = (Helpers([helper].into()), Helper::ALL.into_iter().filter(|other| *other != helper));
            assert!(find(&all, &only, registry).is_some(), "{registry}");
            assert_eq!(find(&all, &Helpers(others.collect()), registry), None, "{registry}");
        }
    }
}
