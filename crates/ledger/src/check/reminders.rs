//! Reminders: made, noted, removed; and those that nobody touched.

use crate::number::{Mark, marks};
use crate::record::{Kind, Outcome, Record, Side};

use super::index::{Index, perhaps};
use super::{Evidence, Faults, REMINDERS, Wrong};

pub(super) fn check(evidence: &Evidence<'_>, index: &Index<'_>, faults: &mut Faults) {
    for record in evidence.history {
        match record.kind {
            Kind::Create => created(index, record, faults),
            Kind::Note => noted(index, record, faults),
            Kind::Delete => removed(index, record, faults),
            _ => {}
        }
    }
    for id in &index.twice {
        let user = index.live.get(id).map_or(0, |row| row.user);
        faults.add(Wrong::Doubled, user, id.unsigned_abs(), "the owner holds the reminder more than once");
    }
    older(evidence, index, faults);
    elsewhere(evidence, faults);
}

fn created(index: &Index<'_>, record: &Record, faults: &mut Faults) {
    let places = index.places(Mark::Made, record.number);
    let mut fault = |wrong, what: &str| faults.add(wrong, record.user, record.number, what);
    match record.outcome {
        _ if places.live > 1 => fault(Wrong::Doubled, "the reminder was made more than once"),
        Outcome::Acknowledged if places.live == 0 && !index.may_be_gone(record.number) => {
            fault(Wrong::Lost, "the reminder was acknowledged and is not with the owner");
        }
        Outcome::Acknowledged | Outcome::Indeterminate => {}
        Outcome::Declined | Outcome::Refused | Outcome::NotSent => {
            if places.live + places.deleted + places.other > 0 {
                fault(Wrong::Phantom, "the reminder is there, though its making was not done");
            }
        }
    }
}

fn noted(index: &Index<'_>, record: &Record, faults: &mut Faults) {
    let places = index.places(Mark::Note, record.number);
    let gone = record.reminder.is_some_and(|id| index.removable.contains(&id));
    let mut fault = |wrong, what: &str| faults.add(wrong, record.user, record.number, what);
    match record.outcome {
        _ if places.live > 1 => fault(Wrong::Doubled, "the note was appended more than once"),
        Outcome::Acknowledged if places.live == 0 && !gone => {
            fault(Wrong::Lost, "the note was acknowledged and is not with the owner");
        }
        Outcome::Acknowledged | Outcome::Indeterminate => {}
        Outcome::Declined | Outcome::Refused | Outcome::NotSent => {
            if places.live + places.deleted + places.other > 0 {
                fault(Wrong::Phantom, "the note is there, though its writing was not done");
            }
        }
    }
}

fn removed(index: &Index<'_>, record: &Record, faults: &mut Faults) {
    let back = record.reminder.is_some_and(|id| index.live.contains_key(&id));
    if back && record.outcome == Outcome::Acknowledged {
        faults.add(Wrong::Lost, record.user, record.number, "the reminder was removed and is there");
    }
}

/// Reminders that were there before the run.
fn older(evidence: &Evidence<'_>, index: &Index<'_>, faults: &mut Faults) {
    for before in evidence.before.legacy.reminders.iter().filter(|reminder| !reminder.deleted) {
        let mut fault = |wrong, what: &str| faults.add(wrong, before.user, before.id.unsigned_abs(), what);
        let Some(after) = index.live.get(&before.id) else {
            if !index.removable.contains(&before.id) {
                fault(Wrong::Lost, "the older reminder is not with the owner");
            }
            continue;
        };
        let body = if index.noted.contains(&before.id) {
            after.body.starts_with(&before.body)
        } else {
            after.body == before.body
        };
        let same =
            (before.user, &before.subject, &before.content) == (after.user, &after.subject, &after.content);
        let switched = after.enabled != before.enabled && !evidence.due.contains(&before.id);
        if !same || !body || switched {
            fault(Wrong::Altered, "the older reminder is not what it was");
        }
    }
}

/// The side that is not the owner.
fn elsewhere(evidence: &Evidence<'_>, faults: &mut Faults) {
    let home = |user| evidence.ownership.home(user, REMINDERS);
    for row in evidence.after.new.reminders.iter().filter(|row| home(row.user) == Side::Legacy) {
        let what = "the new system holds a reminder of a user who lives on legacy";
        faults.add(Wrong::Doubled, row.user, row.id.unsigned_abs(), what);
    }
    let by_new = |record: &&Record| perhaps(record) && record.served_by == Some(Side::New);
    let by_new: std::collections::BTreeMap<u64, &Record> =
        evidence.history.iter().filter(by_new).map(|record| (record.number, record)).collect();
    for row in evidence.after.legacy.reminders.iter().filter(|row| home(row.user) == Side::New) {
        for number in marks(&row.body).filter(|(mark, _)| *mark != Mark::Footer).map(|(_, number)| number) {
            let Some(record) = by_new.get(&number) else { continue };
            if !evidence.ownership.went_back_after(row.user, REMINDERS, record.sent) {
                faults.add(
                    Wrong::Doubled,
                    row.user,
                    number,
                    "the new system wrote it, and legacy holds it too",
                );
            }
        }
    }
}
