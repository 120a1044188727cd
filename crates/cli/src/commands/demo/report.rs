//! What a demonstration came to: the closing table, the JSON object, and whether everything matched.

use std::time::Instant;

use anyhow::Result;
use handover_tracking::{CohortInfo, Status};
use serde::Serialize;

use super::{DemoArgs, measure};
use crate::commands::status::states;
use crate::context::Context;

/// The result, as `--json` prints it.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    users: i64,
    completed: i64,
    failed: i64,
    pub(crate) rolled_back: i64,
    rows: i64,
    digests_compared: i64,
    digest_mismatches: i64,
    pause_p50_ms: f64,
    pause_p99_ms: f64,
    users_per_second: f64,
    max_paused_seen: i64,
    seed: u64,
    #[serde(skip)]
    pub(crate) rollback_asked: i64,
    #[serde(skip)]
    pub(crate) rollback_unproven: i64,
    #[serde(skip)]
    max_paused: i64,
    #[serde(skip)]
    by_state: Vec<(String, i64)>,
    #[serde(skip)]
    seconds: f64,
}

impl Report {
    pub(crate) async fn new(
        args: &DemoArgs,
        context: &Context,
        cohort: &CohortInfo,
        status: &Status,
        launched: Instant,
        max_paused_seen: i64,
    ) -> Result<Self> {
        let found = measure::attempts(&context.tracking()?, cohort).await?;
        let seconds = if found.seconds > 0.0 { found.seconds } else { launched.elapsed().as_secs_f64() };
        Ok(Self {
            users: args.users as i64,
            completed: status.users.completed,
            failed: status.users.failed,
            rolled_back: 0,
            rows: found.rows,
            digests_compared: found.compared,
            digest_mismatches: found.mismatches,
            pause_p50_ms: rounded(found.pause_p50_ms),
            pause_p99_ms: rounded(found.pause_p99_ms),
            users_per_second: rounded(status.users.completed as f64 / seconds),
            max_paused_seen,
            seed: args.seed,
            rollback_asked: 0,
            rollback_unproven: 0,
            max_paused: i64::from(context.settings.pause.max_paused),
            by_state: states(&status.users).into_iter().filter(|(_, users)| *users > 0).collect(),
            seconds,
        })
    }

    /// What does not match; empty where everything does.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut check = |holds: bool, text: String| {
            if !holds {
                faults.push(text);
            }
        };
        check(self.completed == self.users, format!("{} of {} users completed", self.completed, self.users));
        check(self.digest_mismatches == 0, format!("{} digests differ", self.digest_mismatches));
        let compared = self.digests_compared >= self.completed;
        check(compared, format!("{} digests compared for {} users", self.digests_compared, self.completed));
        let bounded = self.max_paused_seen <= self.max_paused;
        check(
            bounded,
            format!("{} users paused where {} are allowed", self.max_paused_seen, self.max_paused),
        );
        let back = format!("{} of {} users rolled back", self.rolled_back, self.rollback_asked);
        check(self.rolled_back == self.rollback_asked, back);
        check(self.rollback_unproven == 0, format!("{} rollbacks are not proven", self.rollback_unproven));
        faults
    }

    /// The closing table.
    pub(crate) fn table(&self) -> Vec<(String, String)> {
        let mut rows: Vec<(String, String)> = self
            .by_state
            .iter()
            .map(|(state, users)| (format!("users {state}"), users.to_string()))
            .collect();
        let more = [
            ("canonical rows", self.rows.to_string()),
            ("digests compared", self.digests_compared.to_string()),
            ("digest mismatches", self.digest_mismatches.to_string()),
            ("paused, p50", format!("{} ms", self.pause_p50_ms)),
            ("paused, p99", format!("{} ms", self.pause_p99_ms)),
            ("most paused at once", format!("{} of {}", self.max_paused_seen, self.max_paused)),
            ("users a second", self.users_per_second.to_string()),
            ("rows a second", format!("{:.0}", self.rows as f64 / self.seconds)),
        ];
        rows.extend(more.map(|(name, value)| (name.to_owned(), value)));
        rows
    }

    /// What the closing rollback came to.
    pub(crate) fn rollback_table(&self) -> Vec<(String, String)> {
        let proven = self.rolled_back - self.rollback_unproven;
        vec![
            ("users rolled back".to_owned(), format!("{} of {}", self.rolled_back, self.rollback_asked)),
            ("proven on legacy, gone at the destination".to_owned(), proven.to_string()),
        ]
    }
}

fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
