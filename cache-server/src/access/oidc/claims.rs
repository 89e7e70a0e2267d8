//! What a verified token says, as names and texts. Pure.
//!
//! Beside the claims of the token there are four of ours, which mean the same for every
//! issuer: `ci.namespace`, `ci.project`, `ci.ref` and `ci.protected`. Nothing is read out of `sub` but the name
//! of a Kubernetes service account: projects may configure the form of the others.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::pattern::matches_text;

/// Where tokens come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// `id_tokens` of GitLab CI.
    Gitlab,
    /// GitHub Actions.
    Github,
    /// Projected tokens of service accounts.
    Kubernetes,
    /// Anything else that speaks OIDC; it needs rules.
    Other,
}

/// Claims by name. Nested ones are reached with dots: `kubernetes.io.namespace`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Claims(BTreeMap<String, String>);

/// First components of the names that default rules grant, as configured.
pub(super) const NAMESPACE: &str = "ci.namespace";
/// Project, such as `group/app` or, for Kubernetes, `NAMESPACE/SERVICEACCOUNT`.
pub(super) const PROJECT: &str = "ci.project";
/// Branch, `tag:NAME`, or a full ref such as `refs/pull/7/merge`.
pub(super) const REF: &str = "ci.ref";
/// `true` for a job whose code only trusted people could have written.
pub(super) const PROTECTED: &str = "ci.protected";

/// Sources of a pipeline that runs nothing but what is on its ref.
const GITLAB_TRUSTED_SOURCES: [&str; 4] = ["push", "schedule", "web", "api"];
const GITHUB_TRUSTED_EVENTS: [&str; 3] = ["push", "schedule", "workflow_dispatch"];
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";
/// Claims nested deeper mean nothing to rules.
const MAX_DEPTH: usize = 4;

impl Claims {
    /// The claims of a token of a `kind` of issuer whose names begin with `namespace`.
    /// `protected_refs` are patterns of full refs that count as protected although the issuer
    /// does not say so.
    pub(super) fn new(kind: Kind, token: &Map<String, Value>, namespace: &str, protected_refs: &[String]) -> Self {
        let mut claims = Self::default();
        claims.flatten("", token, MAX_DEPTH);
        // Nobody else says these.
        claims.0.retain(|name, _| !name.starts_with("ci."));
        claims.set(NAMESPACE, namespace.into());
        match kind {
            Kind::Gitlab => claims.derive_gitlab(protected_refs),
            Kind::Github => claims.derive_github(protected_refs),
            Kind::Kubernetes => claims.derive_kubernetes(),
            Kind::Other => {}
        }
        claims
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn is(&self, name: &str, values: &[&str]) -> bool {
        self.get(name).is_some_and(|value| values.contains(&value))
    }

    fn flatten(&mut self, prefix: &str, object: &Map<String, Value>, depth: usize) {
        for (key, value) in object {
            let name = format!("{prefix}{key}");
            match value {
                Value::String(text) => drop(self.0.insert(name, text.clone())),
                Value::Bool(flag) => drop(self.0.insert(name, flag.to_string())),
                Value::Number(number) => drop(self.0.insert(name, number.to_string())),
                Value::Object(inner) if depth > 0 => self.flatten(&format!("{name}."), inner, depth - 1),
                // Lists, such as `aud`, were checked or mean nothing to rules.
                _ => {}
            }
        }
    }

    fn set(&mut self, name: &str, value: String) {
        self.0.insert(name.into(), value);
    }

    fn derive_gitlab(&mut self, protected_refs: &[String]) {
        let Some(project) = self.get("project_path").map(str::to_owned) else { return };
        let Some(reference) = self.get("ref").map(str::to_owned) else { return };
        let tag = self.is("ref_type", &["tag"]);
        let full = if tag { format!("refs/tags/{reference}") } else { format!("refs/heads/{reference}") };
        // In a merge request of a fork the project is the fork, and the job runs elsewhere.
        let at_home = self.get("job_project_path").is_none_or(|home| home == project);
        let named = protected_refs.iter().any(|pattern| matches_text(pattern, &full));
        let protected = at_home
            && (named || self.is("ref_protected", &["true"]))
            && self.is("pipeline_source", &GITLAB_TRUSTED_SOURCES);
        self.set(REF, if tag { format!("tag:{reference}") } else { reference });
        self.set(PROJECT, project);
        self.set(PROTECTED, protected.to_string());
    }

    fn derive_github(&mut self, protected_refs: &[String]) {
        let Some(project) = self.get("repository").map(str::to_owned) else { return };
        let Some(full) = self.get("ref").map(str::to_owned) else { return };
        let named = protected_refs.iter().any(|pattern| matches_text(pattern, &full));
        let protected = (named || self.is("ref_protected", &["true"])) && self.is("event_name", &GITHUB_TRUSTED_EVENTS);
        let branch = full.strip_prefix("refs/heads/").map(str::to_owned);
        let tag = full.strip_prefix("refs/tags/").map(|tag| format!("tag:{tag}"));
        self.set(PROJECT, project);
        self.set(REF, branch.or(tag).unwrap_or(full));
        self.set(PROTECTED, protected.to_string());
    }

    fn derive_kubernetes(&mut self) {
        let account = self.get("sub").and_then(|sub| sub.strip_prefix(SERVICE_ACCOUNT));
        let Some((namespace, name)) = account.and_then(|text| text.split_once(':')) else { return };
        let project = format!("{namespace}/{name}");
        self.set(PROJECT, project);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claims(kind: Kind, token: Value, protected_refs: &[&str]) -> Claims {
        let refs: Vec<String> = protected_refs.iter().map(ToString::to_string).collect();
        Claims::new(kind, token.as_object().expect("an object"), "cache", &refs)
    }

    fn derived(claims: &Claims) -> [Option<&str>; 3] {
        [claims.get(PROJECT), claims.get(REF), claims.get(PROTECTED)]
    }

    #[test]
    fn gitlab_protects_pushes_to_protected_refs_only() {
        let base = json!({
            "project_path": "g/app", "ref": "main", "ref_type": "branch", "ref_protected": "true",
            "pipeline_source": "push",
        });
        let with = |changes: Value| {
            let mut token = base.clone();
            for (name, value) in changes.as_object().expect("an object") {
                token[name] = value.clone();
            }
            claims(Kind::Gitlab, token, &["refs/heads/trunk"])
        };
        for (changes, expected) in [
            (json!({}), ["g/app", "main", "true"]),
            (json!({ "ref_protected": true }), ["g/app", "main", "true"]),
            (json!({ "ref_protected": "false" }), ["g/app", "main", "false"]),
            (json!({ "pipeline_source": "merge_request_event" }), ["g/app", "main", "false"]),
            (json!({ "job_project_path": "other/app" }), ["g/app", "main", "false"]),
            (json!({ "job_project_path": "g/app" }), ["g/app", "main", "true"]),
            (json!({ "ref_type": "tag", "ref": "v1" }), ["g/app", "tag:v1", "true"]),
            (json!({ "ref": "trunk", "ref_protected": "false" }), ["g/app", "trunk", "true"]),
            (json!({ "ci.protected": "true", "ref_protected": "false" }), ["g/app", "main", "false"]),
        ] {
            assert_eq!(derived(&with(changes.clone())), expected.map(Some), "{changes}");
        }
        assert_eq!(derived(&claims(Kind::Gitlab, json!({ "ci.protected": "true", "ref": "main" }), &[])), [None; 3]);
    }

    #[test]
    fn github_protects_pushes_to_protected_refs_only() {
        for (reference, protected, event, expected) in [
            ("refs/heads/main", "true", "push", ["o/r", "main", "true"]),
            ("refs/heads/x", "false", "push", ["o/r", "x", "false"]),
            ("refs/heads/main", "true", "pull_request_target", ["o/r", "main", "false"]),
            ("refs/heads/main", "true", "issue_comment", ["o/r", "main", "false"]),
            ("refs/pull/7/merge", "false", "pull_request", ["o/r", "refs/pull/7/merge", "false"]),
            ("refs/tags/v1", "true", "push", ["o/r", "tag:v1", "true"]),
            ("refs/heads/trunk", "false", "push", ["o/r", "trunk", "true"]),
        ] {
            let token =
                json!({ "repository": "o/r", "ref": reference, "ref_protected": protected, "event_name": event });
            let claims = claims(Kind::Github, token, &["refs/heads/trunk"]);
            assert_eq!(derived(&claims), expected.map(Some), "{reference} {event}");
        }
    }

    #[test]
    fn service_accounts_and_nested_claims() {
        let token = json!({
            "sub": "system:serviceaccount:ci:builder", "aud": ["x"],
            "kubernetes.io": { "namespace": "ci", "serviceaccount": { "uid": "7" } }, "ci": { "project": "forged" },
        });
        let claims = claims(Kind::Kubernetes, token, &[]);
        assert_eq!(claims.get(PROJECT), Some("ci/builder"));
        assert_eq!(claims.get("kubernetes.io.serviceaccount.uid"), Some("7"));
        assert_eq!(claims.get("aud"), None);
    }
}
