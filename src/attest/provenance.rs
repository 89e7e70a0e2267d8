//! How an image was built.
//!
//! # Source
//! SLSA 1.0, `provenance/v1`; in-toto `ResourceDescriptor`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

/// Names what the parameters mean: `docs/signing.md`.
const BUILD_TYPE: &str = "urn:yadokari:dockerfile:1";
/// In the place of a value that must not be shown.
const HIDDEN: &str = "(hidden)";
/// Shorter secrets are in every text.
const MIN_SECRET: usize = 4;

/// The facts of one build.
#[derive(Debug, Clone, Default)]
pub struct Provenance {
    /// Dockerfile, target, platforms, arguments, labels and the like: what the user decided.
    pub parameters: BTreeMap<&'static str, Value>,
    /// What went into it: addresses without users and queries, and what identified them.
    pub materials: BTreeSet<Material>,
    /// Who built it, a URI.
    pub builder: String,
    /// Of the executor.
    pub version: String,
    /// Of this build alone.
    pub invocation: String,
    /// RFC 3339.
    pub started: String,
    /// RFC 3339.
    pub finished: String,
}

/// One thing that went into an image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Material {
    /// Where from.
    pub uri: String,
    /// `sha256` or `gitCommit`.
    pub algorithm: String,
    /// Hex.
    pub value: String,
}

impl Provenance {
    /// The predicate. No value in `secrets` appears in it, wherever it may have slipped in.
    pub fn predicate(&self, secrets: &[&[u8]]) -> Value {
        let material = |material: &Material| json!({ "uri": material.uri, "digest": { material.algorithm.as_str(): material.value } });
        let mut predicate = json!({
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": self.parameters,
                "resolvedDependencies": self.materials.iter().map(material).collect::<Vec<_>>(),
            },
            "runDetails": {
                "builder": { "id": self.builder, "version": { "yadokari": self.version } },
                "metadata": {
                    "invocationId": self.invocation,
                    "startedOn": self.started,
                    "finishedOn": self.finished,
                },
            },
        });
        let secrets: Vec<&str> = secrets.iter().filter_map(|secret| std::str::from_utf8(secret).ok()).collect();
        let secrets: Vec<&str> =
            secrets.iter().map(|text| text.trim()).filter(|text| text.len() >= MIN_SECRET).collect();
        hide(&mut predicate, &secrets);
        predicate
    }
}

fn hide(value: &mut Value, secrets: &[&str]) {
    match value {
        Value::String(text) if secrets.iter().any(|secret| text.contains(secret)) => *text = HIDDEN.to_owned(),
        Value::Array(list) => list.iter_mut().for_each(|value| hide(value, secrets)),
        Value::Object(fields) => fields.values_mut().for_each(|value| hide(value, secrets)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_nowhere() {
        let provenance = Provenance {
            parameters: [("args", json!({ "A": "say hunter2 twice", "B": ["hunter2"], "C": "else" }))].into(),
            ..Provenance::default()
        };
        let text = provenance.predicate(&[b"hunter2\n", b"els", b"\xff\xfe\xfd\xfc"]).to_string();
        assert!(!text.contains("hunter2") && text.contains("else"), "{text}");
    }
}
