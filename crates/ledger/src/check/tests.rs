//! Histories made by hand: one that is right, and each kind of fault put into it.

use std::collections::BTreeSet;

use super::*;
use crate::number::Mark;
use crate::ownership::Change;
use crate::rows::{Held as Side_, Reminder, Sent, Setting};

const USER: i64 = 1;
const SECOND: i64 = 1_000_000;

/// A run that is right: user 1 lived on legacy, was paused from 10 s to 11 s, and lives on the new system.
struct Run {
    history: Vec<Record>,
    before: Rows,
    after: Rows,
    changes: Vec<Change>,
    due: BTreeSet<i64>,
}

fn record(kind: Kind, number: u64, second: i64, outcome: Outcome) -> Record {
    Record {
        client: 1,
        number,
        user: USER,
        kind,
        web: false,
        reminder: None,
        made_by: None,
        due_in_ms: None,
        sent: second * SECOND,
        answered: second * SECOND + 5_000,
        status: Some(200),
        outcome,
        served_by: Some(if second < 11 { Side::Legacy } else { Side::New }),
        missed: Vec::new(),
    }
}

fn reminder(id: i64, made: u64, notes: &[u64]) -> Reminder {
    let made = Mark::Made.text(made);
    let notes: Vec<String> =
        notes.iter().map(|number| format!("\nNote {}", Mark::Note.text(*number))).collect();
    Reminder {
        user: USER,
        id,
        subject: format!("Reminder {made}"),
        body: format!("Dear {made}{}", notes.concat()),
        enabled: true,
        deleted: false,
        content: "[]".to_owned(),
    }
}

fn setting(footer: u64) -> Setting {
    Setting { user: USER, footer: format!("Footer {}", Mark::Footer.text(footer)), content: "{}".to_owned() }
}

fn change(second: i64, new: &[&str], paused: bool) -> Change {
    let new = new.iter().map(|it| (*it).to_owned()).collect();
    let at = second * SECOND;
    Change { user: USER, at: at - 1_000, committed: at, new, born: BTreeSet::new(), paused }
}

impl Run {
    fn right() -> Self {
        let done = Outcome::Acknowledged;
        let with = |record: Record, reminder| Record { reminder: Some(reminder), ..record };
        let due = Record { due_in_ms: Some(500), ..record(Kind::Create, 5, 3, done) };
        let history = vec![
            with(record(Kind::Create, 1, 1, done), 71),
            with(record(Kind::Note, 2, 2, done), 71),
            record(Kind::Footer, 3, 2, done),
            with(record(Kind::Note, 4, 12, done), 71),
            with(due, 75),
            with(record(Kind::Create, 6, 4, done), 76),
            with(record(Kind::Delete, 7, 13, done), 76),
            with(record(Kind::Note, 8, 10, Outcome::Refused), 71),
            record(Kind::Footer, 9, 14, done),
            record(Kind::ReadReminders, 10, 15, done),
        ];
        let old = Reminder { subject: "old".into(), body: "old text".into(), ..reminder(50, 0, &[]) };
        let sent = Reminder { enabled: false, ..reminder(75, 5, &[]) };
        let legacy = Side_ {
            reminders: vec![old.clone(), reminder(71, 1, &[2]), sent.clone(), reminder(76, 6, &[])],
            settings: vec![setting(3)],
            sent: vec![Sent { id: 75, user: Some(USER), at: 5 * SECOND }],
        };
        let new = Side_ {
            reminders: vec![old.clone(), reminder(71, 1, &[2, 4]), sent],
            settings: vec![setting(9)],
            sent: Vec::new(),
        };
        let first = Setting { footer: "first".into(), ..setting(0) };
        let held = Side_ { reminders: vec![old], settings: vec![first], sent: Vec::new() };
        Self {
            history,
            before: Rows { legacy: held, ..Rows::default() },
            after: Rows { legacy, new, ..Rows::default() },
            changes: vec![
                change(9, &[], true),
                change(10, &[SETTINGS], false),
                change(10, &[SETTINGS], true),
                change(11, &[SETTINGS, REMINDERS], false),
            ],
            due: BTreeSet::new(),
        }
    }

    fn verdict(&self) -> Verdict {
        judge(&Evidence {
            history: &self.history,
            before: &self.before,
            after: &self.after,
            ownership: &Ownership::new(self.changes.clone()),
            due: &self.due,
            moving: &[USER],
            silent: &[],
        })
    }

    /// The only fault: its kind and number.
    fn only_fault(&self) -> (Wrong, u64) {
        let verdict = self.verdict();
        assert_eq!(verdict.faults.len(), 1, "{:?}", verdict.faults);
        (verdict.faults[0].wrong, verdict.faults[0].number)
    }

    fn record(&mut self, number: u64) -> &mut Record {
        self.history.iter_mut().find(|record| record.number == number).unwrap()
    }

    fn new_row(&mut self, id: i64) -> &mut Reminder {
        self.after.new.reminders.iter_mut().find(|row| row.id == id).unwrap()
    }

    fn drop_new(&mut self, id: i64) {
        self.after.new.reminders.retain(|row| row.id != id);
    }
}

#[test]
fn what_is_right_balances() {
    let verdict = Run::right().verdict();
    assert!(verdict.balances(), "{:?}", verdict.faults);
    assert_eq!((verdict.acknowledged, verdict.refused, verdict.sent), (8, 1, 1));
    assert_eq!((verdict.handovers, verdict.rollbacks, verdict.requests_during_pause), (2, 0, 1));
}

#[test]
fn an_acknowledged_write_that_is_not_with_the_owner_is_lost() {
    let mut run = Run::right();
    run.new_row(71).body = format!("Dear {}", Mark::Note.text(2));
    assert_eq!(run.only_fault(), (Wrong::Lost, 4), "a note");
    let mut run = Run::right();
    run.drop_new(50);
    assert_eq!(run.only_fault(), (Wrong::Lost, 50), "a row from before");
    let mut run = Run::right();
    run.after.new.settings[0] = setting(3);
    assert_eq!(run.only_fault(), (Wrong::Lost, 9), "a footer that an older one stands for");
    let mut run = Run::right();
    run.after.new.settings.clear();
    let lost: Vec<u64> = run.verdict().faults.iter().map(|fault| fault.number).collect();
    assert_eq!(lost, [1, 9], "settings as a whole, and the footer");
    let mut run = Run::right();
    run.after.new.reminders.push(reminder(76, 6, &[]));
    assert_eq!(run.only_fault(), (Wrong::Lost, 7), "a removal");
    let mut run = Run::right();
    run.drop_new(71);
    assert_eq!(run.verdict().lost, 3, "a reminder with its two notes");
}

#[test]
fn a_write_that_is_there_twice_or_on_both_sides_is_doubled() {
    let mut run = Run::right();
    run.new_row(71).body.push_str(&Mark::Note.text(4));
    assert_eq!(run.only_fault(), (Wrong::Doubled, 4));
    let mut run = Run::right();
    run.after.new.reminders.push(Reminder { enabled: false, ..reminder(90, 5, &[]) });
    assert_eq!(run.only_fault(), (Wrong::Doubled, 5), "made by one write as two rows");
    let mut run = Run::right();
    run.after.new.reminders.push(reminder(71, 1, &[2, 4]));
    assert!(run.verdict().doubled > 0);
    let mut run = Run::right();
    run.after.legacy.reminders[1] = reminder(71, 1, &[2, 4]);
    assert_eq!(run.only_fault(), (Wrong::Doubled, 4), "written on the new system, and on legacy too");
    let mut run = Run::right();
    run.after.legacy.settings[0] = setting(9);
    assert_eq!(run.only_fault(), (Wrong::Doubled, 9));
}

#[test]
fn a_write_that_was_carried_back_may_stand_on_both_sides() {
    let mut run = Run::right();
    run.changes.push(change(20, &[SETTINGS, REMINDERS], true));
    run.changes.push(change(21, &[SETTINGS], false));
    run.changes.push(change(22, &[SETTINGS, REMINDERS], false));
    run.after.legacy.reminders[1] = reminder(71, 1, &[2, 4]);
    assert!(run.verdict().balances());
    let verdict = run.verdict();
    assert_eq!((verdict.handovers, verdict.rollbacks, verdict.carried_back), (3, 1, 1));
}

#[test]
fn a_user_who_lives_on_legacy_has_nothing_on_the_new_system() {
    let mut run = Run::right();
    run.changes.push(change(20, &[SETTINGS], false));
    run.after.legacy.reminders = std::mem::take(&mut run.after.new.reminders);
    assert!(run.verdict().balances(), "{:?}", run.verdict().faults);
    run.after.new.reminders.push(run.after.legacy.reminders[0].clone());
    assert_eq!(run.only_fault(), (Wrong::Doubled, 50));
}

#[test]
fn a_write_of_unknown_outcome_may_be_there_once_or_not() {
    for there in [&[2, 4][..], &[2]] {
        let mut run = Run::right();
        run.record(4).outcome = Outcome::Indeterminate;
        *run.new_row(71) = reminder(71, 1, there);
        assert!(run.verdict().balances());
    }
    let mut run = Run::right();
    run.record(4).outcome = Outcome::Indeterminate;
    *run.new_row(71) = reminder(71, 1, &[2, 4, 4]);
    assert_eq!(run.only_fault(), (Wrong::Doubled, 4));
    let mut run = Run::right();
    run.record(7).outcome = Outcome::Indeterminate;
    run.after.new.reminders.push(reminder(76, 6, &[]));
    assert!(run.verdict().balances(), "a removal that perhaps was not done");
}

#[test]
fn what_a_form_made_is_known_by_what_removed_it() {
    let mut run = Run::right();
    run.record(6).reminder = None;
    run.after.legacy.reminders.retain(|row| row.id != 76);
    assert_eq!(run.only_fault(), (Wrong::Lost, 6));
    run.record(7).made_by = Some(6);
    assert!(run.verdict().balances());
}

#[test]
fn what_was_not_done_is_nowhere() {
    for outcome in [Outcome::Refused, Outcome::Declined, Outcome::NotSent] {
        let mut run = Run::right();
        run.record(8).outcome = outcome;
        *run.new_row(71) = reminder(71, 1, &[2, 4, 8]);
        assert_eq!(run.only_fault(), (Wrong::Phantom, 8));
        let mut run = Run::right();
        run.record(8).outcome = outcome;
        run.after.legacy.reminders[1] = reminder(71, 1, &[2, 8]);
        assert_eq!(run.only_fault(), (Wrong::Phantom, 8), "not in what has become stale either");
        let mut run = Run::right();
        run.record(9).outcome = outcome;
        assert_eq!(run.only_fault(), (Wrong::Phantom, 9));
    }
}

#[test]
fn a_request_that_a_side_served_while_it_was_not_the_owner_is_misrouted() {
    let mut run = Run::right();
    run.record(10).served_by = Some(Side::Legacy);
    assert_eq!(run.only_fault(), (Wrong::Misrouted, 10));
    let mut run = Run::right();
    run.record(2).served_by = Some(Side::New);
    let verdict = run.verdict();
    assert_eq!(
        (verdict.misrouted, verdict.doubled),
        (1, 1),
        "and its note is on legacy, which it was never given"
    );
    let mut run = Run::right();
    let late = run.record(10);
    (late.served_by, late.sent) = (Some(Side::Legacy), 10 * SECOND);
    assert!(run.verdict().balances(), "it was sent before the move");
}

#[test]
fn a_mail_of_a_side_that_was_not_the_owner_is_misrouted() {
    let mut run = Run::right();
    run.after.legacy.sent[0].at = 12 * SECOND;
    assert_eq!(run.only_fault(), (Wrong::Misrouted, 75));
}

#[test]
fn a_due_reminder_is_sent_once_by_one_side() {
    let mut run = Run::right();
    run.after.new.sent.push(Sent { id: 75, user: Some(USER), at: 12 * SECOND });
    assert_eq!(run.only_fault(), (Wrong::SentTwice, 75));
    let mut run = Run::right();
    run.after.legacy.sent.clear();
    assert_eq!(run.only_fault(), (Wrong::Unsent, 75));
    let mut run = Run::right();
    run.new_row(75).enabled = true;
    assert_eq!(run.only_fault(), (Wrong::SentTwice, 75), "it would be sent again");
    let mut run = Run::right();
    run.after.new.sent.push(Sent { id: 71, user: Some(USER), at: 12 * SECOND });
    run.new_row(71).enabled = false;
    assert_eq!(run.only_fault(), (Wrong::Phantom, 71), "it was never due");
    let mut run = Run::right();
    run.due.insert(50);
    assert_eq!(run.only_fault(), (Wrong::Unsent, 50));
}

#[test]
fn rows_that_nobody_wrote_stay_what_they_were() {
    let mut run = Run::right();
    run.new_row(50).body.push('!');
    assert_eq!(run.only_fault(), (Wrong::Altered, 50));
    let mut run = Run::right();
    run.new_row(50).content.push('!');
    assert_eq!(run.only_fault(), (Wrong::Altered, 50));
    let mut run = Run::right();
    run.new_row(50).enabled = false;
    assert_eq!(run.only_fault(), (Wrong::Altered, 50));
    let mut run = Run::right();
    run.after.new.settings[0].content.push('!');
    assert_eq!(run.only_fault(), (Wrong::Altered, 1));
}

#[test]
fn a_stale_answer_and_a_user_who_was_not_moved_are_faults() {
    let mut run = Run::right();
    run.record(10).missed.push(4);
    assert_eq!(run.only_fault(), (Wrong::Stale, 10));
    let mut run = Run::right();
    run.changes.truncate(2);
    run.history.clear();
    run.after = Rows { legacy: run.before.legacy.clone(), ..Rows::default() };
    run.after.new.settings = std::mem::take(&mut run.after.legacy.settings);
    assert_eq!(run.only_fault(), (Wrong::Unmoved, 0));
}

#[test]
fn a_sign_up_has_one_account_and_is_born_on_the_new_system() {
    let mut run = Run::right();
    run.history.push(Record {
        user: 2,
        served_by: None,
        ..record(Kind::SignUp, 20, 15, Outcome::Acknowledged)
    });
    let mut born = change(14, &[REMINDERS, SETTINGS], false);
    (born.user, born.born) = (2, born.new.clone());
    run.changes.push(born);
    assert_eq!(run.only_fault(), (Wrong::Lost, 20));
    run.after.accounts.insert(2, format!("New {} (2)", Mark::User.text(20)));
    assert!(run.verdict().balances());
    run.after.accounts.insert(3, format!("New {} (3)", Mark::User.text(20)));
    assert_eq!(run.only_fault(), (Wrong::Doubled, 20));
    run.after.accounts.remove(&3);
    run.changes.pop();
    assert_eq!(run.verdict().misrouted, 1);
}

#[test]
fn sums_add_up_and_keep_the_longer_time() {
    let one = Verdict { acknowledged: 2, held_p99_ms: 5.0, lost: 1, ..Verdict::default() };
    let two = Verdict { acknowledged: 3, held_p99_ms: 4.0, ..Verdict::default() };
    let sum = one.plus(two);
    assert_eq!((sum.acknowledged, sum.lost), (5, 1));
    assert!((sum.held_p99_ms - 5.0).abs() < f64::EPSILON);
}
