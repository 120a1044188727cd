//! What each operation does to a row, said once, without I/O. The SQL in `truth::statements` says the same
//! set-wise; each of its results is held against these rules, and a property test compares the two.

use std::cmp::Ordering;

use crate::outcome::{Begin, BeginRollback, Flip, Raise, Release, Restore};
use crate::record::{Open, Record};
use crate::state::OpenState;

/// What an operation says of a row, and whether it changes the row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict<T> {
    pub(crate) outcome: T,
    pub(crate) changes: bool,
}

/// A rule: the row, the migration, the version that asks.
pub(crate) type Rule<T> = fn(&Record, &str, i64) -> Verdict<T>;

fn changes<T>(outcome: T) -> Verdict<T> {
    Verdict { outcome, changes: true }
}

fn keeps<T>(outcome: T) -> Verdict<T> {
    Verdict { outcome, changes: false }
}

/// The row's open attempt, if it is one of this migration.
fn own<'a>(record: &'a Record, migration: &str) -> Option<&'a Open> {
    record.open().filter(|open| open.migration == migration)
}

pub(crate) fn begin(record: &Record, migration: &str, version: i64) -> Verdict<Begin> {
    if let Some(open) = own(record, migration) {
        return keeps(match (version.cmp(&open.version), open.state) {
            (Ordering::Less, _) | (Ordering::Equal, OpenState::RollingBack) => Begin::Superseded,
            (Ordering::Equal, OpenState::Migrating) => Begin::AlreadyBegun,
            (Ordering::Greater, _) => Begin::Busy { migration: open.migration.clone() },
        });
    }
    if record.flipped_by(migration).is_some() {
        return keeps(Begin::HomeIsNew);
    }
    if version < record.floor(migration) {
        return keeps(Begin::Superseded);
    }
    match record.open() {
        Some(open) => keeps(Begin::Busy { migration: open.migration.clone() }),
        None => changes(Begin::Begun),
    }
}

pub(crate) fn flip(record: &Record, migration: &str, version: i64) -> Verdict<Flip> {
    match own(record, migration) {
        Some(open) if open.state == OpenState::Migrating && open.version == version => changes(Flip::Flipped),
        None if record.flipped_by(migration) == Some(version) => keeps(Flip::AlreadyFlipped),
        Some(_) | None => keeps(Flip::NotOurs),
    }
}

pub(crate) fn raise(record: &Record, migration: &str, version: i64) -> Verdict<Raise> {
    if let Some(open) = own(record, migration) {
        let raised = Raise::Raised { state: open.state.into() };
        return match version.cmp(&open.version) {
            Ordering::Less => keeps(Raise::Superseded),
            Ordering::Equal => keeps(raised),
            Ordering::Greater => changes(raised),
        };
    }
    let home = if record.flipped_by(migration).is_some() { Raise::HomeIsNew } else { Raise::HomeIsLegacy };
    // Even where nothing is open the version is kept, so that an older `begin` that is still on its way is
    // refused when it arrives.
    Verdict { outcome: home, changes: version > record.floor(migration) }
}

pub(crate) fn release(record: &Record, migration: &str, version: i64) -> Verdict<Release> {
    match own(record, migration) {
        Some(open) if open.version == version => changes(Release::Released),
        Some(_) => keeps(Release::NotOurs),
        None if record.flipped_by(migration).is_some() => keeps(Release::HomeIsNew),
        None => keeps(Release::AlreadyLegacy),
    }
}

pub(crate) fn begin_rollback(record: &Record, migration: &str, version: i64) -> Verdict<BeginRollback> {
    if let Some(open) = own(record, migration) {
        return keeps(match (version.cmp(&open.version), open.state) {
            (Ordering::Less, _) | (Ordering::Equal, OpenState::Migrating) => BeginRollback::Superseded,
            (Ordering::Equal, OpenState::RollingBack) => BeginRollback::AlreadyBegun,
            (Ordering::Greater, _) => BeginRollback::Busy { migration: open.migration.clone() },
        });
    }
    if record.flipped_by(migration).is_none() {
        return keeps(BeginRollback::HomeIsLegacy);
    }
    if version < record.floor(migration) {
        return keeps(BeginRollback::Superseded);
    }
    match record.open() {
        Some(open) => keeps(BeginRollback::Busy { migration: open.migration.clone() }),
        None => changes(BeginRollback::Begun),
    }
}

pub(crate) fn restore(record: &Record, migration: &str, version: i64) -> Verdict<Restore> {
    match own(record, migration) {
        Some(open) if open.state == OpenState::RollingBack && open.version == version => {
            changes(Restore::Restored)
        }
        Some(_) => keeps(Restore::NotOurs),
        None if record.flipped_by(migration).is_some() => keeps(Restore::AlreadyMigrated),
        None => keeps(Restore::HomeIsLegacy),
    }
}
