//! Mails: each reminder that came due was sent once, by one side, while that side was the owner.

use std::collections::{BTreeMap, BTreeSet};

use crate::ownership::SLACK_US;
use crate::record::Kind;

use super::index::{Index, perhaps, sides};
use super::{Evidence, Faults, REMINDERS, Wrong};

pub(super) fn check(evidence: &Evidence<'_>, index: &Index<'_>, faults: &mut Faults) {
    let due = due(evidence, index);
    let mut sent: BTreeMap<i64, (i64, usize)> = BTreeMap::new();
    for (side, held) in sides(evidence) {
        for mail in &held.sent {
            let user = mail.user.or_else(|| index.live.get(&mail.id).map(|row| row.user)).unwrap_or(0);
            sent.entry(mail.id).or_insert((user, 0)).1 += 1;
            // The time is the one at which the sending began; it was let through a moment before.
            let (from, to) = (mail.at - SLACK_US, mail.at + SLACK_US);
            if user != 0 && !evidence.ownership.owned(user, REMINDERS, side, from, to) {
                let what = format!("{side:?} sent the reminder without being the owner");
                faults.add(Wrong::Misrouted, user, mail.id.unsigned_abs(), what);
            }
        }
    }
    for (id, (user, times)) in &sent {
        let mut fault = |wrong, what: &str| faults.add(wrong, *user, id.unsigned_abs(), what);
        if *times > 1 {
            fault(Wrong::SentTwice, "the reminder was sent more than once");
        }
        if !due.contains(id) {
            fault(Wrong::Phantom, "the reminder was sent and was never due");
        }
        if index.live.get(id).is_some_and(|row| row.enabled) {
            fault(Wrong::SentTwice, "the reminder was sent, and stands there to be sent again");
        }
    }
    for id in due.iter().filter(|id| !sent.contains_key(id) && !index.removable.contains(id)) {
        // One whose making is not known to have been done may not be there.
        if let Some(row) = index.live.get(id) {
            faults.add(Wrong::Unsent, row.user, id.unsigned_abs(), "the reminder is due and was not sent");
        }
    }
}

/// Reminders that came due while the run went on.
fn due(evidence: &Evidence<'_>, index: &Index<'_>) -> BTreeSet<i64> {
    let made =
        evidence.history.iter().filter(|record| record.kind == Kind::Create && record.due_in_ms.is_some());
    let made = made.filter(|record| perhaps(record)).filter_map(|record| index.made.get(&record.number));
    evidence.due.iter().chain(made).copied().collect()
}
