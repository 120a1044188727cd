//! How long a failed job waits before it is tried again.

use std::time::Duration;

/// A delay drawn evenly from zero to `base · 2^tries`, and never more than `cap` ("full jitter"): jobs
/// that failed together do not come back together. `tries` is how often the job failed before.
pub fn backoff(tries: u32, base: Duration, cap: Duration, rng: &mut fastrand::Rng) -> Duration {
    let doubled = 2_u32.checked_pow(tries).and_then(|factor| base.checked_mul(factor));
    let ceiling = doubled.map_or(cap, |doubled| doubled.min(cap));
    let nanos = u64::try_from(ceiling.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(rng.u64(0..=nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Duration = Duration::from_millis(100);
    const CAP: Duration = Duration::from_secs(30);

    #[test]
    fn the_delay_grows_with_each_try_up_to_the_cap() {
        let mut rng = fastrand::Rng::with_seed(7);
        for (tries, ceiling) in
            [(0, 100), (1, 200), (5, 3_200), (9, 30_000), (31, 30_000), (u32::MAX, 30_000)]
        {
            let longest = (0..500).map(|_| backoff(tries, BASE, CAP, &mut rng)).max().unwrap();
            let ceiling = Duration::from_millis(ceiling);
            assert!(longest <= ceiling, "{tries}: {longest:?}");
            assert!(longest > ceiling * 9 / 10, "{tries}: {longest:?}");
        }
    }

    #[test]
    fn jobs_that_failed_together_do_not_come_back_together() {
        let mut rng = fastrand::Rng::with_seed(7);
        let delays: std::collections::HashSet<_> =
            (0..100).map(|_| backoff(3, BASE, CAP, &mut rng)).collect();
        assert!(delays.len() > 95);
    }
}
