//! The evidence, sorted by what the checks look up.

use std::collections::{BTreeMap, BTreeSet};

use crate::number::Mark;
use crate::record::{Kind, Outcome, Record, Side};
use crate::rows::{Held, Reminder, Setting};

use super::{Evidence, REMINDERS, SETTINGS};

/// Where a number stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    /// In reminders of the owner that are not deleted.
    pub(super) live: usize,
    /// In the owner's deleted ones.
    pub(super) deleted: usize,
    /// In reminders of the side that is not the owner.
    pub(super) other: usize,
}

/// What the checks look up.
#[derive(Debug, Default)]
pub(super) struct Index<'a> {
    /// The reminder that a creation made, where its answer or a row tells.
    pub(super) made: BTreeMap<u64, i64>,
    /// Reminders that somebody asked to remove and that may be gone.
    pub(super) removable: BTreeSet<i64>,
    /// Where the numbers of creations and notes stand.
    pub(super) places: BTreeMap<(Mark, u64), Places>,
    /// The owners' reminders that are not deleted.
    pub(super) live: BTreeMap<i64, &'a Reminder>,
    /// Owners' reminders that stand there more than once.
    pub(super) twice: BTreeSet<i64>,
    /// The owners' settings.
    pub(super) settings: BTreeMap<i64, &'a Setting>,
    /// Reminders to which notes may have been appended.
    pub(super) noted: BTreeSet<i64>,
}

/// Whether a write may have been done.
pub(crate) fn perhaps(record: &Record) -> bool {
    matches!(record.outcome, Outcome::Acknowledged | Outcome::Indeterminate)
}

impl<'a> Index<'a> {
    pub(super) fn new(evidence: &Evidence<'a>) -> Self {
        let mut index = Self::default();
        for record in evidence.history {
            // What a form made had no number in its answer: clients knew it from a list.
            if let (Some(made), Some(id)) = (record.made_by, record.reminder) {
                index.made.insert(made, id);
            }
        }
        for record in evidence.history.iter().filter(|record| perhaps(record)) {
            match (record.kind, record.reminder) {
                (Kind::Create, Some(id)) => _ = index.made.insert(record.number, id),
                (Kind::Delete, Some(id)) => _ = index.removable.insert(id),
                (Kind::Note, Some(id)) => _ = index.noted.insert(id),
                _ => {}
            }
        }
        for (side, held) in sides(evidence) {
            for reminder in &held.reminders {
                let owner = evidence.ownership.home(reminder.user, REMINDERS) == side;
                index.enter(reminder, owner);
            }
            let own = |setting: &&Setting| evidence.ownership.home(setting.user, SETTINGS) == side;
            index.settings.extend(held.settings.iter().filter(own).map(|setting| (setting.user, setting)));
        }
        index
    }

    fn enter(&mut self, reminder: &'a Reminder, owner: bool) {
        let made = Mark::Made.find(&reminder.subject).into_iter().map(|number| (Mark::Made, number));
        let notes = Mark::Note.find(&reminder.body).into_iter().map(|number| (Mark::Note, number));
        for mark in made.chain(notes) {
            if mark.0 == Mark::Made {
                self.made.entry(mark.1).or_insert(reminder.id);
            }
            let places = self.places.entry(mark).or_default();
            *match (owner, reminder.deleted) {
                (true, false) => &mut places.live,
                (true, true) => &mut places.deleted,
                (false, _) => &mut places.other,
            } += 1;
        }
        if owner && !reminder.deleted && self.live.insert(reminder.id, reminder).is_some() {
            self.twice.insert(reminder.id);
        }
    }

    /// Where a write's number stands.
    pub(super) fn places(&self, mark: Mark, number: u64) -> Places {
        self.places.get(&(mark, number)).copied().unwrap_or_default()
    }

    /// Whether the reminder that a creation made may have been removed.
    pub(super) fn may_be_gone(&self, made: u64) -> bool {
        self.made.get(&made).is_some_and(|id| self.removable.contains(id))
    }
}

/// Both sides with what they hold in the end.
pub(super) fn sides<'a>(evidence: &Evidence<'a>) -> [(Side, &'a Held); 2] {
    [(Side::Legacy, &evidence.after.legacy), (Side::New, &evidence.after.new)]
}
