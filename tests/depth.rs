//! How many requests wait for one another, when the registry is far away: counts, not times. Every answer is held back so
//! long that what could be asked at the same time is. On a busy machine a thread may start too late all the same, and only
//! ever makes the count larger: so the least of several builds counts.

#![allow(clippy::expect_used)]

mod support;

use std::time::Duration;

use support::front::{self, Asked};
use support::{Registry, assert_success, context, executor, text, write};
use tempfile::TempDir;

/// An answer takes at least this long.
const FAR: Duration = Duration::from_millis(300);
const TRIES: usize = 10;

/// Of the three steps that a changed file touches: 13, and what a busy machine adds; saved one after the other they were 50.
const CHANGED: usize = 16;
/// Of thirty steps: 13, and the same; more than a hundred when every step was looked up and saved by itself.
const COLD: usize = 18;

struct World {
    registry: Registry,
    /// The same, far away.
    far: String,
}

impl World {
    fn new() -> Self {
        let registry = Registry::start();
        let far = front::start(&registry.address, |asked: &Asked| {
            if asked.status.is_none() {
                std::thread::sleep(FAR);
            }
            None
        });
        registry.push_base();
        Self { registry, far }
    }

    /// A project whose base image is BASE.
    fn project(&self, dockerfile: &str, files: &[(&str, &str)]) -> TempDir {
        context(&dockerfile.replace("BASE", &format!("{}/base:1", self.far)), files)
    }

    /// What a build says on a runner that has nothing.
    fn build(&self, project: &TempDir, at: &str, image: &str, cache: &str) -> String {
        let mut command = executor();
        command.arg("-c").arg(project.path()).args(["--cache=true", "-d", &format!("{at}/{image}")]);
        let output = command.arg(format!("--cache-repo={at}/{cache}")).output().expect("executor runs");
        assert_success(&output);
        text(&output)
    }

    /// That of several builds which is the least deep is no deeper than `most`, each after `change`.
    fn assert_depth(&self, project: &TempDir, most: usize, mut names: impl FnMut(usize) -> (String, String)) -> String {
        let mut seen = Vec::new();
        for number in 0..TRIES {
            let (image, cache) = names(number);
            let log = self.build(project, &self.far, &image, &cache);
            let depth = depth(&log);
            if depth <= most {
                return log;
            }
            seen.push((depth, log));
        }
        let (least, log) = seen.into_iter().min_by_key(|(depth, _)| *depth).expect("builds");
        panic!("{least} round trips and not {most}: {log}");
    }
}

/// Of "registries: 5 requests in 3 round trips".
fn depth(log: &str) -> usize {
    let (_, after) = log.split_once(" requests in ").expect("a count");
    after.split(' ').next().and_then(|number| number.parse().ok()).expect("a number")
}

const SERVICE: &str = "\
FROM BASE AS build
RUN echo tool > /tool
COPY lock /lock
RUN cat /lock > /deps
COPY src /src
RUN cat /src/a /deps > /app
FROM BASE
COPY --from=build /app /app
";

/// Base image and what is remembered of it; the record; then whether the image is there, or mounts; its name.
#[test]
fn an_unchanged_rebuild_is_two_deep_and_four_with_a_push() {
    let world = World::new();
    let project = world.project(SERVICE, &[("lock", "1"), ("src/a", "1")]);
    world.build(&project, &world.far, "app:1", "cache");
    let log = world.assert_depth(&project, 2, |_| ("app:1".into(), "cache".into()));
    assert!(log.contains(" 0 run"), "{log}");
    world.assert_depth(&project, 4, |number| (format!("app:new-{number}"), "cache".into()));
    world.assert_depth(&project, 4, |number| (format!("new-{number}/app:1"), "cache".into()));
}

/// More mounts than are under way at once, so that they are two round trips.
#[test]
fn a_long_image_is_five_deep_into_an_empty_repository() {
    let world = World::new();
    let steps: String = (0..200).map(|step| format!("COPY f /d{step}/\n")).collect();
    let project = world.project(&format!("FROM BASE\n{steps}"), &[("f", "1")]);
    world.build(&project, &world.registry.address.clone(), "app:1", "cache");
    // The base image has another name here; what is remembered of it is saved by the first of these.
    world.assert_depth(&project, 5, |number| (format!("new-{number}/app:1"), "cache".into()));
}

/// The records of what is missed, tables of contents, content keys and layers come one after the other; saving hides
/// behind all that but for the last step: its blob, its mount, the image.
#[test]
fn a_changed_source_file_is_saved_and_pushed_in_few_round_trips() {
    let world = World::new();
    let project = world.project(SERVICE, &[("lock", "1"), ("src/a", "1")]);
    world.build(&project, &world.far, "app:1", "cache");
    let log = world.assert_depth(&project, CHANGED, |number| {
        write(project.path(), "src/a", &format!("changed {number}"));
        ("app:1".into(), "cache".into())
    });
    assert!(log.contains("3 steps cached, 3 run"), "{log}");
}

/// The first build of all does not ask an empty repository for each of its steps.
#[test]
fn many_steps_into_an_empty_cache_are_few_round_trips() {
    let world = World::new();
    let steps: String = (0..30).map(|step| format!("COPY f /d{step}/\n")).collect();
    let project = world.project(&format!("FROM BASE\n{steps}"), &[("f", "1")]);
    let log = world.assert_depth(&project, COLD, |number| (format!("new-{number}/app:1"), format!("cache-{number}")));
    assert!(log.contains("0 steps cached, 30 run"), "{log}");
}
