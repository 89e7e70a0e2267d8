use serde_json::{Value, json};
use yadokari::digest::Digest;
use yadokari::image::media_type;

use crate::registry::{Registry, descriptor, digest_of};

/// Follows `Link` from page to page; returns all entries and the sizes of the pages.
fn walk(registry: &Registry, target: &str, field: &str) -> (Vec<Value>, Vec<usize>) {
    let (mut entries, mut sizes, mut next) = (Vec::new(), Vec::new(), Some(target.to_owned()));
    while let Some(target) = next {
        let reply = registry.get(&target);
        assert_eq!(reply.status, 200, "{reply:?}");
        let page = reply.json()[field].as_array().expect("a list").clone();
        sizes.push(page.len());
        entries.extend(page);
        next = reply.header("link").map(|link| {
            let target = link.strip_prefix('<').and_then(|l| l.strip_suffix(">; rel=\"next\""));
            target.expect("a link to the next page").to_owned()
        });
    }
    (entries, sizes)
}

#[test]
fn tags_are_sorted_and_paged() {
    let registry = Registry::start();
    registry.get("/v2/a/tags/list").is_error(404, "NAME_UNKNOWN");
    let manifest = registry.push_parts("a", "image");
    assert_eq!(registry.get("/v2/a/tags/list").json(), json!({ "name": "a", "tags": [] }));
    for tag in ["b", "B", "a.1", "a", "a-1", "_", "a1", "10", "9"] {
        assert_eq!(registry.put_manifest("a", tag, &manifest).status, 201);
    }
    let sorted: Vec<Value> = ["10", "9", "B", "_", "a", "a-1", "a.1", "a1", "b"].map(Value::from).into();
    assert_eq!(walk(&registry, "/v2/a/tags/list", "tags"), (sorted.clone(), vec![9]));
    assert_eq!(walk(&registry, "/v2/a/tags/list?n=4", "tags"), (sorted.clone(), vec![4, 4, 1]));
    assert_eq!(walk(&registry, "/v2/a/tags/list?n=9", "tags"), (sorted.clone(), vec![9]));
    assert_eq!(walk(&registry, "/v2/a/tags/list?last=a-1", "tags").0, sorted[6..]);
    assert_eq!(walk(&registry, "/v2/a/tags/list?last=a0&n=1", "tags").0, sorted[7..]);
    assert_eq!(walk(&registry, "/v2/a/tags/list?n=0", "tags"), (vec![], vec![0]));
    assert_eq!(walk(&registry, "/v2/a/tags/list?n=99999999999999999999", "tags").0, sorted);
    for bad in ["-1", "x", "1.5"] {
        registry.get(&format!("/v2/a/tags/list?n={bad}")).is_error(400, "PAGINATION_NUMBER_INVALID");
    }
}

#[test]
fn the_catalog_lists_repositories() {
    let registry = Registry::start();
    assert_eq!(registry.get("/v2/_catalog").json(), json!({ "repositories": [] }));
    for repository in ["a/b/c", "a-b", "a", "z"] {
        registry.push_image(repository, "v1");
    }
    registry.open_session("unfinished");
    let sorted: Vec<Value> = ["a", "a-b", "a/b/c", "z"].map(Value::from).into();
    assert_eq!(walk(&registry, "/v2/_catalog", "repositories"), (sorted.clone(), vec![4]));
    assert_eq!(walk(&registry, "/v2/_catalog?n=3", "repositories"), (sorted, vec![3, 1]));
}

fn artifact(registry: &Registry, subject: &Digest, kind: &str, note: &str) -> Value {
    registry.push_blob("a", b"{}");
    json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_MANIFEST,
        "artifactType": kind,
        "config": descriptor(media_type::OCI_EMPTY, b"{}"),
        "layers": [],
        "subject": { "mediaType": media_type::OCI_MANIFEST, "digest": subject, "size": 123 },
        "annotations": { "note": note },
    })
}

fn referrers(registry: &Registry, subject: &Digest, query: &str) -> crate::registry::Reply {
    let reply = registry.get(&format!("/v2/a/referrers/{subject}{query}"));
    assert_eq!((reply.status, reply.header("content-type")), (200, Some(media_type::OCI_INDEX)), "{reply:?}");
    assert_eq!(
        (&reply.json()["schemaVersion"], &reply.json()["mediaType"]),
        (&json!(2), &json!(media_type::OCI_INDEX))
    );
    reply
}

#[test]
fn referrers_of_a_subject() {
    let registry = Registry::start();
    // The subject need not exist, nor the repository.
    let subject = Digest::sha256(b"subject");
    assert_eq!(referrers(&registry, &subject, "").json()["manifests"], json!([]));
    registry.get("/v2/a/referrers/latest").is_error(400, "DIGEST_INVALID");
    let sbom = artifact(&registry, &subject, "application/sbom+json", "one");
    let signature = artifact(&registry, &subject, "application/signature", "two");
    let mut image = registry.push_parts("a", "image");
    image["subject"] = sbom["subject"].clone();
    let mut index = json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [] });
    index["subject"] = sbom["subject"].clone();
    for manifest in [&sbom, &signature, &image, &index] {
        let reply = registry.put_manifest("a", &digest_of(manifest).to_string(), manifest);
        assert_eq!((reply.status, reply.header("oci-subject")), (201, Some(subject.to_string().as_str())));
    }
    let listed = referrers(&registry, &subject, "").json()["manifests"].as_array().expect("a list").clone();
    assert_eq!(listed.len(), 4);
    let entry = |manifest: &Value| listed.iter().find(|d| d["digest"] == json!(digest_of(manifest))).expect("listed");
    assert_eq!(entry(&sbom)["artifactType"], json!("application/sbom+json"));
    assert_eq!(entry(&sbom)["annotations"], json!({ "note": "one" }));
    assert_eq!(entry(&sbom)["size"], json!(sbom.to_string().len()));
    assert_eq!(entry(&image)["artifactType"], json!(media_type::OCI_CONFIG));
    assert_eq!(entry(&index)["mediaType"], json!(media_type::OCI_INDEX));
    assert_eq!(entry(&index).get("artifactType"), None);
    for query in ["?artifactType=application%2Fsbom%2Bjson", "?artifactType=application/sbom+json"] {
        let reply = referrers(&registry, &subject, query);
        assert_eq!(reply.header("oci-filters-applied"), Some("artifactType"));
        assert_eq!(reply.json()["manifests"], json!([entry(&sbom)]));
    }
    assert_eq!(registry.delete(&format!("/v2/a/manifests/{}", digest_of(&sbom))).status, 202);
    assert_eq!(referrers(&registry, &subject, "?artifactType=application/sbom+json").json()["manifests"], json!([]));
    assert_eq!(referrers(&registry, &subject, "").json()["manifests"].as_array().map(Vec::len), Some(3));
}

#[test]
fn long_referrer_lists_are_paged_with_their_filter() {
    let registry = Registry::start();
    let subject = Digest::sha256(b"subject");
    for i in 0..5 {
        let note = format!("{i}{}", "x".repeat(900_000));
        let manifest = artifact(&registry, &subject, "a/b+c", &note);
        assert_eq!(registry.put_manifest("a", &format!("t{i}"), &manifest).status, 201);
    }
    let target = format!("/v2/a/referrers/{subject}?artifactType=a%2Fb%2Bc");
    let (entries, sizes) = walk(&registry, &target, "manifests");
    assert_eq!((entries.len(), sizes), (5, vec![2, 2, 1]));
}
