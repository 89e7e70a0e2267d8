//! Images for several platforms: the real executor, a real registry, skopeo as the judge.

#![allow(clippy::expect_used)]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use support::front::{self, Asked};
use support::{Registry, assert_success, context, executor, run, text};
use tempfile::TempDir;

const BOTH: &str = "--platform=linux/arm64,linux/amd64";

fn build(context: &TempDir, arguments: &[&str]) -> Output {
    executor().arg("--context").arg(context.path()).args(arguments).output().expect("executor runs")
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// The manifest or index of a name, as the registry has it.
fn raw(name: &str) -> Value {
    json(&run("skopeo", &["inspect", "--raw", "--tls-verify=false", &format!("docker://{name}")]))
}

fn digest(name: &str) -> String {
    let name = format!("docker://{name}");
    run("skopeo", &["inspect", "--tls-verify=false", "--format", "{{.Digest}}", &name]).trim().to_owned()
}

fn platforms(index: &Value) -> Vec<String> {
    let entry = |entry: &Value| {
        let platform = &entry["platform"];
        format!("{}/{}", platform["os"].as_str().expect("os"), platform["architecture"].as_str().expect("arch"))
    };
    index["manifests"].as_array().expect("manifests").iter().map(entry).collect()
}

fn read_json(path: &Path) -> Value {
    json(&fs::read_to_string(path).expect("file"))
}

/// A file of the image's layers, taken from a layout that skopeo wrote.
fn file_of(name: &str, architecture: &str, path: &str) -> String {
    let layout = tempfile::tempdir().expect("temporary directory");
    let target = format!("dir:{}", layout.path().display());
    let source = format!("docker://{name}");
    run("skopeo", &["--override-arch", architecture, "copy", "--src-tls-verify=false", &source, &target]);
    let manifest = read_json(&layout.path().join("manifest.json"));
    let layers = manifest["layers"].as_array().expect("layers").iter().rev();
    let hex = |layer: &Value| layer["digest"].as_str().expect("digest").replace("sha256:", "");
    let found = layers.map(hex).find_map(|hex| {
        let archive = layout.path().join(hex).display().to_string();
        let output = Command::new("tar").args(["-xzOf", &archive, path]).output().expect("tar");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    });
    found.unwrap_or_else(|| panic!("{path} is in no layer of {name}"))
}

/// Pushes `base:1` for both platforms: busybox of this machine, and a file that tells the platform.
fn push_bases(registry: &Registry) -> String {
    let one = registry.push_base();
    let name = format!("{}/both:1", registry.address);
    let dockerfile = format!(
        "FROM --platform=linux/amd64 {one} AS bin\nFROM scratch\nARG TARGETARCH\nCOPY --from=bin / /\nCOPY <<EOF /arch\n$TARGETARCH\nEOF\nENV PATH=/bin\n"
    );
    assert_success(&build(&context(&dockerfile, &[]), &["-d", &name, BOTH]));
    name
}

#[test]
fn several_platforms_are_pushed_as_one_index() {
    let registry = Registry::start();
    let base = push_bases(&registry);
    let index = raw(&base);
    assert_eq!(index["mediaType"], "application/vnd.oci.image.index.v1+json");
    assert_eq!(platforms(&index), ["linux/arm64", "linux/amd64"], "in the order asked for");
    for architecture in ["arm64", "amd64"] {
        assert_eq!(file_of(&base, architecture, "arch"), format!("{architecture}\n"));
        let name = format!("docker://{base}");
        let arguments = ["--override-arch", architecture, "inspect", "--config", "--tls-verify=false", &name];
        assert_eq!(json(&run("skopeo", &arguments))["architecture"], architecture);
    }
}

#[test]
fn each_platform_is_built_from_its_own_base() {
    let registry = Registry::start();
    let base = push_bases(&registry);
    let name = format!("{}/app:1", registry.address);
    let files = tempfile::tempdir().expect("temporary directory");
    let (layout, digest_file) = (files.path().join("layout"), files.path().join("digest"));
    let project = context(&format!("FROM {base}\nCOPY --from={base} /arch /copied\n"), &[]);
    let mut outputs = vec!["-d".to_owned(), name.clone(), BOTH.to_owned()];
    outputs.push(format!("--oci-layout-path={}", layout.display()));
    outputs.push(format!("--digest-file={}", digest_file.display()));
    let output = build(&project, &outputs.iter().map(String::as_str).collect::<Vec<_>>());
    assert_success(&output);
    assert_eq!(file_of(&name, "arm64", "copied"), "arm64\n");
    assert_eq!(file_of(&name, "amd64", "copied"), "amd64\n");
    assert!(text(&output).contains("[linux/arm64 stage-0 1/2] COPY"), "{}", text(&output));
    assert!(text(&output).contains("[linux/amd64 stage-0 2/2] COPY"), "{}", text(&output));

    let written = fs::read_to_string(&digest_file).expect("digest file");
    assert_eq!(written, digest(&name), "of the index");
    let top = read_json(&layout.join("index.json"));
    assert_eq!(top["manifests"].as_array().map(Vec::len), Some(1));
    assert_eq!(top["manifests"][0]["digest"], written.as_str());
    assert_eq!(top["manifests"][0]["mediaType"], "application/vnd.oci.image.index.v1+json");
    let copy = format!("oci:{}", files.path().join("copy").display());
    run("skopeo", &["copy", "--all", &format!("oci:{}", layout.display()), &copy]);
}

#[test]
fn a_layer_of_several_platforms_is_uploaded_once() {
    let registry = Registry::start();
    let uploads = Arc::<Mutex<Vec<String>>>::default();
    let seen = Arc::clone(&uploads);
    let front = front::start(&registry.address, move |asked: &Asked| {
        if asked.status.is_none() && asked.is("PUT", "/blobs/uploads/") {
            seen.lock().expect("lock").push(asked.path.clone());
        }
        None
    });
    let project = context("FROM scratch\nCOPY a /a\n", &[("a", "for all")]);
    assert_success(&build(&project, &["-d", &format!("{front}/app:1"), BOTH]));
    let mut digests: Vec<String> = uploads
        .lock()
        .expect("lock")
        .iter()
        .filter_map(|path| Some(path.split_once("digest=")?.1.to_owned()))
        .collect();
    digests.sort();
    let count = digests.len();
    digests.dedup();
    assert_eq!((digests.len(), count), (3, 3), "two configurations and one layer");
}

#[test]
fn what_runs_on_the_build_platform_runs_once() {
    let registry = Registry::start();
    let base = push_bases(&registry);
    let name = format!("{}/app:1", registry.address);
    let dockerfile = format!(
        "FROM --platform=$BUILDPLATFORM {base} AS tool\nRUN echo tool > /tool\nARG TARGETARCH\n\
         RUN echo for $TARGETARCH > /out\nFROM {base}\nCOPY --from=tool /tool /out /\n"
    );
    let output = build(&context(&dockerfile, &[]), &["-d", &name, BOTH]);
    assert_success(&output);
    let log = text(&output);
    assert_eq!(log.matches("RUN echo tool > /tool: ").count(), 1, "without a cache, too:\n{log}");
    assert!(log.contains("[linux/amd64 tool 1/5] RUN echo tool"), "{log}");
    assert!(log.contains("[linux/amd64->arm64 tool 2/5] RUN echo for"), "{log}");
    assert!(log.contains("0 steps cached, 5 run"), "{log}");
    assert_eq!(file_of(&name, "arm64", "out"), "for arm64\n");
    assert_eq!(file_of(&name, "amd64", "out"), "for amd64\n");
}

#[test]
fn a_rebuild_of_an_index_runs_nothing() {
    let registry = Registry::start();
    let base = push_bases(&registry);
    let name = format!("{}/app:1", registry.address);
    let project = context(&format!("FROM {base}\nCOPY file /\n"), &[("file", "text")]);
    let arguments = ["-d", &name, BOTH, "--cache"];
    assert_success(&build(&project, &arguments));
    let first = digest(&name);
    let output = build(&project, &arguments);
    assert_success(&output);
    assert!(text(&output).contains("2 steps cached, 0 run"), "{}", text(&output));
    assert_eq!(digest(&name), first);
}

#[test]
fn one_platform_gets_an_index_only_when_told_to() {
    let registry = Registry::start();
    let project = context("FROM scratch\nCOPY file /\n", &[("file", "text")]);
    let name = format!("{}/app:1", registry.address);
    assert_success(&build(&project, &["-d", &name, "--custom-platform=linux/arm/v7"]));
    assert_eq!(raw(&name)["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    let arguments = ["-d", &name, "--customPlatform=linux/arm/v7", "--build-arg=BUILDKIT_MULTI_PLATFORM=1"];
    assert_success(&build(&project, &arguments));
    let index = raw(&name);
    assert_eq!(platforms(&index), ["linux/arm"]);
    assert_eq!(index["manifests"][0]["platform"]["variant"], "v7");
}

#[test]
fn a_step_for_another_architecture_says_what_it_needs() {
    if yadokari::sandbox::runs("s390x", std::env::temp_dir().as_path()) {
        return; // This machine has a handler: there is nothing to say.
    }
    let project = context("FROM scratch\nCOPY file /\nRUN /file\n", &[("file", "text")]);
    let output = build(&project, &["--no-push", "--platform=linux/s390x"]);
    assert_eq!(output.status.code(), Some(1));
    let log = text(&output);
    assert!(log.contains("RUN needs programs for linux/s390x, which this machine (linux/"), "{log}");
    assert!(log.contains("binfmt_misc") && log.contains("qemu-user-static"), "{log}");
    assert!(!log.contains("RUN /file: "), "it does not start:\n{log}");
}

#[test]
fn a_base_without_the_platform_tells_which_it_has() {
    let registry = Registry::start();
    let base = push_bases(&registry);
    let project = context(&format!("FROM {base}\nCOPY --from={base} /arch /copied\n"), &[]);
    let output = build(&project, &["--no-push", "--platform=linux/amd64", "--platform=linux/s390x"]);
    assert_eq!(output.status.code(), Some(1));
    let log = text(&output);
    assert!(log.contains("linux/s390x") && log.contains("linux/arm64") && log.contains("linux/amd64"), "{log}");
}

#[test]
fn wrong_usage_is_told_before_anything_is_built() {
    let project = context("FROM scratch\nCOPY file /\n", &[("file", "text")]);
    let fails = |arguments: &[&str], message: &str| {
        let output = build(&project, &[&["--no-push"], arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        assert!(text(&output).contains(message), "{}", text(&output));
    };
    fails(&[BOTH, "--tar-path=/nonexistent/image.tar"], "an archive holds an image for one platform");
    fails(&["--platform=linux/amd64,"], "invalid platform \"\"");
    fails(&[BOTH, "--build-arg=BUILDKIT_MULTI_PLATFORM=0"], "contradicts 2 platforms");
    fails(&["--build-arg=BUILDKIT_MULTI_PLATFORM=maybe"], "expected true or false");
}

/// For Linux on arm64: makes the directory `/made` and ends with 0.
fn program_for_arm64() -> Vec<u8> {
    let code: [u32; 8] =
        [0x92800c60, 0x100000e1, 0xd2803da2, 0xd2800448, 0xd4000001, 0xd2800000, 0xd2800ba8, 0xd4000001];
    let mut body: Vec<u8> = code.iter().flat_map(|word| word.to_le_bytes()).collect();
    body.extend_from_slice(b"/made\0");
    let length = 120 + body.len() as u64;
    let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0\x01\0\0\0".to_vec();
    // Entry, program headers, none of sections.
    [0x40_0078u64, 64, 0].iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
    bytes.extend_from_slice(b"\0\0\0\0\x40\0\x38\0\x01\0\0\0\0\0\0\0");
    // One segment to read and execute: the whole file.
    bytes.extend_from_slice(b"\x01\0\0\0\x05\0\0\0");
    [0, 0x40_0000, 0x40_0000, length, length, 4096]
        .iter()
        .for_each(|word: &u64| bytes.extend_from_slice(&word.to_le_bytes()));
    bytes.extend_from_slice(&body);
    bytes
}

/// Registers qemu for whatever `exec` starts, in a user namespace: nobody else on the machine sees it, and it ends with it.
/// Linux can do that since 6.7.
const WITH_HANDLER: &str = r#"mount -t binfmt_misc none /proc/sys/fs/binfmt_misc || exit 77
printf %s ':arm64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/usr/bin/qemu-aarch64-static:FP' >/proc/sys/fs/binfmt_misc/register || exit 77
exec "$@""#;

#[test]
fn a_step_for_another_architecture_runs_where_there_is_a_handler() {
    let project = context("FROM scratch\nCOPY program /\nRUN [\"/program\"]\n", &[]);
    let program = project.path().join("program");
    fs::write(&program, program_for_arm64()).expect("written");
    run("chmod", &["755", &program.display().to_string()]);
    let archive = project.path().join("image.tar").display().to_string();
    let mut command = Command::new("unshare");
    command.args([
        "--user",
        "--map-root-user",
        "--mount",
        "--pid",
        "--fork",
        "--mount-proc",
        "sh",
        "-c",
        WITH_HANDLER,
        "sh",
    ]);
    command.arg(executor().get_program()).arg("--context").arg(project.path());
    command.args(["--no-push", "--platform=linux/arm64", &format!("--tar-path={archive}")]);
    let output = command.output().expect("unshare");
    if output.status.code() == Some(77) || text(&output).contains("unshare failed") {
        return; // An older kernel, no qemu, or no user namespaces.
    }
    assert_success(&output);
    let layers = run("tar", &["-xOf", &archive, "manifest.json"]);
    let last = json(&layers)[0]["Layers"].as_array().and_then(|layers| layers.last().cloned()).expect("layers");
    let last = last.as_str().expect("a name");
    let listed = run("sh", &["-c", &format!("tar -xOf {archive} {last} | tar -tz")]);
    assert!(listed.lines().any(|line| line == "made/"), "{listed}");
}
