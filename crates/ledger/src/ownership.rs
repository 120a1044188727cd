//! Who owned whom when, observed by a trigger of ours on Identity's table: not asked of handover's code.
//!
//! A change takes effect for others when it commits. The trigger runs before that, and the server notes the commit's
//! own time a moment before others see it. So the new owner counts from the trigger's time on, and the old one until
//! [`SLACK_US`] after the commit's: within these two a request may have been served by either. Clients and servers read
//! the same machine's clock.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use crate::record::Side;

/// Microseconds after a commit's time until which the state before it may have been seen.
pub const SLACK_US: i64 = 10_000;

/// Installs the trigger. The server must run with `track_commit_timestamp = on`.
const INSTALL: &str = "
    CREATE SCHEMA ledger;
    CREATE TABLE ledger.ownership (
        id             int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        user_key       text NOT NULL,
        migrated       jsonb NOT NULL,
        open_migration text,
        at             timestamptz NOT NULL DEFAULT clock_timestamp(),
        transaction    xid NOT NULL DEFAULT pg_current_xact_id()::xid
    );
    CREATE FUNCTION ledger.note() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'DELETE' THEN
            INSERT INTO ledger.ownership (user_key, migrated) VALUES (OLD.user_key, '{}');
        ELSE
            INSERT INTO ledger.ownership (user_key, migrated, open_migration)
            VALUES (NEW.user_key, NEW.migrated, NEW.open_migration);
        END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER ledger AFTER INSERT OR UPDATE OR DELETE ON identity.users
        FOR EACH ROW EXECUTE FUNCTION ledger.note();
";

const READ: &str = "
    SELECT user_key::int8,
           (extract(epoch FROM at) * 1000000)::int8,
           (extract(epoch FROM pg_xact_commit_timestamp(transaction)) * 1000000)::int8,
           ARRAY(SELECT jsonb_object_keys(migrated)),
           ARRAY(SELECT key FROM jsonb_each_text(migrated) WHERE value = '0'),
           open_migration IS NOT NULL
      FROM ledger.ownership ORDER BY id
";

/// One change of a user's row at Identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The user.
    pub user: i64,
    /// When the statement changed it, in microseconds since 1970.
    pub at: i64,
    /// When its transaction committed.
    pub committed: i64,
    /// The migrations whose data lives on the new system from then on.
    pub new: BTreeSet<String>,
    /// Those of them that the user was born with.
    pub born: BTreeSet<String>,
    /// Whether the user is paused from then on.
    pub paused: bool,
}

/// All changes of a run.
#[derive(Clone, Debug, Default)]
pub struct Ownership {
    users: BTreeMap<i64, Vec<Change>>,
}

/// From `from` until `until` that side may have been the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tenure {
    side: Side,
    from: i64,
    until: i64,
    /// Whether the user moved here, and was neither born here nor here from the beginning.
    moved: bool,
}

/// Installs the trigger into Identity's database, before anybody is moved.
pub async fn install(identity: &Client) -> Result<(), tokio_postgres::Error> {
    identity.batch_execute(INSTALL).await
}

/// Reads what was noted.
pub async fn read(identity: &Client) -> Result<Vec<Change>, tokio_postgres::Error> {
    let change = |row: &tokio_postgres::Row| Change {
        user: row.get(0),
        at: row.get(1),
        committed: row.get(2),
        new: row.get::<_, Vec<String>>(3).into_iter().collect(),
        born: row.get::<_, Vec<String>>(4).into_iter().collect(),
        paused: row.get(5),
    };
    Ok(identity.query(READ, &[]).await?.iter().map(change).collect())
}

impl Ownership {
    /// From changes in the order in which they were made.
    pub fn new(changes: Vec<Change>) -> Self {
        let mut users: BTreeMap<i64, Vec<Change>> = BTreeMap::new();
        for change in changes {
            users.entry(change.user).or_default().push(change);
        }
        Self { users }
    }

    fn changes(&self, user: i64) -> &[Change] {
        self.users.get(&user).map_or(&[], Vec::as_slice)
    }

    /// The owners of a user's data of a migration, one after the other; the last one's tenure has no end.
    fn tenures(&self, user: i64, migration: &str) -> Vec<Tenure> {
        let mut tenures = vec![Tenure { side: Side::Legacy, from: i64::MIN, until: i64::MAX, moved: false }];
        for change in self.changes(user) {
            let side = if change.new.contains(migration) { Side::New } else { Side::Legacy };
            let last = tenures.len() - 1;
            if tenures[last].side != side {
                tenures[last].until = change.committed.saturating_add(SLACK_US);
                let moved = !change.born.contains(migration);
                tenures.push(Tenure { side, from: change.at, until: i64::MAX, moved });
            }
        }
        tenures
    }

    /// Who owns a user's data in the end.
    pub fn home(&self, user: i64, migration: &str) -> Side {
        if self.changes(user).last().is_some_and(|change| change.new.contains(migration)) {
            Side::New
        } else {
            Side::Legacy
        }
    }

    /// Whether that side owned the data at some moment of `from..=to`.
    pub fn owned(&self, user: i64, migration: &str, side: Side, from: i64, to: i64) -> bool {
        let overlaps = |tenure: &Tenure| tenure.side == side && tenure.from <= to && from <= tenure.until;
        self.tenures(user, migration).iter().any(overlaps)
    }

    /// Whether the data left the new system, and so may have been carried back, at that time or later.
    pub fn went_back_after(&self, user: i64, migration: &str, at: i64) -> bool {
        let left =
            |tenure: &Tenure| tenure.side == Side::New && tenure.until != i64::MAX && tenure.until >= at;
        self.tenures(user, migration).iter().any(left)
    }

    /// Whether the user was paused at that time.
    pub fn paused(&self, user: i64, at: i64) -> bool {
        let before = self.changes(user).iter().take_while(|change| change.committed <= at).last();
        before.is_some_and(|change| change.paused)
    }

    /// How often users moved to that side in a migration; sign-ups do not count.
    pub fn moves(&self, migration: &str, to: Side) -> usize {
        self.users.keys().map(|user| self.moves_of(*user, migration, to)).sum()
    }

    /// How often one user moved to that side.
    pub fn moves_of(&self, user: i64, migration: &str, to: Side) -> usize {
        let arrived = |tenure: &&Tenure| tenure.side == to && tenure.moved;
        self.tenures(user, migration).iter().filter(arrived).count()
    }

    /// The times that users spent on the new system until they went back: user, from, until.
    pub fn stays(&self, migration: &str) -> Vec<(i64, i64, i64)> {
        let ended = |tenure: &Tenure| tenure.side == Side::New && tenure.until != i64::MAX;
        let of = |user: &i64| {
            let stays = self.tenures(*user, migration).into_iter().filter(ended);
            stays.map(|tenure| (*user, tenure.from, tenure.until)).collect::<Vec<_>>()
        };
        self.users.keys().flat_map(of).collect()
    }

    /// The users who are paused in the end.
    pub fn still_paused(&self) -> Vec<i64> {
        let paused = |changes: &Vec<Change>| changes.last().is_some_and(|change| change.paused);
        self.users.iter().filter(|(_, changes)| paused(changes)).map(|(user, _)| *user).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const M: &str = "m";

    fn change(committed: i64, new: bool, paused: bool) -> Change {
        let new: BTreeSet<String> = new.then(|| M.to_owned()).into_iter().collect();
        Change { user: 1, at: committed - 1_000, committed, new, born: BTreeSet::new(), paused }
    }

    fn there_and_back() -> Ownership {
        Ownership::new(vec![
            change(100_000, false, true),
            change(200_000, true, false),
            change(300_000, true, true),
            change(400_000, false, false),
        ])
    }

    #[test]
    fn a_side_owns_from_the_change_on_and_until_it_was_seen() {
        let owners = there_and_back();
        let owned = |side, at| owners.owned(1, M, side, at, at);
        assert!(owned(Side::Legacy, 0) && owned(Side::Legacy, 150_000) && owned(Side::Legacy, 205_000));
        assert!(!owned(Side::Legacy, 200_001 + SLACK_US), "the move is over");
        assert!(owned(Side::New, 199_500) && owned(Side::New, 350_000));
        assert!(!owned(Side::New, 150_000) && !owned(Side::New, 450_000));
        assert!(owners.owned(1, M, Side::New, 150_000, 199_500), "within what lasted long enough");
        assert!(owners.owned(2, M, Side::Legacy, 5, 6), "nobody moved that user");
    }

    #[test]
    fn moves_are_counted_by_direction_and_births_are_none() {
        let mut born = Change { user: 2, ..change(50_000, true, false) };
        born.born = born.new.clone();
        let mut changes: Vec<Change> = there_and_back().users.remove(&1).unwrap();
        changes.push(born);
        let owners = Ownership::new(changes);
        assert_eq!((owners.moves(M, Side::New), owners.moves(M, Side::Legacy)), (1, 1));
        assert_eq!((owners.home(1, M), owners.home(2, M)), (Side::Legacy, Side::New));
        assert_eq!(owners.stays(M), [(1, 199_000, 400_000 + SLACK_US)]);
        assert!(owners.went_back_after(1, M, 250_000) && !owners.went_back_after(1, M, 450_000));
    }

    #[test]
    fn a_pause_lasts_from_commit_to_commit() {
        let owners = there_and_back();
        let paused: Vec<bool> =
            [0, 100_000, 199_999, 200_000, 350_000].map(|at| owners.paused(1, at)).to_vec();
        assert_eq!(paused, [false, true, true, false, true]);
        assert!(owners.still_paused().is_empty());
    }
}
