//! Whether a process could work now: its connections, and for a stage its claims.
//!
//! Answers are kept for a moment, so that frequent probes do not become load of their own.

use std::sync::Arc;
use std::time::Duration;

use handover_postgres::{Database, Error, Pool};
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::line::Line;
use crate::vitals::Vitals;

/// How long an answer is kept.
const KEPT: Duration = Duration::from_secs(1);
/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Check {
    /// What was looked at.
    pub(crate) name: &'static str,
    /// What is wrong, if anything is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
}

/// Looks whether a process could work.
#[derive(Debug)]
pub(crate) struct Readiness {
    line: Arc<Line>,
    /// One session each, apart from those that work: busy is not unready.
    pools: Vec<Pool>,
    vitals: Option<Arc<Vitals>>,
    latest: Mutex<Option<(Instant, Vec<Check>)>>,
}

impl Readiness {
    /// Looks at Redis, these databases, and the driver where there is one.
    pub(crate) fn new(line: Arc<Line>, databases: &[&Database], vitals: Option<Arc<Vitals>>) -> Self {
        let pools = databases.iter().map(|database| (*database).clone().pool(1)).collect();
        Self { line, pools, vitals, latest: Mutex::default() }
    }

    /// All checks; ready is who has no problem in any.
    pub(crate) async fn checks(&self) -> Vec<Check> {
        let mut latest = self.latest.lock().await;
        let mut checks = match latest.as_ref() {
            Some((at, checks)) if at.elapsed() < KEPT => checks.clone(),
            _ => {
                let checks = self.ask().await;
                *latest = Some((Instant::now(), checks.clone()));
                checks
            }
        };
        drop(latest);
        // What the driver knows costs nothing to ask, and draining must show at once.
        if let Some(vitals) = &self.vitals {
            checks.push(Check { name: "claims", problem: vitals.complaint() });
        }
        checks
    }

    async fn ask(&self) -> Vec<Check> {
        let databases = futures_util::future::join_all(self.pools.iter().map(look_at_database));
        let (redis, mut checks) = futures_util::future::join(look_at_redis(&self.line), databases).await;
        checks.insert(0, redis);
        checks
    }
}

async fn look_at_database(pool: &Pool) -> Check {
    let asked = tokio::time::timeout(PATIENCE, async {
        let session = pool.get().await?;
        session.query_one("SELECT 1", &[]).await.map_err(|error| session.explain(error))?;
        Ok::<_, Error>(())
    });
    Check { name: pool.role(), problem: problem(asked.await) }
}

async fn look_at_redis(line: &Line) -> Check {
    let queues = line.queues();
    Check { name: "redis", problem: problem(tokio::time::timeout(PATIENCE, queues.now_ms()).await) }
}

fn problem<T, E: std::fmt::Display>(
    answer: Result<Result<T, E>, tokio::time::error::Elapsed>,
) -> Option<String> {
    match answer {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("no answer within {PATIENCE:?}")),
    }
}
