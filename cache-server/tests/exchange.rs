//! Repositories that go elsewhere in an archive and come back, also by other tools.

// Clippy takes only functions marked as tests for tests.
#![allow(clippy::expect_used)]

mod registry;

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use registry::command::{assert_clean, program};
use registry::{Registry, descriptor, digest_of, image, noise};
use serde_json::{Value, json};
use yadokari::digest::Digest;
use yadokari::image::media_type;

fn run(arguments: &[&str], data: &Path, archive: &str) -> Output {
    let mut command = program();
    command.arg(arguments[0]).arg("--data").arg(data).args(&arguments[1..]).arg(archive);
    command.output().expect("cache-server runs")
}

#[track_caller]
fn succeed(output: &Output) -> String {
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");
    text
}

#[track_caller]
fn fail(output: &Output, message: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && text.contains(message), "{text}");
}

/// An index with one image, a record, and an image that refers to another one.
fn fill(registry: &Registry) -> (Value, Value) {
    let child = registry.push_parts("team/app", "child");
    assert_eq!(registry.put_manifest("team/app", &digest_of(&child).to_string(), &child).status, 201);
    let index = json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_INDEX,
        "manifests": [descriptor(media_type::OCI_MANIFEST, child.to_string().as_bytes())],
    });
    assert_eq!(registry.put_manifest("team/app", "v1", &index).status, 201);
    assert_eq!(registry.put_manifest("team/app", "latest", &index).status, 201);
    let mut signature = registry.push_parts("team/app", "signature");
    signature["subject"] = descriptor(media_type::OCI_INDEX, index.to_string().as_bytes());
    assert_eq!(registry.put_manifest("team/app", &digest_of(&signature).to_string(), &signature).status, 201);
    let mut record = registry.push_parts("cache", "record");
    record["annotations"] = json!({ "dev.yadokari.record": json!({ "duration_ms": 5 }).to_string() });
    assert_eq!(registry.put_manifest("cache", &"a".repeat(64), &record).status, 201);
    assert_eq!(
        registry.send("PUT", "/v2/cache/_yadokari/pins/{}".replace("{}", &"a".repeat(64)).as_str(), &[], b"").status,
        204
    );
    (index, signature)
}

#[test]
fn everything_comes_back() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    let archive = directory.path().join("all.tar").display().to_string();
    let registry = Registry::start_in(&from);
    let (index, signature) = fill(&registry);
    fail(&run(&["export"], &from, &archive), "in use by another cache-server");
    drop(registry);
    assert!(succeed(&run(&["export"], &from, &archive)).contains("2 repositories, 5 names of manifests"));
    assert!(succeed(&run(&["import"], &to, &archive)).contains("stored 4 manifests and "));
    assert_clean(&to);
    // Once more changes nothing.
    assert!(succeed(&run(&["import"], &to, &archive)).contains("and 0 blobs that were not here"));
    let registry = Registry::start_in(&to);
    for tag in ["v1", "latest"] {
        assert_eq!(registry.get(&format!("/v2/team/app/manifests/{tag}")).body, index.to_string().into_bytes());
    }
    let layer = Digest::sha256(b"layer of child");
    assert_eq!(registry.get(&format!("/v2/team/app/blobs/{layer}")).body, b"layer of child");
    let referrers = registry.get(&format!("/v2/team/app/referrers/{}", digest_of(&index))).json();
    assert_eq!(referrers["manifests"][0]["digest"], json!(digest_of(&signature)));
    let body = json!({ "keys": ["a".repeat(64)] }).to_string();
    let found = registry.send("POST", "/v2/cache/_yadokari/lookup", &[], body.as_bytes()).json();
    assert_eq!(found["records"].as_array().map(Vec::len), Some(1));
    assert_eq!(registry.get("/v2/cache/_yadokari/pins").json()["pins"][0]["until"], json!(null));
}

#[test]
fn one_repository_goes_through_a_pipe() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    let registry = Registry::start_in(&from);
    fill(&registry);
    drop(registry);
    let exported = run(&["export", "--repository", "cache"], &from, "-");
    assert!(String::from_utf8_lossy(&exported.stderr).contains("1 repositories, 1 names of manifests"));
    let mut import = program();
    import.args(["import", "--data"]).arg(&to).arg("-").stdin(Stdio::piped());
    let mut import = import.spawn().expect("cache-server runs");
    import.stdin.take().expect("piped").write_all(&exported.stdout).expect("taken");
    assert!(import.wait().expect("it ends").success());
    let registry = Registry::start_in(&to);
    assert_eq!(registry.get("/v2/_catalog").json(), json!({ "repositories": ["cache"] }));
    fail(&run(&["export", "--repository", "nothing"], &from, "-"), "there is no repository nothing");
}

#[test]
fn skopeo_reads_what_is_exported_and_writes_what_is_imported() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    let (ours, theirs) = (directory.path().join("ours.tar"), directory.path().join("theirs.tar"));
    let registry = Registry::start_in(&from);
    let layer = noise(5000);
    let configuration = br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
    registry.push_blob("a/b", &layer);
    registry.push_blob("a/b", configuration);
    let mut manifest = image(&layer);
    manifest["config"] = descriptor(media_type::OCI_CONFIG, configuration);
    manifest["layers"] = json!([]);
    assert_eq!(registry.put_manifest("a/b", "v1", &manifest).status, 201);
    drop(registry);
    succeed(&run(&["export"], &from, &ours.display().to_string()));
    let source = format!("oci-archive:{}:a/b:v1", ours.display());
    let target = format!("oci-archive:{}:v2", theirs.display());
    let copied = Command::new("skopeo").args(["--insecure-policy", "copy", "-q", &source, &target]).output();
    succeed(&copied.expect("skopeo runs"));
    let theirs = theirs.display().to_string();
    fail(&run(&["import"], &to, &theirs), "pass --repository NAME");
    succeed(&run(&["import", "--repository", "c"], &to, &theirs));
    let registry = Registry::start_in(&to);
    assert_eq!(
        registry.get("/v2/c/manifests/v2").header("docker-content-digest"),
        Some(&*digest_of(&manifest).to_string())
    );
}

/// A layout with an index that names `manifest`, and these members.
fn archive(path: &Path, manifest: &str, members: &[(String, Vec<u8>)]) {
    let mut builder = tar::Builder::new(File::create(path).expect("made"));
    let digest = Digest::sha256(manifest.as_bytes());
    let index = json!({ "schemaVersion": 2, "manifests": [{
        "mediaType": media_type::OCI_MANIFEST, "digest": digest, "size": manifest.len(),
        "annotations": { "org.opencontainers.image.ref.name": "a:v1" },
    }] });
    let own = [("index.json".to_owned(), index.to_string().into_bytes())];
    for (name, content) in own.iter().chain(members) {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, content.as_slice()).expect("written");
    }
    builder.finish().expect("written");
}

#[test]
fn archives_that_lie_are_refused() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (path, data) = (directory.path().join("bad.tar"), directory.path().join("data"));
    let text = path.display().to_string();
    let manifest = image(b"layer").to_string();
    let blob =
        |content: &[u8], stored: &[u8]| (format!("blobs/sha256/{}", Digest::sha256(content).hex()), stored.to_vec());
    let bytes = manifest.as_bytes();
    for (members, message) in [
        (vec![], "lacks sha256:"),
        (vec![blob(bytes, b"{}")], " in the archive holds sha256:"),
        (vec![blob(bytes, bytes), blob(b"{}", b"{}")], "lacks sha256:"),
        (vec![blob(bytes, bytes), blob(b"{}", b"{}"), blob(b"layer", b"other")], " in the archive holds sha256:"),
        (vec![blob(bytes, &vec![b' '; 5 << 20])], "more than a manifest may have"),
    ] {
        archive(&path, &manifest, &members);
        fail(&run(&["import"], &data, &text), message);
    }
    std::fs::write(&path, "no archive").expect("written");
    fail(&run(&["import"], &data, &text), "failed to read");
    File::create(&path).expect("made");
    fail(&run(&["import"], &data, &text), "the archive has no index.json");
    archive(&path, &manifest, &[blob(bytes, bytes), blob(b"{}", b"{}"), blob(b"layer", b"layer")]);
    succeed(&run(&["import"], &data, &text));
    assert_clean(&data);
}

#[test]
fn a_lost_index_is_no_empty_one() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let data = directory.path().join("data");
    let registry = Registry::start_in(&data);
    let digest = registry.push_blob("a", b"content");
    drop(registry);
    let index = data.join("index.redb");
    let whole = std::fs::read(&index).expect("read");
    std::fs::remove_dir_all(data.join("journal")).expect("removed");
    for damage in [None, Some(vec![0; 4096]), Some(whole[..whole.len() / 2].to_vec())] {
        match &damage {
            None => std::fs::remove_file(&index).expect("removed"),
            Some(bytes) => std::fs::write(&index, bytes).expect("written"),
        }
        for command in [&["serve", "--listen", "127.0.0.1:0", "--data"][..], &["gc", "--data"], &["verify", "--data"]] {
            let output = program().args(command).arg(&data).output();
            fail(&output.expect("cache-server runs"), "import an archive into an empty directory");
        }
        assert!(data.join("blobs/sha256").join(&digest.hex()[..2]).join(digest.hex()).exists());
    }
    std::fs::write(&index, &whole).expect("written");
    assert_clean(&data);
}
