//! How a batch is carried out: repeats set apart, users in key order, each statement's answer held against
//! the rules.

use std::collections::{BTreeMap, HashMap};

use tokio_postgres::types::Type;

use super::{Change, Truth, rows};
use crate::error::Error;
use crate::keys::check_user;
use crate::outcome::Outcome;
use crate::record::Record;
use crate::rules::{Rule, Verdict};
use crate::text::check_migration;

/// The most users that one statement changes, so that none holds many locks for long.
pub(super) const LARGEST: usize = 1000;

/// How often a user is tried whose row other programs keep changing between two statements.
const TRIES: usize = 16;

/// What an operation does with users who have no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// Makes them one. Such a statement answers with the changed rows alone; the others are read afterwards.
    Made,
    /// Leaves them. Such a statement answers with every row, as it was under the lock.
    Left,
}

/// One operation's parts.
struct Operation<'a, T> {
    name: &'static str,
    sql: &'static str,
    missing: Missing,
    rule: Rule<T>,
    migration: &'a str,
}

/// What has been found out so far.
struct Progress<T> {
    outcomes: Vec<Option<T>>,
    records: BTreeMap<String, Record>,
    outbox: Vec<i64>,
}

impl Truth {
    /// Carries a batch out. Users who appear several times are changed one after the other.
    pub(super) async fn change<T: Outcome>(
        &self,
        name: &'static str,
        sql: &'static str,
        missing: Missing,
        rule: Rule<T>,
        migration: &str,
        users: &[(String, i64)],
    ) -> Result<Change<T>, Error> {
        check(migration, users)?;
        let operation = Operation { name, sql, missing, rule, migration };
        let mut progress =
            Progress { outcomes: vec![None; users.len()], records: BTreeMap::new(), outbox: Vec::new() };
        for wave in waves(users) {
            for chunk in wave.chunks(LARGEST) {
                self.settle(&operation, users, chunk.to_vec(), &mut progress).await?;
            }
        }
        let outcomes = progress.outcomes.into_iter().collect::<Option<Vec<T>>>();
        let outcomes = outcomes.ok_or(Error::Disagreement(name))?;
        let records = progress.records.into_values().filter(Record::is_known).collect();
        Ok(Change { outcomes, records, outbox: progress.outbox })
    }

    /// Finds the outcome of each of these users, whose places in the input are `places`.
    async fn settle<T: Outcome>(
        &self,
        operation: &Operation<'_, T>,
        users: &[(String, i64)],
        mut places: Vec<usize>,
        progress: &mut Progress<T>,
    ) -> Result<(), Error> {
        for _ in 0..TRIES {
            let found = self.attempt(operation, users, &places, progress).await?;
            let mut left = Vec::new();
            for place in places {
                let (user, version) = &users[place];
                let (record, changed) = match found.get(user.as_str()) {
                    Some((record, changed)) => (record.clone(), *changed),
                    None => (Record::absent(user.as_str()), false),
                };
                let Verdict { outcome, changes } = (operation.rule)(&record, operation.migration, *version);
                progress.outcomes[place] = match (changed, changes) {
                    (true, false) => outcome.of_change(),
                    (false, false) => Some(outcome),
                    // The row was read after the statement, and has changed in between: ask again.
                    (false, true) if operation.missing == Missing::Made => {
                        left.push(place);
                        continue;
                    }
                    (_, true) => None,
                };
                if progress.outcomes[place].is_none() {
                    return Err(Error::Disagreement(operation.name));
                }
                progress.records.insert(record.user.clone(), record);
            }
            if left.is_empty() {
                return Ok(());
            }
            places = left;
        }
        Err(Error::Disagreement(operation.name))
    }

    /// Runs the statement once, and returns each user's row with whether it was changed.
    async fn attempt<T>(
        &self,
        operation: &Operation<'_, T>,
        users: &[(String, i64)],
        places: &[usize],
        progress: &mut Progress<T>,
    ) -> Result<HashMap<String, (Record, bool)>, Error> {
        let keys: Vec<&str> = places.iter().map(|place| users[*place].0.as_str()).collect();
        let versions: Vec<i64> = places.iter().map(|place| users[*place].1).collect();
        let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 3] =
            [(&operation.migration, Type::TEXT), (&keys, Type::TEXT_ARRAY), (&versions, Type::INT8_ARRAY)];
        let mut found = HashMap::with_capacity(places.len());
        let mut outbox = None;
        for row in &self.query(operation.sql, &parameters).await? {
            let touched = rows::touched(row)?;
            outbox = outbox.or(touched.outbox);
            found.insert(touched.record.user.clone(), (touched.record, touched.changed));
        }
        // Kept before anything else can fail: these rows are committed.
        progress.outbox.extend(outbox);
        if operation.missing == Missing::Made && found.len() < keys.len() {
            let rest: Vec<&str> = keys.into_iter().filter(|key| !found.contains_key(*key)).collect();
            for record in self.known(&rest).await? {
                found.insert(record.user.clone(), (record, false));
            }
        }
        Ok(found)
    }
}

/// Refuses what the truth cannot hold, before anything is changed.
fn check(migration: &str, users: &[(String, i64)]) -> Result<(), Error> {
    check_migration(migration).map_err(Error::Migration)?;
    for (user, version) in users {
        check_user(user).map_err(Error::UserKey)?;
        if !(1..i64::MAX).contains(version) {
            return Err(Error::Version);
        }
    }
    Ok(())
}

/// The places of the input, so that no user appears twice in a wave, each wave in key order. A user's later
/// appearances come in later waves.
fn waves(users: &[(String, i64)]) -> Vec<Vec<usize>> {
    let mut seen: HashMap<&str, usize> = HashMap::with_capacity(users.len());
    let mut waves: Vec<Vec<usize>> = Vec::new();
    for (place, (user, _)) in users.iter().enumerate() {
        let count = seen.entry(user).or_insert(0);
        if waves.len() == *count {
            waves.push(Vec::new());
        }
        waves[*count].push(place);
        *count += 1;
    }
    for wave in &mut waves {
        wave.sort_by(|a, b| users[*a].0.cmp(&users[*b].0));
    }
    waves
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_go_to_later_waves_and_each_wave_is_in_key_order() {
        let users = ["b", "a", "b", "c", "b"].map(|user| (user.to_owned(), 1));
        assert_eq!(waves(&users), vec![vec![1, 0, 3], vec![2], vec![4]]);
        assert!(waves(&[]).is_empty());
    }
}
