//! Requests: served by the owner, shown what was acknowledged; and that everybody was moved.

use super::{Evidence, Faults, REMINDERS, SETTINGS, Wrong};
use crate::record::Side;

pub(super) fn check(evidence: &Evidence<'_>, faults: &mut Faults) {
    for record in evidence.history {
        if let (Some(side), Some(migration)) = (record.served_by, record.kind.migration()) {
            let ownership = evidence.ownership;
            if !ownership.owned(record.user, migration, side, record.sent, record.answered) {
                let what =
                    format!("{side:?} served a {:?} of {migration} without being the owner", record.kind);
                faults.add(Wrong::Misrouted, record.user, record.number, what);
            }
        }
        if !record.missed.is_empty() {
            let what = format!("the answer lacks what was acknowledged before: {:?}", record.missed);
            faults.add(Wrong::Stale, record.user, record.number, what);
        }
    }
    for user in evidence.moving {
        for migration in [REMINDERS, SETTINGS] {
            if evidence.ownership.moves_of(*user, migration, Side::New) == 0 {
                faults.add(Wrong::Unmoved, *user, 0, format!("was never moved in {migration}"));
            }
        }
    }
    for user in evidence.ownership.still_paused() {
        faults.add(Wrong::Unmoved, user, 0, "is paused in the end");
    }
}
