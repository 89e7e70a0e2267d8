//! Any bytes parse or fail; what parses plans or fails; errors can be shown.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use yadokari::dockerfile::{parse, render};
use yadokari::image::{ImageConfig, Platform};
use yadokari::plan::{Graph, PlanOptions};

fuzz_target!(|bytes: &[u8]| {
    let dockerfile = match parse(bytes) {
        Ok(dockerfile) => dockerfile,
        Err(error) => {
            let _ = render(&error.message, error.span, "Dockerfile", &String::from_utf8_lossy(bytes));
            return;
        }
    };
    let options = PlanOptions::new(Platform::new("linux", "amd64", None));
    let Ok(graph) = Graph::new(&dockerfile, &options) else { return };
    let images: BTreeMap<_, _> = graph.images().iter().map(|image| (image.clone(), ImageConfig::default())).collect();
    let _ = graph.evaluate(&images);
});
