//! The journal: checkpoints, and replicas that fall behind them.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::registry::command::serve_in;
use crate::registry::{Registry, store};

fn listed(data: &Path, folder: &str) -> usize {
    store::objects(data, &format!("{folder}/")).len()
}

fn copying(data: &Path, copy: &Path) -> Registry {
    let mut command = serve_in(data);
    command.arg("--data").arg(copy);
    Registry::start_command(command, data)
}

/// Pushes manifests that fill segments.
fn fill(registry: &Registry, from: u32, to: u32) {
    let mut manifest = registry.push_parts("a", "large");
    for number in from..to {
        manifest["annotations"] = json!({ "filler": "x".repeat(700_000), "number": number.to_string() });
        assert_eq!(registry.put_manifest("a", &format!("v{number}"), &manifest).status, 201);
    }
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Waits until no more segments are left than go without another checkpoint: 4 MiB, or half of the last one.
fn wait_for_checkpoint(data: &Path, segments: usize) {
    wait_until("no checkpoint", || listed(data, "checkpoints") > 0 && listed(data, "segments") <= segments);
}

#[test]
fn a_replica_that_slept_through_a_checkpoint_knows_everything() {
    let data = Path::new("/journal/checkpoint");
    let (busy, sleeper) = (Registry::start_in(data), Registry::start_in(data));
    busy.push_image("a", "early");
    let copy = tempfile::tempdir().expect("temporary directory");
    drop(copying(data, copy.path()));
    assert_eq!(busy.push_image("a", "gone").to_string().len(), 71);
    assert_eq!(sleeper.get("/v2/a/manifests/gone").status, 200);
    sleeper.signal("STOP");
    assert_eq!(busy.delete("/v2/a/manifests/gone").status, 202);
    fill(&busy, 0, 9);
    wait_for_checkpoint(data, 5);
    sleeper.signal("CONT");
    // Its next change is made on top of all that.
    sleeper.push_image("b", "late");
    // So does one that begins with a copy from before it.
    for registry in [&sleeper, &busy, &Registry::start_in(data), &copying(data, copy.path())] {
        for number in 0..9 {
            assert_eq!(registry.head(&format!("/v2/a/manifests/v{number}")).status, 200);
        }
        assert_eq!(registry.head("/v2/a/manifests/early").status, 200);
        assert_eq!(registry.head("/v2/b/manifests/late").status, 200);
    }
    assert_eq!(sleeper.get("/v2/a/manifests/gone").status, 404);
    // The next checkpoint takes the place of the first one.
    fill(&busy, 9, 24);
    wait_for_checkpoint(data, 12);
    assert_eq!(sleeper.head("/v2/a/manifests/v23").status, 200);
    // It goes when the next one is there.
    wait_until("the first checkpoint stays", || listed(data, "checkpoints") < 8);
}
