use super::*;

#[test]
fn triggers_of_an_image_run_first_and_once() {
    let text = "FROM tool AS tools\nFROM parent AS child\nENV Q=${Q}2\nFROM child";
    let (plan, images) = try_plan_with(text, &options()).expect(text);
    assert_eq!(plan.stages.iter().map(|stage| &*stage.name).collect::<Vec<_>>(), ["tools", "child", "stage-2"]);
    let created_by: Vec<_> = plan.stages[1].history.iter().map(|entry| entry.created_by.as_str()).collect();
    assert_eq!(
        created_by,
        ["ARG P=def", "ENV Q=def", "COPY /t /t # buildkit", "RUN |1 P=def /bin/sh -c make # buildkit", "ENV Q=def2"]
    );
    assert!(images.iter().any(|image| image.contains("/extra:")), "{images:?}");
    assert!(target(&plan).steps.is_empty());
    assert!(plan.stages[1].config.config.on_build.is_empty());
    let step = &plan.stages[1].steps[0];
    assert_eq!((&*step.title, step.span.start), ("ONBUILD COPY --from=tools /t /t", 2));
}

#[test]
fn images_of_triggers_are_asked_for_in_a_second_round() {
    let text = "FROM parent";
    let file = dockerfile::parse(text.as_bytes()).expect(text);
    let options = options();
    let graph = Graph::new(&file, &options).expect(text);
    assert_eq!(graph.images().len(), 1);
    assert_eq!(graph.evaluate(&BTreeMap::new(), &mut Vec::new()), Ok(Evaluation::NeedsImages(graph.images().clone())));
    let first = graph.images().iter().map(|image| (image.clone(), registry(image))).collect();
    match graph.evaluate(&first, &mut Vec::new()) {
        Ok(Evaluation::NeedsImages(more)) => {
            let names: Vec<_> = more.iter().map(|image| image.reference.repository().to_owned()).collect();
            assert_eq!(names, ["library/extra", "library/tools"]);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn triggers_of_a_stage() {
    let text =
        "FROM a AS parent\nONBUILD RUN one $X\nONBUILD ENV X=$Y\nENV Y=y\nFROM parent AS child\nRUN two\nFROM child";
    let plan = plan(text);
    let child = &plan.stages[1];
    let created_by: Vec<_> = child.history.iter().map(|entry| entry.created_by.as_str()).collect();
    assert_eq!(created_by, ["RUN /bin/sh -c one $X # buildkit", "ENV X=y", "RUN /bin/sh -c two # buildkit"]);
    assert_eq!(child.steps[0].span.start, 5);
    assert_eq!(plan.stages[0].config.config.on_build, ["RUN one $X", "ENV X=$Y"]);
    assert!(target(&plan).history.is_empty() && target(&plan).config.config.on_build.is_empty());
}

#[test]
fn triggers_are_kept_but_leave_no_history() {
    let plan = plan("FROM a\nONBUILD   env  A=b\nONBUILD COPY <<E /f\n$x\nE");
    assert_eq!(target(&plan).config.config.on_build, ["env  A=b", "COPY <<E /f\n$x\nE"]);
    assert!(target(&plan).history.is_empty() && target(&plan).steps.is_empty());
}

#[test]
fn a_trigger_can_have_heredocs() {
    let plan = plan("FROM a AS p\nONBUILD COPY <<E /f\n$V\nE\nFROM p\nENV V=later");
    assert_eq!(copies(&plan)[0].sources, [CopySource::Inline { name: "E".into(), content: "\n".into() }]);
}

#[test]
fn triggers_need_stages_that_are_only_used_by_them() {
    let text = "FROM a AS tools\nRUN tools\nFROM b AS p\nONBUILD COPY --from=tools /t /t\nFROM p";
    assert_eq!(plan(text).stages.len(), 3);
    let late = "FROM b AS p\nONBUILD COPY --from=tools /t /t\nFROM p\nFROM a AS tools\nFROM stage-1";
    assert_eq!(plan(late).stages.len(), 1);
}

#[test]
fn faults_of_triggers_stand_at_from() {
    assert!(
        error("FROM a\nFROM broken-parent")
            .starts_with("2: dockerfile parse error on line 1: unknown instruction: FETCH")
    );
    let own = "FROM a AS p\nONBUILD COPY --from=child /t /t\nFROM p AS child";
    assert_eq!(
        error(own),
        "3: cannot copy from stage \"child\", it needs to be defined before current stage \"child\""
    );
    assert_eq!(
        error("FROM a AS p\nONBUILD COPY --from=7 /t /t\nFROM p"),
        "3: invalid stage index 7: the last stage of the file is 1"
    );
    assert_eq!(error("FROM a AS p\nONBUILD EXPOSE x\nFROM p"), "3: invalid containerPort: x");
}

#[test]
fn images_of_stages_that_the_target_does_not_need() {
    let text =
        "FROM a AS unused\nRUN --mount=from=b,target=/b x\nFROM parent\nFROM scratch AS s\nFROM s\nCOPY --from=c / /";
    let (file, options) = (dockerfile::parse(text.as_bytes()).expect(text), options());
    let graph = Graph::new(&file, &options).expect(text);
    let names = |images: &BTreeMap<ImageRef, ImageConfig>| -> Vec<String> {
        let found = graph.images_of_all_stages(images).expect(text);
        found.iter().map(|image| image.reference.repository().replace("library/", "")).collect()
    };
    assert_eq!(graph.images().len(), 1);
    assert_eq!(names(&BTreeMap::new()), ["a", "b", "c", "parent"]);
    let parent = ImageRef { reference: "parent".parse().expect("valid"), platform: platform("linux/amd64") };
    let configs = BTreeMap::from([(parent.clone(), registry(&parent))]);
    assert_eq!(names(&configs), ["a", "b", "c", "extra", "parent", "tools"]);
}
