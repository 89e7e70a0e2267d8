use super::*;
use crate::image::Healthcheck;

#[test]
fn history_is_worded_as_by_buildkit() {
    for (instruction, created_by) in [
        ("ENV a=1 b=\"x y\" c='$q'", "ENV a=1 b=x y c=$q"),
        ("ENV a b  c", "ENV a=b  c"),
        ("LABEL a=1 \"b c\"=d", "LABEL a=1 b c=d"),
        ("USER me:them", "USER me:them"),
        ("USER $NOPE", "USER "),
        ("USER <<X", "USER <<X"),
        ("VOLUME /a /b", "VOLUME [/a /b]"),
        ("VOLUME [\"/a b\"]", "VOLUME [/a b]"),
        ("EXPOSE 80 443/UDP 1000-1002", "EXPOSE [1000/tcp 1001/tcp 1002/tcp 443/udp 80/tcp]"),
        ("STOPSIGNAL sigquit", "STOPSIGNAL sigquit"),
        ("SHELL [\"/bin/bash\", \"-c\"]", "SHELL [/bin/bash -c]"),
        ("CMD a b", "CMD [\"/bin/sh\" \"-c\" \"a b\"]"),
        ("CMD [\"a\", \"b\\\"c\"]", "CMD [\"a\" \"b\\\"c\"]"),
        ("CMD []", "CMD []"),
        ("CMD", "CMD [\"/bin/sh\" \"-c\" \"\"]"),
        ("ENTRYPOINT [\"a\"]", "ENTRYPOINT [\"a\"]"),
        ("ENTRYPOINT -- --help", "ENTRYPOINT [\"/bin/sh\" \"-c\" \"--help\"]"),
        ("MAINTAINER Some $One", "MAINTAINER Some $One"),
        ("WORKDIR a/../b", "WORKDIR /b"),
        ("WORKDIR /", "WORKDIR /"),
        (
            "HEALTHCHECK --interval=5s CMD x",
            "HEALTHCHECK {Test:[CMD-SHELL x] Interval:5s Timeout:0s StartPeriod:0s StartInterval:0s Retries:0}",
        ),
        (
            "HEALTHCHECK NONE",
            "HEALTHCHECK {Test:[NONE] Interval:0s Timeout:0s StartPeriod:0s StartInterval:0s Retries:0}",
        ),
    ] {
        assert_eq!(history(&plan(&format!("FROM base\n{instruction}"))), [created_by]);
    }
}

#[test]
fn command_and_entrypoint() {
    for (instructions, entrypoint, cmd) in [
        ("", Some("/entry"), Some("one two")),
        ("CMD []", Some("/entry"), Some("")),
        ("CMD [\"x\"]\nENTRYPOINT [\"y\"]", Some("y"), Some("x")),
        ("ENTRYPOINT [\"y\"]", Some("y"), None),
        ("ENTRYPOINT []", None, None),
        ("ENTRYPOINT [\"y\"]\nCMD [\"x\"]", Some("y"), Some("x")),
        ("CMD [\"x\"]\nCMD [\"z\"]", Some("/entry"), Some("z")),
        ("CMD [\"x\"]\nFROM below\nENTRYPOINT [\"y\"]", Some("y"), None),
    ] {
        let plan = plan(&format!("FROM rich AS below\n{instructions}"));
        let config = &target(&plan).config.config;
        assert_eq!(config.entrypoint, entrypoint.map(words), "{instructions}");
        assert_eq!(config.cmd, cmd.map(words), "{instructions}");
        assert_eq!(config.args_escaped, instructions.contains("CMD"), "{instructions}");
    }
}

#[test]
fn the_shell_form_uses_the_shell() {
    assert_eq!(
        target(&plan("FROM rich\nCMD x y")).config.config.cmd,
        Some(vec!["/bin/ash".into(), "-ec".into(), "x y".into()])
    );
    let own = config("SHELL [\"/s\"]\nCMD x");
    assert_eq!((own.cmd, own.shell), (Some(words("/s x")), Some(words("/s"))));
    assert_eq!(config("CMD").cmd, Some(vec!["/bin/sh".into(), "-c".into(), String::new()]));
}

#[test]
fn healthcheck() {
    let check =
        config("HEALTHCHECK --interval=1m --timeout=2s --start-period=3s --start-interval=4s --retries=5 CMD [\"a\"]");
    let second = 1_000_000_000;
    assert_eq!(
        check.healthcheck,
        Some(Healthcheck {
            test: words("CMD a"),
            interval: 60 * second,
            timeout: 2 * second,
            start_period: 3 * second,
            start_interval: 4 * second,
            retries: 5
        })
    );
}

#[test]
fn ports_volumes_user_signal_and_author() {
    let plan = plan("FROM a\nENV P=\"1 2/udp\"\nEXPOSE $P\nVOLUME $P rel\nUSER $P\nSTOPSIGNAL 9\nMAINTAINER me");
    let image = &target(&plan).config;
    assert_eq!(image.config.exposed_ports.keys().collect::<Vec<_>>(), ["1/tcp", "2/udp"]);
    assert_eq!(image.config.volumes.keys().collect::<Vec<_>>(), ["1 2/udp", "rel"]);
    assert_eq!((&*image.config.user, &*image.config.stop_signal), ("1 2/udp", "9"));
    assert_eq!(image.author.as_deref(), Some("me"));
}

#[test]
fn faults() {
    for (instruction, message) in [
        ("EXPOSE 70000", "2: invalid containerPort: 70000"),
        ("EXPOSE $NOPE/tcp", "2: no port specified: /tcp<empty>"),
        ("STOPSIGNAL $NOPE", "2: invalid signal: "),
        ("VOLUME $NOPE", "2: VOLUME specified can not be an empty string"),
        ("ENV A=\"x", "2: failed to process"),
        ("LABEL a=${b:=c}", "2: failed to process \"${b:=c}\": unsupported modifier"),
    ] {
        let got = error(&format!("FROM base\n{instruction}"));
        assert!(got.starts_with(message), "{instruction}: {got}");
    }
}

#[test]
fn workdir_makes_a_layer_except_for_the_root() {
    let plan = plan("FROM base\nWORKDIR a\nUSER 5\nWORKDIR b\nWORKDIR ..\nWORKDIR ..\nWORKDIR $NOPE\nWORKDIR /x//y/");
    let paths: Vec<_> = ops(target(&plan))
        .into_iter()
        .map(|op| match op {
            Op::Workdir(WorkdirOp { path, user }) => format!("{path} {user}"),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(paths, ["/a ", "/a/b 5", "/a 5", "/x/y 5"]);
    let steps: Vec<_> = target(&plan).history.iter().map(|entry| entry.step).collect();
    assert_eq!(steps, [Some(0), None, Some(1), Some(2), None, None, Some(3)]);
    assert_eq!(target(&plan).config.config.working_dir, "/x/y");
}

#[test]
fn expanded_fields_are_expanded_once() {
    let config = config("ENV D='$E' E=no\nLABEL l=$D '$D'=\\$D\nSHELL [\"$D\"]\nCMD $D");
    assert_eq!(
        config.labels.into_iter().collect::<Vec<_>>(),
        [("$D".to_owned(), "$D".to_owned()), ("l".to_owned(), "$E".to_owned())]
    );
    assert_eq!(config.cmd, Some(words("$D $D")));
}
