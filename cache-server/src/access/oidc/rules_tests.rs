use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::access::action::Action;

fn may(kind: Kind, token: &Value, action: Action, repository: &str) -> bool {
    let claims = Claims::new(kind, token.as_object().expect("an object"), "cache", &[]);
    let rules = default_rules(kind).expect("the built-in rules are valid");
    evaluate(&rules, &claims).allow(action, &repository.parse().expect("valid"))
}

fn gitlab(reference: &str, protected: bool) -> Value {
    json!({
        "project_path": "g/app", "ref": reference, "ref_type": "branch",
        "ref_protected": protected.to_string(), "pipeline_source": "push",
    })
}

fn github(reference: &str, protected: bool, event: &str) -> Value {
    json!({ "repository": "o/r", "ref": reference, "ref_protected": protected.to_string(), "event_name": event })
}

const WRITING: [Action; 3] = [Action::Push, Action::WriteKeys, Action::Delete];

#[test]
fn an_unprotected_branch_reads_main_and_writes_only_its_own() {
    let branch = gitlab("fix", false);
    for read in [Action::Pull, Action::ReadKeys] {
        assert!(may(Kind::Gitlab, &branch, read, "cache/g/app/protected/main"));
        assert!(may(Kind::Gitlab, &branch, read, "cache/g/app/branch/fix/parts"));
        assert!(!may(Kind::Gitlab, &branch, read, "cache/g/app/branch/other"));
        assert!(!may(Kind::Gitlab, &branch, read, "cache/g/other/protected/main"));
    }
    assert!(may(Kind::Gitlab, &branch, Action::Push, "cache/g/app/branch/fix"));
    assert!(may(Kind::Gitlab, &branch, Action::WriteKeys, "cache/g/app/branch/fix"));
    for write in WRITING {
        for name in ["cache/g/app/protected/main", "cache/g/app/protected/fix", "cache/g/app/branch/main", "cache", "x"]
        {
            assert!(!may(Kind::Gitlab, &branch, write, name), "{write:?} {name}");
        }
    }
}

#[test]
fn main_writes_its_own_and_never_reads_what_branches_wrote() {
    let main = gitlab("main", true);
    assert!(may(Kind::Gitlab, &main, Action::WriteKeys, "cache/g/app/protected/main"));
    assert!(may(Kind::Gitlab, &main, Action::ReadKeys, "cache/g/app/protected/release"));
    assert!(!may(Kind::Gitlab, &main, Action::WriteKeys, "cache/g/app/protected/release"));
    for action in [Action::Pull, Action::ReadKeys, Action::Push, Action::WriteKeys] {
        for name in ["cache/g/app/branch/main", "cache/g/app/branch/fix"] {
            assert!(!may(Kind::Gitlab, &main, action, name), "{action:?} {name}");
        }
    }
}

#[test]
fn github_pull_requests_write_their_own_place() {
    let request = github("refs/pull/7/merge", false, "pull_request");
    let own = format!("cache/o/r/branch/{}", component("refs/pull/7/merge").expect("a component"));
    assert!(may(Kind::Github, &request, Action::Push, &own));
    assert!(!may(Kind::Github, &request, Action::Push, "cache/o/r/protected/main"));
    let main = github("refs/heads/main", true, "push");
    assert!(may(Kind::Github, &main, Action::Push, "cache/o/r/protected/main"));
    assert!(!may(Kind::Github, &main, Action::Pull, &own));
}

#[test]
fn events_whose_ref_is_not_their_code_only_read() {
    for event in ["pull_request_target", "issue_comment", "workflow_run", "anything-new"] {
        let token = github("refs/heads/main", true, event);
        assert!(may(Kind::Github, &token, Action::Pull, "cache/o/r/protected/main"), "{event}");
        for write in WRITING {
            for name in ["cache/o/r/protected/main", "cache/o/r/branch/main"] {
                assert!(!may(Kind::Github, &token, write, name), "{event} {name}");
            }
        }
    }
}

#[test]
fn every_branch_may_read_what_github_protects() {
    for event in ["push", "pull_request"] {
        let token = github("refs/heads/fix", false, event);
        assert!(may(Kind::Github, &token, Action::ReadKeys, "cache/o/r/protected/main"), "{event}");
    }
}

#[test]
fn a_service_account_has_its_own_place() {
    let token = json!({ "sub": "system:serviceaccount:ci:builder" });
    assert!(may(Kind::Kubernetes, &token, Action::Push, "cache/ci/builder/app"));
    for other in ["cache/ci/other", "cache/ci", "cache/cd/builder"] {
        assert!(!may(Kind::Kubernetes, &token, Action::Pull, other), "{other}");
    }
    assert!(!may(Kind::Kubernetes, &json!({ "sub": "someone" }), Action::Pull, "cache/ci/builder"));
}

#[test]
fn without_its_claims_a_token_gets_nothing() {
    for kind in [Kind::Gitlab, Kind::Github, Kind::Kubernetes, Kind::Other] {
        assert!(!may(kind, &json!({ "ref_protected": "true" }), Action::Pull, "cache/x"), "{kind:?}");
    }
}

#[test]
fn components_never_collide_nor_leave_their_place() {
    let texts = [
        "main",
        "Main",
        "MAIN",
        "feature/x",
        "feature-x",
        "feature/X",
        "..",
        "../protected/main",
        "-",
        "--",
        "tag:v1",
        "tag-v1",
        "a b",
        "é",
        "refs/pull/7/merge",
        "a*",
        "**",
        "{x}",
        "a\0b",
    ];
    let mut seen = BTreeMap::new();
    let mut add = |text: String| {
        let name = component(&text).expect("not empty");
        assert!(is_plain(&name) && name.len() <= MAX_COMPONENT_BYTES, "{text:?} {name}");
        if let Some(other) = seen.insert(name.clone(), text.clone()) {
            assert_eq!(other, text, "{name}");
        }
        name
    };
    for text in texts {
        // A branch may well be called what another one becomes.
        let name = add(text.into());
        if name != text {
            add(name);
        }
    }
    add("b".repeat(1000));
    add("b".repeat(1001));
    assert_eq!(component("main").as_deref(), Some("main"));
    assert_eq!(component(""), None);
    assert_eq!(name_of("project_path", "g//app"), None);
    assert_eq!(name_of("ci.project", "g/app").as_deref(), Some("g/app"));
}

#[test]
fn rules_of_ones_own() {
    let text = r#"
        [[rules]]
        when = { ref = ["release/*", "main"], user_login = "*" }
        grants = ["images/{project_path}/** = push", "base/*=pull"]
    "#;
    let rules = toml::from_str::<RuleFile>(text).expect("valid").rules;
    let grants = |reference: &str, login: Option<&str>| {
        let token = json!({ "project_path": "G/app", "ref": reference, "user_login": login });
        evaluate(&rules, &Claims::new(Kind::Other, token.as_object().expect("an object"), "cache", &[]))
    };
    let image = format!("images/{}/app/x", component("G").expect("a component")).parse().expect("valid");
    assert!(grants("release/1", Some("a")).allow(Action::Push, &image));
    assert!(grants("main", Some("a")).allow(Action::Pull, &"base/alpine".parse().expect("valid")));
    assert!(grants("fix", Some("a")).iter().next().is_none());
    assert!(grants("main", None).iter().next().is_none());
}

#[test]
fn impossible_rules_are_refused() {
    for bad in ["{a", "{}=pull", "a/{b}", "a/{b}=fly", "A/{b}=pull", "a//{b}=pull"] {
        assert!(bad.parse::<GrantTemplate>().is_err(), "{bad}");
    }
    assert!(toml::from_str::<RuleFile>("[[rules]]\nwhen = {}\ngrant = []").is_err());
}
