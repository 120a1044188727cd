//! A database a test, short ways to put users into a state, and a recount of every user that shares no code
//! with the counters.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use handover_postgres::{Database, Pool};
use handover_sandbox::{Options, Sandbox, Server};
use handover_tracking::{
    AddReport, Claim, Closing, CohortInfo, Copied, Drawn, Ended, Error, Kind, OpenState, Tracking,
};
use secrecy::SecretString;
use serde_json::json;
use tokio::sync::Mutex;

/// The servers live as long as any test holds them, and end with the last one: a static is never dropped.
static SHARED: Mutex<Weak<Sandbox>> = Mutex::const_new(Weak::new());

static NEXT: AtomicU32 = AtomicU32::new(0);

async fn sandbox() -> Arc<Sandbox> {
    let mut shared = SHARED.lock().await;
    if let Some(running) = shared.upgrade() {
        return running;
    }
    let options = Options { replica: false, ..Options::default() };
    let started = Arc::new(Sandbox::start(options).await.expect("the test's servers start"));
    *shared = Arc::downgrade(&started);
    started
}

/// Tracking in a database of its own, with the migrations `m` and `n` registered.
pub(crate) struct Bench {
    pub(crate) tracking: Tracking,
    pub(crate) pool: Pool,
    _sandbox: Arc<Sandbox>,
}

/// A bound that no test reaches by accident.
pub(crate) const AMPLE: u32 = 1_000_000;

impl Bench {
    pub(crate) async fn new() -> Self {
        let sandbox = sandbox().await;
        let name = format!("tracking_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let url = sandbox.create_database(Server::Destination, &name).await.expect("a database");
        let database = Database::new("destination", &SecretString::from(url)).expect("the sandbox's URL");
        let pool = database.pool(12);
        let bench = Self { tracking: Tracking::new(pool.clone()), pool, _sandbox: sandbox };
        bench.install().await;
        bench
    }

    /// Makes the tables anew.
    pub(crate) async fn install(&self) {
        let mut session = self.pool.get().await.expect("a session");
        session.batch_execute("DROP SCHEMA IF EXISTS handover CASCADE").await.expect("a clean database");
        handover_tracking::install(&mut session).await.expect("the schema is made");
        // Statements that were prepared for the old tables are of no use.
        session.discard();
        for (nth, migration) in ["m", "n"].into_iter().enumerate() {
            let files = BTreeMap::from([("plan.toml".to_owned(), migration.to_owned())]);
            let stored = self.tracking.register(migration, &[nth as u8; 32], &files).await;
            stored.expect("the plan is stored");
        }
    }

    pub(crate) async fn cohort(&self, name: &str, users: &[&str]) -> CohortInfo {
        let cohort = self.tracking.create_cohort("m", name).await.expect("a cohort");
        self.add(&cohort, users).await;
        cohort
    }

    /// Users `PREFIX1` to `PREFIXn` in a cohort of that name, launched.
    pub(crate) async fn launched(&self, name: &str, users: usize) -> CohortInfo {
        let names: Vec<String> = (1..=users).map(|n| format!("{name}{n}")).collect();
        let cohort = self.cohort(name, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
        self.tracking.launch(&cohort, None).await.expect("launched");
        cohort
    }

    pub(crate) async fn add(&self, cohort: &CohortInfo, users: &[&str]) -> AddReport {
        let mut adding = self.tracking.add_users(cohort).await.expect("adding begins");
        for (nth, user) in users.iter().enumerate() {
            adding.push(nth as i64 + 1, user).await.expect("pushed");
        }
        adding.finish().await.expect("added")
    }

    pub(crate) async fn draw(&self, most: usize) -> Vec<Claim> {
        claims(&self.tracking.draw(Kind::Move, most).await.expect("drawn"))
    }

    pub(crate) async fn admit(&self, claims: &[Claim]) {
        let admission = self.tracking.admit(1, Kind::Move, claims, AMPLE).await.expect("admitted");
        assert_eq!(admission.admitted.len(), claims.len());
    }

    pub(crate) async fn copied(&self, claims: &[Claim]) -> Result<Vec<Claim>, Error> {
        self.copied_in(1, claims).await
    }

    pub(crate) async fn copied_in(&self, migration: i32, claims: &[Claim]) -> Result<Vec<Claim>, Error> {
        let copied = |claim: &Claim| Copied { claim: claim.clone(), digest: digest_of(claim), rows: 3 };
        let copied: Vec<Copied> = claims.iter().map(copied).collect();
        let mut session = self.pool.get().await?;
        let transaction = session.transaction().await?;
        let moved = Tracking::copied(&transaction, migration, &copied).await?;
        transaction.commit().await?;
        Ok(moved)
    }

    pub(crate) async fn removed(&self, claims: &[Claim]) -> Result<Vec<Claim>, Error> {
        let mut session = self.pool.get().await?;
        let transaction = session.transaction().await?;
        let removed = Tracking::removed(&transaction, 1, claims).await?;
        transaction.commit().await?;
        Ok(removed)
    }

    pub(crate) async fn close(&self, how: Closing, claims: &[Claim]) -> Vec<Claim> {
        let ended: Vec<Ended> = claims.iter().cloned().map(Ended::of).collect();
        self.tracking.close(1, how, &ended).await.expect("closed")
    }

    /// Brings drawn users to a state of a move.
    pub(crate) async fn bring(&self, claims: &[Claim], to: OpenState) {
        let t = &self.tracking;
        if to == OpenState::Queued {
            return;
        }
        self.admit(claims).await;
        for step in [OpenState::Copying, OpenState::Verifying, OpenState::Completing] {
            if (to as u8) < (step as u8) {
                return;
            }
            let moved = match step {
                OpenState::Copying => t.fenced(1, claims, "0/16", "s/1").await,
                OpenState::Verifying => self.copied(claims).await,
                _ => t.verified(1, claims).await,
            };
            assert_eq!(moved.expect("moved on").len(), claims.len(), "{step}");
        }
    }

    pub(crate) async fn complete(&self, claims: &[Claim]) {
        self.bring(claims, OpenState::Completing).await;
        assert_eq!(self.close(Closing::Completed, claims).await.len(), claims.len());
    }

    pub(crate) async fn fail(&self, claims: &[Claim]) {
        self.fail_by(claims, "test").await;
    }

    pub(crate) async fn fail_by(&self, claims: &[Claim], kind: &str) {
        for claim in claims {
            let to = Claim { version: claim.version + 1, ..claim.clone() };
            let reason = json!({ "kind": kind, "message": "test" });
            assert!(self.tracking.raise(1, claim, to.version, &reason, None).await.expect("raised"));
            assert_eq!(self.close(Closing::Failed, &[to]).await.len(), 1);
        }
    }

    pub(crate) async fn paused(&self) -> i64 {
        let session = self.pool.get().await.expect("a session");
        let sql = "SELECT paused::int8 FROM handover.admission";
        session.query_one(sql, &[]).await.expect("a row").get(0)
    }

    /// Counts every user anew from the rows themselves, and compares with what the counters say.
    pub(crate) async fn assert_sound(&self, after: &str) {
        let session = self.pool.get().await.expect("a session");
        for cohort in self.tracking.cohorts().await.expect("cohorts") {
            let status = self.tracking.status(&cohort).await.expect("a status");
            let told = serde_json::to_value(status.users).expect("counts are JSON");
            let mut counted: BTreeMap<String, i64> = BTreeMap::new();
            for row in session.query(RECOUNT, &[&cohort.id]).await.expect("a recount") {
                counted.insert(row.get(0), row.get(1));
            }
            for (state, users) in told.as_object().expect("counts are an object") {
                assert_eq!(*users, counted.remove(state).unwrap_or(0), "{state} in {cohort:?} after {after}");
            }
            assert!(counted.is_empty(), "states that a status does not know: {counted:?}");
            let asked =
                "SELECT (SELECT count(*) FROM handover.request WHERE cohort_id = $1 AND kind = 'rollback')
                + (SELECT count(*) FROM handover.open_attempt
                    WHERE cohort_id = $1 AND kind = 'rollback' AND state = 'queued')";
            let asked: i64 = session.query_one(asked, &[&cohort.id]).await.expect("a count").get(0);
            assert_eq!(status.rollback_requested, asked, "rollbacks asked for, after {after}");
            let members = "SELECT count(*) FROM handover.member WHERE cohort_id = $1";
            let members: i64 = session.query_one(members, &[&cohort.id]).await.expect("a count").get(0);
            assert_eq!((status.users.total(), cohort.users), (members, members), "after {after}");
        }
        let sql = "SELECT (SELECT paused::int8 FROM handover.admission),
                          (SELECT count(*) FROM handover.open_attempt WHERE admitted_at IS NOT NULL),
                          (SELECT count(*) FROM handover.request JOIN handover.open_attempt USING (migration_id, user_key))";
        let row = session.query_one(sql, &[]).await.expect("a row");
        assert_eq!(row.get::<_, i64>(0), row.get::<_, i64>(1), "users who are paused, after {after}");
        assert_eq!(row.get::<_, i64>(2), 0, "users asked for while they are on their way, after {after}");
    }
}

const RECOUNT: &str = "SELECT CASE
        WHEN o.state = 'queued' AND o.kind = 'rollback' THEN 'completed'
        WHEN o.state IS NOT NULL THEN o.state::text
        WHEN r.kind = 'move' THEN 'queued'
        WHEN m.state = 'not_started' AND m.seq > c.drawn_seq AND m.seq <= c.launched_seq THEN 'queued'
        ELSE m.state::text END, count(*)
   FROM handover.member m JOIN handover.cohort c ON c.id = m.cohort_id
   LEFT JOIN handover.open_attempt o ON o.migration_id = m.migration_id AND o.user_key = m.user_key
   LEFT JOIN handover.request r ON r.migration_id = m.migration_id AND r.user_key = m.user_key
  WHERE m.cohort_id = $1 GROUP BY 1";

pub(crate) fn claims(drawn: &[Drawn]) -> Vec<Claim> {
    drawn.iter().map(|drawn| Claim { user: drawn.user.clone(), version: drawn.version }).collect()
}

pub(crate) fn digest_of(claim: &Claim) -> [u8; 32] {
    [claim.version as u8; 32]
}

pub(crate) fn users(claims: &[Claim]) -> Vec<&str> {
    let mut users: Vec<&str> = claims.iter().map(|claim| claim.user.as_str()).collect();
    users.sort_unstable();
    users
}

pub(crate) fn named(users: &[&str]) -> Vec<String> {
    users.iter().map(|user| (*user).to_owned()).collect()
}
