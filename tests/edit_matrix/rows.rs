//! The matrix: kinds of instructions, each with a directory `src` that it takes, and kinds of changes.
//! A new line in a list is a new row.

use crate::project::{
    Command, Copy, Entry, From, Kind, Mount, Project, Run, Stage, Step, cat, copy, copy_from, directory, echo, file,
    link, project, run, run_with, stage,
};

/// A name and what it does to a project.
pub(crate) type Edit = (&'static str, fn(&mut Project));

/// `src` has files of every kind.
fn with_sources(stages: Vec<Stage>) -> Project {
    let mut project = project(stages);
    for (path, entry) in [
        ("src", directory()),
        ("src/f1", file("first and more")),
        ("src/f2", file("second")),
        ("src/sub/deep", file("deep")),
        ("src/l1", link("f1")),
        ("src/one", file("same")),
        ("src/two", file("same")),
        ("src/x.log", file("noise")),
        ("way", link("src")),
        ("other/o", file("another")),
    ] {
        project.set(path, entry);
    }
    project
}

fn final_stage(steps: Vec<Step>) -> Vec<Stage> {
    vec![stage("final", From::Base(0), steps)]
}

fn bind(from: Option<&str>, source: &str) -> Mount {
    Mount::Bind { from: from.map(Into::into), source: source.into(), target: "/m".into() }
}

fn on_build(step: Step) -> Step {
    Step::OnBuild(Box::new(step))
}

/// One of an op, between a RUN that is never changed and one that reads a little of what it made.
fn around(op: Copy) -> Vec<Stage> {
    final_stage(vec![run(echo("before", "/before")), Step::Copy(op), run(cat(&["/d/f1", "/d/l1"], "/after"))])
}

/// The kinds of instructions.
pub(crate) fn instructions() -> Vec<(&'static str, Project)> {
    let made = || {
        stage(
            "made",
            From::Base(0),
            vec![Step::Copy(copy(&["src"], "/s/")), run(Command::Head(5, "/s/f1".into(), "/made".into()))],
        )
    };
    let two = |steps: Vec<Step>| vec![made(), stage("final", From::Base(0), steps)];
    let mut list = vec![
        ("COPY", with_sources(around(copy(&["src"], "/d/")))),
        ("COPY of files", with_sources(around(copy(&["src/f1", "other/o"], "/d/")))),
        ("COPY with wildcard", with_sources(around(copy(&["src/f*"], "/d/")))),
        ("COPY of links by wildcard", with_sources(around(copy(&["src/l*"], "/d/")))),
        ("COPY by way of a link", with_sources(around(copy(&["way"], "/d/")))),
        ("COPY --chown", with_sources(around(Copy { chown: Some("app".into()), ..copy(&["src"], "/d/") }))),
        ("COPY --chmod", with_sources(around(Copy { chmod: Some(0o750), ..copy(&["src/f1"], "/d/") }))),
        ("COPY --link", with_sources(around(Copy { link: true, ..copy(&["src"], "/d/") }))),
        ("COPY .", with_sources(around(copy(&["."], "/d/")))),
        ("ADD", with_sources(around(Copy { add: true, ..copy(&["src"], "/d/") }))),
        ("COPY --from", with_sources(two(vec![copy_from("made", "/s/f1", "/d/"), run(cat(&["/d/f1"], "/after"))]))),
        (
            "COPY --from below a cutoff",
            with_sources(two(vec![copy_from("made", "/made", "/d/"), run(cat(&["/d/made"], "/after"))])),
        ),
        (
            "RUN --mount of the context",
            with_sources(final_stage(vec![
                run_with(bind(None, "src"), cat(&["/m/f1"], "/out")),
                run(cat(&["/out"], "/after")),
            ])),
        ),
        (
            "RUN --mount by way of a link",
            with_sources(final_stage(vec![run_with(bind(None, "way"), cat(&["/m/f1"], "/out"))])),
        ),
        (
            "RUN --mount of a stage",
            with_sources(two(vec![run_with(bind(Some("made"), "/s/sub"), cat(&["/m/deep"], "/out"))])),
        ),
        (
            "RUN --mount of a file below a cutoff",
            with_sources(two(vec![run_with(bind(Some("made"), "/made"), cat(&["/m"], "/out"))])),
        ),
        (
            "FROM a stage",
            with_sources(vec![
                made(),
                stage("final", From::Stage("made".into()), vec![run(cat(&["/made"], "/after"))]),
            ]),
        ),
        (
            "ONBUILD",
            with_sources(vec![
                stage(
                    "trigger",
                    From::Base(0),
                    vec![on_build(Step::Copy(copy(&["src"], "/d/"))), on_build(run(cat(&["/d/f2"], "/t")))],
                ),
                stage("final", From::Stage("trigger".into()), vec![run(cat(&["/d/f1"], "/after"))]),
            ]),
        ),
        (
            "WORKDIR",
            with_sources(final_stage(vec![
                Step::Workdir("/w/x".into()),
                Step::Copy(copy(&["src/f1"], "/w/x/")),
                Step::Workdir("/w/x".into()),
                run(cat(&["/w/x/f1"], "/after")),
            ])),
        ),
        (
            "FROM scratch",
            with_sources(vec![stage(
                "final",
                From::Scratch,
                vec![Step::Copy(copy(&["src"], "/d/")), Step::Workdir("/d/sub".into())],
            )]),
        ),
    ];
    let mut denied = with_sources(around(copy(&["."], "/d/")));
    denied.set(".dockerignore", file("# noise\n**/*.log\nother\n"));
    list.push(("COPY with a deny list", denied));
    let mut allowed = with_sources(two(vec![copy_from("made", "/s", "/d/"), run(cat(&["/d/f1"], "/after"))]));
    allowed.set(".dockerignore", file("*\n!src/f1\n!src/sub\n"));
    list.push(("COPY --from with an allow list", allowed));
    list
}

fn change(project: &mut Project, path: &str, change: impl FnOnce(&mut Entry)) {
    project.files.get_mut(path).map(change).expect("a file of the context");
}

fn rename(project: &mut Project, from: &str, to: &str) {
    let entry = project.files.remove(from).expect("a file of the context");
    project.files.insert(to.into(), entry);
}

/// The kinds of changes of files.
pub(crate) const FILES: &[Edit] = &[
    ("nothing", |_| {}),
    ("content", |p| p.set("src/f1", file("FIRST and more"))),
    ("content behind the first bytes", |p| p.set("src/f1", file("first and less"))),
    ("content of the second file", |p| p.set("src/f2", file("SECOND"))),
    ("content below", |p| p.set("src/sub/deep", file("DEEP"))),
    ("mode", |p| change(p, "src/f1", |entry| entry.mode = 0o755)),
    ("time", |p| p.files.values_mut().for_each(|entry| entry.time += 1000)),
    ("rename", |p| rename(p, "src/f2", "src/f3")),
    ("rename of a link", |p| rename(p, "src/l1", "src/l2")),
    ("file added", |p| p.set("src/f9", file("new"))),
    ("file added elsewhere", |p| p.set("other/p", file("new"))),
    ("file removed", |p| drop(p.files.remove("src/f2"))),
    ("directory added", |p| p.set("src/empty", directory())),
    ("target of a link", |p| p.set("src/l1", link("f2"))),
    ("link made a file", |p| p.set("src/l1", file("first and more"))),
    ("directory's mode", |p| change(p, "src", |entry| entry.mode = 0o700)),
    ("mode of a directory below", |p| change(p, "src/sub", |entry| entry.mode = 0o700)),
    ("two files made one", |p| change(p, "src/two", |entry| entry.kind = Kind::Hard("src/one".into()))),
    ("file of a log", |p| p.set("src/x.log", file("NOISE"))),
    ("file elsewhere", |p| p.set("other/o", file("ANOTHER"))),
    ("comment in .dockerignore", |p| {
        if let Some(Entry { kind: Kind::File(text), .. }) = p.files.get_mut(".dockerignore") {
            text.insert_str(0, "# a remark\n");
        }
    }),
    ("a file more ignored", |p| {
        if let Some(Entry { kind: Kind::File(text), .. }) = p.files.get_mut(".dockerignore") {
            text.push_str("src/f2\n");
        }
    }),
];

/// Everything else that instructions read, in one Dockerfile.
pub(crate) fn whole() -> Project {
    let heredoc = Copy { heredoc: Some(("note".into(), "text".into())), ..copy(&[], "/h/") };
    let archive = Copy { add: true, ..copy(&["pack.tar"], "/a/") };
    let download = Copy { add: true, download: true, ..copy(&[], "/u/") };
    let mut project = with_sources(vec![
        stage(
            "tools",
            From::Base(0),
            vec![
                Step::Arg("VERSION".into(), "1".into()),
                Step::Line("LABEL made=by-hand".into()),
                run(Command::Variable("VERSION".into(), "/tool".into())),
                Step::Copy(copy(&["src/f1"], "/s/")),
                run(echo("static", "/static")),
            ],
        ),
        stage(
            "middle",
            From::Stage("tools".into()),
            vec![
                Step::Env("MODE".into(), "fast".into()),
                run(Command::Variable("MODE".into(), "/mode".into())),
                run(Command::Head(1, "/mode".into(), "/short".into())),
            ],
        ),
        stage("unused", From::Base(0), vec![run(echo("nobody", "/nobody"))]),
        stage(
            "final",
            From::Base(0),
            vec![
                Step::Arg("LATE".into(), "a".into()),
                Step::Arg("UNUSED".into(), "a".into()),
                Step::Copy(copy(&["src/f2"], "/c/")),
                copy_from("tools", "/static", "/c/"),
                copy_from("middle", "/short", "/c/"),
                copy_from("base 1", "/etc/version", "/v/"),
                Step::Copy(heredoc),
                Step::Copy(archive),
                Step::Copy(download),
                Step::Workdir("/work".into()),
                Step::Line("LABEL kind=test".into()),
                Step::Line("CMD [\"sh\"]".into()),
                run_with(Mount::Secret, echo("signed", "/signed")),
                run_with(Mount::Cache { id: "one".into() }, echo("cached", "/cached-result")),
                Step::Shell("-ec".into()),
                Step::Run(Run { command: echo("script", "/script"), mounts: Vec::new(), heredoc: true }),
                Step::User("app".into()),
                run(echo("mine", "/tmp/mine")),
                Step::User("root".into()),
                Step::Copy(Copy { chown: Some("app".into()), ..copy(&["other/o"], "/o/") }),
                Step::Line("EXPOSE 80".into()),
            ],
        ),
    ]);
    project.set("pack.tar", Entry { kind: Kind::Archive(vec![("in/a".into(), "packed".into())], 5), ..file("") });
    project
}

fn steps<'a>(project: &'a mut Project, name: &str) -> &'a mut Vec<Step> {
    let stage = project.stages.iter_mut().find(|stage| stage.name == name);
    &mut stage.expect("stage").steps
}

fn replace(project: &mut Project, stage: &str, old: Step, new: Step) {
    let steps = steps(project, stage);
    let at = steps.iter().position(|step| *step == old).expect("step");
    steps[at] = new;
}

fn line(text: &str) -> Step {
    Step::Line(text.into())
}

fn edit_copy(project: &mut Project, to: &str, edit: impl Fn(&mut Copy)) {
    let all = project.stages.iter_mut().flat_map(|stage| &mut stage.steps);
    let copies = all.filter_map(|step| if let Step::Copy(copy) = step { Some(copy) } else { None });
    copies.filter(|copy| copy.to == to).for_each(edit);
}

fn swap(project: &mut Project, stage: &str, one: usize, two: usize) {
    steps(project, stage).swap(one, two);
}

/// The kinds of changes of everything else.
pub(crate) const OTHERS: &[Edit] = &[
    ("nothing", |_| {}),
    ("value of an argument that is used", |p| drop(p.arguments.insert("VERSION".into(), "2".into()))),
    ("value of an argument that is not", |p| drop(p.arguments.insert("NOBODY".into(), "2".into()))),
    ("value of an argument that is declared and not used", |p| drop(p.arguments.insert("UNUSED".into(), "2".into()))),
    ("value of an argument said to be the default", |p| drop(p.arguments.insert("VERSION".into(), "1".into()))),
    ("default of an argument", |p| {
        replace(p, "tools", Step::Arg("VERSION".into(), "1".into()), Step::Arg("VERSION".into(), "9".into()))
    }),
    ("argument declared later", |p| {
        let arg = steps(p, "final").remove(1);
        steps(p, "final").insert(12, arg);
    }),
    ("order of arguments", |p| swap(p, "final", 0, 1)),
    ("ENV", |p| replace(p, "middle", Step::Env("MODE".into(), "fast".into()), Step::Env("MODE".into(), "slow".into()))),
    ("ENV with the same first letter", |p| {
        replace(p, "middle", Step::Env("MODE".into(), "fast".into()), Step::Env("MODE".into(), "furious".into()))
    }),
    ("LABEL", |p| replace(p, "final", line("LABEL kind=test"), line("LABEL kind=real"))),
    ("LABEL below", |p| replace(p, "tools", line("LABEL made=by-hand"), line("LABEL made=by-machine"))),
    ("LABEL added at the top", |p| steps(p, "final").insert(0, line("LABEL new=1"))),
    ("CMD", |p| replace(p, "final", line("CMD [\"sh\"]"), line("CMD [\"sh\", \"-c\", \"id\"]"))),
    ("EXPOSE removed", |p| drop(steps(p, "final").pop())),
    ("comment", |p| steps(p, "final").insert(3, line("# a remark"))),
    ("empty lines", |p| steps(p, "tools").insert(1, line("\n\n"))),
    ("blanks", |p| p.blanks = 4),
    ("base image", |p| p.stages[3].from = From::Base(1)),
    ("base image below", |p| p.stages[0].from = From::Base(1)),
    ("image that is copied from", |p| {
        replace(p, "final", copy_from("base 1", "/etc/version", "/v/"), copy_from("base 0", "/etc/version", "/v/"))
    }),
    ("command", |p| replace(p, "tools", run(echo("static", "/static")), run(echo("dynamic", "/static")))),
    ("command in the middle", |p| {
        replace(
            p,
            "middle",
            run(Command::Head(1, "/mode".into(), "/short".into())),
            run(Command::Head(2, "/mode".into(), "/short".into())),
        )
    }),
    ("command with the same result", |p| {
        replace(p, "middle", run(Command::Variable("MODE".into(), "/mode".into())), run(echo("fast", "/mode")))
    }),
    ("command above copies", |p| steps(p, "final").insert(2, run(echo("first", "/first")))),
    ("command that makes a directory of copies", |p| {
        steps(p, "final").insert(2, run(Command::MakeDirectory("/c".into())))
    }),
    ("mode of the directory of copies", |p| {
        steps(p, "final").insert(2, run(Command::MakeDirectory("/c".into())));
        steps(p, "final").insert(3, run(Command::Chmod(0o700, "/c".into())));
    }),
    ("command removed", |p| drop(steps(p, "middle").remove(1))),
    ("order of copies", |p| swap(p, "final", 2, 5)),
    ("order of commands", |p| swap(p, "final", 12, 13)),
    ("secret", |p| p.secret = "louder".into()),
    ("cache mount", |p| {
        replace(
            p,
            "final",
            run_with(Mount::Cache { id: "one".into() }, echo("cached", "/cached-result")),
            run_with(Mount::Cache { id: "two".into() }, echo("cached", "/cached-result")),
        )
    }),
    ("cache mount made a temporary one", |p| {
        replace(
            p,
            "final",
            run_with(Mount::Cache { id: "one".into() }, echo("cached", "/cached-result")),
            run_with(Mount::Tmpfs, echo("cached", "/cached-result")),
        )
    }),
    ("text of a heredoc", |p| edit_copy(p, "/h/", |copy| copy.heredoc = Some(("note".into(), "another".into())))),
    ("name of a heredoc", |p| edit_copy(p, "/h/", |copy| copy.heredoc = Some(("memo".into(), "text".into())))),
    ("script in a heredoc", |p| {
        replace(
            p,
            "final",
            Step::Run(Run { command: echo("script", "/script"), mounts: Vec::new(), heredoc: true }),
            Step::Run(Run { command: echo("scripts", "/script"), mounts: Vec::new(), heredoc: true }),
        )
    }),
    ("download", |p| p.download = "another".into()),
    ("archive", |p| {
        p.set("pack.tar", Entry { kind: Kind::Archive(vec![("in/a".into(), "PACKED".into())], 5), ..file("") })
    }),
    ("archive packed again", |p| {
        p.set("pack.tar", Entry { kind: Kind::Archive(vec![("in/a".into(), "packed".into())], 6), ..file("") })
    }),
    ("WORKDIR", |p| replace(p, "final", Step::Workdir("/work".into()), Step::Workdir("/works".into()))),
    ("SHELL", |p| replace(p, "final", Step::Shell("-ec".into()), Step::Shell("-exc".into()))),
    ("USER", |p| replace(p, "final", Step::User("app".into()), Step::User("1000".into()))),
    ("--chown", |p| edit_copy(p, "/o/", |copy| copy.chown = Some("7".into()))),
    ("--chown of the same owner", |p| edit_copy(p, "/o/", |copy| copy.chown = Some("1000".into()))),
    ("--chmod", |p| edit_copy(p, "/o/", |copy| copy.chmod = Some(0o700))),
    ("--chmod as it is", |p| edit_copy(p, "/h/", |copy| copy.chmod = Some(0o644))),
    ("--link", |p| edit_copy(p, "/o/", |copy| (copy.link, copy.chown) = (true, Some("1000".into())))),
    ("destination", |p| edit_copy(p, "/o/", |copy| copy.to = "/oo/".into())),
    ("COPY made ADD", |p| edit_copy(p, "/o/", |copy| copy.add = true)),
    ("stage renamed", |p| {
        p.stages[1].name = "between".into();
        let old = copy_from("middle", "/short", "/c/");
        replace(p, "final", old, copy_from("between", "/short", "/c/"));
    }),
    ("stage in between", |p| {
        p.stages.insert(2, stage("more", From::Stage("middle".into()), vec![line("LABEL more=1")]));
        let old = copy_from("middle", "/short", "/c/");
        replace(p, "final", old, copy_from("more", "/short", "/c/"));
    }),
    ("stage that nobody uses", |p| {
        replace(p, "unused", run(echo("nobody", "/nobody")), run(echo("somebody", "/nobody")))
    }),
    ("--target", |p| p.target = Some("middle".into())),
    ("--target that was not built", |p| p.target = Some("unused".into())),
    ("--label", |p| p.flags.push("--label=given=1".into())),
    ("file that is copied", |p| p.set("src/f2", file("SECOND"))),
    ("file of the first stage", |p| p.set("src/f1", file("FIRST"))),
    ("file that nobody takes", |p| p.set("src/sub/deep", file("DEEP"))),
];
