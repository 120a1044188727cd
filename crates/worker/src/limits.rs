//! The numbers that bound a driver, from the settings.

use std::time::Duration;

use handover_settings::Settings;

/// What bounds a driver.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Batches at the same time.
    pub concurrency: usize,
    /// Jobs in one claim.
    pub batch: usize,
    /// How long a claim holds; renewed every third of it.
    pub lease: Duration,
    /// Longest wait at an empty queue.
    pub idle_wait: Duration,
    /// Time between two rounds of promotion and recovery.
    pub upkeep: Duration,
    /// Time without an answered claim after which the connection is rebuilt.
    pub watchdog: Duration,
    /// Failed tries after which a job gives up.
    pub max_tries: u32,
    /// Recoveries after which a job is set aside.
    pub max_recoveries: u32,
    /// First wait before a retry.
    pub backoff_base: Duration,
    /// Longest wait before a retry.
    pub backoff_cap: Duration,
}

impl Limits {
    /// How often leases are renewed: two renewals may fail before a lease is lost.
    pub(crate) fn renewal(&self) -> Duration {
        self.lease / 3
    }
}

impl From<&Settings> for Limits {
    fn from(settings: &Settings) -> Self {
        let worker = &settings.worker;
        Self {
            concurrency: worker.concurrency,
            batch: worker.batch,
            lease: worker.lease,
            idle_wait: worker.idle_wait,
            upkeep: worker.upkeep,
            watchdog: worker.watchdog,
            max_tries: worker.max_tries,
            max_recoveries: worker.max_recoveries,
            backoff_base: worker.backoff_base,
            backoff_cap: worker.backoff_cap,
        }
    }
}
