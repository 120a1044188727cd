//! Removing what an attempt to move has written, once nobody can commit more of it. Nothing is removed that is not
//! proven, by digest in the removing transaction, to be what the attempt wrote.

use handover_fault::point;
use handover_tracking::{Claim, Tracking};
use tokio_postgres::IsolationLevel;

use crate::bound::Bound;
use crate::scan::Access;
use crate::{Engine, Error, scan, stages};

/// How often the transaction is begun anew at once when another one, such as a second process that takes the same
/// attempt back, has committed since its snapshot.
const TRIES: usize = 3;

impl Engine {
    /// Removes an attempt's rows, if it committed any and they are still what it wrote, or what its verification
    /// read back. Asks the destination alone: no replica is waited for.
    pub(crate) async fn remove_what_it_wrote(&self, id: i32, raised: &Claim) -> Result<(), Error> {
        // Whether it committed cannot change any more: the raise has shut the copy out.
        let attempt = self.tracking.open(id, std::slice::from_ref(raised)).await?.pop();
        let Some(attempt) = attempt.filter(|attempt| attempt.copied) else { return Ok(()) };
        let plan = self.plans.read(attempt.plan_id, &self.tracking).await?;
        for _ in 1..TRIES {
            match self.remove(&plan, raised).await {
                Err(error) if error.is_serialization_failure() => {}
                done => return done,
            }
        }
        self.remove(&plan, raised).await
    }

    async fn remove(&self, plan: &Bound, raised: &Claim) -> Result<(), Error> {
        let mut session = self.destination.get().await?;
        let done = async {
            // Repeatable read: a row that somebody changes between the proof and the removal makes the removal
            // fail, and one that somebody adds is not removed.
            let builder = session.build_transaction().isolation_level(IsolationLevel::RepeatableRead);
            let transaction = builder.start().await?;
            let locked = Tracking::lock(&transaction, plan.migration_id, raised).await?;
            let Some(attempt) = locked else { return Ok(()) };
            let attempts = [attempt];
            let bundle = self.bundle(plan, &attempts)?;
            scan::set_users(&transaction, &bundle, Access::Writes).await?;
            let written = scan::read_back(&transaction, &bundle).await?;
            let digest = written.digest(plan, 0);
            let known = [attempts[0].digest.as_deref(), attempts[0].observed.as_deref()];
            if written.rows(0) > 0 && !known.contains(&Some(digest.as_bytes().as_slice())) {
                return Err(Error::NotOurs);
            }
            stages::delete(&transaction, &bundle).await?;
            point("takeback.removing").await?;
            Ok(transaction.commit().await?)
        }
        .await;
        if done.is_err() {
            session.discard();
        }
        done
    }
}
