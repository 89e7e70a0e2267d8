//! Any bytes are a layer or an error, compressed or not.
#![no_main]

use libfuzzer_sys::fuzz_target;
use yadokari::digest::{DiffId, Digest};
use yadokari::layer::{decompress, scan};
use yadokari::view::View;

fuzz_target!(|bytes: &[u8]| {
    let Ok(tar) = decompress(bytes) else { return };
    if let Ok(scanned) = scan(tar) {
        let mut view = View::new();
        view.apply(&DiffId(Digest::sha256(b"")), &scanned.toc);
        assert!(view.walk(b"").all(|(path, _)| !path.is_empty()));
    }
});
