use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::envelope::encoding;
use super::*;

/// Keys as openssl writes them: PKCS#8, SEC 1 after its parameters, Ed25519; private and public.
fn openssl(arguments: &str) -> String {
    let script = format!("openssl {arguments} 2>/dev/null");
    let output = Command::new("sh").args(["-c", &script]).output().expect("sh");
    assert!(output.status.success(), "{arguments}");
    String::from_utf8(output.stdout).expect("PEM")
}

const P256: &str = "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256";

#[test]
fn openssl_verifies_what_is_signed() {
    let directory = tempfile::tempdir().expect("directory");
    let file = |name: &str| directory.path().join(name).display().to_string();
    let envelope_of = |key: &SigningKey| Envelope::sign(key, "hint", "application/vnd.in-toto+json", b"{}".to_vec());
    for kind in [P256, "ecparam -name prime256v1 -genkey", "genpkey -algorithm ed25519"] {
        std::fs::write(file("key"), openssl(kind)).expect("write");
        let public = openssl(&format!("pkey -in {} -pubout", file("key")));
        let key = SigningKey::from_pem(&std::fs::read_to_string(file("key")).expect("key"), b"").expect(kind);
        assert_eq!(key.public(), TrustedKey::from_pem(&public).expect(kind));
        assert_eq!(key.public().to_pem(), public, "{kind}");
        let message = encoding("application/vnd.in-toto+json", b"{}");
        let signature = key.sign(&message);
        assert_eq!(signature, key.sign(&message), "the same once more");
        assert_eq!(envelope_of(&key).signer(&[key.public()]), Some(&key.public()));
        std::fs::write(file("pub"), &public).expect("write");
        std::fs::write(file("message"), &message).expect("write");
        std::fs::write(file("signature"), &signature).expect("write");
        let how = if kind.contains("ed25519") { "-rawin" } else { "-rawin -digest sha256" };
        let (message, signature, public) = (file("message"), file("signature"), file("pub"));
        openssl(&format!("pkeyutl -verify -pubin -inkey {public} {how} -in {message} -sigfile {signature}"));
    }
}

#[test]
fn the_encoding_is_the_specifications() {
    let bytes = encoding("http://example.com/HelloWorld", b"hello world");
    assert_eq!(bytes, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
}

#[test]
fn new_key_pairs_are_opened_with_their_password() {
    let random = std::array::from_fn(|index| index as u8 + 1);
    for password in [b"pass".as_slice(), b""] {
        let pair = KeyPair::new(&random, password).expect("made").expect("a key");
        assert!(pair.private.starts_with("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n"));
        let key = SigningKey::from_pem(&pair.private, password).expect("opens");
        assert_eq!(key.public(), TrustedKey::from_pem(&pair.public).expect("public"));
        let old = pair.private.replace("SIGSTORE", "COSIGN");
        assert_eq!(SigningKey::from_pem(&old, password).expect("opens").public(), key.public());
        assert!(matches!(SigningKey::from_pem(&pair.private, b"wrong"), Err(KeyError::Password)));
    }
    assert!(KeyPair::new(&[0xff; RANDOM_BYTES], b"").expect("no error").is_none(), "beyond the order of the curve");
}

#[test]
fn costly_parameters_are_refused_before_any_work() {
    let random = [7; RANDOM_BYTES];
    let pair = KeyPair::new(&random, b"").expect("made").expect("a key");
    let costly = replaced(&pair.private, "\"N\":65536", "\"N\":1073741824");
    assert!(matches!(SigningKey::from_pem(&costly, b""), Err(KeyError::Encryption(_))));
    let other = replaced(&pair.private, "nacl/secretbox", "aes");
    assert!(matches!(SigningKey::from_pem(&other, b""), Err(KeyError::Encryption(_))));
}

fn replaced(pem: &str, from: &str, to: &str) -> String {
    let inside: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let json = String::from_utf8(STANDARD.decode(inside).expect("base64")).expect("text");
    assert!(json.contains(from), "{json}");
    super::key::pem(super::sealed::LABEL, json.replace(from, to).as_bytes())
}

#[test]
fn what_is_no_key_is_named() {
    let rsa = openssl("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048");
    assert!(matches!(SigningKey::from_pem(&rsa, b""), Err(KeyError::Unsupported)));
    let other_curve = openssl("ecparam -name secp384r1 -genkey");
    assert!(matches!(SigningKey::from_pem(&other_curve, b""), Err(KeyError::Unsupported)));
    assert!(matches!(SigningKey::from_pem("", b""), Err(KeyError::NoKey(_))));
    assert!(matches!(TrustedKey::from_pem(&rsa), Err(KeyError::NoKey(_))));
}

fn key(seed: u8) -> SigningKey {
    let pair = KeyPair::new(&[seed; RANDOM_BYTES], b"").expect("made").expect("a key");
    SigningKey::from_pem(&pair.private, b"").expect("opens")
}

#[test]
fn envelopes_are_read_as_others_write_them() {
    let (ours, other) = (key(1), key(2));
    let json = Envelope::sign(&ours, "hint", "text/plain", b"\xfb\xff?".to_vec()).to_json();
    let read = |json: serde_json::Value| Envelope::from_json(json);
    assert_eq!(read(json.clone()).expect("envelope").payload, b"\xfb\xff?");
    let mut url = json.clone();
    url["payload"] = "-_8_".into();
    url["more"] = 1.into();
    let envelope = read(url).expect("the other alphabet");
    assert_eq!(envelope.signer(&[other.public(), ours.public()]), Some(&ours.public()));
    assert_eq!(envelope.signer(&[other.public()]), None);
    for (field, value) in [("payloadType", "text/html"), ("payload", "")] {
        let mut changed = json.clone();
        changed[field] = value.into();
        assert_eq!(read(changed).expect("envelope").signer(&[ours.public()]), None, "{field}");
    }
    for (count, signatures) in [(0, vec![]), (2, vec![json["signatures"][0].clone(); 2])] {
        let mut changed = json.clone();
        changed["signatures"] = signatures.into();
        assert_eq!(read(changed), Err(EnvelopeError::Signatures(count)));
    }
    assert_eq!(read(serde_json::json!({ "payload": 1 })), Err(EnvelopeError::Malformed));
}

proptest! {
    #[test]
    fn no_two_pairs_are_signed_alike(a in "[a-z0-9 ]{0,9}", b in "[a-z0-9 ]{0,9}", c in "[a-z0-9 ]{0,9}", d in "[a-z0-9 ]{0,9}") {
        prop_assert_eq!(encoding(&a, b.as_bytes()) == encoding(&c, d.as_bytes()), a == c && b == d);
    }

    #[test]
    fn any_text_is_read_without_panic(text in ".{0,200}", label in "(EC |ENCRYPTED SIGSTORE |)PRIVATE KEY") {
        let body = STANDARD.encode(&text);
        let _ = SigningKey::from_pem(&format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----"), b"");
        let _ = TrustedKey::from_pem(&text);
    }
}
