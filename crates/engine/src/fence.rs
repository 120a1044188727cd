//! The database fence as the stages use it: raised behind Identity and the drain, looked for in the reading snapshot,
//! settled or lifted when the attempt ends. What a fence is and does is `handover-fence`'s.
//!
//! Legacy's fence refuses writes for users who are paused or have moved; the destination's for users who are on
//! their way back or have gone back. Where the fence is switched off, everything here does nothing.

mod mend;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use handover_fault::point;
use handover_fence::{Holder, Installed, Lift, Raise, Scope, Settle, Side, UserVersion};
use handover_postgres::PooledConnection;
use handover_tracking::{Claim, OpenAttempt};
use tokio_postgres::GenericClient;

pub use mend::Mended;

use crate::stages::Outcomes;
use crate::takeback::identity_users;
use crate::{Engine, Error, Outcome, StageName, reason};

/// How long one pass waits for the transactions of a batch's users: some have none, and must not wait for those
/// who have. A pass is repeated until the patience is over.
const PASS: Duration = Duration::from_millis(250);

/// For how long a fence that was found whole is taken to be so.
const WHOLE_FOR: Duration = Duration::from_secs(10);

/// How often the replica is asked at first, and at most.
const FIRST_POLL: Duration = Duration::from_millis(1);
const LAST_POLL: Duration = Duration::from_millis(20);

/// How many transactions a reason names.
const NAMED: usize = 3;

/// The database fence, switched on.
#[derive(Clone, Debug)]
pub struct Fence {
    patience: Duration,
    /// By plan: when its fence was last found whole.
    whole: Arc<Mutex<HashMap<i32, Instant>>>,
}

impl Fence {
    /// A fence whose pauses wait for transactions in flight for about `patience`; then the attempt is given up.
    pub fn new(patience: Duration) -> Self {
        Self { patience, whole: Arc::default() }
    }

    fn was_whole(&self, plan_id: i32) -> bool {
        let whole = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
        whole.get(&plan_id).is_some_and(|at| at.elapsed() < WHOLE_FOR)
    }

    fn is_whole(&self, plan_id: i32) {
        self.whole.lock().unwrap_or_else(PoisonError::into_inner).insert(plan_id, Instant::now());
    }
}

/// Which of its doors a fence is closed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Users are about to leave that side.
    Out(Side),
    /// Users may come back to legacy.
    Back,
}

impl Way {
    fn side(self) -> Side {
        match self {
            Self::Out(side) => side,
            Self::Back => Side::Legacy,
        }
    }
}

impl Engine {
    async fn fence_session(&self, side: Side) -> Result<PooledConnection, Error> {
        match side {
            Side::Legacy => Ok(self.primary.get().await?),
            Side::Destination => Ok(self.destination.get().await?),
        }
    }

    /// Proves that the fences of these claims' plans stand whole on both sides, and that the replica may be asked
    /// for them. A missing trigger would let writes through in silence, so nobody is paused behind one.
    pub(crate) async fn fence_must_be_whole(&self, id: i32, claims: &[Claim]) -> Result<(), Error> {
        let Some(fence) = &self.fence else { return Ok(()) };
        let open = self.tracking.open(id, claims).await?;
        let plans: BTreeSet<i32> = open.iter().map(|attempt| attempt.plan_id).collect();
        for plan_id in plans.into_iter().filter(|plan_id| !fence.was_whole(*plan_id)) {
            let plan = self.plans.read(plan_id, &self.tracking).await?;
            for side in [Side::Legacy, Side::Destination] {
                let mut session = self.fence_session(side).await?;
                let status = handover_fence::status(&mut session, Scope::new(&plan.plan, side)).await?;
                if status.installed != Installed::Yes {
                    return Err(Error::Unfenced {
                        migration: plan.plan.name().to_owned(),
                        side: side.as_str(),
                    });
                }
            }
            let replica = self.replica.get().await?;
            handover_fence::visible_in(&**replica, plan.plan.name(), &[]).await?;
            fence.is_whole(plan_id);
        }
        Ok(())
    }

    /// Raises the fence for attempts whose users Identity has paused; gives those that are fenced and drained. The
    /// others have their outcome: tried again while patience lasts, then given up, with what they waited for.
    pub(crate) async fn raise_fence(
        &self,
        stage: StageName,
        migration: &str,
        way: Way,
        attempts: Vec<OpenAttempt>,
        outcomes: &mut Outcomes,
    ) -> Result<Vec<OpenAttempt>, Error> {
        let Some(fence) = &self.fence else { return Ok(attempts) };
        if attempts.is_empty() {
            return Ok(attempts);
        }
        let users = identity_users(attempts.iter().map(OpenAttempt::claim));
        let (name, pass) = (way.side().fence(migration), PASS.min(fence.patience));
        let mut session = self.fence_session(way.side()).await?;
        let raised = match way {
            Way::Out(_) => handover_fence::raise(&mut session, &name, &users, pass).await?,
            Way::Back => handover_fence::recall(&mut session, &name, &users, pass).await?,
        };
        drop(session);
        let (mut drained, mut busy) = (Vec::new(), Vec::new());
        point("fence.raised").await?;
        for (attempt, raised) in attempts.into_iter().zip(raised) {
            match raised {
                Raise::Raised => drained.push(attempt),
                Raise::Busy => busy.push(attempt),
                // A late repeat: the attempt has been completed.
                Raise::Moved => outcomes.set(attempt.claim(), Outcome::Stale),
                Raise::Superseded { .. } => {
                    let text = "the database fence has seen a newer attempt of this user than tracking has";
                    let reason = reason::of_text(stage.as_str(), "superseded", text);
                    outcomes.set(attempt.claim(), self.end_failed(migration, &attempt, reason).await);
                }
            }
        }
        self.keep_waiting(stage, migration, way, busy, outcomes).await?;
        Ok(drained)
    }

    /// What becomes of those whose transactions did not end within a pass.
    async fn keep_waiting(
        &self,
        stage: StageName,
        migration: &str,
        way: Way,
        busy: Vec<OpenAttempt>,
        outcomes: &mut Outcomes,
    ) -> Result<(), Error> {
        let Some(fence) = self.fence.as_ref().filter(|_| !busy.is_empty()) else { return Ok(()) };
        let users: Vec<String> = busy.iter().map(|attempt| attempt.user.clone()).collect();
        let session = self.fence_session(way.side()).await?;
        let since = handover_fence::look(&session, &way.side().fence(migration), &users).await?;
        for (attempt, stands) in busy.iter().zip(since) {
            let holders = handover_fence::holders(&session, &[&attempt.user]).await?;
            let text = in_flight(way.side(), &holders);
            let waited = stands.filter(|s| s.version == attempt.version).map_or(Duration::ZERO, |s| s.age);
            if waited < fence.patience {
                outcomes.set(attempt.claim(), Outcome::Retry { reason: text });
                continue;
            }
            metrics::counter!("handover_fence_given_up_total", "side" => way.side().as_str()).increment(1);
            let text = format!("{text}; waited for {} ms (fence.patience)", waited.as_millis());
            let reason = reason::of_text(stage.as_str(), "transactions_in_flight", &text);
            outcomes.set(attempt.claim(), self.end_failed(migration, attempt, reason).await);
        }
        Ok(())
    }

    /// Lifts what was raised for claims that are open no longer: whoever took their attempts back did not see a fence
    /// that came later.
    pub(crate) async fn lift_if_gone(
        &self,
        id: i32,
        migration: &str,
        side: Side,
        claims: &[Claim],
    ) -> Result<(), Error> {
        if self.fence.is_none() || claims.is_empty() {
            return Ok(());
        }
        let open: BTreeSet<String> =
            self.tracking.open(id, claims).await?.into_iter().map(|attempt| attempt.user).collect();
        let gone = claims.iter().filter(|claim| !open.contains(&claim.user)).cloned();
        self.lift_fence(migration, side, &identity_users(gone)).await
    }

    /// Lifts fences that stand by these versions or older ones, so that users may be written for on that side.
    pub(crate) async fn lift_fence(
        &self,
        migration: &str,
        side: Side,
        users: &[UserVersion],
    ) -> Result<(), Error> {
        if self.fence.is_none() || users.is_empty() {
            return Ok(());
        }
        let mut session = self.fence_session(side).await?;
        let lifted = handover_fence::lift(&mut session, &side.fence(migration), users).await?;
        let not_ours = lifted.iter().filter(|lift| **lift == Lift::NotOurs).count();
        if not_ours > 0 {
            tracing::debug!(migration, side = side.as_str(), not_ours, "fences of newer attempts were left");
        }
        Ok(())
    }

    /// Takes the destination's fence away from users who are about to live there: it stands where they had gone back.
    pub(crate) async fn open_destination(&self, migration: &str, users: &[UserVersion]) -> Result<(), Error> {
        if self.fence.is_none() || users.is_empty() {
            return Ok(());
        }
        let mut session = self.destination.get().await?;
        handover_fence::clear(&mut session, &Side::Destination.fence(migration), users).await?;
        Ok(())
    }

    /// Leaves fences standing for good on the side that the users have left; raises those anew that are gone.
    pub(crate) async fn settle_fence(
        &self,
        migration: &str,
        side: Side,
        users: &[UserVersion],
    ) -> Result<(), Error> {
        let Some(fence) = &self.fence else { return Ok(()) };
        if users.is_empty() {
            return Ok(());
        }
        let name = side.fence(migration);
        let mut session = self.fence_session(side).await?;
        let settled = handover_fence::settle(&mut session, &name, users).await?;
        point("fence.settled").await?;
        let unraised = users.iter().zip(&settled).filter(|(_, settled)| **settled == Settle::NotRaised);
        let unraised: Vec<UserVersion> = unraised.map(|(user, _)| user.clone()).collect();
        if !unraised.is_empty() {
            let pass = PASS.min(fence.patience);
            handover_fence::raise(&mut session, &name, &unraised, pass).await?;
            handover_fence::settle(&mut session, &name, &unraised).await?;
        }
        Ok(())
    }

    /// [`Engine::settle_fence`] where the users live on the other side already: it refuses their writes as it is, so
    /// that nobody waits for it to say where they went. The reconciler goes on with what is left.
    pub(crate) async fn settle_fence_later(&self, migration: &str, side: Side, users: &[UserVersion]) {
        if let Err(error) = self.settle_fence(migration, side, users).await {
            tracing::warn!(migration, side = side.as_str(), %error, "fences are left to the reconciler to settle");
        }
    }

    /// Waits until the replica shows these attempts' fences, drained. Any snapshot that shows them holds all that was
    /// ever written for their users, whichever server a pooled address leads to; so it is asked again in the
    /// snapshot that is read from.
    pub(crate) async fn wait_for_fence(
        &self,
        replica: &PooledConnection,
        migration: &str,
        attempts: &[OpenAttempt],
    ) -> Result<(), Error> {
        let (began, mut pause) = (Instant::now(), FIRST_POLL);
        while !self.is_fenced_in(&***replica, migration, attempts).await? {
            let waited = began.elapsed();
            if waited >= self.options.replica_wait {
                return Err(Error::FenceUnseen { waited_ms: waited.as_millis() });
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_POLL);
        }
        Ok(())
    }

    /// Whether the snapshot that this client reads by shows all of these attempts' fences, drained; true where the
    /// fence is switched off.
    pub(crate) async fn is_fenced_in(
        &self,
        reading: &impl GenericClient,
        migration: &str,
        attempts: &[OpenAttempt],
    ) -> Result<bool, Error> {
        if self.fence.is_none() {
            return Ok(true);
        }
        let users = identity_users(attempts.iter().map(OpenAttempt::claim));
        Ok(handover_fence::visible_in(reading, migration, &users).await?.iter().all(|seen| *seen))
    }
}

/// What a pause waits for, for people.
fn in_flight(side: Side, holders: &[Holder]) -> String {
    let name = |holder: &Holder| match holder.pid {
        Some(pid) if holder.application.is_empty() => {
            format!("process {pid}, for {} s", holder.age.as_secs())
        }
        Some(pid) => format!("process {pid} ({}), for {} s", holder.application, holder.age.as_secs()),
        None => "a prepared transaction".to_owned(),
    };
    let named: BTreeSet<String> = holders.iter().take(NAMED).map(name).collect();
    let server = match side {
        Side::Legacy => "the legacy primary",
        Side::Destination => "the destination",
    };
    let named: Vec<String> = named.into_iter().collect();
    let named = if named.is_empty() { "they have ended by now".to_owned() } else { named.join("; ") };
    format!("transactions in flight on {server} hold up the pause: {named}")
}
