//! What decodes encodes to something that decodes to the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use yadokari::layer::Toc;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(toc) = Toc::from_bytes(bytes) {
        let again = toc.to_bytes().expect("a table in memory is written");
        assert_eq!(Toc::from_bytes(&again).expect("what we wrote"), toc);
    }
});
