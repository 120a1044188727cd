//! In what company a suspect job may be claimed.
//!
//! When a worker dies, all that it held is suspect, though most likely one job killed it. Suspects are
//! therefore claimed in ever smaller company, until the guilty one stands alone and the innocent are done.

/// With how many jobs at most, itself included, a job may be claimed whose worker has vanished
/// `recoveries` times, when a claim asked for `max`.
pub(crate) fn allowance(recoveries: u32, max: usize) -> usize {
    match recoveries {
        0 => max,
        1 => (max / 16).max(1),
        _ => 1,
    }
}

/// How many of the claimed jobs, from the first, may stay together.
pub(crate) fn keep(recoveries: impl Iterator<Item = u32>, max: usize) -> usize {
    let mut allowed = max;
    let mut kept = 0;
    for count in recoveries {
        allowed = allowed.min(allowance(count, max));
        if kept >= allowed {
            break;
        }
        kept += 1;
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_above_suspicion_stay_together() {
        assert_eq!(keep([0; 256].into_iter(), 256), 256);
        assert_eq!(keep([0; 3].into_iter(), 256), 3);
        assert_eq!(keep(std::iter::empty(), 256), 0);
    }

    #[test]
    fn after_one_crash_the_company_is_a_sixteenth_and_after_two_it_is_none() {
        assert_eq!(keep([1; 256].into_iter(), 256), 16);
        assert_eq!(keep([2; 256].into_iter(), 256), 1);
        assert_eq!(keep([1; 8].into_iter(), 8), 1);
    }

    #[test]
    fn a_suspect_never_joins_a_company_larger_than_its_own() {
        assert_eq!(keep([0, 0, 0, 2, 0].into_iter(), 256), 3);
        assert_eq!(keep([2, 0, 0].into_iter(), 256), 1);
        assert_eq!(keep((0..40).map(|i| u32::from(i == 20)), 256), 20);
    }
}
