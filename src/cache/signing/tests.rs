use std::process::Command;

use super::super::RecordLayer;
use super::*;
use crate::digest::{ContentHash, Digest};
use crate::image::media_type;
use crate::key::CacheKey;

/// Keys as openssl writes them: PKCS#8, SEC 1 after its parameters, Ed25519; private and public.
fn openssl(arguments: &str) -> String {
    let script = format!("openssl {arguments} 2>/dev/null");
    let output = Command::new("sh").args(["-c", &script]).output().expect("sh");
    assert!(output.status.success(), "{arguments}");
    String::from_utf8(output.stdout).expect("PEM")
}

fn pairs() -> Vec<(SigningKey, TrustedKey)> {
    let directory = tempfile::tempdir().expect("directory");
    let kinds = [
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256",
        "ecparam -name prime256v1 -genkey",
        "genpkey -algorithm ed25519",
    ];
    let pair = |kind: &&str| {
        let private = openssl(kind);
        let path = directory.path().join("key");
        std::fs::write(&path, &private).expect("write");
        let public = openssl(&format!("pkey -in {} -pubout", path.display()));
        (SigningKey::from_pem(&private, b"").expect(kind), TrustedKey::from_pem(&public).expect(kind))
    };
    kinds.iter().map(pair).collect()
}

fn key(seed: &str) -> CacheKey {
    CacheKey(ContentHash::of(seed.as_bytes()))
}

fn record() -> Record {
    let layer = RecordLayer {
        blob: Descriptor::of(media_type::OCI_LAYER_GZIP, b"layer"),
        diff_id: DiffId(Digest::sha256(b"tar")),
        uncompressed_size: 3,
        toc: Descriptor::of(media_type::TOC, b"toc"),
        created: 5,
    };
    Record {
        version: Record::VERSION,
        key: key("definition"),
        content_key: Some(key("content")),
        parts: [("command".to_owned(), "x".to_owned())].into(),
        instruction: "RUN x".into(),
        layers: vec![layer],
        state: Some(ContentHash::of(b"state")),
        created: 7,
        duration_ms: 9,
        executor: "test".into(),
        signature: None,
    }
}

#[test]
fn what_a_key_signed_is_taken_and_nothing_else() {
    for (signer, trusted) in pairs() {
        assert_eq!(signer.public(), trusted);
        let ours = Trust::new(Some(signer), Vec::new());
        let signed = ours.signed(&record());
        assert_eq!(ours.judge(&record()), Ok(()), "nobody asked for signatures");
        let strict = Trust::new(None, vec![trusted.clone()]);
        assert_eq!(strict.judge(&signed), Ok(()));
        assert_eq!(strict.judge(&record()), Err(Distrust::Unsigned));
        assert_eq!(strict.signed(&signed).signature, None, "a signature is for its own record");
        let (stranger, _) = pairs().remove(0);
        let foreign = Trust::new(Some(stranger), Vec::new()).signed(&record());
        assert!(matches!(strict.judge(&foreign), Err(Distrust::Stranger(_))));
        let forged = Record {
            signature: foreign.signature.map(|s| RecordSignature { key: trusted.id().into(), ..s }),
            ..record()
        };
        assert!(matches!(strict.judge(&forged), Err(Distrust::Wrong(_))));
    }
}

#[test]
fn a_changed_field_breaks_the_signature() {
    let (signer, trusted) = pairs().remove(0);
    let strict = Trust::new(None, vec![trusted]);
    let signed = Trust::new(Some(signer), Vec::new()).signed(&record());
    let other = Descriptor::of(media_type::OCI_LAYER_GZIP, b"poison");
    let changes: [&dyn Fn(&mut Record); 12] = [
        &|r| r.key = key("another"),
        &|r| r.content_key = None,
        &|r| r.content_key = Some(key("another")),
        &|r| r.layers[0].blob = other.clone(),
        &|r| r.layers[0].blob.size += 1,
        &|r| r.layers[0].blob.media_type = media_type::OCI_LAYER.into(),
        &|r| r.layers[0].toc = other.clone(),
        &|r| r.layers[0].diff_id = DiffId(other.digest.clone()),
        &|r| r.layers.push(r.layers[0].clone()),
        &|r| r.layers.clear(),
        &|r| r.state = None,
        &|r| r.created += 1_000_000,
    ];
    for (number, change) in changes.iter().enumerate() {
        let mut changed = signed.clone();
        change(&mut changed);
        assert!(matches!(strict.judge(&changed), Err(Distrust::Wrong(_))), "change {number}");
    }
    // What only explains misses is not signed: large records go without.
    assert_eq!(strict.judge(&Record { parts: Default::default(), ..signed }), Ok(()));
}

#[test]
fn a_table_of_contents_is_bound_to_its_layer() {
    let (signer, trusted) = pairs().remove(0);
    let (layer, toc) = (DiffId(Digest::sha256(b"layer")), Descriptor::of(media_type::TOC, b"toc"));
    let signature = Trust::new(Some(signer), Vec::new()).sign_toc(&layer, &toc);
    let strict = Trust::new(None, vec![trusted]);
    assert_eq!(strict.judge_toc(&layer, &toc, signature.as_ref()), Ok(()));
    let other = DiffId(Digest::sha256(b"other"));
    assert!(strict.judge_toc(&other, &toc, signature.as_ref()).is_err());
    assert!(strict.judge_toc(&layer, &toc, None).is_err());
}
