//! What the real executor writes down about each instruction, in BuildKit's words.

#![allow(clippy::expect_used)]

mod support;

use std::fs;
use std::path::Path;

use serde_json::Value;
use support::{Registry, assert_success, context, executor};

const DOCKERFILE: &str = r#"ARG GLOBAL=g
FROM BASE AS one
ARG A=1 B
ENV k="v 1" k2='$x'
RUN echo $A > /a
FROM one
ARG HTTP_PROXY
ARG A=2 C="x y" GLOBAL
LABEL l="a b" m=
RUN ["echo", "a  b"]
RUN --network=none --mount=target=/m true
RUN <<EOF
echo one
echo "two $A"
EOF
RUN cat <<EOF > /c
text
EOF
RUN <<-EOF
	#!/bin/sh
	echo script
EOF
COPY --chown=1:$A --chmod=644 --exclude=x --link f ./g /d/
COPY --from=one /a "$k"
COPY --parents --chown=3 f /p/
COPY f <<H <<'I' /h/
h
H
i
I
ADD --unpack=false f g /e/
WORKDIR w
WORKDIR /
USER $A
VOLUME /a ["/b"]
EXPOSE 90 80/UDP 100-101
STOPSIGNAL 9
HEALTHCHECK --interval=90s --retries=3 CMD a "b"
HEALTHCHECK CMD ["a", "b c"]
HEALTHCHECK NONE
SHELL ["/bin/sh", "-ec"]
RUN echo "shell" && true
CMD echo "q" \
  'r'
CMD []
ENTRYPOINT ["a", "b\tc"]
MAINTAINER me <$A>
ONBUILD RUN later
"#;

/// What it has to say, and whether the instruction makes no layer.
const EXPECTED: &[(&str, bool)] = &[
    ("ARG A=1 B", true),
    ("ENV k=v 1 k2=$x", true),
    ("RUN |2 A=1 B= /bin/sh -c echo $A > /a # buildkit", false),
    ("ARG HTTP_PROXY=http://proxy.example:1", true),
    ("ARG A=2 C=x y GLOBAL=g", true),
    ("LABEL l=a b m=", true),
    ("RUN |5 A=2 B= HTTP_PROXY=http://proxy.example:1 C=x y GLOBAL=g echo a  b # buildkit", false),
    ("RUN |5 A=2 B= HTTP_PROXY=http://proxy.example:1 C=x y GLOBAL=g /bin/sh -c true # buildkit", false),
    (
        "RUN |5 A=2 B= HTTP_PROXY=http://proxy.example:1 C=x y GLOBAL=g /bin/sh -c echo one\necho \"two $A\"\n # buildkit",
        false,
    ),
    (
        "RUN |5 A=2 B= HTTP_PROXY=http://proxy.example:1 C=x y GLOBAL=g /bin/sh -c cat <<EOF > /c\ntext\nEOF # buildkit",
        false,
    ),
    ("RUN |5 A=2 B= HTTP_PROXY=http://proxy.example:1 C=x y GLOBAL=g /bin/sh -c /dev/pipes/EOF # buildkit", false),
    ("COPY --chown=1:2 --chmod=644 f ./g /d/ # buildkit", false),
    ("COPY /a v 1 # buildkit", false),
    ("COPY --parents --chown=3 f /p/ # buildkit", false),
    ("COPY f <<H <<I /h/ # buildkit", false),
    ("ADD f g /e/ # buildkit", false),
    ("WORKDIR /w", false),
    ("WORKDIR /", true),
    ("USER 2", true),
    ("VOLUME [/a [/b]]", true),
    ("EXPOSE [100/tcp 101/tcp 80/udp 90/tcp]", true),
    ("STOPSIGNAL 9", true),
    (
        "HEALTHCHECK {Test:[CMD-SHELL a \"b\"] Interval:1m30s Timeout:0s StartPeriod:0s StartInterval:0s Retries:3}",
        true,
    ),
    ("HEALTHCHECK {Test:[CMD a b c] Interval:0s Timeout:0s StartPeriod:0s StartInterval:0s Retries:0}", true),
    ("HEALTHCHECK {Test:[NONE] Interval:0s Timeout:0s StartPeriod:0s StartInterval:0s Retries:0}", true),
    ("SHELL [/bin/sh -ec]", true),
    (
        "RUN |5 A=2 B= HTTP_PROXY=http://proxy.example:1 C=x y GLOBAL=g /bin/sh -ec echo \"shell\" && true # buildkit",
        false,
    ),
    ("CMD [\"/bin/sh\" \"-ec\" \"echo \\\"q\\\"   'r'\"]", true),
    ("CMD []", true),
    ("ENTRYPOINT [\"a\" \"b\\tc\"]", true),
    ("MAINTAINER me <$A>", true),
];

#[test]
fn every_instruction_is_noted_as_buildkit_does() {
    let registry = Registry::start();
    let dockerfile = DOCKERFILE.replace("BASE", &registry.push_base());
    let directory = context(&dockerfile, &[("f", "f"), ("g", "g")]);
    let layout = tempfile::tempdir().expect("temporary directory");
    let output = executor()
        .args(["--no-push", "--build-arg=HTTP_PROXY=http://proxy.example:1", "--context"])
        .arg(directory.path())
        .arg("--oci-layout-path")
        .arg(layout.path())
        .output()
        .expect("executor runs");
    assert_success(&output);
    let config = configuration(layout.path());
    let history = config["history"].as_array().expect("a list");
    // The base image has two entries of its own.
    let noted: Vec<(&str, bool)> = history.iter().skip(2).map(noted).collect();
    for (at, (noted, expected)) in noted.iter().zip(EXPECTED).enumerate() {
        assert_eq!(noted, expected, "entry {at}");
    }
    assert_eq!(noted.len(), EXPECTED.len());
    assert!(history.iter().all(|entry| entry["comment"] == "buildkit.dockerfile.v0"), "{history:?}");
    assert!(history.iter().all(|entry| entry["created"].is_string()), "{history:?}");
    let layers = history.iter().filter(|entry| entry["empty_layer"] != true).count();
    assert_eq!(config["rootfs"]["diff_ids"].as_array().map(Vec::len), Some(layers));
    assert_eq!(config["created"], history[history.len() - 1]["created"]);
}

#[test]
fn the_configuration_is_written_as_go_writes_it() {
    let directory = context("FROM scratch\nLABEL a=\"<&>\"\nENV Z=1\nCMD a && b\n", &[]);
    let layout = tempfile::tempdir().expect("temporary directory");
    let output = executor()
        .args(["--no-push", "--context"])
        .arg(directory.path())
        .arg("--oci-layout-path")
        .arg(layout.path())
        .output()
        .expect("executor runs");
    assert_success(&output);
    let bytes = configuration_text(layout.path());
    assert!(bytes.contains(r#""Labels":{"a":"\u003c\u0026\u003e"},"ArgsEscaped":true"#), "{bytes}");
    assert!(bytes.contains(r#""Cmd":["/bin/sh","-c","a \u0026\u0026 b"]"#), "{bytes}");
    let keys = ["{\"architecture\":", ",\"config\":", ",\"history\":", ",\"os\":", ",\"rootfs\":"];
    let places: Vec<Option<usize>> = keys.iter().map(|key| bytes.find(key)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{bytes}");
}

fn noted(entry: &Value) -> (&str, bool) {
    (entry["created_by"].as_str().expect("text"), entry["empty_layer"] == true)
}

fn configuration(layout: &Path) -> Value {
    serde_json::from_str(&configuration_text(layout)).expect("JSON")
}

fn configuration_text(layout: &Path) -> String {
    let read = |file: &str| fs::read_to_string(layout.join(file)).expect("file of the layout");
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().expect("digest");
        read(&format!("blobs/{}", digest.replace(':', "/")))
    };
    let index: Value = serde_json::from_str(&read("index.json")).expect("JSON");
    let manifest: Value = serde_json::from_str(&blob(&index["manifests"][0])).expect("JSON");
    blob(&manifest["config"])
}
