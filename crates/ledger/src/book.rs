//! What the clients of a run know of the users' data from the answers they had: which reminders there are, and what a
//! read must show. One book for all clients of a run, so that a client's read is held against another's write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Deserialize;

use crate::number::Mark;
use crate::record::{Kind, Outcome, Record};
use crate::register::{self, Write};

/// A reminder as the application lists it.
#[derive(Clone, Debug, Deserialize)]
pub struct Listed {
    /// Its number, the same on both sides.
    pub id: i64,
    /// Its subject, with the number of the write that made it.
    pub subject: String,
    /// Its body, with that number and those of the notes.
    pub body: String,
}

/// What a read must show: taken before it is sent, held against its answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    made: BTreeSet<u64>,
    seen: BTreeSet<i64>,
    notes: BTreeSet<u64>,
}

/// What is known of all users.
#[derive(Debug, Default)]
pub struct Book {
    users: Mutex<BTreeMap<i64, User>>,
}

#[derive(Debug, Default)]
struct User {
    reminders: BTreeMap<i64, Reminder>,
    /// Creations that were acknowledged, by their write's number; the reminder's own, once it is known.
    made: BTreeMap<u64, Option<i64>>,
    footers: Vec<Write>,
}

#[derive(Debug, Default)]
struct Reminder {
    made: Option<u64>,
    notes: BTreeSet<u64>,
    /// Somebody asked for its removal, and it may be gone.
    going: bool,
}

impl Book {
    fn users(&self) -> MutexGuard<'_, BTreeMap<i64, User>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One of the user's reminders that nobody removes, chosen by a number; and the write that made it.
    pub fn reminder(&self, user: i64, choice: u64) -> Option<(i64, Option<u64>)> {
        let users = self.users();
        let staying = users.get(&user)?.reminders.iter().filter(|(_, known)| !known.going);
        let staying: Vec<(i64, Option<u64>)> = staying.map(|(id, known)| (*id, known.made)).collect();
        let nth = choice.checked_rem(staying.len() as u64)?;
        staying.get(nth as usize).copied()
    }

    /// What a list of reminders that is asked for now must show.
    pub fn expected(&self, user: i64) -> Expected {
        let users = self.users();
        let Some(user) = users.get(&user) else { return Expected::default() };
        let staying = || user.reminders.iter().filter(|(_, known)| !known.going);
        Expected {
            made: user
                .made
                .iter()
                .filter(|(_, id)| !user.is_going(**id))
                .map(|(number, _)| *number)
                .collect(),
            seen: staying().map(|(id, _)| *id).collect(),
            notes: staying().flat_map(|(_, known)| known.notes.iter().copied()).collect(),
        }
    }

    /// Notes what is asked for, before it is sent.
    pub fn sending(&self, record: &Record) {
        if let (Kind::Delete, Some(id)) = (record.kind, record.reminder) {
            self.users().entry(record.user).or_default().reminders.entry(id).or_default().going = true;
        }
    }

    /// Notes an answer. Of a write that names a reminder which the book holds and nobody removes, and that the
    /// application does not find, it adds to the record what is missing.
    pub fn answered(&self, record: &mut Record) {
        let mut users = self.users();
        let user = users.entry(record.user).or_default();
        let done = record.outcome == Outcome::Acknowledged;
        match (record.kind, record.reminder) {
            (Kind::Create, id) if done => {
                user.made.insert(record.number, id);
                if let Some(id) = id {
                    user.reminders.entry(id).or_default().made = Some(record.number);
                }
            }
            (Kind::Note, Some(id)) if done => {
                user.reminders.entry(id).or_default().notes.insert(record.number);
            }
            (Kind::Note | Kind::Delete, Some(id)) if record.status == Some(404) => {
                record.missed.extend(user.unfound(id, record.kind));
            }
            (Kind::Delete, Some(id)) if !done && record.outcome != Outcome::Indeterminate => {
                user.reminders.entry(id).or_default().going = false;
            }
            (Kind::Footer, _) => user.footers.extend(Write::of(record)),
            _ => {}
        }
    }

    /// Holds a list against what it must show; notes the reminders in it. Returns the writes that are missing.
    pub fn listed(&self, user: i64, expected: &Expected, list: &[Listed]) -> Vec<u64> {
        let mut users = self.users();
        let user = users.entry(user).or_default();
        for entry in list {
            user.sees(entry);
        }
        let mut missing = Vec::new();
        let shown: BTreeSet<i64> = list.iter().map(|entry| entry.id).collect();
        let marks =
            |mark: Mark| -> BTreeSet<u64> { list.iter().flat_map(|entry| mark.find(&entry.body)).collect() };
        let (made, notes) = (marks(Mark::Made), marks(Mark::Note));
        missing.extend(expected.made.difference(&made).filter(|number| !user.may_be_gone(**number)));
        let gone = expected.seen.difference(&shown).filter(|id| !user.is_going(Some(**id)));
        // One that the generator made has no write's number: its own stands for it.
        missing.extend(gone.filter(|id| user.reminders[*id].made.is_none()).map(|id| id.unsigned_abs()));
        let kept =
            |number: &u64| user.reminders.values().any(|known| !known.going && known.notes.contains(number));
        missing.extend(expected.notes.difference(&notes).filter(|number| kept(number)));
        missing
    }

    /// Whether a read that lasted `from..to` may have seen this footer, writes under way included: those are of
    /// `under_way`.
    pub fn footer_may_be(&self, user: i64, value: Option<u64>, from: i64, to: i64) -> bool {
        let users = self.users();
        let writes = users.get(&user).map_or(&[][..], |user| user.footers.as_slice());
        // A write that is under way is not in the book yet: what nobody has been told of may be seen.
        let known = value.is_none_or(|number| writes.iter().any(|write| write.number == number));
        !known || register::may_be(writes, value, from, to)
    }
}

impl User {
    fn is_going(&self, id: Option<i64>) -> bool {
        id.and_then(|id| self.reminders.get(&id)).is_some_and(|known| known.going)
    }

    /// Whether what that write made may have been removed.
    fn may_be_gone(&self, made: u64) -> bool {
        self.made.get(&made).is_none_or(|id| self.is_going(*id))
    }

    fn sees(&mut self, entry: &Listed) {
        let made = Mark::Made.find(&entry.subject).first().copied();
        let known = self.reminders.entry(entry.id).or_default();
        known.made = known.made.or(made);
        // Also where the creation's own answer never came: from now on it is known to be there.
        if let Some(number) = made {
            self.made.insert(number, Some(entry.id));
        }
    }

    /// What an answer "not found" misses: the reminder, unless somebody else removed it. The one who is answered has
    /// marked it as going itself.
    fn unfound(&self, id: i64, kind: Kind) -> Option<u64> {
        let known = self.reminders.get(&id)?;
        (kind == Kind::Note && !known.going).then(|| known.made.unwrap_or(id.unsigned_abs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: Kind, number: u64, reminder: Option<i64>, outcome: Outcome) -> Record {
        Record {
            client: 0,
            number,
            user: 1,
            kind,
            web: false,
            reminder,
            made_by: None,
            due_in_ms: None,
            sent: number as i64 * 10,
            answered: number as i64 * 10 + 5,
            status: Some(200),
            outcome,
            served_by: None,
            missed: Vec::new(),
        }
    }

    fn entry(id: i64, made: u64, notes: &[u64]) -> Listed {
        let made = Mark::Made.text(made);
        let notes: Vec<String> = notes.iter().map(|number| Mark::Note.text(*number)).collect();
        Listed { id, subject: made.clone(), body: format!("{made}\n{}", notes.join("\n")) }
    }

    fn with(records: Vec<Record>) -> Book {
        let book = Book::default();
        for mut record in records {
            book.sending(&record);
            book.answered(&mut record);
        }
        book
    }

    #[test]
    fn a_list_must_show_what_was_acknowledged_before() {
        let done = Outcome::Acknowledged;
        let book = with(vec![
            record(Kind::Create, 1, Some(70), done),
            record(Kind::Create, 2, None, done),
            record(Kind::Note, 3, Some(70), done),
            record(Kind::Note, 4, Some(70), Outcome::Refused),
        ]);
        let expected = book.expected(1);
        assert!(book.listed(1, &expected, &[entry(70, 1, &[3]), entry(71, 2, &[])]).is_empty());
        assert_eq!(book.listed(1, &expected, &[entry(71, 2, &[])]), [1, 3]);
        assert_eq!(book.listed(1, &expected, &[entry(70, 1, &[]), entry(71, 2, &[])]), [3]);
        assert!(book.listed(1, &Expected::default(), &[]).is_empty(), "asked before anything was there");
    }

    #[test]
    fn what_somebody_removes_may_be_missing_and_what_was_not_removed_may_not() {
        let book = with(vec![record(Kind::Create, 1, Some(70), Outcome::Acknowledged)]);
        let expected = book.expected(1);
        book.sending(&record(Kind::Delete, 2, Some(70), Outcome::Acknowledged));
        assert!(book.listed(1, &expected, &[]).is_empty(), "the removal is under way");
        book.answered(&mut record(Kind::Delete, 2, Some(70), Outcome::Refused));
        assert_eq!(book.listed(1, &expected, &[]), [1]);
        assert_eq!(book.reminder(1, 9), Some((70, Some(1))));
    }

    #[test]
    fn a_reminder_of_the_generator_that_was_seen_stays_to_be_seen() {
        let book = Book::default();
        let plain = Listed { id: 5, subject: "due".into(), body: String::new() };
        assert!(book.listed(1, &Expected::default(), &[plain]).is_empty());
        assert_eq!(book.listed(1, &book.expected(1), &[]), [5]);
    }

    #[test]
    fn a_note_to_a_reminder_that_is_not_found_names_what_is_missing() {
        let book = with(vec![record(Kind::Create, 1, Some(70), Outcome::Acknowledged)]);
        let mut note = Record { status: Some(404), ..record(Kind::Note, 2, Some(70), Outcome::Declined) };
        book.answered(&mut note);
        assert_eq!(note.missed, [1]);
    }

    #[test]
    fn a_footer_that_was_overwritten_is_not_seen_again() {
        let done = Outcome::Acknowledged;
        let book = with(vec![record(Kind::Footer, 1, None, done), record(Kind::Footer, 2, None, done)]);
        assert!(book.footer_may_be(1, Some(2), 100, 110));
        assert!(!book.footer_may_be(1, Some(1), 100, 110));
        assert!(!book.footer_may_be(1, None, 100, 110));
        assert!(book.footer_may_be(1, Some(9), 100, 110), "under way: nobody was told yet");
    }
}
