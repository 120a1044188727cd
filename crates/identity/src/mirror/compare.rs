//! The mirror held against the truth: rebuilt from it, compared with it, repaired.
//!
//! All of it runs beside ordinary traffic. It streams in key order, a thousand users at a time, so that memory
//! stays flat.

use std::collections::HashMap;

use super::{ENTRY, Mirror, Mode, fresh_generation, script};
use crate::error::Error;
use crate::keys::{field_of_user, user_of_field};
use crate::record::{Record, Snapshot};
use crate::text::Text;
use crate::truth::Truth;

/// Users per round.
const CHUNK: u32 = 1000;

/// The most differences that are listed; all are counted.
const LISTED: usize = 1000;

/// HSCAN's answer: the next cursor, and fields with their texts.
type Scanned = (u64, Vec<(Vec<u8>, Vec<u8>)>);

/// What a rebuild did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    /// Users that the truth knows.
    pub users: u64,
    /// Fields that were absent, older, or wrong at the same revision.
    pub written: u64,
    /// Fields that were newer than the row read: changed meanwhile, or wrong (verify tells).
    pub newer: u64,
    /// The server that was rebuilt, from first to last.
    pub run_id: String,
}

/// How a field differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DifferenceKind {
    /// The truth has a row, the mirror no field. Harmless: an absent field means "ask Identity".
    Missing,
    /// The field is of an older revision. It is repaired, or its write is on the way.
    Stale,
    /// The field is garbled, says another thing at the same revision, is ahead of the truth, or tells of a
    /// user whom the truth does not know: written by hand, or left by another server.
    Wrong,
}

/// A field that is not what the truth says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// How it differs.
    pub kind: DifferenceKind,
    /// What the mirror should hold.
    pub truth: Snapshot,
    /// What it holds.
    pub found: Option<String>,
}

/// The mirror compared with the truth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verification {
    /// Users and fields compared.
    pub compared: u64,
    /// Rows without a field.
    pub missing: u64,
    /// Fields of an older revision.
    pub stale: u64,
    /// Fields that cannot have come from this truth.
    pub wrong: u64,
    /// The differences, at most a thousand.
    pub differences: Vec<Difference>,
    /// The server that was verified, from first to last.
    pub run_id: String,
}

impl Verification {
    /// Whether every field is what the truth says. Missing fields count as differences here.
    pub fn is_equal(&self) -> bool {
        self.missing + self.stale + self.wrong == 0
    }

    fn add(&mut self, differences: Vec<Difference>) {
        for difference in differences {
            match difference.kind {
                DifferenceKind::Missing => self.missing += 1,
                DifferenceKind::Stale => self.stale += 1,
                DifferenceKind::Wrong => self.wrong += 1,
            }
            if self.differences.len() < LISTED {
                self.differences.push(difference);
            }
        }
    }
}

impl Mirror {
    /// Writes every user of the truth into the mirror, none over a newer one. Fields that were there and have
    /// changed are told of in the stream.
    pub async fn rebuild(&self, truth: &Truth) -> Result<Rebuilt, Error> {
        let mut done = Rebuilt { users: 0, written: 0, newer: 0, run_id: self.run_id().await? };
        let mut after = String::new();
        loop {
            let records = truth.page(&after, CHUNK).await?;
            let Some(last) = records.last() else { break };
            last.user().clone_into(&mut after);
            let snapshots: Vec<Snapshot> = records.iter().map(Record::snapshot).collect();
            let written = self.put(&snapshots, Mode::Fill).await?;
            done.users += snapshots.len() as u64;
            done.written += written.fields;
            done.newer += written.left;
        }
        self.still(&done.run_id).await?;
        Ok(done)
    }

    /// Compares the mirror with the truth, both ways. A change that is being mirrored at that moment can show
    /// as stale or missing.
    pub async fn verify(&self, truth: &Truth) -> Result<Verification, Error> {
        let run_id = self.run_id().await?;
        let mut found =
            Verification { compared: 0, missing: 0, stale: 0, wrong: 0, differences: Vec::new(), run_id };
        let mut after = String::new();
        loop {
            let records = truth.page(&after, CHUNK).await?;
            let Some(last) = records.last() else { break };
            last.user().clone_into(&mut after);
            found.compared += records.len() as u64;
            let users: Vec<String> = records.into_iter().map(|record| record.user).collect();
            found.add(self.compare(truth, &users).await?);
        }
        self.verify_unknown(truth, &mut found).await?;
        self.still(&found.run_id).await?;
        Ok(found)
    }

    /// Looks for fields of users whom the truth does not know.
    async fn verify_unknown(&self, truth: &Truth, found: &mut Verification) -> Result<(), Error> {
        let mut cursor = 0_u64;
        loop {
            let mut command = redis::cmd("HSCAN");
            command.arg(self.keys.identity()).arg(cursor).arg("COUNT").arg(CHUNK);
            let (next, pairs): Scanned = self.link.query(&command).await?;
            // A field that is not UTF-8 is nobody's: the truth's keys are.
            let fields = pairs.into_iter().filter_map(|(field, _)| String::from_utf8(field).ok());
            let users: Vec<String> = fields.filter_map(|f| user_of_field(&f).map(str::to_owned)).collect();
            let records = truth.get(&users).await?;
            let unknown: Vec<String> =
                records.into_iter().filter(|record| !record.is_known()).map(|record| record.user).collect();
            found.compared += unknown.len() as u64;
            found.add(self.compare(truth, &unknown).await?);
            cursor = next;
            if cursor == 0 {
                return Ok(());
            }
        }
    }

    /// The differences among these users. The mirror is read first: the truth, read after it, is at least as
    /// new as anything that was rightly mirrored, so a field that is ahead of it is wrong.
    async fn compare(&self, truth: &Truth, users: &[String]) -> Result<Vec<Difference>, Error> {
        let texts = self.get(users).await?;
        let records = truth.get(users).await?;
        let pairs = texts.into_iter().zip(&records);
        Ok(pairs.filter_map(|(text, record)| difference(text, record)).collect())
    }

    /// Puts differences right: what is missing or stale is written from the truth as it is now, what is wrong
    /// is replaced while it is still the text that was found. Returns how many fields changed.
    pub async fn repair(&self, truth: &Truth, differences: &[Difference]) -> Result<u64, Error> {
        let mut changed = 0;
        for chunk in differences.chunks(ENTRY) {
            let users: Vec<String> = chunk.iter().map(|difference| difference.truth.user.clone()).collect();
            let records = truth.get(&users).await?;
            let now: HashMap<&str, Snapshot> =
                records.iter().map(|record| (record.user(), record.snapshot())).collect();
            let (wrong, behind): (Vec<&Difference>, Vec<&Difference>) =
                chunk.iter().partition(|difference| difference.kind == DifferenceKind::Wrong);
            let current = |difference: &&Difference| now.get(difference.truth.user.as_str()).cloned();
            let behind: Vec<Snapshot> = behind.iter().filter_map(current).collect();
            changed += self.put(&behind, Mode::Announce).await?.fields;
            changed += self.force(&wrong, &now).await?.fields;
        }
        Ok(changed)
    }

    async fn force(
        &self,
        wrong: &[&Difference],
        now: &HashMap<&str, Snapshot>,
    ) -> Result<script::Written, Error> {
        let mut written = script::Written::default();
        if wrong.is_empty() {
            return Ok(written);
        }
        let mut call = script::FORCE.prepare_invoke();
        call.key(self.keys.identity()).key(self.keys.changes());
        call.arg(self.changes_kept).arg(fresh_generation()?);
        for difference in wrong {
            let user = difference.truth.user.as_str();
            let (Some(found), Some(right)) = (&difference.found, now.get(user)) else { continue };
            call.arg(field_of_user(user).as_ref()).arg(found).arg(&right.text);
        }
        written.add(self.link.run(&call).await?)?;
        Ok(written)
    }

    /// Refuses if another server answers by now.
    async fn still(&self, run_id: &str) -> Result<(), Error> {
        if self.run_id().await? == run_id { Ok(()) } else { Err(Error::MirrorChanged) }
    }
}

/// How the field differs from the row, if it does.
fn difference(found: Option<String>, record: &Record) -> Option<Difference> {
    let truth = record.snapshot();
    let kind = match &found {
        None if record.is_known() => DifferenceKind::Missing,
        None => return None,
        Some(text) if *text == truth.text => return None,
        Some(text) => match text.parse::<Text>() {
            Ok(text) if text.revision < truth.revision => DifferenceKind::Stale,
            _ => DifferenceKind::Wrong,
        },
    };
    Some(Difference { kind, truth, found })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(revision: i64) -> Record {
        Record { revision, ..Record::absent("u") }
    }

    #[test]
    fn a_field_is_missing_stale_or_wrong() {
        let kind = |text: Option<&str>, revision| {
            difference(text.map(str::to_owned), &record(revision)).map(|difference| difference.kind)
        };
        assert_eq!(kind(Some("r3"), 3), None);
        assert_eq!(kind(None, 0), None);
        assert_eq!(kind(Some("r0"), 0), None);
        assert_eq!(kind(None, 3), Some(DifferenceKind::Missing));
        assert_eq!(kind(Some("r2 a=migrated"), 3), Some(DifferenceKind::Stale));
        assert_eq!(kind(Some("r3 a=migrated"), 3), Some(DifferenceKind::Wrong));
        assert_eq!(kind(Some("r4"), 3), Some(DifferenceKind::Wrong));
        assert_eq!(kind(Some("legacy"), 3), Some(DifferenceKind::Wrong));
        assert_eq!(kind(Some("r1 a=migrated"), 0), Some(DifferenceKind::Wrong));
    }
}
