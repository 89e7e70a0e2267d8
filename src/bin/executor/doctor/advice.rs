//! What a Pod's manifest would need for something faster.

use std::path::PathBuf;

use serde::Serialize;
use yadokari::sandbox::{Facts, Kind};

/// Lines, and what they are good for.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Advice {
    pub(super) why: &'static str,
    /// YAML of a Pod's `spec`.
    pub(super) yaml: String,
}

/// `None`: it is as fast as it gets, and nothing is exposed.
pub(super) fn advice(facts: &Facts, kind: Kind, exposed: &[PathBuf]) -> Option<Advice> {
    let why = match kind {
        Kind::Overlay | Kind::UserNamespace => return None,
        Kind::InPlace if exposed.is_empty() => {
            "RUN steps on overlays: several times faster snapshots, and apart from the executor"
        }
        Kind::InPlace => "RUN steps on overlays: faster, and out of reach of the credentials",
        Kind::None => "RUN steps are possible then",
    };
    let root = if facts.uid == 0 { "" } else { "        runAsUser: 0\n        runAsNonRoot: false\n" };
    let escalation = if facts.no_new_privileges { "        allowPrivilegeEscalation: true\n" } else { "" };
    let apparmor = if facts.apparmor.is_some() {
        "        appArmorProfile: {type: Unconfined}  # AppArmor's default profile forbids mounts\n"
    } else {
        ""
    };
    let read_only = if facts.read_only_root { "        readOnlyRootFilesystem: false\n" } else { "" };
    let yaml = format!(
        "spec:\n  hostUsers: false  # root of the Pod is nobody on the node; needs Kubernetes 1.33\n  containers:\n    - name: executor\n      \
         securityContext:\n{root}{escalation}{read_only}{apparmor}        capabilities: {{add: [SYS_ADMIN]}}\n"
    );
    Some(Advice { why, yaml })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_for_what_is_missing_only() {
        let facts =
            Facts { uid: 0, apparmor: None, no_new_privileges: false, read_only_root: false, ..Facts::gather() };
        assert_eq!(advice(&facts, Kind::Overlay, &[]), None);
        let plain = advice(&facts, Kind::InPlace, &[]).expect("advice").yaml;
        assert!(plain.contains("add: [SYS_ADMIN]") && plain.contains("hostUsers: false") && !plain.contains("runAs"));
        let facts = Facts { uid: 1000, apparmor: Some("docker-default".into()), no_new_privileges: true, ..facts };
        let more = advice(&facts, Kind::None, &[]).expect("advice").yaml;
        for line in ["runAsUser: 0", "appArmorProfile", "allowPrivilegeEscalation: true"] {
            assert!(more.contains(line), "{line}");
        }
    }
}
