//! What a demonstration came to: the closing table, the JSON object, and whether everything matched.

use std::time::Instant;

use anyhow::Result;
use handover_tracking::{CohortInfo, Status};
use serde::Serialize;

use super::application::Outcome;
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
    #[serde(flatten)]
    told: Option<Told>,
    #[serde(skip)]
    traffic: Option<Outcome>,
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

/// What clients saw, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Told {
    requests: u64,
    acknowledged: u64,
    acknowledged_writes: u64,
    by_legacy: u64,
    by_new: u64,
    held: u64,
    held_p50_ms: f64,
    held_p99_ms: f64,
    refused: u64,
    indeterminate: u64,
    stale: u64,
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
            told: None,
            traffic: None,
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
        if let Some(Outcome { figures, .. }) = &self.traffic {
            check(figures.acknowledged > 0, "no client was served".to_owned());
            let stale = format!("{} answers did not show what had been acknowledged before", figures.stale);
            check(figures.stale == 0, stale);
        }
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

    /// What clients saw.
    pub(crate) fn traffic_table(&self) -> Vec<(String, String)> {
        let Some(Outcome { figures, held, seconds }) = &self.traffic else { return Vec::new() };
        let rows = [
            (
                "requests of clients",
                format!("{} ({:.0} a second)", figures.requests, figures.requests as f64 / seconds),
            ),
            (
                "acknowledged",
                format!("{}, {} of them writes", figures.acknowledged, figures.acknowledged_writes),
            ),
            ("served by legacy, by new", format!("{}, {}", figures.by_legacy, figures.by_new)),
            ("answered within, p50, p99", format!("{:.0} ms, {:.0} ms", figures.p50_ms, figures.p99_ms)),
            ("held during a pause", held.count().to_string()),
            ("held, p50, p99", format!("{}, {}", held.percentile_text(0.5), held.percentile_text(0.99))),
            ("refused, outcome unknown", format!("{}, {}", figures.refused, figures.indeterminate)),
            ("answers that lacked something", figures.stale.to_string()),
        ];
        rows.map(|(name, value)| (name.to_owned(), value)).to_vec()
    }

    /// Takes what clients saw.
    pub(crate) fn take(&mut self, traffic: Outcome) {
        let Outcome { figures, held, .. } = &traffic;
        self.told = Some(Told {
            requests: figures.requests,
            acknowledged: figures.acknowledged,
            acknowledged_writes: figures.acknowledged_writes,
            by_legacy: figures.by_legacy,
            by_new: figures.by_new,
            held: held.count(),
            held_p50_ms: rounded(held.percentile_ms(0.5)),
            held_p99_ms: rounded(held.percentile_ms(0.99)),
            refused: figures.refused,
            indeterminate: figures.indeterminate,
            stale: figures.stale,
        });
        self.traffic = Some(traffic);
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
