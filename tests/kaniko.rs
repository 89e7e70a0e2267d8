//! What pipelines that were written for Kaniko rely on: output files byte for byte, exit codes, warnings.

#![allow(clippy::expect_used)]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Output;
use std::thread::JoinHandle;

use support::web::Web;
use support::{Registry, assert_success, context, executor, run, text};
use tempfile::TempDir;

const ONE_LAYER: &str = "FROM scratch AS one\nCOPY file /one\nFROM scratch AS two\nCOPY file /two\n";

fn project() -> TempDir {
    context(ONE_LAYER, &[("file", "some text, some text, some text\n")])
}

fn build(project: &TempDir, arguments: &[&str]) -> Output {
    executor().arg("-c").arg(project.path()).args(arguments).output().expect("executor runs")
}

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(path).expect("file")).expect("JSON")
}

/// The manifest of a layout with one image.
fn manifest(layout: &Path) -> serde_json::Value {
    let index = json(&layout.join("index.json"));
    json(&layout.join("blobs").join(index["manifests"][0]["digest"].as_str().expect("digest").replace(':', "/")))
}

#[test]
fn output_files_are_kanikos_to_the_byte() {
    let (project, out) = (project(), tempfile::tempdir().expect("directory"));
    let flag = |name: &str| format!("--{name}={}", out.path().join(name).display());
    let names = ["-d", "index.docker.io/library/x:1", "-d=reg.example:5000/a/b", "-d", "ghcr.io/c/d:latest"];
    let files = [flag("digest-file"), flag("image-name-with-digest-file"), flag("oci-layout-path")];
    let arguments: Vec<&str> =
        names.into_iter().chain(files.iter().map(String::as_str)).chain(["--no-push", "--reproducible"]).collect();
    assert_success(&build(&project, &arguments));
    let read = |name: &str| fs::read_to_string(out.path().join(name)).expect(name);
    let digest = read("digest-file");
    let hex = digest.strip_prefix("sha256:").expect("sha256");
    assert!(hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)), "{digest:?}");
    let without_tag =
        format!("index.docker.io/library/x@{digest}\nreg.example:5000/a/b@{digest}\nghcr.io/c/d@{digest}\n");
    assert_eq!(read("image-name-with-digest-file"), without_tag);
    let index = json(&out.path().join("oci-layout-path/index.json"));
    assert_eq!(
        (index["manifests"].as_array().map(Vec::len), &index["manifests"][0]["annotations"]),
        (Some(1), &serde_json::Value::Null)
    );
    // With both, both have the tag.
    let tagged = flag("image-name-tag-with-digest-file");
    let arguments: Vec<&str> = arguments.into_iter().chain([tagged.as_str()]).collect();
    assert_success(&build(&project, &arguments));
    let with_tag = format!(
        "index.docker.io/library/x:1@{digest}\nreg.example:5000/a/b:latest@{digest}\nghcr.io/c/d:latest@{digest}\n"
    );
    assert_eq!(read("image-name-tag-with-digest-file"), with_tag);
    assert_eq!(read("image-name-with-digest-file"), with_tag);
}

#[test]
fn files_are_there_after_a_failed_push() {
    let (project, out) = (project(), tempfile::tempdir().expect("directory"));
    let files: Vec<String> = ["digest-file", "tar-path", "oci-layout-path"]
        .map(|name| format!("--{name}={}", out.path().join(name).display()))
        .into();
    let mut arguments = vec!["-d", "127.0.0.1:1/a:b", "--skip-push-permission-check"];
    arguments.extend(files.iter().map(String::as_str));
    let output = build(&project, &arguments);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let digest = fs::read_to_string(out.path().join("digest-file")).expect("digest");
    assert!(out.path().join("oci-layout-path/blobs").join(digest.replace(':', "/")).is_file());
    let archive = run("tar", &["-xOf", &out.path().join("tar-path").display().to_string(), "manifest.json"]);
    assert!(archive.contains(r#""RepoTags":["127.0.0.1:1/a:b"]"#), "{archive}");
}

#[test]
fn a_destination_that_refuses_is_found_out_before_the_build() {
    let project = context("FROM scratch\nCOPY missing /\n", &[]);
    let output = build(&project, &["-d", "127.0.0.1:1/a:b"]);
    assert!(text(&output).contains("127.0.0.1:1/a:b cannot be pushed to"), "{}", text(&output));
    let output = build(&project, &["-d", "127.0.0.1:1/a:b", "--skip-push-permission-check"]);
    assert!(text(&output).contains("missing"), "{}", text(&output));
}

#[test]
fn images_have_the_format_annotations_and_compression_that_were_asked_for() {
    let (project, out) = (project(), tempfile::tempdir().expect("directory"));
    let image = |name: &str, more: &[&str]| {
        let layout = out.path().join(name);
        let flag = format!("--oci-layout-path={}", layout.display());
        assert_success(&build(&project, &[&["--no-push", flag.as_str()], more].concat()));
        (manifest(&layout), layout)
    };
    let (docker, layout) = image("docker", &["--image-format=docker", "--annotation=a=b=c", "--annotation", "d="]);
    let types = [&docker["mediaType"], &docker["config"]["mediaType"], &docker["layers"][0]["mediaType"]];
    assert_eq!(
        types.map(|value| value.as_str().unwrap_or_default()),
        [
            "application/vnd.docker.distribution.manifest.v2+json",
            "application/vnd.docker.container.image.v1+json",
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
        ]
    );
    assert_eq!(docker["annotations"], serde_json::json!({ "a": "b=c", "d": "" }));
    run("skopeo", &["inspect", &format!("oci:{}", layout.display())]);
    let (plain, _) = image("plain", &[]);
    assert_eq!(
        (&plain["annotations"], plain["layers"][0]["mediaType"].as_str()),
        (&serde_json::Value::Null, Some("application/vnd.oci.image.layer.v1.tar+gzip"))
    );
    let (zstd, layout) = image("zstd", &["--compression=zstd", "--compression-level=19"]);
    assert_eq!(zstd["layers"][0]["mediaType"], "application/vnd.oci.image.layer.v1.tar+zstd");
    let blob = zstd["layers"][0]["digest"].as_str().expect("digest").replace(':', "/");
    run("zstd", &["-tq", &layout.join("blobs").join(blob).display().to_string()]);
    for wrong in [["--compression=zstd", "--image-format=docker"], ["--compression=zstd", "--tar-path=x"]] {
        assert_eq!(build(&project, &[&["--no-push"], &wrong[..]].concat()).status.code(), Some(2));
    }
    assert_eq!(build(&project, &["--no-push", "--compression-level=13"]).status.code(), Some(2));
}

#[test]
fn layers_of_another_compression_are_not_taken_from_the_cache() {
    let (project, out) = (project(), tempfile::tempdir().expect("directory"));
    let cache = format!("--cache-dir={}", out.path().join("cache").display());
    let build = |name: &str, compression: &str| {
        let layout = out.path().join(name);
        let flag = format!("--oci-layout-path={}", layout.display());
        assert_success(&build(
            &project,
            &["--no-push", "--cache", "--cache-repo=oci:/nonexistent/x", "--no-push-cache", &cache, compression, &flag],
        ));
        manifest(&layout)["layers"][0]["mediaType"].as_str().expect("type").rsplit('+').next().map(str::to_owned)
    };
    assert_eq!(build("1", "--compression=gzip").as_deref(), Some("gzip"));
    assert_eq!(build("2", "--compression=zstd").as_deref(), Some("zstd"));
    assert_eq!(build("3", "--compression=gzip").as_deref(), Some("gzip"));
}

#[test]
fn a_dockerfile_may_be_a_url() {
    let (project, site) = (project(), tempfile::tempdir().expect("directory"));
    fs::write(site.path().join("Dockerfile.web"), "FROM scratch\nCOPY file /web\n").expect("file");
    let web = Web::start(site.path(), None);
    let url = |name: &str| format!("--dockerfile=http://{}/{name}", web.address);
    let output = build(&project, &["--no-push", &url("Dockerfile.web")]);
    assert_success(&output);
    assert!(text(&output).contains("COPY file /web"), "{}", text(&output));
    let output = build(&project, &["--no-push", &url("none")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("failed to fetch the Dockerfile"), "{}", text(&output));
}

#[test]
fn builder_output_tells_what_was_pushed() {
    let (registry, project, out) = (Registry::start(), project(), tempfile::tempdir().expect("directory"));
    let names = ["a:1", "b:2"].map(|name| format!("{}/{name}", registry.address));
    let mut command = executor();
    command.arg("-c").arg(project.path()).args(["-d", &names[0], "-d", &names[1], "--digest-file"]);
    command.arg(out.path().join("digest")).env("BUILDER_OUTPUT", out.path().join("new")).env("KANIKO_DIR", "");
    assert_success(&command.output().expect("executor runs"));
    let digest = fs::read_to_string(out.path().join("digest")).expect("digest");
    let line = |name: &String| serde_json::json!({ "name": name, "digest": digest });
    let images = fs::read_to_string(out.path().join("new/images")).expect("images");
    let found: Vec<serde_json::Value> = images.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(found, names.iter().map(line).collect::<Vec<_>>());
}

#[test]
fn all_targets_are_built_and_the_first_is_written() {
    let (registry, project) = (Registry::start(), project());
    let name = format!("{}/t:1", registry.address);
    let output = build(&project, &["--target=ONE,two", "-d", &name]);
    assert_success(&output);
    assert!(text(&output).contains("COPY file /two"), "{}", text(&output));
    let layers = run("skopeo", &["inspect", "--tls-verify=false", "--config", &format!("docker://{name}")]);
    assert!(layers.contains("COPY file /one") && !layers.contains("COPY file /two"), "{layers}");
    let broken = context("FROM scratch AS a\nCOPY f /\nFROM scratch AS b\nCOPY missing /\n", &[("f", "")]);
    assert_eq!(build(&broken, &["--target=a", "--target=b", "--no-push"]).status.code(), Some(1));
}

#[test]
fn warnings_name_what_has_no_effect_once() {
    let project = project();
    let output = executor()
        .args([
            "--no-push",
            "--skip-unused-stages",
            "--use-new-run=false",
            "--credential-helpers=env",
            "--credential-helpers=gcloud",
            "--log-timestamp",
            "--log-format=text",
            "-c",
        ])
        .arg(project.path())
        .env("FF_KANIKO_RUN_VIA_TINI", "true")
        .env("KANIKO_PRE_CLEANUP", "1")
        .output()
        .expect("executor runs");
    assert_success(&output);
    let said = text(&output);
    for (line, times) in [
        ("--skip-unused-stages has no effect", 1),
        ("nobody is called \"gcloud\"", 1),
        ("--pre-cleanup has no effect", 1),
        ("FF_KANIKO_RUN_VIA_TINI", 1),
        ("--use-new-run", 0),
    ] {
        assert_eq!(said.matches(line).count(), times, "{line}: {said}");
    }
    assert!(said.contains("WARN[20") && said.contains("Z] --skip-unused-stages"), "{said}");
}

#[test]
fn a_dry_run_tells_what_is_cached_and_does_nothing() {
    let (registry, cache) = (Registry::start(), tempfile::tempdir().expect("directory"));
    let base = registry.push_base();
    let text_of =
        |last: &str| format!("FROM {base} AS one\nCOPY file /f\nFROM {base}\nCOPY --from=one /f /g\nRUN {last}\n");
    let project = context(&text_of("echo first > /made"), &[("file", "x")]);
    let name = format!("{}/app:1", registry.address);
    let cached = format!("--cache-dir={}", cache.path().display());
    let plan = |project: &TempDir| {
        let output = build(project, &["--dryrun", "--cache", "--no-push-cache", &cached, "-d", &name]);
        assert_success(&output);
        String::from_utf8(output.stdout).expect("text")
    };
    let steps = ["COPY file /f", "COPY --from=one /f /g", "RUN echo first > /made"];
    let all = format!(
        "FROM {base} AS one\n  {}\nFROM {base} AS stage-1\n  {}\n  {}\nPUSH {name}\n",
        steps[0], steps[1], steps[2]
    );
    assert_eq!(plan(&project), all);
    let tags = format!("http://{}/v2/app/tags/list", registry.address);
    assert!(
        !std::process::Command::new("curl").args(["-fsS", &tags]).output().expect("curl").status.success(),
        "pushed"
    );
    assert_success(&build(&project, &["--cache", "--no-push-cache", &cached, "-d", &name]));
    // The stage that is only copied from is not asked for.
    let hit = "CACHE HIT (local)";
    assert_eq!(
        plan(&project),
        format!("FROM {base} AS stage-1\n  {hit} {}\n  {hit} {}\nPUSH {name}\n", steps[1], steps[2])
    );
    fs::write(project.path().join("Dockerfile"), text_of("echo other > /made")).expect("written");
    assert_eq!(
        plan(&project),
        format!("FROM {base} AS stage-1\n  {hit} {}\n  RUN echo other > /made\nPUSH {name}\n", steps[1])
    );
    assert_eq!(build(&project, &["--dryrun"]).status.code(), Some(2), "it needs what a build needs");
}

#[test]
fn a_single_snapshot_is_one_layer_with_the_same_files() {
    let registry = Registry::start();
    let base = registry.push_base();
    let text = format!(
        "FROM {base}\nWORKDIR /work\nCOPY file /work/a\nRUN ln a b && echo new > /srv/n && rm /bin/touch\n\
         RUN b=/b/busybox && /bin/busybox mv /bin /b && $b mkdir /bin && $b cp -a /b/busybox /b/sh /bin/ && $b rm /srv/n && $b mkdir /srv/n\nENV last=1\n"
    );
    let (project, out) = (context(&text, &[("file", "x")]), tempfile::tempdir().expect("directory"));
    let cache = format!("--cache-dir={}", out.path().join("cache").display());
    let image = |name: &str, more: &[&str]| {
        let tar = out.path().join(name);
        let tar_path = format!("--tar-path={}", tar.display());
        assert_success(&build(
            &project,
            &[&["--no-push", "--cache", "--no-push-cache", &cache, "--reproducible", &tar_path], more].concat(),
        ));
        tar.display().to_string()
    };
    let (several, single) = (image("several.tar", &[]), image("single.tar", &["--single-snapshot"]));
    let again = image("again.tar", &["--single-snapshot"]);
    assert_eq!(fs::read(&single).expect("one"), fs::read(&again).expect("the same"), "the merged layer is cached");
    let inspect = |tar: &str, what: &str| run("skopeo", &["inspect", what, &format!("docker-archive:{tar}")]);
    let config = |tar: &str| serde_json::from_str::<serde_json::Value>(&inspect(tar, "--config")).expect("JSON");
    let layers = |tar: &str| config(tar)["rootfs"]["diff_ids"].as_array().map_or(0, Vec::len);
    let below =
        config(&several)["history"].as_array().expect("history").iter().filter(|e| e["empty_layer"] != true).count()
            - 4;
    assert_eq!((layers(&several), layers(&single)), (below + 4, below + 1));
    let with_layer =
        config(&single)["history"].as_array().expect("history").iter().filter(|e| e["empty_layer"] != true).count();
    assert_eq!(with_layer, below + 1);
    // Unpacked by somebody else, the files are the same.
    let files = |tar: &str| {
        let layout = tempfile::tempdir().expect("directory");
        let to = layout.path().display().to_string();
        run(
            "bash",
            &[
                "-ec",
                &format!(
                    "cd {to}; tar -xf {tar}; mkdir root; for layer in $(python3 -c 'import json; print(*json.load(open(\"manifest.json\"))[0][\"Layers\"])'); do for gone in $(tar -tf $layer | grep '/\\?\\.wh\\.[^/]*$' || true); do rm -rf root/$(dirname $gone)/$(basename $gone | cut -c5-); done; tar -C root --exclude='.wh.*' -xf $layer; done"
                ),
            ],
        );
        run(
            "bash",
            &[
                "-ec",
                &format!(
                    "cd {to}/root; find . -mindepth 1 -printf '%p %y %m %U:%G %n %l %T@\\n' | sort; find . -type f -exec sha256sum {{}} + | sort"
                ),
            ],
        )
    };
    assert_eq!(files(&several), files(&single));
}

#[test]
fn credential_helpers_are_those_that_are_named() {
    let project = project();
    let doctor = |flags: &[&str]| {
        let output = executor()
            .args(["doctor", "--json", "-c"])
            .arg(project.path())
            .args(flags)
            .env("GITHUB_TOKEN", "secret")
            .env("AWS_ACCESS_KEY_ID", "AKIA")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .output()
            .expect("executor runs");
        let said = text(&output);
        [said.contains("GitHub token"), said.contains("ecr")]
    };
    assert_eq!(doctor(&[]), [true, true]);
    assert_eq!(doctor(&["--credential-helpers=ecr"]), [false, true]);
    assert_eq!(doctor(&["--credential-helpers", "github", "--credential-helpers=acr"]), [true, false]);
    assert_eq!(doctor(&["--credential-helpers="]), [false, false]);
}

#[test]
fn what_a_build_needs_lies_in_the_kaniko_directory() {
    let (project, out) = (project(), tempfile::tempdir().expect("directory"));
    let directory = out.path().join("new/kaniko");
    let flag = format!("--kaniko-dir={}", directory.display());
    assert_success(&build(&project, &["--no-push", &flag]));
    assert_eq!(fs::read_dir(&directory).expect("made").count(), 0, "nothing stays");
}

/// Answers one request after the other as `answer` says; gives back what was asked.
struct Server {
    address: String,
    thread: JoinHandle<Vec<String>>,
}

impl Server {
    fn start(answer: fn(&str) -> String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("address").to_string();
        let serve = move || {
            let mut asked = Vec::new();
            for stream in listener.incoming().flatten() {
                let Some(request) = request(&stream) else { break };
                let _ = (&stream).write_all(answer(&request).as_bytes());
                asked.push(request);
            }
            asked
        };
        Self { address, thread: std::thread::spawn(serve) }
    }

    fn end(self) -> Vec<String> {
        drop(TcpStream::connect(&self.address));
        self.thread.join().expect("server")
    }
}

/// The request line and headers, in lower case, and the body.
fn request(stream: &TcpStream) -> Option<String> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let lower = head.to_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(lower + &String::from_utf8_lossy(&body))
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

#[test]
fn digests_are_put_to_a_url() {
    let server = Server::start(|_| answer("200 OK", "", ""));
    let flag = format!("--digest-file=http://{}/bucket/digest?signature=secret", server.address);
    assert_success(&build(&project(), &["--no-push", &flag]));
    let asked = server.end();
    let [put] = asked.as_slice() else { panic!("{asked:?}") };
    assert!(
        put.starts_with("put /bucket/digest?signature=secret ") && put.contains("content-type: text/plain"),
        "{put}"
    );
    assert_eq!(put.rsplit("\r\n\r\n").next().map(|body| (body.len(), body.starts_with("sha256:"))), Some((71, true)));

    let server = Server::start(|_| answer("403 Forbidden", "", ""));
    let flag = format!("--digest-file=http://{}/bucket/digest?signature=secret", server.address);
    let output = build(&project(), &["--no-push", &flag]);
    server.end();
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output);
    assert!(said.contains("/bucket/digest: ") && said.contains("403") && !said.contains("secret"), "{said}");
}

/// ECR with a tag that must not move.
fn immutable(request: &str) -> String {
    let message = "The image tag '1' already exists in the 'a' repository and cannot be overwritten because the repository is immutable.";
    match request.split(' ').next() {
        Some("put") => {
            answer("400 Bad Request", "", &format!(r#"{{"errors":[{{"code":"TAG_INVALID","message":"{message}"}}]}}"#))
        }
        Some("post") => answer("202 Accepted", "location: /v2/a/blobs/uploads/1\r\n", ""),
        Some("head") if request.contains("/blobs/") => answer("200 OK", "", ""),
        Some("head") => answer("404 Not Found", "", ""),
        _ => answer("204 No Content", "", ""),
    }
}

#[test]
fn a_tag_that_must_not_move_is_an_error_unless_told_otherwise() {
    for (flag, code) in [("--push-ignore-immutable-tag-errors=false", 1), ("--push-ignore-immutable-tag-errors", 0)] {
        let server = Server::start(immutable);
        let output = build(&project(), &["-d", &format!("{}/a:1", server.address), flag]);
        server.end();
        assert_eq!(output.status.code(), Some(code), "{}", text(&output));
        assert!(text(&output).contains("because the repository is immutable"), "{}", text(&output));
    }
}

/// Runs `executor push` and compares what a registry has with what was built.
fn pushed(path: &Path, registry: &Registry, name: &str) -> serde_json::Value {
    let names = [format!("{}/{name}:1", registry.address), format!("{}/other/{name}:2", registry.address)];
    let output = executor().arg("push").arg(path).args(["-d", &names[0], "--destination", &names[1]]).output();
    assert_success(&output.expect("executor runs"));
    let raw = |name: &String| run("skopeo", &["inspect", "--tls-verify=false", "--raw", &format!("docker://{name}")]);
    assert_eq!(raw(&names[0]), raw(&names[1]));
    let target = tempfile::tempdir().expect("directory");
    let copy = format!("dir:{}", target.path().display());
    run("skopeo", &["copy", "-a", "--src-tls-verify=false", &format!("docker://{}", names[0]), &copy]);
    serde_json::from_str(&raw(&names[0])).expect("JSON")
}

#[test]
fn layouts_and_archives_are_pushed() {
    let (registry, project, out) = (Registry::start(), project(), tempfile::tempdir().expect("directory"));
    let path = |name: &str| out.path().join(name).display().to_string();
    let (layout, tar) = (format!("--oci-layout-path={}", path("layout")), format!("--tar-path={}", path("tar")));
    assert_success(&build(&project, &["--no-push", &layout, &tar]));
    assert_eq!(pushed(&out.path().join("layout"), &registry, "layout"), manifest(&out.path().join("layout")));
    let archived = pushed(&out.path().join("tar"), &registry, "tar");
    assert_eq!(archived["layers"][0]["digest"], manifest(&out.path().join("layout"))["layers"][0]["digest"]);
    // As `docker save` writes it: layers that are not compressed.
    let from = format!("oci:{}", path("layout"));
    run("skopeo", &["copy", &from, &format!("docker-archive:{}:saved:1", path("saved"))]);
    let saved = pushed(&out.path().join("saved"), &registry, "saved");
    assert_eq!(saved["layers"][0]["mediaType"], "application/vnd.docker.image.rootfs.diff.tar.gzip");
    assert_eq!(saved["config"]["digest"].as_str().map(str::len), Some(71));
    let both = format!("--oci-layout-path={}", path("both"));
    assert_success(&build(&project, &["--no-push", "--platform=linux/amd64,linux/arm64", &both]));
    assert_eq!(pushed(&out.path().join("both"), &registry, "both")["manifests"].as_array().map(Vec::len), Some(2));
}

#[test]
fn what_is_no_image_is_not_pushed() {
    let (project, out) = (project(), tempfile::tempdir().expect("directory"));
    let path = |name: &str| out.path().join(name);
    assert_success(&build(&project, &["--no-push", &format!("--tar-path={}", path("tar").display())]));
    assert_success(&build(&project, &["--no-push", &format!("--oci-layout-path={}", path("layout").display())]));
    let bytes = fs::read(path("tar")).expect("archive");
    fs::write(path("short"), &bytes[..700]).expect("file");
    fs::write(path("rubbish"), "rubbish").expect("file");
    let blob = manifest(&path("layout"))["layers"][0]["digest"].as_str().expect("digest").replace(':', "/");
    fs::remove_file(path("layout/blobs").join(blob)).expect("layer");
    fs::create_dir(path("empty")).expect("directory");
    let registry = Registry::start();
    let name = format!("{}/x:1", registry.address);
    for (file, says) in
        [("short", "short"), ("rubbish", "rubbish"), ("empty", "no index.json"), ("layout", "lacks"), ("gone", "gone")]
    {
        let output = executor().arg("push").arg(path(file)).args(["-d", &name]).output().expect("executor runs");
        assert_eq!(output.status.code(), Some(1), "{file}: {}", text(&output));
        assert!(text(&output).contains(says), "{file}: {}", text(&output));
    }
}

fn login(config: &Path, arguments: &[&str], input: &str) -> Output {
    let mut command = executor();
    command.arg("login").args(arguments).env("DOCKER_CONFIG", config).stdin(std::process::Stdio::piped());
    let mut child = command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("executor runs");
    // One that refuses its arguments does not read.
    let _ = child.stdin.take().expect("stdin").write_all(input.as_bytes());
    child.wait_with_output().expect("output")
}

#[test]
fn a_login_is_kept_where_builds_look_for_it() {
    let directory = tempfile::tempdir().expect("directory");
    let config = directory.path().join("new");
    assert_success(&login(&config, &["reg.example:5000", "-u=me", "--password-stdin"], "se:cret\n"));
    assert_success(&login(&config, &["index.docker.io", "-u", "hub", "-p", "other"], ""));
    let file = config.join("config.json");
    let expected = serde_json::json!({ "auths": {
        "reg.example:5000": { "auth": "bWU6c2U6Y3JldA==" },
        "https://index.docker.io/v1/": { "auth": "aHViOm90aGVy" },
    }});
    assert_eq!(json(&file), expected);
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&file).expect("file").permissions());
    assert_eq!(mode & 0o777, 0o600);
    for (text_before, says) in [
        (r#"{"auths": "secret" }"#, "no configuration file"),
        ("{\n secret", "line 2"),
        (r#"{"credsStore":"ecr-login"}"#, "docker-credential-ecr-login"),
    ] {
        fs::write(&file, text_before).expect("file");
        let output = login(&config, &["reg.example", "-u=me", "--password-stdin"], "password");
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output).contains(says) && !text(&output).contains("secret"), "{}", text(&output));
        assert_eq!(fs::read_to_string(&file).expect("file"), text_before);
    }
    for wrong in [["a/b", "-u=me", "-p=x"], ["reg.example", "-u=", "-p=x"], ["reg.example", "-u=a:b", "-p=x"]] {
        assert_eq!(login(&config, &wrong, "").status.code(), Some(2), "{wrong:?}");
    }
}

/// A registry from before OCI: it looks at the type of the manifest.
fn of_docker(request: &str) -> String {
    let is_docker = request.contains("content-type: application/vnd.docker.distribution.manifest.v2+json");
    match request.split(' ').next() {
        Some("put") if is_docker => answer("201 Created", "", ""),
        Some("put") => answer("415 Unsupported Media Type", "", r#"{"errors":[{"code":"MANIFEST_INVALID"}]}"#),
        _ => immutable(request),
    }
}

#[test]
fn a_registry_that_takes_docker_only_is_told_apart() {
    for (flag, code) in [("--image-format=oci", 1), ("--image-format=docker", 0)] {
        let server = Server::start(of_docker);
        let output = build(&project(), &["-d", &format!("{}/a:1", server.address), flag]);
        server.end();
        let said = text(&output);
        assert_eq!(
            (output.status.code(), said.contains("--image-format=docker gives it")),
            (Some(code), code == 1),
            "{said}"
        );
    }
}
