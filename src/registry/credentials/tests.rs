use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn shown(credentials: &Credentials, registry: &str, repository: &str) -> String {
    match credentials.lookup(registry, repository).expect("lookup") {
        None => "none".to_owned(),
        Some(Credential::Basic { username, password }) => format!("{username}:{}", password.expose()),
        Some(Credential::IdentityToken(token)) => format!("identity {}", token.expose()),
        Some(Credential::RegistryToken(token)) => format!("registry {}", token.expose()),
    }
}

fn parse(json: &str) -> Credentials {
    Credentials::from_docker_config(json.as_bytes()).expect(json)
}

#[test]
fn every_form_of_an_entry() {
    for (entry, expected) in [
        (r#"{"auth":"dTpwOncA"}"#, "u:p:w"),
        (r#"{"auth":"dTpw\n"}"#, "u:p"),
        (r#"{"auth":"dXNlcjpwYXNz"}"#, "user:pass"),
        (r#"{"auth":"dXNlcjpwYQ"}"#, "user:pa"),
        (r#"{"username":"u","password":"p"}"#, "u:p"),
        (r#"{"auth":"","username":"u","password":"p","email":"e"}"#, "u:p"),
        (r#"{"auth":"dTpw","identitytoken":"t"}"#, "identity t"),
        (r#"{"registrytoken":"r"}"#, "registry r"),
        ("{}", "none"),
        ("null", "none"),
    ] {
        let credentials = parse(&format!(r#"{{"auths":{{"r.example":{entry}}}}}"#));
        assert_eq!(shown(&credentials, "r.example", "a/b"), expected, "{entry}");
    }
}

#[test]
fn keys_match_hosts_and_path_prefixes() {
    let entry = |user: &str| format!(r#"{{"username":"{user}","password":"p"}}"#);
    let keys = [
        ("https://index.docker.io/v1/", "hub"),
        ("https://plain.example", "plain"),
        ("http://slash.example/v2/", "slash"),
        ("scoped.example", "all"),
        ("scoped.example/team", "team"),
        ("scoped.example/team/app", "app"),
        ("Upper.Example:5000", "upper"),
    ];
    let auths: Vec<String> = keys.iter().map(|(key, user)| format!(r#""{key}":{}"#, entry(user))).collect();
    let credentials = parse(&format!(r#"{{"auths":{{{}}}}}"#, auths.join(",")));
    for (registry, repository, expected) in [
        ("docker.io", "library/alpine", "hub:p"),
        ("plain.example", "x", "plain:p"),
        ("plain.example:5000", "x", "none"),
        ("slash.example", "x", "slash:p"),
        ("scoped.example", "x", "all:p"),
        ("scoped.example", "team/x", "team:p"),
        ("scoped.example", "team/app", "app:p"),
        ("scoped.example", "team/app/deep", "app:p"),
        ("scoped.example", "teammate/x", "all:p"),
        ("upper.example:5000", "x", "upper:p"),
        ("UPPER.example:5000", "x", "upper:p"),
        ("evilplain.example", "x", "none"),
        ("plain.example.evil", "x", "none"),
    ] {
        assert_eq!(shown(&credentials, registry, repository), expected, "{registry}/{repository}");
    }
}

#[test]
fn malformed_files_are_errors_without_secrets() {
    for json in [
        "{",
        "7",
        r#"{"auths":{"r":{"auth":"hunter2!"}}}"#,
        r#"{"auths":{"r":{"auth":"OnB3"}}}"#,
        r#"{"auths":"hunter2"}"#,
    ] {
        let error = Credentials::from_docker_config(json.as_bytes()).expect_err(json);
        assert!(!format!("{error:?} {error}").contains("hunter2"), "{error:?}");
    }
    for json in ["", "{}", r#"{"auths":null,"credsStore":""}"#] {
        assert_eq!(shown(&parse(json), "r", "x"), "none", "{json}");
    }
}

#[test]
fn secrets_stay_out_of_debug() {
    let credentials = parse(r#"{"auths":{"r":{"username":"u","password":"hunter2"},"s":{"registrytoken":"hunter2"}}}"#);
    assert!(!format!("{credentials:?}").contains("hunter2"));
    assert!(!format!("{:?}", credentials.lookup("r", "x")).contains("hunter2"));
}

#[test]
fn earlier_files_win_and_missing_ones_are_skipped() {
    let folder = tempfile::tempdir().expect("tempdir");
    let file = |name: &str, user: &str, host: &str| {
        let json = format!(r#"{{"auths":{{"{host}":{{"username":"{user}","password":"p"}}}}}}"#);
        let path = folder.path().join(name);
        fs::write(&path, json).expect("write");
        path
    };
    let paths = [folder.path().join("missing"), file("a", "a", "one"), file("b", "b", "one"), file("c", "c", "two")];
    let credentials = Credentials::load(&paths).expect("load");
    assert_eq!(shown(&credentials, "one", "x"), "a:p");
    assert_eq!(shown(&credentials, "two", "x"), "c:p");
    fs::write(&paths[1], "{").expect("write");
    let error = Credentials::load(&paths).expect_err("malformed").to_string();
    assert_eq!(error, format!("cannot use the credentials in {}", paths[1].display()));
}

fn helper(folder: &Path, name: &str, script: &str) {
    let path = folder.join(format!("docker-credential-{name}"));
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("write");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
}

#[test]
fn helpers_speak_the_protocol() {
    let folder = tempfile::tempdir().expect("tempdir");
    let log = folder.path().join("log");
    let answer = r#"read s; echo "$1 $s" >> LOG; echo '{"ServerURL":"x","Username":"USER","Secret":"s3"}'"#;
    let answer = answer.replace("LOG", &log.display().to_string());
    helper(folder.path(), "good", &answer.replace("USER", "u"));
    helper(folder.path(), "token", &answer.replace("USER", "<token>"));
    helper(folder.path(), "empty", "echo credentials not found in native keychain; exit 1");
    helper(folder.path(), "bad", "echo 'no metadata server'; exit 3");
    let config = r#"{"credHelpers":{"good.example":"good","token.example":"token","bad.example":"bad",
        "evil.example":"../good","missing.example":"missing","index.docker.io":"good"},"credsStore":"empty",
        "auths":{"file.example":{"auth":"dTpw"}}}"#;
    let credentials = parse(config).with_helper_directories(vec![folder.path().to_owned()]);
    assert!(!log.exists(), "no program runs before it is needed");
    assert_eq!(shown(&credentials, "good.example", "x"), "u:s3");
    assert_eq!(shown(&credentials, "good.example", "y"), "u:s3");
    assert_eq!(shown(&credentials, "token.example", "x"), "identity s3");
    assert_eq!(shown(&credentials, "docker.io", "library/x"), "u:s3");
    assert_eq!(shown(&credentials, "file.example", "x"), "u:p");
    let asked = fs::read_to_string(&log).expect("log");
    assert_eq!(asked, "get good.example\nget token.example\nget https://index.docker.io/v1/\n");
    let fails = |registry: &str| credentials.lookup(registry, "x").expect_err(registry).to_string();
    assert_eq!(fails("bad.example"), "credential helper docker-credential-bad: no metadata server");
    assert!(fails("evil.example").contains("not acceptable"));
    assert!(fails("missing.example").contains("cannot be started"));
}
