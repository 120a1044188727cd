//! The operator: launches cohorts one after the other, takes some users back, and launches those again.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use handover_tracking::{CohortInfo, RetryOf, Tracking};

use crate::check::{REMINDERS, SETTINGS};
use crate::traffic::Temper;

use super::Config;

/// Cohorts are launched during this share of the run; after that users only go back and forth.
const LAUNCHING: f64 = 0.6;
/// Nobody is taken back in the last of the run, so that some end on either side.
const TAKING_BACK: f64 = 0.9;
/// Users of a cohort.
const COHORT: usize = 10;
/// Cohorts of a migration at most.
const MOST_COHORTS: usize = 60;
/// Users taken back at once at most.
const AT_ONCE: usize = 12;
/// Cohorts of which somebody is taken back at once.
const COHORTS_AT_ONCE: usize = 3;
/// Time between two orders to take somebody back.
const BACK_EVERY: Duration = Duration::from_millis(1_500);
/// For how long after an order its users get more of the requests.
const IN_FAVOUR: Duration = Duration::from_secs(2);
/// How long everything may take to come to rest.
const REST: Duration = Duration::from_mins(2);

/// A cohort that is launched at its time.
struct Wave {
    cohort: CohortInfo,
    users: Vec<i64>,
    at: Duration,
}

/// Somebody who gives orders.
pub(super) struct Operator {
    tracking: Tracking,
    waves: Vec<Wave>,
    launched: Vec<CohortInfo>,
    rng: fastrand::Rng,
    seed: u64,
    lasts: Duration,
    back_at: Duration,
    /// Users who were ordered somewhere a moment ago, and until when that is so.
    ordered: Vec<(Duration, Vec<i64>)>,
}

impl Operator {
    /// Makes all cohorts. The seed fixes who is in which, and when each is launched.
    pub(super) async fn new(tracking: Tracking, users: &[i64], config: &Config) -> Result<Self> {
        let mut rng = fastrand::Rng::with_seed(config.seed ^ 0x6f70_6572_6174_6f72);
        let lasts = config.lasts();
        let mut waves = Vec::new();
        for migration in [REMINDERS, SETTINGS] {
            let mut users = users.to_vec();
            rng.shuffle(&mut users);
            let cohorts = (users.len() / COHORT).clamp(1, MOST_COHORTS);
            for (nth, some) in users.chunks(users.len().div_ceil(cohorts)).enumerate() {
                let cohort = tracking.create_cohort(migration, &format!("{migration}-{nth}")).await?;
                let mut adding = tracking.add_users(&cohort).await?;
                for (line, user) in some.iter().enumerate() {
                    adding.push(line as i64 + 1, &user.to_string()).await?;
                }
                adding.finish().await?;
                let share = (nth as f64 + rng.f64()) / cohorts as f64;
                waves.push(Wave { cohort, users: some.to_vec(), at: lasts.mul_f64(LAUNCHING * share) });
            }
        }
        waves.sort_by_key(|wave| std::cmp::Reverse(wave.at));
        Ok(Self {
            tracking,
            waves,
            launched: Vec::new(),
            rng,
            seed: config.seed,
            lasts,
            back_at: BACK_EVERY,
            ordered: Vec::new(),
        })
    }

    /// Gives the orders that are due, that long after the beginning.
    pub(super) async fn act(&mut self, after: Duration) -> Result<()> {
        while let Some(wave) = self.waves.pop_if(|wave| wave.at <= after) {
            if let Err(error) = self.tracking.launch(&wave.cohort, None).await {
                self.waves.push(wave);
                return Err(error.into());
            }
            self.ordered.push((after + IN_FAVOUR, wave.users));
            self.launched.push(wave.cohort);
        }
        if after >= self.back_at && !self.launched.is_empty() {
            self.back_at = after + BACK_EVERY;
            if after < self.lasts.mul_f64(TAKING_BACK) {
                for _ in 0..COHORTS_AT_ONCE {
                    let users = self.take_back().await?;
                    self.ordered.push((after + IN_FAVOUR, users));
                }
            }
            self.launch_again(RetryOf::RolledBack).await?;
            self.launch_again(RetryOf::Failed).await?;
        }
        Ok(())
    }

    /// Users who were ordered somewhere a moment ago.
    pub(super) fn in_favour(&mut self, after: Duration) -> Vec<i64> {
        self.ordered.retain(|(until, _)| *until > after);
        self.ordered.iter().flat_map(|(_, users)| users.iter().copied()).collect()
    }

    /// Takes some users of a cohort back. Of two orders one lets the changes be carried back, and is for anybody; the
    /// other is mostly for such as do not write all the time, since whoever has written since the move is refused.
    async fn take_back(&mut self) -> Result<Vec<i64>> {
        let cohort = self.launched[self.rng.usize(..self.launched.len())].clone();
        let sql =
            "SELECT user_key FROM handover.member WHERE cohort_id = $1 AND state = 'completed' ORDER BY seq";
        let rows = self.tracking.pool().get().await?.query(sql, &[&cohort.id]).await?;
        let mut users: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        let (seed, rng) = (self.seed, &mut self.rng);
        let carry = rng.bool();
        users.retain(|user| {
            let busy = user.parse().is_ok_and(|user| Temper::of(user, seed) == Temper::Busy);
            rng.u8(..8) < if busy && !carry { 1 } else { 4 }
        });
        users.truncate(AT_ONCE);
        if carry && !users.is_empty() {
            self.tracking.request_carry_back(&cohort, Some(&users)).await?;
        } else if !users.is_empty() {
            self.tracking.request_rollback(&cohort, Some(&users)).await?;
        }
        Ok(users.iter().filter_map(|user| user.parse().ok()).collect())
    }

    /// Launches again, of a cohort chosen by lot, who was taken back; or of all cohorts who failed.
    async fn launch_again(&mut self, of: RetryOf) -> Result<()> {
        if of == RetryOf::RolledBack {
            let cohort = &self.launched[self.rng.usize(..self.launched.len())];
            self.tracking.retry(cohort, of, None).await?;
            return Ok(());
        }
        for cohort in &self.launched {
            self.tracking.retry(cohort, of, None).await?;
        }
        Ok(())
    }

    /// Launches what is left, and waits until nobody is in motion and nobody has failed.
    pub(super) async fn rest(&mut self) -> Result<()> {
        self.act(self.lasts).await?;
        let mut ticks = tokio::time::interval(Duration::from_millis(200));
        let resting = async {
            loop {
                ticks.tick().await;
                self.launch_again(RetryOf::Failed).await?;
                if self.in_motion().await? == 0 {
                    return anyhow::Ok(());
                }
            }
        };
        let Ok(rested) = tokio::time::timeout(REST, resting).await else {
            bail!("after {} s users are still in motion: {}", REST.as_secs(), self.motion().await?);
        };
        rested.context("waiting until nobody is in motion")
    }

    /// How many users are queued, on their way, or ordered back.
    pub(super) async fn in_motion(&self) -> Result<i64> {
        let mut sum = 0;
        for cohort in &self.launched {
            let status = self.tracking.status(cohort).await?;
            sum += status.users.unsettled() + status.rollback_requested + status.users.failed;
        }
        // A request that waits to be drawn is counted by no state of an attempt.
        let sql =
            "SELECT (SELECT count(*) FROM handover.request) + (SELECT count(*) FROM handover.open_attempt)";
        let open: i64 = self.tracking.pool().get().await?.query_one(sql, &[]).await?.get(0);
        Ok(sum.max(open))
    }

    pub(super) async fn motion(&self) -> Result<String> {
        let sql = "SELECT state::text || ' ' || kind::text || ' ' || coalesce(reason::text, ''), count(*)
                     FROM handover.open_attempt GROUP BY 1";
        let rows = self.tracking.pool().get().await?.query(sql, &[]).await?;
        let each = rows.iter().map(|row| format!("{} × {}", row.get::<_, i64>(1), row.get::<_, String>(0)));
        Ok(each.collect::<Vec<_>>().join("; "))
    }
}
