//! Footers, the settings that nobody touched, and users who signed up.

use std::collections::BTreeMap;

use crate::number::Mark;
use crate::record::{Kind, Outcome, Record, Side};
use crate::register::{self, Write};

use super::index::{Index, perhaps};
use super::{Evidence, Faults, REMINDERS, SETTINGS, Wrong};

pub(super) fn check(evidence: &Evidence<'_>, index: &Index<'_>, faults: &mut Faults) {
    let mut writes: BTreeMap<i64, Vec<&Record>> = BTreeMap::new();
    for record in evidence.history.iter().filter(|record| record.kind == Kind::Footer) {
        writes.entry(record.user).or_default().push(record);
    }
    for (user, records) in &writes {
        footer(index, *user, records, faults);
    }
    for before in &evidence.before.legacy.settings {
        let number = before.user.unsigned_abs();
        let Some(after) = index.settings.get(&before.user) else {
            faults.add(Wrong::Lost, before.user, number, "the settings are not with the owner");
            continue;
        };
        let untouched = !writes.get(&before.user).is_some_and(|records| records.iter().any(|it| perhaps(it)));
        if after.content != before.content || (untouched && after.footer != before.footer) {
            faults.add(Wrong::Altered, before.user, number, "the settings are not what they were");
        }
    }
    elsewhere(evidence, &writes, faults);
    sign_ups(evidence, faults);
}

fn footer(index: &Index<'_>, user: i64, records: &[&Record], faults: &mut Faults) {
    let done: Vec<Write> = records.iter().filter_map(|record| Write::of(record)).collect();
    let value = index.settings.get(&user).and_then(|row| Mark::Footer.find(&row.footer).first().copied());
    if register::may_be(&done, value, i64::MAX, i64::MAX) {
        return;
    }
    if let Some(number) = value.filter(|number| !done.iter().any(|write| write.number == *number)) {
        faults.add(Wrong::Phantom, user, number, "the footer is there, though its writing was not done");
    } else {
        let last = done.iter().filter(|write| write.acknowledged).max_by_key(|write| write.sent);
        let number = last.map_or(0, |write| write.number);
        faults.add(Wrong::Lost, user, number, "the footer was acknowledged, and an older one is there");
    }
}

fn elsewhere(evidence: &Evidence<'_>, writes: &BTreeMap<i64, Vec<&Record>>, faults: &mut Faults) {
    let home = |user| evidence.ownership.home(user, SETTINGS);
    for row in evidence.after.new.settings.iter().filter(|row| home(row.user) == Side::Legacy) {
        let what = "the new system holds settings of a user who lives on legacy";
        faults.add(Wrong::Doubled, row.user, row.user.unsigned_abs(), what);
    }
    for row in evidence.after.legacy.settings.iter().filter(|row| home(row.user) == Side::New) {
        let Some(number) = Mark::Footer.find(&row.footer).first().copied() else { continue };
        let written = writes.get(&row.user).into_iter().flatten().find(|record| record.number == number);
        let by_new = written.filter(|record| perhaps(record) && record.served_by == Some(Side::New));
        if by_new.is_some_and(|record| !evidence.ownership.went_back_after(row.user, SETTINGS, record.sent)) {
            faults.add(Wrong::Doubled, row.user, number, "the new system wrote it, and legacy holds it too");
        }
    }
}

fn sign_ups(evidence: &Evidence<'_>, faults: &mut Faults) {
    let mut accounts: BTreeMap<u64, usize> = BTreeMap::new();
    for name in evidence.after.accounts.values() {
        let mut numbers = Mark::User.find(name);
        numbers.dedup();
        for number in numbers {
            *accounts.entry(number).or_default() += 1;
        }
    }
    for record in evidence.history.iter().filter(|record| record.kind == Kind::SignUp) {
        let found = accounts.get(&record.number).copied().unwrap_or_default();
        let mut fault = |wrong, what: &str| faults.add(wrong, record.user, record.number, what);
        match (record.outcome, found) {
            (_, 2..) => fault(Wrong::Doubled, "the account was made more than once"),
            (Outcome::Acknowledged, 0) => fault(Wrong::Lost, "the account was acknowledged and is not there"),
            (Outcome::Declined | Outcome::Refused | Outcome::NotSent, 1) => {
                fault(Wrong::Phantom, "the account is there, though its making was not done");
            }
            _ => {}
        }
        let born = |migration| evidence.ownership.home(record.user, migration) == Side::New;
        if record.outcome == Outcome::Acknowledged && !(born(REMINDERS) && born(SETTINGS)) {
            fault(Wrong::Misrouted, "the user signed up and does not live on the new system");
        }
    }
}
