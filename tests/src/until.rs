//! Waiting for something to become true, at most for so long.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long tests wait for what must come. Far longer than it takes: a slow machine fails no test.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Time between two looks.
const EVERY: Duration = Duration::from_millis(15);

/// Returns once `holds` says yes; fails with `what` after [`PATIENCE`].
pub async fn until<F>(what: &str, mut holds: impl FnMut() -> F) -> Result<()>
where
    F: Future<Output = Result<bool>>,
{
    let deadline = Instant::now() + PATIENCE;
    let mut ticks = tokio::time::interval(EVERY);
    loop {
        ticks.tick().await;
        if holds().await? {
            return Ok(());
        }
        if Instant::now() >= deadline {
            bail!("in vain: {what}");
        }
    }
}
