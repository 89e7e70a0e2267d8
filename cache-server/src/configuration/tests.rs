use clap::Args as _;

use super::*;

fn settings(text: &str) -> Settings {
    toml::from_str(text).expect(text)
}

async fn resolve(text: &str) -> Result<Configuration, ConfigurationError> {
    Configuration::resolve(settings(&format!("data = \"d\"\n{text}")), None).await
}

async fn refusal(text: &str) -> String {
    let error = resolve(text).await.map(|_| ()).expect_err(text);
    yadokari::causes::chain(&error)
}

#[tokio::test]
async fn who_may_come_without_credentials() {
    let tokens = "tokens = \"t\"";
    for (text, expected) in [
        ("", Anonymous::Write),
        (tokens, Anonymous::Read),
        ("anonymous = \"none\"", Anonymous::None),
        ("listen = \"[::1]:0\"", Anonymous::Write),
        ("listen = \"0.0.0.0:0\"\ntokens = \"t\"", Anonymous::None),
        ("listen = \"0.0.0.0:0\"\nanonymous = \"read\"", Anonymous::Read),
        ("listen = \"0.0.0.0:0\"\nanonymous = \"write\"", Anonymous::Write),
    ] {
        assert_eq!(resolve(text).await.expect(text).access.anonymous, expected, "{text}");
    }
    for address in ["0.0.0.0:0", "[::]:0", "[::ffff:10.0.0.1]:0"] {
        assert!(refusal(&format!("listen = \"{address}\"")).await.contains("refusing to listen"), "{address}");
    }
}

#[tokio::test]
async fn impossible_settings_are_refused() {
    let oidc = |rest: &str| format!("[[oidc]]\nissuer = \"https://a.example\"\naudience = \"x\"\n{rest}");
    let public = "[[oidc]]\nissuer = \"https://gitlab.com/\"\naudience = \"x\"\nkind = \"gitlab\"";
    let other = "[[oidc]]\nissuer = \"https://b.example\"\naudience = \"x\"\nkind = \"gitlab\"";
    for (text, part) in [
        ("tls-cert = \"c\"".to_owned(), "go together"),
        ("tls-client-ca = \"c\"".into(), "needs both"),
        ("max-connections = 0".into(), "at least 1"),
        ("external-url = \"cache\"".into(), "invalid external URL"),
        ("signing-key = \"/nonexistent\"".into(), "failed to read the signing key"),
        ("signing-key = \"/dev/null\"".into(), "fewer than 32"),
        ("listen = \"nonsense\"".into(), "expected HOST:PORT"),
        (public.into(), "list the owners"),
        (oidc("kind = \"other\""), "no default rules"),
        (oidc("kind = \"other\"\nowners = [\"a\"]\nrules = []"), "owners mean nothing"),
        (oidc("kind = \"gitlab\"\njwks-url = \"http://a.example\""), "expected https"),
        (format!("{}\n{}", oidc("kind = \"gitlab\""), oidc("kind = \"gitlab\"")), "configured twice"),
        (format!("{other}\n{}", oidc("kind = \"github\"\nowners = [\"a\"]")), "shares its namespace"),
        (format!("{other}\n{}", oidc("kind = \"github\"\nnamespace = \"cache/x\"")), "shares its namespace"),
    ] {
        let message = refusal(&text).await;
        assert!(message.contains(part), "{text}: {message}");
    }
    assert!(resolve(&format!("{other}\n{}", oidc("kind = \"github\"\nnamespace = \"cachex\""))).await.is_ok());
    let nothing = Configuration::resolve(Settings::default(), None).await.map(|_| ());
    assert!(matches!(nothing, Err(ConfigurationError::NoData)));
}

#[tokio::test]
async fn flags_win_over_the_file() {
    let file = tempfile::NamedTempFile::new().expect("temporary file");
    fs::write(file.path(), "data = \"from-file\"\nmax-connections = 7\nlisten = \"127.0.0.1:1\"").expect("written");
    let flags = settings("data = \"from-flags\"");
    let configuration = Configuration::resolve(flags, Some(file.path())).await.expect("valid");
    assert_eq!(configuration.place.to_string(), "from-flags");
    assert_eq!((configuration.limits.connections, configuration.listen.port()), (7, 1));
    fs::write(file.path(), "listn = \"x\"").expect("written");
    let error = Configuration::resolve(settings(""), Some(file.path())).await.map(|_| ()).expect_err("refused");
    assert!(error.to_string().ends_with(":1: unknown setting `listn`; did you mean `listen`?"), "{error}");
}

#[tokio::test]
async fn secrets_in_the_clear_are_warned_about() {
    let warnings = async |text: &str| resolve(text).await.expect(text).warnings().len();
    assert_eq!(warnings("").await, 0);
    assert_eq!(warnings("listen = \"0.0.0.0:0\"\ntokens = \"t\"").await, 1);
    assert_eq!(warnings("listen = \"0.0.0.0:0\"\ntokens = \"t\"\nexternal-url = \"https://c\"").await, 0);
    assert_eq!(warnings("listen = \"0.0.0.0:0\"\nanonymous = \"write\"").await, 1);
}

/// The example with everything in it that stands behind a #.
fn whole_example() -> String {
    let uncover = |line: &'static str| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line);
    include_str!("example.toml").lines().map(uncover).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_example_has_every_setting() {
    let text = whole_example();
    settings(&text);
    let example: toml::Table = text.parse().expect("valid");
    let command = Settings::augment_args(clap::Command::new("serve"));
    let flags = command.get_arguments().filter_map(|flag| flag.get_long()).map(str::to_owned);
    for name in flags.chain(["users", "authenticated", "oidc"].map(str::to_owned)) {
        assert!(example.contains_key(&name), "{name} is not in the example");
    }
    let systems = example["oidc"].as_array().expect("a list");
    for name in [
        "kind",
        "issuer",
        "audience",
        "namespace",
        "owners",
        "protected-refs",
        "rules",
        "jwks-url",
        "jwks-file",
        "ca",
        "bearer-file",
    ] {
        assert!(systems.iter().any(|system| system.get(name).is_some()), "oidc.{name} is not in the example");
    }
}
