//! What the reconciler does about fences: rows that are missing are put back, rows that no attempt stands behind are
//! settled or lifted, as tracking and Identity's truth say. Who decides is never the row.
//!
//! The rows are looked at before tracking and Identity are: an attempt is open before its fence is raised and closed
//! only after it is lifted, so a row that is older than the look and behind which no attempt stands is a stray for
//! good. Everything done is bound to a version, so that what a newer attempt raises meanwhile is left alone.

use std::collections::{BTreeSet, HashMap};

use handover_fault::point;
use handover_fence::{Side, Stands, State, UserVersion, look, standing};
use handover_identity::{Record, State as Home};
use handover_tracking::{OpenState, Standing};

use super::PASS;
use crate::{Engine, Error};

/// How many users are looked at together.
const PAGE: u32 = 1_000;

/// What was done about fences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mended {
    /// Rows that were missing, of users who are paused or have moved.
    pub restored: usize,
    /// Rows that stood as if their attempt still went on, of users who live on the other side.
    pub settled: usize,
    /// Rows that stood in the way of users who live on that side.
    pub lifted: usize,
}

impl Mended {
    /// Whether nothing was wrong.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    fn add(&mut self, other: Self) {
        self.restored += other.restored;
        self.settled += other.settled;
        self.lifted += other.lifted;
    }
}

/// What is due for users of one migration, by side.
#[derive(Debug, Default)]
struct Due {
    /// Open attempts whose row on legacy is missing.
    raise: Vec<UserVersion>,
    /// Users who have moved, or gone back, and of whom no row says so.
    restore: Vec<(Side, UserVersion)>,
    settle: Vec<(Side, UserVersion)>,
    clear: Vec<(Side, UserVersion)>,
}

/// All that is known of one user.
struct Seen<'s> {
    user: &'s str,
    migration: &'s str,
    legacy: Option<Stands>,
    destination: Option<Stands>,
    attempt: Option<&'s Standing>,
    record: &'s Record,
}

impl Engine {
    /// Mends the fences of users who are, or seem to be, paused: of every open attempt and every row that says so.
    /// Anybody may call it at any time.
    pub async fn mend_fences(&self) -> Result<Mended, Error> {
        let mut mended = Mended::default();
        if self.fence.is_none() {
            return Ok(mended);
        }
        let most = i64::from(self.options.max_paused) + 1_000;
        let mut admitted: HashMap<String, BTreeSet<String>> = HashMap::new();
        for (migration, attempt) in self.tracking.overdue(0, most).await? {
            admitted.entry(migration).or_default().insert(attempt.user);
        }
        for (id, migration) in self.tracking.migrations().await? {
            let mut users = admitted.remove(&migration).unwrap_or_default();
            for side in [Side::Legacy, Side::Destination] {
                let session = self.fence_session(side).await?;
                let rows = standing(&session, &side.fence(&migration), most).await?;
                users.extend(rows.into_iter().map(|row| row.user));
            }
            let users: Vec<String> = users.into_iter().collect();
            for users in users.chunks(PAGE as usize) {
                mended.add(self.mend(id, &migration, users).await?);
            }
        }
        Ok(mended)
    }

    /// Mends the fences of every user whom Identity knows: also of those who moved before the fence was installed.
    pub async fn verify_fences(&self) -> Result<Mended, Error> {
        let mut mended = Mended::default();
        if self.fence.is_none() {
            return Ok(mended);
        }
        let migrations = self.tracking.migrations().await?;
        let mut after = String::new();
        loop {
            let page = self.identity.truth().page(&after, PAGE).await?;
            let users: Vec<String> = page.iter().map(|record| record.user().to_owned()).collect();
            let Some(last) = users.last() else { return Ok(mended) };
            after.clone_from(last);
            for (id, migration) in &migrations {
                mended.add(self.mend(*id, migration, &users).await?);
            }
        }
    }

    async fn mend(&self, id: i32, migration: &str, users: &[String]) -> Result<Mended, Error> {
        if users.is_empty() {
            return Ok(Mended::default());
        }
        // Where a migration has no fence there is nothing to look at.
        let (Some(legacy), Some(destination)) = (
            self.rows(migration, Side::Legacy, users).await?,
            self.rows(migration, Side::Destination, users).await?,
        ) else {
            return Ok(Mended::default());
        };
        let attempts = self.tracking.standing_of(id, users).await?;
        let records = self.identity.get(users).await?;
        let mut due = Due::default();
        for (nth, user) in users.iter().enumerate() {
            let seen = Seen {
                user,
                migration,
                legacy: legacy[nth],
                destination: destination[nth],
                attempt: attempts.get(user),
                record: &records[nth],
            };
            seen.decide(&mut due);
        }
        point("fence.mends").await?;
        self.carry_out(id, migration, due).await
    }

    async fn rows(
        &self,
        migration: &str,
        side: Side,
        users: &[String],
    ) -> Result<Option<Vec<Option<Stands>>>, Error> {
        let session = self.fence_session(side).await?;
        let name = side.fence(migration);
        if !handover_fence::guards_any(&session, &name).await? {
            return Ok(None);
        }
        Ok(Some(look(&session, &name, users).await?))
    }

    async fn carry_out(&self, id: i32, migration: &str, due: Due) -> Result<Mended, Error> {
        let mut mended = Mended {
            restored: due.raise.len() + due.restore.len(),
            settled: due.settle.len(),
            lifted: due.clear.len(),
        };
        let of = |list: &[(Side, UserVersion)], side| -> Vec<UserVersion> {
            list.iter().filter(|(at, _)| *at == side).map(|(_, user)| user.clone()).collect()
        };
        for side in [Side::Legacy, Side::Destination] {
            let clear = of(&due.clear, side);
            if !clear.is_empty() {
                let mut session = self.fence_session(side).await?;
                handover_fence::clear(&mut session, &side.fence(migration), &clear).await?;
            }
            self.settle_fence(migration, side, &of(&due.settle, side)).await?;
            let restore = of(&due.restore, side);
            self.settle_fence(migration, side, &restore).await?;
            self.unless_home(migration, side, &restore).await?;
        }
        if !due.raise.is_empty() {
            let mut session = self.primary.get().await?;
            handover_fence::raise(&mut session, &Side::Legacy.fence(migration), &due.raise, PASS).await?;
            drop(session);
            let claims: Vec<_> = due.raise.iter().map(claim).collect();
            self.lift_if_gone(id, migration, Side::Legacy, &claims).await?;
        }
        point("fence.mended").await?;
        count(&mut mended);
        Ok(mended)
    }

    /// A row that was put back for a user who came home meanwhile is taken away again.
    async fn unless_home(&self, migration: &str, side: Side, restored: &[UserVersion]) -> Result<(), Error> {
        if restored.is_empty() {
            return Ok(());
        }
        let users: Vec<String> = restored.iter().map(|(user, _)| user.clone()).collect();
        let records = self.identity.get(&users).await?;
        let home = |record: &Record| match side {
            Side::Legacy => record.state(migration) == Home::Legacy,
            Side::Destination => record.state(migration) == Home::Migrated,
        };
        let back = restored.iter().zip(&records).filter(|(_, record)| home(record));
        let back: Vec<UserVersion> = back.map(|(user, _)| user.clone()).collect();
        if back.is_empty() {
            return Ok(());
        }
        let mut session = self.fence_session(side).await?;
        handover_fence::clear(&mut session, &side.fence(migration), &back).await?;
        Ok(())
    }
}

fn claim((user, version): &UserVersion) -> handover_tracking::Claim {
    handover_tracking::Claim { user: user.clone(), version: *version }
}

fn count(mended: &mut Mended) {
    let done = [("restored", mended.restored), ("settled", mended.settled), ("lifted", mended.lifted)];
    for (what, many) in done.into_iter().filter(|(_, many)| *many > 0) {
        metrics::counter!("handover_fence_mended_total", "what" => what).increment(many as u64);
    }
}

impl Seen<'_> {
    fn decide(&self, due: &mut Due) {
        match self.attempt {
            Some(attempt) if attempt.state != OpenState::Queued => return self.of_open(attempt, due),
            // Its own row may stand, though nothing leads there: it is raised again when it is its turn.
            Some(attempt) if self.newest() >= Some(attempt.version) => return,
            _ => {}
        }
        match self.record.state(self.migration) {
            // Whoever ends the pause sees to the fences.
            Home::Migrating | Home::RollingBack => {}
            Home::Legacy => {
                self.clear(Side::Legacy, self.legacy, due);
                self.settle(Side::Destination, self.destination, due);
            }
            Home::Migrated => {
                self.clear(Side::Destination, self.destination, due);
                self.settle(Side::Legacy, self.legacy, due);
                // A sign-up was never moved: nothing of it is, or was, on legacy.
                let moved = self.record.flipped_by(self.migration).filter(|version| *version > 0);
                if let (None, Some(version)) = (self.legacy, moved) {
                    due.restore.push((Side::Legacy, (self.user.to_owned(), version)));
                }
            }
        }
    }

    /// From the copy on the fence must stand; before it, and on the way back, the stage raises it at each try.
    fn of_open(&self, attempt: &Standing, due: &mut Due) {
        let stands = self.legacy.is_some_and(|row| row.version >= attempt.version);
        let moving =
            matches!(attempt.state, OpenState::Copying | OpenState::Verifying | OpenState::Completing);
        if moving && !stands {
            due.raise.push((self.user.to_owned(), attempt.version));
        }
    }

    fn newest(&self) -> Option<i64> {
        [self.legacy, self.destination].into_iter().flatten().map(|row| row.version).max()
    }

    fn clear(&self, side: Side, row: Option<Stands>, due: &mut Due) {
        if let Some(row) = row {
            due.clear.push((side, (self.user.to_owned(), row.version)));
        }
    }

    fn settle(&self, side: Side, row: Option<Stands>, due: &mut Due) {
        if let Some(row) = row.filter(|row| row.state != State::Moved) {
            due.settle.push((side, (self.user.to_owned(), row.version)));
        }
    }
}
