//! References, digests, manifests, configurations, records, credential files.
#![no_main]

use libfuzzer_sys::fuzz_target;
use yadokari::digest::{ContentHash, Digest};
use yadokari::image::{Document, ImageConfig, Platform, Reference};
use yadokari::key::CacheKey;
use yadokari::registry::Credentials;
use yadokari::store::Record;

fuzz_target!(|bytes: &[u8]| {
    let _ = Document::parse(bytes, None);
    let _ = serde_json::from_slice::<ImageConfig>(bytes);
    let _ = Credentials::from_docker_config(bytes);
    let _ = Record::from_bytes(bytes, &CacheKey(ContentHash::of(b"")));
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = text.parse::<Digest>();
        let _ = text.parse::<Platform>();
        if let Ok(reference) = text.parse::<Reference>() {
            assert_eq!(reference.to_string().parse::<Reference>().expect("its own text"), reference);
        }
    }
});
