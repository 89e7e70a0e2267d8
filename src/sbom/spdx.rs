//! SPDX 2.3 in JSON.
//!
//! # Source
//! SPDX specification 2.3, chapters 6, 7 and 11.

use serde_json::{Value, json};

use super::{Package, licenses};
use crate::digest::Digest;

const NO_ASSERTION: &str = "NOASSERTION";

/// What a document is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described<'a> {
    /// Of the image's manifest.
    pub digest: &'a Digest,
    /// As `linux/amd64`.
    pub platform: String,
    /// When the image was made, RFC 3339 in whole seconds.
    pub created: String,
    /// The program that says so.
    pub tool: String,
}

/// The document: the same for the same image.
pub fn document(described: &Described<'_>, packages: &[Package]) -> Value {
    let digest = described.digest;
    let checksum = json!({ "algorithm": digest.algorithm().name().to_uppercase(), "checksumValue": digest.hex() });
    let image = json!({
        "SPDXID": "SPDXRef-Image",
        "name": digest.to_string(),
        "versionInfo": digest.to_string(),
        "downloadLocation": NO_ASSERTION,
        "filesAnalyzed": false,
        "primaryPackagePurpose": "CONTAINER",
        "checksums": [checksum],
        "comment": format!("image for {}", described.platform),
    });
    let ids: Vec<String> = packages.iter().map(id).collect();
    let mut all = vec![image];
    all.extend(packages.iter().zip(&ids).map(|(package, id)| entry(package, id)));
    let contains = |id: &String| relationship("SPDXRef-Image", "CONTAINS", id);
    let mut relationships = vec![relationship("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-Image")];
    relationships.extend(ids.iter().map(contains));
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": format!("image {digest}"),
        "documentNamespace": format!("https://spdx.org/spdxdocs/image-{}", digest.hex()),
        "creationInfo": { "created": described.created, "creators": [format!("Tool: {}", described.tool)] },
        "packages": all,
        "relationships": relationships,
    })
}

fn relationship(from: &str, kind: &str, to: &str) -> Value {
    json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to })
}

/// The same package found in two places is two.
fn id(package: &Package) -> String {
    let whole = Digest::sha256(format!("{}\0{}\0{:?}", package.url, package.place, package.license).as_bytes());
    format!("SPDXRef-Package-{}", &whole.hex()[..24])
}

fn entry(package: &Package, id: &str) -> Value {
    let url =
        json!({ "referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": package.url });
    let mut entry = json!({
        "SPDXID": id,
        "name": package.name,
        "versionInfo": package.version,
        "downloadLocation": NO_ASSERTION,
        "filesAnalyzed": false,
        "licenseConcluded": NO_ASSERTION,
        "licenseDeclared": NO_ASSERTION,
        "copyrightText": NO_ASSERTION,
        "sourceInfo": format!("named by {}", package.place),
        "externalRefs": [url],
    });
    match &package.license {
        Some(license) if licenses::is_expression(license) => entry["licenseDeclared"] = license.as_str().into(),
        Some(other) => entry["licenseComments"] = format!("declared as: {other}").into(),
        None => {}
    }
    if let Some((algorithm, hex)) = &package.checksum {
        entry["checksums"] = json!([{ "algorithm": algorithm, "checksumValue": hex }]);
    }
    entry
}
