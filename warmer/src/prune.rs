//! `--max-bytes`.

use std::collections::BTreeSet;

use yadokari::image::Platform;
use yadokari::report::{Event, Observer, human_bytes};
use yadokari::store::{PruneLimits, PrunePlan, Store, StoreError};

/// Makes the directory smaller than `limit` bytes, as far as what is wanted and what running builds may use
/// allows. Tells how many bytes were removed.
///
/// First goes what no image needs. Images that nobody wants any more lose their names when that is not
/// enough, oldest first.
pub(crate) fn prune(
    store: &Store,
    wanted: &BTreeSet<(String, Option<Platform>)>,
    limit: u64,
    observer: &dyn Observer,
) -> Result<u64, StoreError> {
    let mut plan = plan(store, limit)?;
    for (name, image, _) in store.named_images()? {
        if plan.bytes_after <= limit {
            break;
        }
        if !wanted.contains(&(name.clone(), image.platform.clone())) {
            store.forget_image(&name, &image)?;
            observer.event(Event::Info(format!("{name}: not asked for any more, removed from the directory")));
            plan = self::plan(store, limit)?;
        }
    }
    let pruned = store.prune(&plan)?;
    if pruned.bytes > 0 {
        let (freed, left) = (human_bytes(pruned.bytes), human_bytes(plan.bytes_before.saturating_sub(pruned.bytes)));
        observer.event(Event::Info(format!("removed {freed} for --max-bytes, {left} are left")));
    }
    if plan.bytes_after > limit {
        let left = human_bytes(plan.bytes_after);
        let text = format!("--max-bytes {}: {left} are needed, or were used within the last hour", human_bytes(limit));
        observer.event(Event::Warning(text));
    }
    Ok(pruned.bytes)
}

fn plan(store: &Store, limit: u64) -> Result<PrunePlan, StoreError> {
    store.plan_prune(PruneLimits { older_than: None, keep_bytes: Some(limit) })
}
