//! Which images are fetched, and from where.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use yadokari::image::{Descriptor, Index, media_type};
use yadokari::registry::{Client, ClientOptions, Credentials};

use crate::world::World;

#[test]
fn images_of_all_stages_of_a_dockerfile() {
    let world = World::new();
    for image in ["base:1", "base:2", "tools:1", "mounted:1", "unused:1"] {
        world.push_small(image, image);
    }
    world.push("parent:1", "FROM scratch\nCOPY <<E /p\nE\nONBUILD COPY --from=HOST/trigger:1 /t /t\n", &[]);
    world.push_small("trigger:1", "trigger");
    let context = world.context(
        "ARG VERSION=1\nARG FIRST\nFROM HOST/unused:1 AS unused\nFROM HOST/base:${VERSION} AS first\n\
         COPY --from=HOST/tools:1 /one /one\nFROM scratch AS empty\nFROM first\nCOPY --from=empty / /\n\
         RUN --mount=from=HOST/mounted:1,target=/m true\nFROM HOST/parent:1\nFROM $FIRST\nFROM HOST/missing:1\n",
    );
    let dockerfile = context.path().join("Dockerfile");
    let first = format!("FIRST={}", world.name("base:1"));
    let dockerfile = dockerfile.to_str().expect("path");
    let (code, said) = world.warm_in_vain(&["-d", dockerfile, "--build-arg", "VERSION=2", "--build-arg", &first]);
    assert_eq!(code, Some(1));
    assert!(said.contains("7 of 8 images") && said.contains("missing:1"), "{said}");
    let expected: Vec<String> = ["base:1", "base:2", "mounted:1", "parent:1", "tools:1", "trigger:1", "unused:1"]
        .map(|image| world.name(image))
        .into();
    assert_eq!(world.warmed(), expected);
}

#[test]
fn a_dockerfile_that_is_wrong_is_shown() {
    let world = World::new();
    let context = world.context("FROM scratch\nFETCH x\n");
    let dockerfile = context.path().join("Dockerfile");
    let (code, said) = world.warm_in_vain(&["-d", dockerfile.to_str().expect("path")]);
    assert_eq!(code, Some(1));
    assert!(said.contains("unknown instruction: FETCH") && said.contains("Dockerfile:2"), "{said}");
    let (code, said) = world.warm_in_vain(&["-d", "/nonexistent/Dockerfile"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("/nonexistent/Dockerfile"), "{said}");
}

#[test]
fn a_dockerfile_without_images_is_no_failure() {
    let world = World::new();
    let context = world.context("FROM scratch AS a\nFROM a\n");
    let said = world.warm(&["-d", context.path().join("Dockerfile").to_str().expect("path")]);
    assert!(said.contains("no images to fetch"), "{said}");
    assert_eq!(fs::metadata(world.cache()).expect("directory").permissions().mode() & 0o777, 0o755);
}

#[test]
fn one_failure_is_1_and_the_others_are_done() {
    let world = World::new();
    let (good, missing) = (world.push_small("good:1", "good"), world.name("missing:1"));
    let (code, said) = world.warm_in_vain(&["-i", &missing, "-i", &good]);
    assert_eq!(code, Some(1));
    assert!(said.contains("WARN[") && said.contains("missing:1"), "{said}");
    assert!(said.contains("1 of 2 images are") && said.contains("error: 1 of 2 images could not"), "{said}");
    assert_eq!(world.warmed(), [good]);
}

#[test]
fn platforms_of_an_index_stand_side_by_side() {
    let world = World::new();
    let client = Client::new(ClientOptions::default(), Credentials::default()).expect("client");
    let mut manifests = Vec::new();
    for platform in ["linux/amd64", "linux/arm64"] {
        let name = world.push(
            "many:part",
            &format!("FROM scratch\nCOPY <<E /p\n{platform}\nE\n"),
            &["--custom-platform", platform],
        );
        let (manifest, digest) = world.manifest(&name);
        let size = fs::metadata(world.served_blob(&digest)).expect("manifest").len();
        let media_type = manifest["mediaType"].as_str().expect("type").to_owned();
        let mut descriptor = Descriptor::new(media_type, digest.parse().expect("digest"), size);
        descriptor.platform = Some(platform.parse().expect("platform"));
        manifests.push(descriptor);
    }
    let digests: Vec<String> = manifests.iter().map(|descriptor| descriptor.digest.to_string()).collect();
    let media_type = Some(media_type::OCI_INDEX.to_owned());
    let index = Index { schema_version: 2, media_type, manifests, annotations: Default::default() };
    let name = world.name("many:1");
    client.push_manifest(&name.parse().expect("name"), media_type::OCI_INDEX, &index.to_bytes()).expect("push");
    world.warm(&["-i", &name, "--custom-platform=linux/amd64,linux/arm64"]);
    for flag in ["--customPlatform=linux/arm64", "--platform=linux/amd64"] {
        assert!(world.warm(&["-i", &name, flag]).contains("already cached"));
    }
    let mut found: Vec<(String, String)> = world
        .index()
        .iter()
        .map(|entry| {
            [&entry["platform"]["architecture"], &entry["digest"]].map(|v| v.as_str().expect("text").into()).into()
        })
        .collect();
    found.sort();
    let [amd64, arm64] = digests.try_into().expect("two");
    assert_eq!(found, [("amd64".to_owned(), amd64), ("arm64".to_owned(), arm64)]);
    let (code, said) = world.warm_in_vain(&["-i", &name, "--custom-platform=linux/s390x"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("linux/s390x") && said.contains("linux/arm64"), "{said}");
}

#[test]
fn mirrors_and_maps_deliver_under_the_original_name() {
    let world = World::new();
    world.push_small("hub/library/a:1", "a");
    world.push_small("b:1", "b");
    let mirror = world.name("hub");
    let map = format!("ghcr.io={}", world.address);
    let said = world.warm(&[
        "-i",
        "a:1",
        "-i",
        "ghcr.io/b:1",
        "--registry-mirror",
        &mirror,
        "--registry-map",
        &map,
        "--skip-default-registry-fallback",
    ]);
    assert!(said.contains("2 of 2"), "{said}");
    assert_eq!(world.warmed(), ["docker.io/library/a:1", "ghcr.io/b:1"]);
}

#[test]
fn a_dockerfile_may_be_on_the_web() {
    let world = World::new();
    let name = world.push_small("one:1", "one");
    let listener = TcpListener::bind("127.0.0.1:0").expect("port");
    let address = listener.local_addr().expect("address");
    let text = format!("FROM {name}\n");
    let server = std::thread::spawn(move || {
        for status in ["200 OK", "404 Not Found"] {
            let (mut stream, _) = listener.accept().expect("request");
            let request = BufReader::new(&stream).lines().next().expect("line").expect("text");
            assert!(request.starts_with("GET /images/Dockerfile?token=hidden "), "{request}");
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", text.len());
            stream.write_all((head + &text).as_bytes()).expect("answer");
        }
    });
    let url = format!("http://{address}/images/Dockerfile?token=hidden");
    world.warm(&["-d", &url]);
    assert_eq!(world.warmed(), [name]);
    let (code, said) = world.warm_in_vain(&["-d", &url]);
    assert!(code == Some(1) && said.contains("404") && !said.contains("hidden"), "{said}");
    server.join().expect("server");
}
