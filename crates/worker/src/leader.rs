//! Of any number of reconcilers one leads and does the duties; the others stand by.
//!
//! The lock is a session's in the destination, which ends it when it is silent for longer than the lease. A leader whose
//! session has died may go on for as long as it takes to notice: duties can be done by two at once, so the lock saves
//! work and guards nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use handover_tracking::{Leader, Tracking};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::duties::Duty;
use crate::lifecycle::Lifecycle;
use crate::metric;

/// How long one leads, and how often another tries to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// How long a silent leader keeps the lead.
    pub(crate) lease: Duration,
    /// Time between two tries of one that stands by.
    pub(crate) retry: Duration,
}

impl Terms {
    /// How often the leader makes sure that it still leads.
    fn check(&self) -> Duration {
        self.lease / 4
    }

    /// How long that may take: a leader that hears nothing stops before its lease has run out.
    fn patience(&self) -> Duration {
        self.lease / 2
    }
}

/// Whether this process leads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leading(Arc<AtomicBool>);

impl Leading {
    pub(crate) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, leads: bool) {
        self.0.store(leads, Ordering::Relaxed);
        metric::leads(leads);
    }
}

/// Leads whenever nobody else does, until the process stops.
pub(crate) async fn lead(
    tracking: &Tracking,
    duties: Vec<Duty>,
    lifecycle: &Lifecycle,
    leading: &Leading,
    terms: Terms,
) {
    let duties: Vec<Arc<Duty>> = duties.into_iter().map(Arc::new).collect();
    let mut trouble = None;
    while !lifecycle.is_stopping() {
        leading.set(false);
        let asked = tokio::time::timeout(terms.lease, tracking.try_lead(terms.lease)).await;
        let now = match asked {
            Ok(Ok(Some(leader))) => {
                tracing::info!("leading");
                leading.set(true);
                reign(&leader, &duties, lifecycle, terms).await;
                leading.set(false);
                None
            }
            Ok(Ok(None)) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("the destination does not answer".to_owned()),
        };
        if let Some(error) = now.as_ref().filter(|_| now != trouble) {
            tracing::warn!(error, "cannot ask for the lead; trying again");
        }
        trouble = now;
        lifecycle.rest(terms.retry).await;
    }
}

/// Does the duties while it leads. Ends with the process, or with the lead.
async fn reign(leader: &Leader, duties: &[Arc<Duty>], lifecycle: &Lifecycle, terms: Terms) {
    let over = CancellationToken::new();
    let mut tasks = JoinSet::new();
    for duty in duties {
        let (duty, over) = (Arc::clone(duty), over.clone());
        tasks.spawn(async move { duty.attend(&over).await });
    }
    while !lifecycle.rest(terms.check()).await {
        let still = tokio::time::timeout(terms.patience(), leader.still_leads()).await;
        if still != Ok(true) {
            tracing::warn!("the lead is lost");
            // Dropped in the middle: another leader may be doing the same by now.
            return;
        }
    }
    over.cancel();
    let finishing = async { while tasks.join_next().await.is_some() {} };
    let _aborted = lifecycle.aborting().run_until_cancelled(finishing).await;
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use handover_postgres::Database;
    use handover_sandbox::{Options, Sandbox};
    use tokio::task::JoinHandle;

    use super::*;

    const RETRY: Duration = Duration::from_millis(20);

    struct Candidate {
        leading: Leading,
        lifecycle: Lifecycle,
        rounds: Arc<AtomicUsize>,
        task: JoinHandle<()>,
    }

    fn candidate(tracking: &Tracking) -> Candidate {
        let (leading, lifecycle) = (Leading::default(), Lifecycle::new());
        let rounds = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&rounds);
        let duty = Duty::new("test", RETRY, move || {
            counted.fetch_add(1, Ordering::SeqCst);
            async { Ok(()) }
        });
        let (tracking, seen, end) = (tracking.clone(), leading.clone(), lifecycle.clone());
        let terms = Terms { lease: Duration::from_secs(5), retry: RETRY };
        let task = tokio::spawn(async move { lead(&tracking, vec![duty], &end, &seen, terms).await });
        Candidate { leading, lifecycle, rounds, task }
    }

    async fn until(claim: &str, holds: impl Fn() -> bool) {
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        let waiting = async {
            while !holds() {
                ticks.tick().await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(30), waiting).await.is_ok(), "in vain: {claim}");
    }

    #[tokio::test]
    async fn one_leads_at_a_time_and_another_takes_over_when_its_session_dies_or_it_stops() {
        let sandbox = Sandbox::start(Options { replica: false, ..Options::default() }).await.unwrap();
        let database = Database::new("destination", &sandbox.destination_url().into()).unwrap();
        let session = database.connect().await.unwrap();
        let tracking = Tracking::new(database.pool(4));
        let first = candidate(&tracking);
        until("the first leads", || first.leading.get() && first.rounds.load(Ordering::SeqCst) > 0).await;
        let second = candidate(&tracking);
        let rounds = first.rounds.load(Ordering::SeqCst);
        until("the first goes on", || first.rounds.load(Ordering::SeqCst) > rounds + 5).await;
        assert!(!second.leading.get() && second.rounds.load(Ordering::SeqCst) == 0);

        let kill = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'";
        session.execute(kill, &[]).await.unwrap();
        until("the second leads", || second.leading.get() && second.rounds.load(Ordering::SeqCst) > 0).await;
        until("the first has noticed", || !first.leading.get()).await;

        second.lifecycle.stop();
        second.task.await.unwrap();
        until("the first leads again", || first.leading.get()).await;
        first.lifecycle.stop();
        first.task.await.unwrap();
        sandbox.stop().await;
    }
}
