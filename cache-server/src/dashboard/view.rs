use super::activity::{Activity, Miss, Recent};
use crate::demand::{Demand, Wanted};
use crate::leases::{Leases, Running};
use crate::metrics::{Gauges, Metrics};
use crate::mirror::{MirrorState, Mirrors};
use crate::storage::{Absence, Holdings, Large, Storage, StorageError};

/// Rows of a table.
pub(super) const ROWS: usize = 12;

/// All that the page shows.
#[derive(Debug)]
pub(crate) struct View {
    pub(super) recent: Recent,
    pub(super) gauges: Gauges,
    pub(super) used_bytes: u64,
    pub(super) max_bytes: Option<u64>,
    pub(super) holdings: Vec<Holdings>,
    pub(super) largest: Vec<Large>,
    pub(super) hottest: Vec<Wanted>,
    /// The oldest ones.
    pub(super) leases: Vec<Running>,
    /// All of them.
    pub(super) lease_count: usize,
    pub(super) mirrors: Vec<(String, MirrorState)>,
    /// For each of the recent misses.
    pub(super) absences: Vec<Absence>,
}

impl View {
    /// Blocks: looks at everything that is stored.
    ///
    /// # Errors
    /// When the index fails.
    pub(crate) fn of(
        storage: &Storage,
        (activity, metrics): (&Activity, &Metrics),
        (leases, mirrors, demand): (&Leases, &Mirrors, &Demand),
        second: f64,
    ) -> Result<Self, StorageError> {
        let recent = activity.recent();
        let absence = |miss: &Miss| match miss.reference.parse() {
            Ok(tag) => storage.explain_absence(&miss.repository, &tag),
            Err(_) => Ok(Absence::Never),
        };
        let absences = recent.misses.iter().map(absence).collect::<Result<_, _>>()?;
        let (leases, lease_count) = leases.running(ROWS);
        Ok(Self {
            gauges: metrics.gauges(),
            used_bytes: storage.used_bytes(),
            max_bytes: storage.max_bytes(),
            holdings: storage.holdings(ROWS)?,
            largest: storage.largest(ROWS)?,
            hottest: demand.top(ROWS, second, |_, _| true),
            leases,
            lease_count,
            mirrors: mirrors.states(),
            absences,
            recent,
        })
    }
}
