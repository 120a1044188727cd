//! A duty: something small that is done again and again, under a name that logs and metrics use.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::metric;
use crate::panic::caught;

type Work = Box<dyn Fn() -> BoxFuture<'static, anyhow::Result<()>> + Send + Sync>;

/// Something that a reconciler does again and again. Each round must do no harm when it is repeated, cut
/// off in the middle, or done by two at once.
pub struct Duty {
    name: &'static str,
    every: Duration,
    work: Work,
}

impl fmt::Debug for Duty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Duty").field("name", &self.name).field("every", &self.every).finish_non_exhaustive()
    }
}

impl Duty {
    /// A duty of that name, with `every` between the beginnings of two rounds.
    pub fn new<F, R>(name: &'static str, every: Duration, work: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        Self { name, every, work: Box::new(move || work().boxed()) }
    }

    /// Does the duty until `over`; a round that has begun is finished.
    pub(crate) async fn attend(&self, over: &CancellationToken) {
        let mut ticks = tokio::time::interval(self.every);
        // A round that took long is not made up for: the next one sees the same state.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut trouble = None;
        while over.run_until_cancelled(ticks.tick()).await.is_some() {
            let now = self.round().await.err();
            self.report(trouble.as_deref(), now.as_deref());
            trouble = now;
        }
    }

    async fn round(&self) -> Result<(), String> {
        let begun = Instant::now();
        let result = match caught((self.work)()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(format!("{error:#}")),
            Err(panicked) => Err(panicked.to_string()),
        };
        metric::duty(self.name, begun.elapsed(), result.is_err());
        result
    }

    /// Logs what changed: an outage is logged at its beginning and its end, not in each round.
    fn report(&self, before: Option<&str>, now: Option<&str>) {
        match (before, now) {
            (before, Some(error)) if before != Some(error) => {
                tracing::warn!(duty = self.name, error, "a duty failed; trying again");
            }
            (Some(_), None) => tracing::info!(duty = self.name, "a duty works again"),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_duty_goes_on_after_errors_and_panics_until_it_is_over() {
        let rounds = Arc::new(AtomicUsize::new(0));
        let over = CancellationToken::new();
        let (counted, end) = (Arc::clone(&rounds), over.clone());
        let duty = Duty::new("test", Duration::from_millis(10), move || {
            let round = counted.fetch_add(1, Ordering::SeqCst);
            let end = end.clone();
            async move {
                assert_ne!(round, 0, "a panic in the first round");
                if round == 3 {
                    end.cancel();
                }
                anyhow::ensure!(round != 1, "an error in the second");
                Ok(())
            }
        });
        duty.attend(&over).await;
        assert_eq!(rounds.load(Ordering::SeqCst), 4);
    }
}
