//! From a reference to an image: indexes, platforms, mirrors.

use std::collections::BTreeMap;

use yadokari::digest::{DiffId, Digest};
use yadokari::image::{Descriptor, ImageConfig, Index, Manifest, Platform, Reference, media_type};
use yadokari::registry::{Client, Credentials, Fault, Purpose};

use super::docker::{Registry, Settings};
use super::server::{Reply, Server};
use super::{anonymous, chain, noise, options, push, reference};

/// Pushes an image with one layer and returns its manifest's descriptor.
fn push_image(client: &Client, to: &Reference, platform: &str, diff_ids: usize) -> Descriptor {
    let platform: Platform = platform.parse().expect("platform");
    let layer = push(client, to, &noise(100)).expect("push");
    let mut config =
        ImageConfig { architecture: platform.architecture.clone(), os: platform.os.clone(), ..ImageConfig::default() };
    config.rootfs.diff_ids = vec![DiffId(Digest::sha256(b"tar")); diff_ids];
    let bytes = config.to_bytes();
    push(client, to, &bytes).expect("push");
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(media_type::OCI_MANIFEST.into()),
        artifact_type: None,
        config: Descriptor::of(media_type::OCI_CONFIG, &bytes),
        layers: vec![layer],
        subject: None,
        annotations: BTreeMap::new(),
    };
    let bytes = manifest.to_bytes();
    let mut descriptor = Descriptor::of(media_type::OCI_MANIFEST, &bytes);
    client.push_manifest(&to.with_digest(descriptor.digest.clone()), media_type::OCI_MANIFEST, &bytes).expect("push");
    descriptor.platform = Some(platform);
    descriptor
}

fn push_index(client: &Client, to: &Reference, manifests: Vec<Descriptor>) -> Descriptor {
    let index = Index {
        schema_version: 2,
        media_type: Some(media_type::OCI_INDEX.into()),
        manifests,
        annotations: BTreeMap::new(),
    };
    let bytes = index.to_bytes();
    client.push_manifest(to, media_type::OCI_INDEX, &bytes).expect("push");
    Descriptor::of(media_type::OCI_INDEX, &bytes)
}

#[test]
fn the_platform_decides() {
    let registry = Registry::start(&Settings::default());
    let client = anonymous();
    let to = reference(&registry.host, "app:multi");
    let amd64 = push_image(&client, &to, "linux/amd64", 1);
    let arm64 = push_image(&client, &to, "linux/arm64", 1);
    let mut attestation = amd64.clone();
    attestation.annotations.insert("vnd.docker.reference.type".into(), "attestation-manifest".into());
    push_index(&client, &to, vec![attestation, arm64.clone(), amd64.clone()]);

    let resolved = client.resolve_image(&to, &"linux/amd64".parse().expect("platform")).expect("resolve");
    assert_eq!(resolved.reference, to.with_digest(amd64.digest.clone()));
    assert_eq!(resolved.source, resolved.reference);
    assert_eq!(resolved.config.architecture, "amd64");
    assert_eq!(resolved.manifest.layers.len(), 1);
    assert_eq!(Digest::sha256(&resolved.manifest_bytes), amd64.digest);
    assert_eq!(Digest::sha256(&resolved.config_bytes), resolved.manifest.config.digest);

    let error = client.resolve_image(&to, &"linux/s390x".parse().expect("platform")).expect_err("none fits");
    assert!(
        chain(&error).ends_with("no image for platform linux/s390x; available: linux/arm64, linux/amd64"),
        "{}",
        chain(&error)
    );
    let error = client.resolve_image(&to.with_tag("absent"), &Platform::host()).expect_err("no tag");
    assert!(matches!(*error.fault, Fault::NotFound(_)), "{error:?}");
}

#[test]
fn contradictory_images_are_refused() {
    let registry = Registry::start(&Settings::default());
    let client = anonymous();
    let to = reference(&registry.host, "app:bad");
    let image = push_image(&client, &to, "linux/amd64", 2);
    let by_digest = to.with_digest(image.digest);
    let error = client.resolve_image(&by_digest, &Platform::host()).expect_err("two diff IDs, one layer");
    assert!(chain(&error).contains("1 layers in the manifest, 2 in the configuration"), "{}", chain(&error));
}

#[test]
fn indexes_nest_so_deep_and_no_deeper() {
    let registry = Registry::start(&Settings::default());
    let client = anonymous();
    let platform: Platform = "linux/amd64".parse().expect("platform");
    let to = reference(&registry.host, "app:1");
    let mut inner = push_image(&client, &to, "linux/amd64", 1);
    let mut outcomes = Vec::new();
    for depth in 1..=4 {
        let tag = to.with_tag(&format!("d{depth}"));
        inner = push_index(&client, &tag, vec![inner]);
        inner.platform = Some(platform.clone());
        outcomes.push(client.resolve_image(&tag, &platform).is_ok());
    }
    assert_eq!(outcomes, [true, true, true, false]);
}

#[test]
fn mirrors_are_asked_first_and_may_fail() {
    let (mirror, original) = (Registry::start(&Settings::default()), Registry::start(&Settings::default()));
    let broken = Server::start(|_| Reply::new(503));
    let image = reference(&original.host, "library/app:1");
    let mirrored = reference(&mirror.host, "hub/library/app:1");
    let plain = anonymous();
    let there = push_image(&plain, &mirrored, "linux/amd64", 1);
    push_index(&plain, &mirrored, vec![there]);
    let only = push_image(&plain, &image, "linux/arm64", 1);
    push_index(&plain, &image.with_tag("only-original"), vec![only]);

    let mut settings = yadokari::registry::ClientOptions { retries: 0, ..options() };
    settings.maps.insert(original.host.clone(), vec![broken.host(), format!("{}/hub", mirror.host)]);
    let client = Client::new(settings.clone(), Credentials::none()).expect("client");
    let resolved = client.resolve_image(&image, &"linux/amd64".parse().expect("platform")).expect("resolve");
    assert_eq!(resolved.source.name(), mirrored.name());
    assert_eq!(resolved.reference.name(), image.name());
    let layer = &resolved.manifest.layers[0];
    assert_eq!(client.fetch_small_blob(&resolved.source, layer, Purpose::Pull).expect("fetch"), noise(100));
    assert_eq!(client.fetch_small_blob(&image, layer, Purpose::Pull).expect("fetch"), noise(100));
    assert!(broken.count("GET", "/v2/library/app/") >= 1, "mirrors are asked in order");

    let image = image.with_tag("only-original");
    let resolved = client.resolve_image(&image, &"linux/arm64".parse().expect("platform")).expect("resolve");
    assert_eq!(resolved.source.name(), image.name());
    settings.skip_default_registry_fallback = true;
    let client = Client::new(settings, Credentials::none()).expect("client");
    let error = client.resolve_image(&image, &"linux/arm64".parse().expect("platform")).expect_err("no fallback");
    assert!(matches!(*error.fault, Fault::Unavailable(_)), "a 503 says more than a 404: {error:?}");
}
