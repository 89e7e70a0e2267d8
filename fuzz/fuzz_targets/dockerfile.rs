//! Any bytes parse or fail; what parses plans or fails; errors and warnings can be shown.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use yadokari::dockerfile::lint::{CheckOptions, check_file, to_json, to_text};
use yadokari::dockerfile::{Listing, parse, render};
use yadokari::image::{ImageConfig, Platform};
use yadokari::plan::lint::check_bases;
use yadokari::plan::{Graph, PlanError, PlanOptions};

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let dockerfile = match parse(bytes) {
        Ok(dockerfile) => dockerfile,
        Err(error) => {
            let _ = render(&error.message, error.span, "Dockerfile", &text);
            return;
        }
    };
    let options = PlanOptions::new(Platform::new("linux", "amd64", None));
    let mut warnings = check_file(&dockerfile);
    warnings.extend(check_bases(&dockerfile, &options).unwrap_or_default());
    let planned = Graph::new(&dockerfile, &options).and_then(|graph| {
        let graph = graph.with_every_stage()?;
        let images: BTreeMap<_, _> =
            graph.images().iter().map(|image| (image.clone(), ImageConfig::default())).collect();
        graph.evaluate(&images, &mut warnings).map(|_| ())
    });
    if let Err(error) = planned {
        show(error, &Listing::new("Dockerfile", &text));
    }
    let checks = CheckOptions::parse(dockerfile.directives.check.as_deref().unwrap_or_default()).unwrap_or_default();
    let warnings = checks.select(warnings, &dockerfile);
    let _ = to_text(&warnings, "Dockerfile", bytes);
    let _ = to_json(&warnings, None, "Dockerfile", bytes);
});

fn show(error: PlanError, listing: &Listing<'_>) {
    let error = error.located(listing);
    let _ = listing.show(&error.to_string(), error.span.unwrap_or_default());
}
