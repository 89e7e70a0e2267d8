//! Random Dockerfiles of several stages, and random changes of them.

use crate::oracle;
use crate::project::{
    Command, Copy, FOREIGN, From, HOST, Kind, Mount, Project, Run, Stage, Step, cat, copy, echo, file, link, project,
    run, stage,
};

/// Numbers that look random (SplitMix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.next() % count as u64).expect("small")
    }

    fn of<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())].clone()
    }

    fn word(&mut self) -> String {
        format!("w{}", self.below(1000))
    }
}

const DIRECTORIES: [&str; 3] = ["a", "b", "a/deep"];

/// A new project that can be built.
pub(crate) fn some_project(random: &mut Random) -> Project {
    let mut project = project(Vec::new());
    for number in 0..6 {
        let path = format!("{}/f{number}", random.of(&DIRECTORIES));
        project.set(&path, file(&random.word()));
    }
    project.set("b/l", link("../a"));
    project.set("a/deep/f", file("deep"));
    project.repository = [("f1", "in git"), ("part/f2", "deep in git")].map(|(p, t)| (p.into(), t.into())).into();
    for number in 0..2 + random.below(3) {
        let from = match random.below(3) {
            0 if number > 0 => From::Stage(project.stages[random.below(number)].name.clone()),
            other => From::Base(usize::from(other == 1)),
        };
        let architecture = (random.below(6) == 0).then_some(FOREIGN);
        project.stages.push(Stage { architecture, ..stage(&format!("s{number}"), from, Vec::new()) });
        for _ in 0..2 + random.below(4) {
            let changed = with_new_step(random, &project, number);
            project = if oracle::evaluate(&changed).is_possible { changed } else { project };
        }
    }
    project
}

fn with_new_step(random: &mut Random, project: &Project, stage: usize) -> Project {
    let mut project = project.clone();
    let new = some_steps(random, &project, stage);
    let steps = &mut project.stages[stage].steps;
    let at = random.below(steps.len() + 1);
    steps.splice(at..at, new);
    project
}

/// A file or directory that a stage has made so far, or one of the base.
fn some_path(random: &mut Random, project: &Project, stage: usize) -> String {
    let upto = Project {
        stages: project.stages[..=stage].to_vec(),
        target: Some(project.stages[stage].name.clone()),
        ..project.clone()
    };
    let tree = oracle::evaluate(&upto).trees.remove(0);
    let is_made = |path: &str| (path.starts_with(['d', 'r']) && path != "dev") || path == "etc/version";
    let paths: Vec<String> = tree.into_iter().filter(|(path, _)| is_made(path)).map(|(path, _)| path).collect();
    format!("/{}", random.of(&paths))
}

fn some_source(random: &mut Random, project: &Project) -> String {
    let paths: Vec<String> = project.files.keys().filter(|path| !path.is_empty()).cloned().collect();
    match random.below(5) {
        0 => format!("{}/f*", random.of(&DIRECTORIES)),
        1 => ".".into(),
        _ => random.of(&paths),
    }
}

/// The COPY, or one that leaves something out or keeps directories.
fn some_part(random: &mut Random, copy: Copy) -> Copy {
    let patterns = ["f1", "**/f2", "deep", "*3", "**/f*", "a/f*", "f"];
    let mut exclude = Vec::new();
    if random.below(3) == 0 {
        exclude.push(random.of(&patterns).to_owned());
        if random.below(3) == 0 {
            exclude.push(format!("!{}", random.of(&patterns)));
        }
    }
    let parents = random.below(4) == 0 && copy.sources.iter().all(|source| source != ".");
    Copy { exclude, parents, ..copy }
}

/// Steps that belong together, for this stage.
fn some_steps(random: &mut Random, project: &Project, stage: usize) -> Vec<Step> {
    let id = random.below(1_000_000);
    let (result, word) = (format!("/r{id}"), random.word());
    let known = some_path(random, project, stage);
    let name = random.of(&["ONE", "TWO"]).to_owned();
    let earlier = (stage > 0).then(|| random.below(stage));
    let one = match random.below(15) {
        0..=2 => {
            let add = random.below(4) == 0;
            let chown = (random.below(3) == 0).then(|| "app".into());
            let chmod = (random.below(4) == 0).then_some(0o750);
            let source = some_source(random, project);
            let some = some_part(random, copy(&[&source], &format!("/d{id}/")));
            Step::Copy(Copy { add, chown, chmod, parents: some.parents && !add, ..some })
        }
        3 | 4 => match earlier {
            Some(earlier) => {
                let path = some_path(random, project, earlier);
                let from = Some(project.stages[earlier].name.clone());
                let some = some_part(random, copy(&[&path], &format!("/d{id}/")));
                Step::Copy(Copy { from, link: random.below(3) == 0, ..some })
            }
            None => Step::Workdir(format!("/d{id}/x")),
        },
        5 => run(Command::Head(1 + random.below(3), known, result)),
        6 => {
            let from = earlier.map(|earlier| project.stages[earlier].name.clone());
            let source = match earlier {
                Some(earlier) => some_path(random, project, earlier),
                None => random.of(&DIRECTORIES).to_owned(),
            };
            let mount = Mount::Bind { from, source, target: "/m".into() };
            Step::Run(Run { command: cat(&["/m", "/m/f1", "/m/f"], &result), mounts: vec![mount], heredoc: false })
        }
        7 => run(Command::Variable(name, result)),
        8 => Step::Env(name, word),
        9 => Step::Arg(name, word),
        10 => run(Command::Chmod(0o711, known)),
        11 if known != "/etc/version" => run(Command::Remove(known)),
        12 => {
            let user = |name: &str| Step::User(name.into());
            return vec![user("app"), run(echo(&word, &format!("/tmp{result}"))), user("root")];
        }
        13 => {
            let repository = Some(random.of(&["", "part"]).to_owned());
            let some = some_part(random, copy(&[], &format!("/d{id}/")));
            Step::Copy(Copy { add: true, repository, parents: false, ..some })
        }
        _ => run(cat(&[&known, "/etc/version"], &result)),
    };
    vec![one]
}

/// The project with one change, of the files or of the Dockerfile; it can be built.
pub(crate) fn changed(random: &mut Random, project: &Project) -> Project {
    loop {
        let mut changed = project.clone();
        change(random, &mut changed);
        if oracle::evaluate(&changed).is_possible {
            return changed;
        }
    }
}

fn change(random: &mut Random, project: &mut Project) {
    let is_file = |path: &&String| matches!(project.files[*path].kind, Kind::File(_));
    let files: Vec<String> = project.files.keys().filter(is_file).cloned().collect();
    let path = random.of(&files);
    let stage = random.below(project.stages.len());
    match random.below(18) {
        0..=2 => project.set(&path, file(&random.word())),
        3 => project.files.entry(path).and_modify(|entry| entry.mode ^= 0o111).or_insert_with(|| file("")).time += 1,
        4 => project.files.values_mut().for_each(|entry| entry.time += 77),
        5 => {
            let path = format!("{}/f{}", random.of(&DIRECTORIES), random.below(20));
            project.set(&path, file(&random.word()));
        }
        6 if files.len() > 3 => drop(project.files.remove(&path)),
        7 => project.set("b/l", link(random.of(&["../a", "deep", "f1"]))),
        8 => drop(project.arguments.insert(random.of(&["ONE", "TWO"]).to_owned(), random.word())),
        9 => project.blanks = 1 + random.below(3),
        10 => project.stages[stage].steps.push(Step::Line(format!("LABEL x={}", random.word()))),
        11 => *project = with_new_step(random, project, stage),
        12 if !project.stages[stage].steps.is_empty() => {
            let at = random.below(project.stages[stage].steps.len());
            project.stages[stage].steps.remove(at);
        }
        13 if project.stages[stage].steps.len() > 1 => {
            let at = random.below(project.stages[stage].steps.len() - 1);
            project.stages[stage].steps.swap(at, at + 1);
        }
        14 => project.stages[stage].architecture = random.of(&[None, Some(HOST), Some(FOREIGN)]),
        15 => drop(project.repository.insert(random.of(&["f1", "part/f2", "part/f3"]).to_owned(), random.word())),
        16 => project.message = random.word(),
        _ => {
            if let From::Base(number) = &mut project.stages[stage].from {
                *number = 1 - *number;
            }
        }
    }
}
