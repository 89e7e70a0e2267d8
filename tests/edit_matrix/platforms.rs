//! The matrix: an image for two platforms, of which one is only copied for, and kinds of changes of it.

use crate::others::{edit_copy, replace, steps};
use crate::project::{
    Command, Copy, FOREIGN, From, HOST, Mount, Project, Stage, Step, copy, copy_from, directory, echo, file, run,
    run_with, stage,
};
use crate::rows::{Edit, with_sources};

/// `tools` is for this machine and the same for both images; `cross` is for this machine as well, and
/// makes something for each.
pub(crate) fn platforms() -> Project {
    let here = |stage: Stage| Stage { architecture: Some(HOST), ..stage };
    let mount = Mount::Bind { from: Some("tools".into()), source: "/made".into(), target: "/m".into() };
    let mut project = with_sources(vec![
        here(stage(
            "tools",
            From::Base(0),
            vec![Step::Copy(copy(&["src/f1"], "/s/")), run(Command::Head(5, "/s/f1".into(), "/made".into()))],
        )),
        here(stage(
            "cross",
            From::Base(0),
            vec![
                run(echo("compiler", "/compiler")),
                Step::TargetArchitecture,
                run_with(mount, Command::Variable("TARGETARCH".into(), "/program".into())),
                run(Command::Head(1, "/program".into(), "/short".into())),
            ],
        )),
        stage(
            "final",
            From::Base(0),
            vec![
                Step::Copy(copy(&["src/f2"], "/c/")),
                copy_from("tools", "/made", "/c/"),
                copy_from("cross", "/program", "/p/"),
                copy_from("base 1", "/etc/arch", "/v/"),
                Step::Workdir("/work".into()),
                Step::Copy(Copy { chown: Some("app".into()), ..copy(&["other/o"], "/o/") }),
            ],
        ),
    ]);
    project.platforms = vec![HOST, FOREIGN];
    project
}

/// The kinds of changes.
pub(crate) const PLATFORMS: &[Edit] = &[
    ("nothing", |_| {}),
    ("only this machine's", |p| p.platforms = vec![HOST]),
    ("only the other's", |p| p.platforms = vec![FOREIGN]),
    ("order", |p| p.platforms = vec![FOREIGN, HOST]),
    ("content", |p| p.set("src/f1", file("FIRST and more"))),
    ("content behind the first bytes", |p| p.set("src/f1", file("first and less"))),
    ("file that is copied for each", |p| p.set("src/f2", file("SECOND"))),
    ("file that is copied at the end", |p| p.set("other/o", file("ANOTHER"))),
    ("file that nobody takes", |p| p.set("src/sub/deep", file("DEEP"))),
    ("directory that nobody takes", |p| p.set("src/empty", directory())),
    ("time", |p| p.files.values_mut().for_each(|entry| entry.time += 1000)),
    ("base image", |p| p.stages[2].from = From::Base(1)),
    ("base image of what is the same for both", |p| p.stages[0].from = From::Base(1)),
    ("base image of what makes something for each", |p| p.stages[1].from = From::Base(1)),
    ("image that is copied from", |p| {
        replace(p, "final", copy_from("base 1", "/etc/arch", "/v/"), copy_from("base 0", "/etc/arch", "/v/"));
    }),
    ("file of the image that is copied from", |p| {
        replace(p, "final", copy_from("base 1", "/etc/arch", "/v/"), copy_from("base 1", "/etc/version", "/v/"));
    }),
    ("command before the platform is known", |p| {
        replace(p, "cross", run(echo("compiler", "/compiler")), run(echo("another", "/compiler")));
    }),
    ("command that need not know it", |p| {
        steps(p, "cross").swap(0, 1);
    }),
    ("what nobody takes of it", |p| drop(steps(p, "cross").pop())),
    ("what differs in less than is taken", |p| {
        let taken = copy_from("cross", "/program", "/p/");
        replace(p, "final", taken, copy_from("cross", "/compiler", "/p/"));
    }),
    ("stage for the other machine", |p| {
        p.stages[0].architecture = Some(FOREIGN);
        steps(p, "tools").pop();
        replace(p, "final", copy_from("tools", "/made", "/c/"), copy_from("tools", "/s/f1", "/c/"));
        p.stages.remove(1);
        replace(p, "final", copy_from("cross", "/program", "/p/"), copy_from("tools", "/etc/arch", "/p/"));
    }),
    ("one for all", |p| p.stages[2].architecture = Some(HOST)),
    ("the other for all", |p| p.stages[2].architecture = Some(FOREIGN)),
    ("--chown", |p| edit_copy(p, "/o/", |copy| copy.chown = Some("7".into()))),
    ("--target", |p| p.target = Some("tools".into())),
    ("--target that differs", |p| p.target = Some("cross".into())),
];
