//! The circuit breaker: a cohort that fails too often is held before it draws its other users into the same trouble.

use handover_tracking::Limits;

use super::Context;
use crate::metric;

/// Holds the cohorts that have passed a limit.
pub(super) async fn check(context: &Context) -> anyhow::Result<()> {
    let breaker = &context.settings.breaker;
    let limits = Limits {
        min_attempts: breaker.min_attempts,
        failure_rate: breaker.failure_rate,
        max_mismatches: breaker.max_mismatches,
    };
    for tripped in context.engine.tracking.trip_breakers(&limits).await? {
        metric::tripped();
        tracing::error!(cohort = tripped.cohort, reason = tripped.reason, "a cohort is held");
    }
    Ok(())
}
