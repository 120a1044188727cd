//! How far a cohort has come, in one statement and so in one snapshot.

use crate::{CohortInfo, Error, Tracking};

/// Seconds over which the rate is taken.
const RATE_WINDOW_S: f64 = 5.0;

/// Users of a cohort by state; they add up to its size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct StatusCounts {
    /// Never launched.
    pub not_started: i64,
    /// Launched, and waiting unpaused.
    pub queued: i64,
    /// Being paused.
    pub pausing: i64,
    /// Being copied.
    pub copying: i64,
    /// Being compared.
    pub verifying: i64,
    /// Being let onto the new system.
    pub completing: i64,
    /// On the new system.
    pub completed: i64,
    /// Being taken back to legacy after a failure.
    pub failing: i64,
    /// Back on legacy, with a reason.
    pub failed: i64,
    /// On their way back to legacy by order.
    pub rolling_back: i64,
    /// Back on legacy by order.
    pub rolled_back: i64,
    /// Born on the new system: nothing to move.
    pub skipped: i64,
}

impl StatusCounts {
    fn slot(&mut self, state: &str) -> Option<&mut i64> {
        Some(match state {
            "not_started" => &mut self.not_started,
            "queued" => &mut self.queued,
            "pausing" => &mut self.pausing,
            "copying" => &mut self.copying,
            "verifying" => &mut self.verifying,
            "completing" => &mut self.completing,
            "completed" => &mut self.completed,
            "failing" => &mut self.failing,
            "failed" => &mut self.failed,
            "rolling_back" => &mut self.rolling_back,
            "rolled_back" => &mut self.rolled_back,
            "skipped" => &mut self.skipped,
            _ => return None,
        })
    }

    /// The counts with the states' words, in the order of a user's way.
    pub fn by_state(&self) -> [(&'static str, i64); 12] {
        [
            ("not_started", self.not_started),
            ("queued", self.queued),
            ("pausing", self.pausing),
            ("copying", self.copying),
            ("verifying", self.verifying),
            ("completing", self.completing),
            ("completed", self.completed),
            ("failing", self.failing),
            ("failed", self.failed),
            ("rolling_back", self.rolling_back),
            ("rolled_back", self.rolled_back),
            ("skipped", self.skipped),
        ]
    }

    /// Users in any state.
    pub fn total(&self) -> i64 {
        self.not_started + self.completed + self.failed + self.rolled_back + self.skipped + self.unsettled()
    }

    /// Users who are queued or on their way, in either direction.
    pub fn unsettled(&self) -> i64 {
        self.queued + self.paused()
    }

    /// Users who are paused now.
    pub fn paused(&self) -> i64 {
        self.pausing + self.copying + self.verifying + self.completing + self.failing + self.rolling_back
    }
}

/// How far a cohort has come.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Status {
    /// The cohort's name.
    pub cohort: String,
    /// Its migration.
    pub migration: String,
    /// Whether nobody new is begun.
    pub held: bool,
    /// Why it is held.
    pub held_reason: Option<String>,
    /// Users by state.
    pub users: StatusCounts,
    /// Users whose rollback was ordered and has not begun; they count as completed.
    pub rollback_requested: i64,
    /// Attempts that ended in the last seconds, per second.
    pub users_per_second: f64,
    /// Seconds until those queued now are done, at that rate.
    pub eta_seconds: Option<f64>,
}

impl Tracking {
    /// How far the cohort has come.
    pub async fn status(&self, cohort: &CohortInfo) -> Result<Status, Error> {
        let sql = "SELECT state::text, sum(delta)::int8, NULL FROM handover.counter WHERE cohort_id = $1 GROUP BY state
            -- A rollback that waits unpaused: the user is completed as yet.
            UNION ALL SELECT CASE WHEN state = 'queued' AND kind = 'rollback' THEN 'completed' ELSE state::text END,
                             count(*), NULL FROM handover.open_attempt WHERE cohort_id = $1 GROUP BY 1
            UNION ALL SELECT 'recent', count(*), NULL FROM handover.attempt
                       WHERE cohort_id = $1 AND ended_at > clock_timestamp() - $2 * interval '1 second'
            UNION ALL SELECT 'rollback_requested', count(*), NULL FROM handover.open_attempt
                       WHERE cohort_id = $1 AND state = 'queued' AND kind = 'rollback'
            UNION ALL SELECT 'held', held::int::int8, held_reason FROM handover.cohort WHERE id = $1";
        let mut session = self.pool.get().await?;
        let statement = session.prepared(sql).await?;
        let rows = session.query(&statement, &[&cohort.id, &RATE_WINDOW_S]).await?;
        let mut users = StatusCounts::default();
        let (mut recent, mut rollback_requested, mut held) = (0, 0, (cohort.held, None));
        for row in rows {
            let (state, count): (&str, i64) = (row.get(0), row.get(1));
            match users.slot(state) {
                Some(slot) => *slot += count,
                None if state == "recent" => recent = count,
                None if state == "rollback_requested" => rollback_requested += count,
                None => held = (count == 1, row.get(2)),
            }
        }
        let users_per_second = recent as f64 / RATE_WINDOW_S;
        let left = users.unsettled() + rollback_requested;
        let eta_seconds = (left > 0 && recent > 0).then(|| left as f64 / users_per_second);
        Ok(Status {
            cohort: cohort.name.clone(),
            migration: cohort.migration.clone(),
            held: held.0,
            held_reason: held.1,
            users,
            rollback_requested,
            users_per_second,
            eta_seconds,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_that_makes_up_the_total_has_its_word() {
        let users =
            StatusCounts { not_started: 1, queued: 2, completing: 3, skipped: 4, ..StatusCounts::default() };
        assert_eq!(users.by_state().iter().map(|(_, count)| count).sum::<i64>(), users.total());
        let json = serde_json::to_value(users).unwrap();
        for (state, count) in users.by_state() {
            assert_eq!(json[state], count, "{state}");
        }
    }
}
