use super::*;

/// The only mount of `RUN --mount=<text>` in `/w`.
fn mounted(text: &str) -> Mount {
    let plan = plan(&format!("FROM tool AS tools\nFROM base\nENV V=val\nWORKDIR /w\nRUN --mount={text} true"));
    runs(&plan)[0].mounts[0].clone()
}

fn fault(text: &str) -> String {
    error(&format!("FROM base\nRUN --mount={text} true"))
}

#[test]
fn commands() {
    for (instruction, argv) in [
        ("RUN echo  $X \\\n  y", vec!["/bin/sh", "-c", "echo  $X   y"]),
        ("RUN [\"a\", \"$b\"]", vec!["a", "$b"]),
        ("RUN", vec!["/bin/sh", "-c", ""]),
        ("RUN <<EOF\na\n$b\nEOF", vec!["/bin/sh", "-c", "a\n$b\n"]),
        ("RUN <<-EOF\n\ta\n\tEOF", vec!["/bin/sh", "-c", "a\n"]),
        ("RUN cat <<EOF > /f\nx\nEOF", vec!["/bin/sh", "-c", "cat <<EOF > /f\nx\nEOF"]),
        ("RUN <<EOF\n#!/usr/bin/python3\nx\nEOF", vec!["/bin/sh", "-c", "/dev/pipes/EOF"]),
        ("SHELL [\"/s\", \"-x\"]\nRUN a b", vec!["/s", "-x", "a b"]),
    ] {
        let plan = plan(&format!("FROM base\n{instruction}"));
        let run = runs(&plan)[0];
        assert_eq!(run.argv, argv, "{instruction}");
        assert_eq!(run.script.is_some(), instruction.contains("#!"), "{instruction}");
        assert_eq!(history(&plan).last(), Some(&&*format!("RUN {} # buildkit", argv.join(" "))));
    }
}

#[test]
fn scripts_are_files() {
    let indented = plan("FROM base\nRUN <<-one.py\n\t#!/bin/x\n\t $y\n\tone.py");
    let script = runs(&indented)[0].script.clone().expect("a script");
    assert_eq!((&*script.name, &*script.body), ("one.py", "#!/bin/x\n $y\n"));
    let absolute = plan("FROM base\nRUN <</x\n#!/bin/x\n/x");
    assert_eq!(runs(&absolute)[0].script.clone().expect("a script").name, "x");
    for bad in ["../x", "..", "a/b", "/"] {
        let text = format!("FROM base\nRUN <<{bad}\n#!/bin/x\n{bad}");
        assert_eq!(
            error(&text),
            format!("2: invalid heredoc name {bad:?}: it must name a file, not one in a directory")
        );
    }
}

#[test]
fn what_the_process_gets() {
    let plan = plan("FROM rich\nENV B=2\nARG C=3\nRUN --network=none true\nUSER u\nWORKDIR x\nRUN --network=host true");
    let (first, second) = (runs(&plan)[0], runs(&plan)[1]);
    let env: Vec<_> = first.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(env, ["PATH=/bin", "B=2", "C=3"]);
    assert_eq!((&*first.user, &*first.workdir, first.network), ("app", "/home/app", Network::None));
    assert_eq!((&*second.user, &*second.workdir, second.network), ("u", "/home/app/x", Network::Host));
    let scratch = super::plan("FROM scratch\nRUN [\"/x\"]");
    assert_eq!((&*runs(&scratch)[0].workdir, runs(&scratch)[0].env.len()), ("/", 1));
}

#[test]
fn steps_know_their_instruction() {
    let plan = plan("FROM base\n\nRUN a \\\n  b\nCOPY <<E /f\nx\nE");
    let steps: Vec<_> = target(&plan).steps.iter().map(|step| (&*step.title, step.span.start, step.span.end)).collect();
    assert_eq!(steps, [("RUN a   b", 3, 4), ("COPY <<E /f", 5, 7)]);
}

#[test]
fn modes_that_need_rights_are_refused() {
    assert_eq!(error("FROM base\nRUN --security=insecure x"), "2: security.insecure is not allowed");
    assert_eq!(error("FROM base\nRUN --device=vendor/gpu x"), "2: RUN --device is not supported");
    assert_eq!(runs(&plan("FROM base\nRUN --security=sandbox --network=default x")).len(), 1);
}

#[test]
fn bind_mounts() {
    let bind = |from: Source, source: &str, target: &str, writable: bool| Mount::Bind {
        from,
        source: source.into(),
        target: target.into(),
        writable,
    };
    for (text, mount) in [
        ("target=/m", bind(Source::Context, "/", "/m", false)),
        ("dst=m", bind(Source::Context, "/", "/w/m", false)),
        ("destination=/a/../$V/", bind(Source::Context, "/", "/val", false)),
        ("TYPE=Bind,src=../a,target=/m,rw", bind(Source::Context, "/a", "/m", true)),
        ("source=$V,target=/m,readonly=false", bind(Source::Context, "/val", "/m", true)),
        ("target=/m,ro=1,readwrite=F", bind(Source::Context, "/", "/m", false)),
        ("from=TOOLS,source=/x,target=/m", bind(Source::Stage(StageIndex(0)), "/x", "/m", false)),
        ("type=$NOPE${NOPE:-bind},target=/m", bind(Source::Context, "/", "/m", false)),
        ("'\"source=a,b\",target=/m'", bind(Source::Context, "/a,b", "/m", false)),
    ] {
        assert_eq!(mounted(text), mount, "{text}");
    }
}

#[test]
fn cache_mounts() {
    let cache = |id: &str, target: &str| (id.to_owned(), target.to_owned());
    for (text, expected) in [
        ("type=cache,target=/c/", cache("/c", "/c")),
        ("type=cache,target=c/./d", cache("c/d", "/w/c/d")),
        ("type=cache,id=$V,target=/c", cache("val", "/c")),
        ("type=cache", cache(".", "/w")),
    ] {
        match mounted(text) {
            Mount::Cache {
                id,
                target,
                sharing: Sharing::Shared,
                readonly: false,
                from: None,
                mode: 0o755,
                uid: 0,
                gid: 0,
            } => {
                assert_eq!((id, target), expected, "{text}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }
    let full = mounted("type=cache,target=/c,from=tools,source=s,sharing=LOCKED,mode=0700,uid=1,gid=2,ro");
    let from = Some((Source::Stage(StageIndex(0)), "/s".to_owned()));
    let (id, target) = cache("/c", "/c");
    let sharing = Sharing::Locked;
    assert_eq!(full, Mount::Cache { id, target, sharing, readonly: true, from, mode: 0o700, uid: 1, gid: 2 });
}

#[test]
fn caches_have_a_namespace() {
    let build_args = BTreeMap::from([("BUILDKIT_CACHE_MOUNT_NS".to_owned(), "ns".to_owned())]);
    let plan = plan_with("FROM a\nRUN --mount=type=cache,target=/c x", &PlanOptions { build_args, ..options() });
    assert!(matches!(&runs(&plan)[0].mounts[0], Mount::Cache { id, .. } if id == "ns//c"));
}

#[test]
fn other_mounts() {
    let tmpfs = |size_bytes| Mount::Tmpfs { target: "/t".into(), size_bytes, readonly: false };
    let secret = |target: Option<&str>, env: Option<&str>, required| Mount::Secret {
        id: "s".into(),
        target: target.map(str::to_owned),
        env: env.map(str::to_owned),
        required,
        mode: 0o400,
        uid: 0,
        gid: 0,
    };
    for (text, mount) in [
        ("type=tmpfs,target=/t", tmpfs(None)),
        ("type=tmpfs,target=/t,ro", Mount::Tmpfs { target: "/t".into(), size_bytes: None, readonly: true }),
        ("type=tmpfs,target=/t,ro=false", tmpfs(None)),
        ("type=tmpfs,target=/t,size=128m", tmpfs(Some(128 << 20))),
        ("type=secret,id=s", secret(Some("/run/secrets/s"), None, false)),
        ("type=secret,source=s", secret(Some("/run/secrets/s"), None, false)),
        ("type=secret,target=/a/s", secret(Some("/a/s"), None, false)),
        ("type=secret,id=s,target=k,required", secret(Some("/w/k"), None, true)),
        ("type=secret,id=s,env=S", secret(None, Some("S"), false)),
        ("type=secret,id=s,env=S,dst=/k,required=true", secret(Some("/k"), Some("S"), true)),
    ] {
        assert_eq!(mounted(text), mount, "{text}");
    }
    assert!(matches!(
        mounted("type=secret,id=a/b,mode=0444,uid=7,gid=8"),
        Mount::Secret { target: Some(target), mode: 0o444, uid: 7, gid: 8, .. } if target == "/run/secrets/b"
    ));
}

#[test]
fn agents_are_numbered_and_the_first_is_announced() {
    let text = "FROM a\nRUN --mount=type=ssh --mount=type=tmpfs,target=/t --mount=type=ssh,id=x,required,mode=0666 x\n\
                ENV SSH_AUTH_SOCK=own\nRUN --mount=type=ssh,target=/s x";
    let plan = plan(text);
    let agents: Vec<_> = runs(&plan)
        .iter()
        .flat_map(|run| &run.mounts)
        .filter_map(|mount| match mount {
            Mount::Ssh { id, target, required, mode, .. } => Some(format!("{id} {target} {required} {mode:o}")),
            _ => None,
        })
        .collect();
    assert_eq!(
        agents,
        ["default /run/buildkit/ssh_agent.0 false 600", "x /run/buildkit/ssh_agent.1 true 666", "default /s false 600"]
    );
    assert_eq!(variable(runs(&plan)[0], "SSH_AUTH_SOCK"), Some("/run/buildkit/ssh_agent.0"));
    assert_eq!(variable(runs(&plan)[1], "SSH_AUTH_SOCK"), Some("own"));
}

#[test]
fn faults_of_mounts() {
    for (text, message) in [
        ("type=magic,target=/m", "unsupported mount type \"magic\""),
        ("type=cach,target=/m", "unsupported mount type \"cach\" (did you mean cache?)"),
        ("target=/m,banana=1", "unexpected key 'banana' in 'banana=1'"),
        ("targt=/m", "unexpected key 'targt' in 'targt=/m' (did you mean target?)"),
        ("target", "invalid field 'target' must be a key=value pair"),
        ("required,type=secret,id=s", "unexpected key 'required' for mount type 'bind': type= must stand before it"),
        ("required=1,type=secret,id=s", "unexpected key 'required' for mount type 'bind': type= must stand before it"),
        ("size=1,type=tmpfs,target=/t", "unexpected key 'size' for mount type 'bind': type= must stand before it"),
        ("type=tmpfs,target=/t,size=x", "invalid value for size: x"),
        ("target=/m,ro=maybe", "invalid value for ro: maybe"),
        ("target=/m,mode=755", "mode not allowed for \"bind\" type mounts"),
        ("type=tmpfs,target=/m,uid=1", "uid not allowed for \"tmpfs\" type mounts"),
        ("type=cache,target=/m,mode=9", "invalid value 9 for mode"),
        ("type=cache,target=/m,gid=-1", "invalid value -1 for gid"),
        ("type=cache,target=/m,uid=+1", "invalid value +1 for uid"),
        ("type=cache,target=/m,sharing=no", "unsupported sharing value \"no\""),
        ("target=/m,sharing=locked", "invalid cache sharing set for bind mount"),
        ("type=cache", "invalid mount target \"/\""),
        ("type=bind,target=a/..", "invalid mount target \"/\""),
        ("type=tmpfs,target=/", "invalid mount target \"/\""),
        ("type=cache,target=/m,source=/x", "cache mount has a source but no from"),
        ("type=secret", "invalid secret mount. one of source, target required"),
        ("type=secret,id=a,source=b", "both source and id can't be set"),
        ("type=secret,id=a,from=b", "secret mount should not have a from"),
        ("type=secret,id=a,sharing=shared", "secret mount should not define sharing"),
        ("type=ssh,source=a", "ssh does not support source"),
        ("target=/m,source=${X?no}", "failed to process \"${X?no}\": X: no"),
    ] {
        assert_eq!(fault(text), format!("2: {message}"), "{text}");
    }
}
