//! The verdict: history, final rows and ownership held against one another. Pure.
//!
//! **What must hold**, for the side that owns a user's data of a migration in the end (the *owner*):
//!
//! - An acknowledged write is there once: a reminder's number in one row, a note's once in its reminder's body, a removed
//!   reminder is gone, a footer is one that no later acknowledged write has overwritten. Less is **lost**, more **doubled**.
//!   A reminder that somebody asked to remove, without being told what came of it, may be gone, and its notes with it.
//! - A write whose outcome the client does not know (no answer, or "outcome unknown") is there at most once.
//! - A write that was declined, refused as "nothing was done", or never sent is nowhere: else it is a **phantom**.
//! - What nobody wrote is as it was before the run, wherever it went since: else it is **altered**, or lost.
//! - A reminder that came due was sent once, by both sides together: else **unsent** or **`sent_twice`**.
//!
//! On the **other side**:
//!
//! - Where legacy is the owner, the new system has no row of the user: a rollback removes them. A row is *doubled*.
//! - Where the new system is the owner, legacy keeps what it had at the handover, which is stale and harmless, as long as
//!   nothing came to it afterwards. A write that the new system acknowledged stands there only if the user has since been
//!   carried back; else both systems took it, and it is *doubled*.
//!
//! And at each moment: a request is **misrouted** if the side that says it served owned the data at no moment between
//! question and answer, and so is a mail that a side sent when it was not the owner. An answer is **stale** if it lacks, or does not
//! find, what had been acknowledged before the question.

mod index;
mod reminders;
mod routing;
mod sending;
mod settings;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::ownership::Ownership;
use crate::record::{Kind, Outcome, Record, Side};
use crate::rows::Rows;
use crate::traffic::percentile;

use index::Index;
pub(crate) use index::perhaps;

/// The migrations of the example, by what of a user they move.
pub const REMINDERS: &str = "invoice-reminders";
/// See [`REMINDERS`].
pub const SETTINGS: &str = "invoice-settings";

/// All that a verdict is made of.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// What the clients were told.
    pub history: &'a [Record],
    /// What was there before the first request.
    pub before: &'a Rows,
    /// What is there after the last.
    pub after: &'a Rows,
    /// Who owned whom when.
    pub ownership: &'a Ownership,
    /// Reminders that came due, besides those that clients made so.
    pub due: &'a BTreeSet<i64>,
    /// Users who were to be moved, in each migration.
    pub moving: &'a [i64],
    /// Times after which held requests are counted apart, because a gate had died in silence: from, until.
    pub silent: &'a [(i64, i64)],
}

/// What is wrong with a write, a row or a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Wrong {
    /// Acknowledged, or there before, and not on the owning side.
    Lost,
    /// There more often than once, or on both sides.
    Doubled,
    /// Served by a side that was not the owner.
    Misrouted,
    /// Sent more than once.
    SentTwice,
    /// Due, and not sent.
    Unsent,
    /// There although nothing was done.
    Phantom,
    /// An answer without what was acknowledged before.
    Stale,
    /// Not what it was, and nobody wrote it.
    Altered,
    /// Not moved even once, or paused in the end.
    Unmoved,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Fault {
    /// What kind of thing.
    pub wrong: Wrong,
    /// The user.
    pub user: i64,
    /// The write's or request's number, or the row's.
    pub number: u64,
    /// In words.
    pub what: String,
}

/// The ledger's balance.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Verdict {
    /// Writes that were acknowledged.
    pub acknowledged: usize,
    /// Acknowledged writes and older rows that are not on the owning side.
    pub lost: usize,
    /// Writes and rows that are there more than once.
    pub doubled: usize,
    /// Requests and mails of a side that was not the owner.
    pub misrouted: usize,
    /// Half of the requests that met a pause and were served took no longer, in milliseconds.
    pub held_p50_ms: f64,
    /// 99 of a hundred of them.
    pub held_p99_ms: f64,
    /// Requests answered with "not now".
    pub refused: usize,
    /// How often a user's data moved to the new system.
    pub handovers: usize,
    /// How often it went back.
    pub rollbacks: usize,
    /// Of those, the ones that carried back what the new system had acknowledged.
    pub carried_back: usize,
    /// Requests sent while their user was paused.
    pub requests_during_pause: usize,
    /// Mails sent more than once.
    pub sent_twice: usize,
    /// Mails that were due and not sent.
    pub unsent: usize,
    /// Writes that are there although nothing was done.
    pub phantom: usize,
    /// Answers that lacked what was acknowledged before.
    pub stale: usize,
    /// Rows that changed though nobody wrote them.
    pub altered: usize,
    /// Users who were never moved, or are paused still.
    pub unmoved: usize,
    /// Requests whose outcome is not known.
    pub indeterminate: usize,
    /// Mails that were sent.
    pub sent: usize,
    /// As `held_p99_ms`, of requests whose pause waited for a gate that had died in silence.
    pub held_after_kill_p99_ms: f64,
    /// What is wrong, thing by thing.
    #[serde(skip)]
    pub faults: Vec<Fault>,
}

/// Faults as they are found.
#[derive(Debug, Default)]
struct Faults(Vec<Fault>);

impl Faults {
    fn add(&mut self, wrong: Wrong, user: i64, number: u64, what: impl Into<String>) {
        self.0.push(Fault { wrong, user, number, what: what.into() });
    }
}

/// Judges a run.
pub fn judge(evidence: &Evidence<'_>) -> Verdict {
    let index = Index::new(evidence);
    let mut faults = Faults::default();
    reminders::check(evidence, &index, &mut faults);
    settings::check(evidence, &index, &mut faults);
    sending::check(evidence, &index, &mut faults);
    routing::check(evidence, &mut faults);
    let mut faults = faults.0;
    faults.sort();
    let count = |wrong: Wrong| faults.iter().filter(|fault| fault.wrong == wrong).count();
    let told = |outcome| evidence.history.iter().filter(move |record| record.outcome == outcome);
    let moves = |side| [REMINDERS, SETTINGS].iter().map(|it| evidence.ownership.moves(it, side)).sum();
    let held = Held::of(evidence);
    Verdict {
        acknowledged: told(Outcome::Acknowledged).filter(|record| record.kind.writes()).count(),
        lost: count(Wrong::Lost),
        doubled: count(Wrong::Doubled),
        misrouted: count(Wrong::Misrouted),
        held_p50_ms: percentile(&held.plain, 0.5) / 1_000.0,
        held_p99_ms: percentile(&held.plain, 0.99) / 1_000.0,
        refused: told(Outcome::Refused).count(),
        handovers: moves(Side::New),
        rollbacks: moves(Side::Legacy),
        carried_back: carried_back(evidence),
        requests_during_pause: held.requests,
        sent_twice: count(Wrong::SentTwice),
        unsent: count(Wrong::Unsent),
        phantom: count(Wrong::Phantom),
        stale: count(Wrong::Stale),
        altered: count(Wrong::Altered),
        unmoved: count(Wrong::Unmoved),
        indeterminate: told(Outcome::Indeterminate).count(),
        sent: evidence.after.legacy.sent.len() + evidence.after.new.sent.len(),
        held_after_kill_p99_ms: percentile(&held.silent, 0.99) / 1_000.0,
        faults,
    }
}

/// How often a user went back who had written on the new system since coming there.
fn carried_back(evidence: &Evidence<'_>) -> usize {
    let mut written: BTreeMap<(i64, &str), Vec<i64>> = BTreeMap::new();
    for record in evidence.history.iter().filter(|record| record.kind.writes()) {
        if let (Some(Side::New), Some(migration)) = (record.served_by, record.kind.migration())
            && record.outcome == Outcome::Acknowledged
        {
            written.entry((record.user, migration)).or_default().push(record.answered);
        }
    }
    let wrote = |migration, (user, from, until): &(i64, i64, i64)| {
        let times = written.get(&(*user, migration)).map_or(&[][..], Vec::as_slice);
        times.iter().any(|at| (*from..*until).contains(at))
    };
    let of =
        |migration| evidence.ownership.stays(migration).iter().filter(|stay| wrote(migration, stay)).count();
    of(REMINDERS) + of(SETTINGS)
}

/// Requests that met a pause; how long those took that were served, in microseconds, sorted.
#[derive(Debug, Default)]
struct Held {
    requests: usize,
    plain: Vec<u32>,
    silent: Vec<u32>,
}

impl Held {
    fn of(evidence: &Evidence<'_>) -> Self {
        let mut held = Self::default();
        let asked = evidence.history.iter().filter(|record| record.kind != Kind::SignUp);
        for record in asked.filter(|record| evidence.ownership.paused(record.user, record.sent)) {
            held.requests += 1;
            if record.outcome != Outcome::Acknowledged {
                continue;
            }
            // One that was sent just before waits as long.
            let silent = |(from, until): &(i64, i64)| record.sent < *until && record.answered > *from;
            let kind = if evidence.silent.iter().any(silent) { &mut held.silent } else { &mut held.plain };
            kind.push((record.answered - record.sent).clamp(0, i64::from(u32::MAX)) as u32);
        }
        held.plain.sort_unstable();
        held.silent.sort_unstable();
        held
    }
}

impl Verdict {
    /// Whether everything balances.
    pub fn balances(&self) -> bool {
        self.faults.is_empty()
    }

    /// This and another run's, added up; of held times the longer.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let mut faults = self.faults;
        faults.extend(other.faults);
        Self {
            acknowledged: self.acknowledged + other.acknowledged,
            lost: self.lost + other.lost,
            doubled: self.doubled + other.doubled,
            misrouted: self.misrouted + other.misrouted,
            held_p50_ms: self.held_p50_ms.max(other.held_p50_ms),
            held_p99_ms: self.held_p99_ms.max(other.held_p99_ms),
            refused: self.refused + other.refused,
            handovers: self.handovers + other.handovers,
            rollbacks: self.rollbacks + other.rollbacks,
            carried_back: self.carried_back + other.carried_back,
            requests_during_pause: self.requests_during_pause + other.requests_during_pause,
            sent_twice: self.sent_twice + other.sent_twice,
            unsent: self.unsent + other.unsent,
            phantom: self.phantom + other.phantom,
            stale: self.stale + other.stale,
            altered: self.altered + other.altered,
            unmoved: self.unmoved + other.unmoved,
            indeterminate: self.indeterminate + other.indeterminate,
            sent: self.sent + other.sent,
            held_after_kill_p99_ms: self.held_after_kill_p99_ms.max(other.held_after_kill_p99_ms),
            faults,
        }
    }
}
