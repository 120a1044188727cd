//! How long each loss can last at most, from the settings. `docs/recovery.md` has the same table; a test keeps the two
//! equal, and the end-to-end tests measure.
//!
//! A bound counts the waits that the system imposes on itself. The work that follows (a statement, a copy) comes on
//! top, and while nobody leads, the leader's own bound does.

use std::time::Duration;

use crate::Settings;

/// How old a pause without an attempt is before it is ended; the engine's own constant.
const ORPHAN_AGE: Duration = Duration::from_secs(10);
/// How long an attempt stands half taken back before the reconciler goes on with it; the engine's own constant.
const FAILING_AGE: Duration = Duration::from_secs(2);
/// How old an unmirrored change is before the reconciler tells the mirror, and how often it looks; the worker's own.
const OUTBOX: Duration = Duration::from_millis(500 + 250);

/// A loss, and within what time it is made good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// What is lost.
    pub loss: &'static str,
    /// What is right again.
    pub right: &'static str,
    /// The bound as a formula over settings.
    pub formula: &'static str,
    /// Its value.
    pub within: Duration,
}

impl Settings {
    /// The bound of every loss, in the order of the documentation.
    pub fn recovery(&self) -> Vec<Bound> {
        [self.of_leader(), self.of_jobs(), self.of_pauses(), self.of_mirror()].concat()
    }

    /// The bound of one loss, by its words.
    pub fn recovers(&self, loss: &str) -> Option<Duration> {
        self.recovery().into_iter().find(|bound| bound.loss == loss).map(|bound| bound.within)
    }

    fn of_leader(&self) -> Vec<Bound> {
        let reconcile = &self.reconcile;
        vec![
            Bound {
                loss: "leader killed, or its session ended",
                right: "another reconciler leads",
                formula: "reconcile.leader_retry",
                within: reconcile.leader_retry,
            },
            Bound {
                loss: "leader stopped, cut off, or its host gone",
                right: "another reconciler leads",
                formula: "reconcile.leader_lease + reconcile.leader_retry",
                within: reconcile.leader_lease + reconcile.leader_retry,
            },
        ]
    }

    fn of_jobs(&self) -> Vec<Bound> {
        let (worker, reconcile) = (&self.worker, &self.reconcile);
        let lease = worker.lease + worker.upkeep;
        vec![
            Bound {
                loss: "Redis emptied, or a queue's key deleted",
                right: "every job is queued again",
                formula: "1.5 × reconcile.requeue_after",
                within: reconcile.requeue_after * 3 / 2,
            },
            Bound {
                loss: "worker killed",
                right: "its jobs are queued again",
                formula: "worker.lease + worker.upkeep",
                within: lease,
            },
            Bound {
                loss: "job that kills each worker which claims it",
                right: "it is set aside, its attempt taken back",
                formula: "(worker.max_recoveries + 1) × (worker.lease + worker.upkeep) + reconcile.requeue_after / 4",
                within: lease * (worker.max_recoveries + 1) + reconcile.requeue_after / 4,
            },
            Bound {
                loss: "cohort past a limit of the circuit breaker",
                right: "nobody new of it begins",
                formula: "reconcile.interval",
                within: reconcile.interval,
            },
        ]
    }

    fn of_pauses(&self) -> Vec<Bound> {
        let (worker, reconcile) = (&self.worker, &self.reconcile);
        let again = (worker.lease + worker.upkeep).max(reconcile.requeue_after * 3 / 2);
        vec![
            Bound {
                loss: "everything but one reconciler",
                right: "a paused user is unpaused, at home",
                formula: "pause.max_pause + reconcile.interval",
                within: self.pause.max_pause + reconcile.interval,
            },
            Bound {
                loss: "worker stopped in the midst of its work",
                right: "its users are unpaused",
                formula: "pause.max_pause + reconcile.interval",
                within: self.pause.max_pause + reconcile.interval,
            },
            Bound {
                loss: "attempt left half taken back",
                right: "the user is unpaused, on legacy",
                formula: "2s + reconcile.interval",
                within: FAILING_AGE + reconcile.interval,
            },
            Bound {
                loss: "pause without an attempt",
                right: "the user is unpaused, at home",
                formula: "10s + reconcile.interval",
                within: ORPHAN_AGE + reconcile.interval,
            },
            Bound {
                loss: "Identity flipped, and tracking not told",
                right: "the attempt is completed (the user is served from new at once)",
                formula: "max(worker.lease + worker.upkeep, 1.5 × reconcile.requeue_after)",
                within: again,
            },
            Bound {
                loss: "fence row deleted by hand",
                right: "it stands again",
                formula: "reconcile.requeue_after / 2",
                within: reconcile.requeue_after / 2,
            },
        ]
    }

    fn of_mirror(&self) -> Vec<Bound> {
        let reconcile = &self.reconcile;
        vec![
            Bound {
                loss: "change of Identity committed, and not mirrored",
                right: "the mirror has it",
                formula: "750ms",
                within: OUTBOX,
            },
            Bound {
                loss: "mirror emptied, or another server in its place",
                right: "it is rebuilt and believed (gates ask Identity meanwhile)",
                formula: "reconcile.ready_for / 4",
                within: reconcile.ready_for / 4,
            },
            Bound {
                loss: "state in the mirror overwritten by hand",
                right: "it is put right",
                formula: "reconcile.verify_mirror",
                within: reconcile.verify_mirror,
            },
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../../docs/recovery.md");

    #[test]
    fn the_documentation_states_every_bound_with_its_formula_and_its_default() {
        for bound in Settings::default().recovery() {
            let Bound { loss, right, formula, within } = bound;
            let row = format!("| {loss} | {right} | `{formula}` | {} |", humantime::format_duration(within));
            assert!(PAGE.contains(&row), "docs/recovery.md lacks: {row}");
        }
    }

    #[test]
    fn a_formula_follows_the_settings() {
        let mut settings = Settings::default();
        settings.reconcile.leader_lease = Duration::from_secs(9);
        let loss = "leader stopped, cut off, or its host gone";
        assert_eq!(settings.recovers(loss), Some(Duration::from_secs(11)));
        assert_eq!(settings.recovers("nothing"), None);
    }
}
