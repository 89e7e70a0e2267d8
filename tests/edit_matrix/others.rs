//! The matrix: everything else that instructions read, in one Dockerfile, and kinds of changes of it.

use crate::project::{
    Command, Copy, Entry, From, Kind, Mount, Project, Run, Step, copy, copy_from, echo, file, run, run_with, stage,
};
use crate::rows::{Edit, with_sources};

/// Everything else that instructions read, in one Dockerfile.
pub(crate) fn whole() -> Project {
    let heredoc = Copy { heredoc: Some(("note".into(), "text".into())), ..copy(&[], "/h/") };
    let archive = Copy { add: true, ..copy(&["pack.tar"], "/a/") };
    let download = Copy { add: true, download: true, ..copy(&[], "/u/") };
    let repository = Copy { add: true, repository: Some(String::new()), ..copy(&[], "/g/") };
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
                Step::Copy(repository),
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
    let files = [("a", "in git"), ("run.sh", "true"), ("part/b", "deep in git"), ("part/c.log", "log")];
    project.repository = files.map(|(path, text)| (path.into(), text.into())).into();
    project
}

pub(crate) fn steps<'a>(project: &'a mut Project, name: &str) -> &'a mut Vec<Step> {
    let stage = project.stages.iter_mut().find(|stage| stage.name == name);
    &mut stage.expect("stage").steps
}

pub(crate) fn replace(project: &mut Project, stage: &str, old: Step, new: Step) {
    let steps = steps(project, stage);
    let at = steps.iter().position(|step| *step == old).expect("step");
    steps[at] = new;
}

fn line(text: &str) -> Step {
    Step::Line(text.into())
}

pub(crate) fn edit_copy(project: &mut Project, to: &str, edit: impl Fn(&mut Copy)) {
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
        steps(p, "final").insert(13, arg);
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
    ("order of commands", |p| swap(p, "final", 13, 14)),
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
    ("file of a repository", |p| drop(p.repository.insert("a".into(), "changed in git".into()))),
    ("file of a repository, executable", |p| {
        let text = p.repository.remove("a").expect("a file");
        p.repository.insert("a.sh".into(), text);
    }),
    ("file added to a repository", |p| drop(p.repository.insert("part/deep/d".into(), "new".into()))),
    ("commit of the same files", |p| p.message = "again".into()),
    ("directory of a repository", |p| edit_copy(p, "/g/", |copy| copy.repository = Some("part".into()))),
    ("file of a repository that is excluded", |p| {
        edit_copy(p, "/g/", |copy| copy.exclude = vec!["**/*.log".into()]);
        p.repository.insert("part/c.log".into(), "LOG".into());
    }),
    ("--exclude of what is not there", |p| edit_copy(p, "/g/", |copy| copy.exclude = vec!["nothing".into()])),
    ("--exclude", |p| edit_copy(p, "/g/", |copy| copy.exclude = vec!["part/b".into()])),
    ("--parents", |p| edit_copy(p, "/o/", |copy| copy.parents = true)),
    ("--parents of a path that is its own", |p| {
        edit_copy(p, "/o/", |copy| (copy.parents, copy.sources) = (true, vec!["other/./o".into()]));
    }),
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
