use super::*;
use crate::dockerfile::{Dockerfile, parse};

fn parsed(source: &str) -> Dockerfile {
    parse(source.as_bytes()).unwrap_or_else(|error| panic!("{source}: {error}"))
}

fn checked(source: &str) -> Vec<Warning> {
    let file = parsed(source);
    let escape = file.directives.escape;
    let stages = file.stages.iter().flat_map(|stage| check_stage(&stage.instructions, escape));
    let found = check_file(&file).into_iter().chain(stages).collect();
    let text = file.directives.check.clone().unwrap_or_default();
    CheckOptions::parse(&text).expect(source).select(found, &file)
}

/// The warnings of a file, by line.
fn warnings(source: &str) -> Vec<String> {
    checked(source).iter().map(Warning::to_string).collect()
}

fn check_all(cases: &[(&str, &[&str])]) {
    for (source, expected) in cases {
        assert_eq!(warnings(source), *expected, "{source:?}");
    }
}

#[test]
fn stage_names() {
    check_all(&[
        ("FROM a AS Base", &["StageNameCasing: Stage name 'Base' should be lowercase (line 1)"]),
        ("FROM a AS base", &[]),
        (
            "FROM a AS b\nFROM a AS c\nFROM a AS B",
            &[
                "DuplicateStageName: Duplicate stage name \"b\", stage names should be unique (line 3)",
                "StageNameCasing: Stage name 'B' should be lowercase (line 3)",
            ],
        ),
        (
            "FROM a AS scratch\nFROM a AS context\nFROM a AS contexts",
            &[
                "ReservedStageName: Stage name should not use the same name as reserved stage \"scratch\" (line 1)",
                "ReservedStageName: Stage name should not use the same name as reserved stage \"context\" (line 2)",
            ],
        ),
    ]);
}

#[test]
fn casing_of_from_and_as() {
    check_all(&[
        ("FROM a as b", &["FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 1)"]),
        ("from a AS b", &["FromAsCasing: 'AS' and 'from' keywords' casing do not match (line 1)"]),
        ("FROM --platform=$X a AS b", &[]),
        ("from a as b", &[]),
        // Mixed case is the business of another rule.
        (
            "From a as b",
            &[
                "ConsistentInstructionCasing: Command 'From' should match the case of the command majority (uppercase) (line 1)",
            ],
        ),
    ]);
}

#[test]
fn casing_of_instructions() {
    let message = |word: &str, case: &str, line: usize| {
        format!(
            "ConsistentInstructionCasing: Command '{word}' should match the case of the command majority ({case}) \
             (line {line})"
        )
    };
    for (source, expected) in [
        ("FROM a\nRUN b\nrun c", vec![message("run", "uppercase", 3)]),
        ("from a\nrun b\nRUN c\nRun d", vec![message("RUN", "lowercase", 3), message("Run", "lowercase", 4)]),
        ("FROM a\nrun b", vec![message("run", "uppercase", 2)]),
        ("FROM a\nonbuild RUN x\nRUN y", vec![message("onbuild", "uppercase", 2)]),
        ("arg A\nFROM a\nONBUILD run x", vec![]),
        ("FROM a\nRUN <<E\nrun x\nE", vec![]),
    ] {
        assert_eq!(warnings(source), expected, "{source:?}");
    }
}

#[test]
fn empty_continuations_are_reported_at_the_last_line() {
    let message = "NoEmptyContinuation: Empty continuation line (line 5)";
    check_all(&[
        ("FROM a\nRUN b \\\n\n  \n  c\nRUN d", &[message]),
        ("FROM a\nRUN b \\\n# comment\n  c\n\nRUN d", &[]),
        ("FROM a\nRUN <<E\n\nE", &[]),
    ]);
}

#[test]
fn instructions_of_old() {
    check_all(&[
        (
            "FROM a\nMAINTAINER me",
            &["MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label (line 2)"],
        ),
        (
            "FROM a\nENV a b c\nLABEL x y\nENV a=b",
            &[
                "LegacyKeyValueFormat: \"ENV key=value\" should be used instead of legacy \"ENV key value\" format (line 2)",
                "LegacyKeyValueFormat: \"LABEL key=value\" should be used instead of legacy \"LABEL key value\" format (line 3)",
            ],
        ),
        (
            "from a\nenv a b=c",
            &[
                "LegacyKeyValueFormat: \"env key=value\" should be used instead of legacy \"env key value\" format (line 2)",
            ],
        ),
        ("FROM a\nENV a=b c=\"d e\"\nARG x\nONBUILD ENV a b", &[]),
    ]);
}

#[test]
fn only_the_last_of_a_kind_has_an_effect() {
    let message = |word: &str, line: usize| {
        format!(
            "MultipleInstructionsDisallowed: Multiple {word} instructions should not be used in the same stage because \
             only the last one will be used (line {line})"
        )
    };
    for (source, expected) in [
        ("FROM a\nCMD b\nCMD c\nCMD d", vec![message("CMD", 2), message("CMD", 3)]),
        ("FROM a\nENTRYPOINT b\nENTRYPOINT c", vec![message("ENTRYPOINT", 2)]),
        ("FROM a\nHEALTHCHECK NONE\nHEALTHCHECK CMD c", vec![message("HEALTHCHECK", 2)]),
        ("FROM a\nCMD b\nENTRYPOINT c\nFROM a\nCMD d", vec![]),
    ] {
        assert_eq!(warnings(source), expected, "{source:?}");
    }
}

#[test]
fn names_of_secrets() {
    for name in [
        "APIKEY",
        "my_auth",
        "CREDENTIAL",
        "x_credentials",
        "KEY",
        "DB_PASSWORD",
        "pword",
        "PASSWD_X",
        "Secret",
        "GITHUB_TOKEN",
    ] {
        for (keyword, line) in [("ARG", format!("ARG {name}")), ("ENV", format!("ENV A=1 {name}=x"))] {
            let message = format!(
                "SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data ({keyword} \"{name}\") \
                 (line 2)"
            );
            assert_eq!(warnings(&format!("FROM a\n{line}")), [message]);
        }
    }
    for name in ["PUBLIC_KEY", "TOKEN_FILE", "SECRET_VERSION", "TOKENS", "KEYBOARD", "monkey", "AUTHOR"] {
        check_all(&[(&format!("ARG DB_PASSWORD\nFROM a\nARG {name}\nLABEL token=x"), &[])]);
    }
}

#[test]
fn descriptions_are_checked_when_asked_for() {
    let check = "# check=experimental=InvalidDefinitionDescription\n";
    let message = |what: &str, name: &str| {
        format!("InvalidDefinitionDescription: Comment for {what} should follow the format: `# {name} <description>`")
    };
    for (body, expected) in [
        ("# what it is\nARG foo\nFROM a", Some(message("ARG", "foo"))),
        ("# foo what it is\nARG foo\nFROM a", None),
        ("# what it is\n# foo bar\nARG foo=1\nFROM a", None),
        ("# what they are\nARG foo bar\nFROM a", Some(message("ARG", "<arg_key>"))),
        ("# bar is one\nARG foo bar\nFROM a", None),
        ("# the base\n\nFROM a AS base", Some(message("FROM", "base"))),
        ("# the base\n#\nFROM a AS base", None),
        ("# the base\nFROM a", None),
        ("FROM a\n# run\nRUN x", None),
        ("# the base\n# check=skip=InvalidDefinitionDescription\nFROM a AS base", None),
    ] {
        let found = warnings(&format!("{check}{body}"));
        let found: Vec<_> = found.iter().filter_map(|text| text.split(" (line").next()).collect();
        assert_eq!(found, Vec::from_iter(expected), "{body:?}");
    }
    check_all(&[("# what it is\nARG foo\nFROM a", &[])]);
}

#[test]
fn rules_can_be_skipped() {
    let body = "FROM a as B\nMAINTAINER me";
    let names = |check: &str| -> Vec<&str> {
        checked(&format!("# check={check}\n{body}")).iter().map(|warning| warning.rule.name).collect()
    };
    assert_eq!(names("error=true"), ["StageNameCasing", "FromAsCasing", "MaintainerDeprecated"]);
    assert_eq!(names("skip=StageNameCasing, MaintainerDeprecated"), ["FromAsCasing"]);
    assert_eq!(names("skip=stagenamecasing;error=true").len(), 3, "names are case-sensitive");
    assert!(names("skip=all").is_empty());
    let described = |check: &str| warnings(&format!("# check={check}\n# what\nARG foo\n{body}")).len();
    assert_eq!(described("skip=all;experimental=all"), 1);
    assert_eq!(described("experimental=all"), 4);
    assert_eq!(described("experimental=all;skip=InvalidDefinitionDescription"), 3);
}

#[test]
fn comments_skip_rules_for_one_instruction() {
    check_all(&[
        (
            "FROM a\n# check=skip=MaintainerDeprecated because I say so\n\nMAINTAINER me\nMAINTAINER you",
            &["MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label (line 5)"],
        ),
        ("FROM a\n# check=skip=all\n# more\nRUN a \\\n\n b", &[]),
        (
            "FROM a\n# check=skip=MaintainerDeprecated\n#\nMAINTAINER me",
            &["MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label (line 4)"],
        ),
        (
            "FROM a\n# check=nonsense\nMAINTAINER me",
            &["MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label (line 3)"],
        ),
    ]);
}

#[test]
fn a_directive_is_no_comment_of_the_first_instruction() {
    let file = parsed("# check=skip=all\nFROM a AS B");
    assert_eq!(CheckOptions::default().select(check_file(&file), &file).len(), 1);
}

#[test]
fn options() {
    let error = |text: &str| CheckOptions::parse(text).expect_err(text).to_string();
    assert_eq!(error("skip"), "invalid check option \"skip\"");
    assert_eq!(error("Skip=all"), "invalid check option \"Skip\"");
    assert_eq!(error("error=yes"), "failed to parse check option \"error=yes\": expected a boolean");
    assert_eq!(CheckOptions::parse("  "), Ok(CheckOptions::default()));
    assert!(CheckOptions::parse(" skip = A ; error = T ").is_ok_and(|options| options.error));
}

#[test]
fn text_form_has_a_caret() {
    let source = "FROM a AS Base\nRUN x\n";
    insta::assert_snapshot!(to_text(&checked(source), "Dockerfile", source.as_bytes()), @"
    WARNING: StageNameCasing - https://docs.docker.com/go/dockerfile/rule/stage-name-casing/
    Stage name 'Base' should be lowercase
     --> Dockerfile:1:11
    1 | FROM a AS Base
      |           ^
    2 | RUN x
    ");
    assert_eq!(to_text(&[], "Dockerfile", source.as_bytes()), "");
}

#[test]
fn json_form() {
    let source = "FROM a AS Base\n";
    let error = CheckError { message: "no such image".to_owned(), span: Some(parsed(source).stages[0].span) };
    insta::assert_snapshot!(to_json(&checked(source), Some(&error), "Dockerfile", source.as_bytes()), @r#"
    {
      "warnings": [
        {
          "ruleName": "StageNameCasing",
          "description": "Stage names should be lowercase",
          "url": "https://docs.docker.com/go/dockerfile/rule/stage-name-casing/",
          "detail": "Stage name 'Base' should be lowercase",
          "location": {
            "ranges": [
              {
                "start": {
                  "line": 1
                },
                "end": {
                  "line": 1
                }
              }
            ]
          }
        }
      ],
      "sources": [
        {
          "filename": "Dockerfile",
          "data": "RlJPTSBhIEFTIEJhc2UK",
          "language": "Dockerfile"
        }
      ],
      "buildError": {
        "message": "no such image",
        "location": {
          "ranges": [
            {
              "start": {
                "line": 1
              },
              "end": {
                "line": 1
              }
            }
          ]
        }
      }
    }
    "#);
}
