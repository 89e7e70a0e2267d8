//! The matrix: kinds of instructions, each with a directory `src` that it takes, and kinds of changes of
//! its files. A new line in a list is a new row.

use crate::project::{
    Command, Copy, Entry, FOREIGN, From, Kind, Mount, Project, Stage, Step, cat, copy, copy_from, directory, echo,
    file, link, project, run, run_with, stage,
};

/// A name and what it does to a project.
pub(crate) type Edit = (&'static str, fn(&mut Project));

/// `src` has files of every kind.
pub(crate) fn with_sources(stages: Vec<Stage>) -> Project {
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
    list.extend(parts(&made).map(|(name, stages)| (name, with_sources(stages))));
    list
}

/// Those that take parts of directories, or work for another machine.
fn parts(made: &dyn Fn() -> Stage) -> impl Iterator<Item = (&'static str, Vec<Stage>)> {
    let exclude = |patterns: &[&str], op: Copy| Copy { exclude: patterns.iter().map(|s| (*s).into()).collect(), ..op };
    let parents = |sources: &[&str]| Copy { parents: true, ..copy(sources, "/d/") };
    let foreign =
        |name: &str, steps: Vec<Step>| Stage { architecture: Some(FOREIGN), ..stage(name, From::Base(0), steps) };
    let rows = [
        ("COPY --exclude", around(exclude(&["*.log", "sub"], copy(&["src"], "/d/")))),
        ("COPY --exclude of files below", around(exclude(&["**/f*", "!src/f1"], copy(&["."], "/d/")))),
        ("COPY --exclude with wildcard", around(exclude(&["f1", "deep"], copy(&["src/*"], "/d/")))),
        ("ADD --exclude", around(exclude(&["sub/deep", "l*"], Copy { add: true, ..copy(&["src"], "/d/") }))),
        ("COPY --parents", around(parents(&["src/sub/deep", "src/./f*"]))),
        ("COPY --parents from a pivot", around(Copy { chown: Some("app".into()), ..parents(&["./src/./sub"]) })),
        ("COPY --parents of all below", around(Copy { chmod: Some(0o750), ..parents(&["**/f*"]) })),
        ("COPY --parents --exclude", around(exclude(&["**/*.log", "src/sub"], parents(&["src"])))),
        (
            "COPY --from --exclude below a cutoff",
            vec![
                made(),
                stage(
                    "final",
                    From::Base(0),
                    vec![
                        Step::Copy(Copy { from: Some("made".into()), ..exclude(&["f*", "l1"], copy(&["/s"], "/d/")) }),
                        run(cat(&["/d/one"], "/after")),
                    ],
                ),
            ],
        ),
        (
            "FROM --platform",
            vec![
                foreign("other", vec![Step::Workdir("/w".into()), Step::Copy(copy(&["src"], "/s/"))]),
                stage(
                    "final",
                    From::Base(0),
                    vec![
                        copy_from("other", "/s/f1", "/d/"),
                        copy_from("other", "/etc/arch", "/d/"),
                        run(cat(&["/d/f1"], "/after")),
                    ],
                ),
            ],
        ),
    ];
    rows.into_iter()
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
