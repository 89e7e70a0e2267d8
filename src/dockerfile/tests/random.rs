use proptest::prelude::*;

use super::*;

/// Pieces that Dockerfiles are made of, in any order.
pub(super) fn soup() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "FROM ",
            "RUN ",
            "COPY ",
            "ADD ",
            "ENV ",
            "ARG ",
            "LABEL ",
            "ONBUILD ",
            "HEALTHCHECK ",
            "CMD ",
            "SHELL ",
            "VOLUME ",
            "EXPOSE ",
            "USER ",
            "as ",
            "NONE",
            "\n",
            "\n",
            "\r\n",
            "\\\n",
            "\\",
            " ",
            "\t",
            "\"",
            "'",
            "[",
            "]",
            ",",
            "<<E",
            "<<-'E'",
            "E\n",
            "--from=",
            "--mount=",
            "--link ",
            "--",
            "=",
            "a",
            "$a",
            "${a:-",
            "}",
            "#",
            "# escape=`\n",
            "`\n",
            "`",
            "é",
            "\u{A0}",
            "\u{FEFF}",
            "1",
            "s",
        ])
        .prop_map(str::to_owned),
        "[ -~]{0,3}",
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

fn check_spans(file: &Dockerfile, lines: usize) -> Result<(), TestCaseError> {
    let inner = file
        .stages
        .iter()
        .flat_map(|stage| std::iter::once(&stage.span).chain(stage.instructions.iter().map(|i| &i.span)));
    let mut last = 0;
    for span in file.global_args.iter().map(|arg| &arg.span).chain(inner) {
        prop_assert!(last < span.start && span.start <= span.end && span.end <= lines, "{:?} after {}", span, last);
        last = span.end;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn any_bytes(bytes: Vec<u8>) {
        if let Err(error) = parse(&bytes) {
            render(&error.message, error.span, "Dockerfile", &String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn any_soup(body in soup()) {
        let source = format!("FROM a\n{body}");
        match parse(source.as_bytes()) {
            Ok(file) => check_spans(&file, source.split('\n').count())?,
            Err(error) => {
                let shown = render(&error.message, error.span, "Dockerfile", &source);
                prop_assert!(shown.starts_with(&error.message));
            }
        }
    }

    #[test]
    fn any_trigger(text in soup()) {
        let _ = parse_trigger(&text, '\\');
    }

    /// Lines that are joined already parse to the same when they are parsed again.
    #[test]
    fn joined_lines_are_stable(body in soup()) {
        let Ok(file) = parse(format!("FROM a\n{body}").as_bytes()) else { return Ok(()) };
        let escape = file.directives.escape;
        for instruction in &file.stages[0].instructions {
            let continued = instruction.text.ends_with(escape);
            if !instruction.text.contains("<<") && !continued && !instruction.text.starts_with('#') {
                let again = parse_trigger(&instruction.text, escape);
                match (&instruction.kind, again) {
                    // A trigger keeps the blanks at its end, which the text has not.
                    (Kind::OnBuild(first), Ok(Instruction { kind: Kind::OnBuild(again), .. })) => {
                        prop_assert_eq!(first.trim_end(), again);
                    }
                    (kind, Ok(again)) => prop_assert_eq!((kind, &instruction.text), (&again.kind, &again.text)),
                    (_, Err(error)) => prop_assert!(false, "{:?}: {}", instruction.text, error),
                }
            }
        }
    }
}
