//! What others put beside an image stays there.

use serde_json::json;
use yadokari::attest::{Attacher, Claim, SPDX, verify};
use yadokari::image::media_type;

use super::support::Registry;
use super::{client, document, fallback_tag, key, patient_client, push_image, repository};

#[test]
fn signers_at_the_same_time_lose_nothing() {
    let registry = Registry::start();
    let (client, at) = (patient_client(), repository(&registry, "app"));
    let image = push_image(&client, &at, "a");
    let keys: Vec<_> = (1..=5).map(key).collect();
    std::thread::scope(|scope| {
        for key in &keys {
            scope.spawn(|| Attacher::new(&client, &at).sign(&image, key).expect("signed"));
        }
    });
    for key in &keys {
        let found = verify(&client, &at, &[key.public()], &Claim::Signature).expect("asked");
        assert_eq!(found.verified.len(), 2, "a bundle and a tag: {found:?}");
        assert_eq!(found.rejected.len(), 8, "those of four others");
    }
}

#[test]
fn signing_again_changes_nothing() {
    let registry = Registry::start();
    let (client, at) = (client(), repository(&registry, "app"));
    let image = push_image(&client, &at, "a");
    let tags = [fallback_tag(&image.digest), format!("{}.sig", fallback_tag(&image.digest))];
    let documents = || tags.each_ref().map(|tag| document(&client, &at, tag).expect("there"));
    let attacher = Attacher::new(&client, &at);
    attacher.sign(&image, &key(1)).expect("signed");
    let before = documents();
    attacher.sign(&image, &key(1)).expect("signed");
    assert_eq!(documents(), before);
    attacher.attest(&image, (SPDX, &json!({})), None).expect("said");
    let [list, signatures] = documents();
    assert_eq!(list["manifests"].as_array().map(Vec::len), Some(2));
    assert_eq!(signatures, before[1]);
    let entry = &list["manifests"][1];
    assert_eq!(entry["artifactType"], "application/vnd.in-toto+json");
    assert_eq!(entry["annotations"]["in-toto.io/predicate-type"], SPDX);
}

#[test]
fn fields_that_are_not_known_here_stay() {
    let registry = Registry::start();
    let (client, at) = (client(), repository(&registry, "app"));
    let image = push_image(&client, &at, "a");
    let tag = at.with_tag(&fallback_tag(&image.digest));
    let entry = json!({ "mediaType": media_type::OCI_MANIFEST, "digest": image.digest.to_string(), "size": image.size, "urls": ["https://e.example/"] });
    let index = json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [entry], "annotations": { "a": "b" } });
    client.push_manifest(&tag, media_type::OCI_INDEX, index.to_string().as_bytes()).expect("pushed");
    Attacher::new(&client, &at).sign(&image, &key(1)).expect("signed");
    let list = document(&client, &at, &fallback_tag(&image.digest)).expect("there");
    assert_eq!((&list["manifests"][0], &list["annotations"]["a"]), (&entry, &json!("b")));
    assert_eq!(list["manifests"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_tag_with_something_else_is_not_overwritten() {
    let registry = Registry::start();
    let (client, at) = (client(), repository(&registry, "app"));
    let image = push_image(&client, &at, "a");
    let tag = fallback_tag(&image.digest);
    let other = push_image(&client, &at.with_tag(&tag), "b");
    let error = Attacher::new(&client, &at).sign(&image, &key(1)).expect_err("refused");
    assert!(error.to_string().contains("it stays as it is"), "{error}");
    let found = client.head_manifest(&at.with_tag(&tag), yadokari::registry::Purpose::Push).expect("asked");
    assert_eq!(found.map(|found| found.digest), Some(other.digest));
}
