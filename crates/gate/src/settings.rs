//! A gate's settings, with their bounds.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use crate::error::Error;

/// The shortest key that permits may be signed with, in bytes.
const SHORTEST_KEY: usize = 32;

/// How a gate behaves. [`Settings::new`] gives defaults for all but the name.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What it is, for people who read the list of gates: `layer`, `sidecar`, `jobs`.
    pub kind: String,
    /// For how long the gate relies on what it has heard. A silent gate costs a pause this much and `max_request`.
    pub lease: Duration,
    /// For how long an admitted request may take. Then it is answered with 503 whatever it has done.
    pub max_request: Duration,
    /// For how long a request is held at most until its user's pause ends.
    pub hold_for: Duration,
    /// How many requests of one user are held at once.
    pub max_waiters_per_user: usize,
    /// How many requests are held in all.
    pub max_waiters: usize,
    /// Held requests are let go at a random time within this after the pause has ended.
    pub release_jitter: Duration,
    /// How many users are cached, about; each takes some 500 bytes.
    pub cached_users: usize,
    /// How many questions to Identity are under way at once; what is beyond waits.
    pub max_look_ups: usize,
    /// How much the clocks of two machines may differ: taken off a handed-on permit.
    pub max_clock_skew: Duration,
    /// Keys that handed-on permits are signed with, at least 32 bytes each: the first signs, all are accepted.
    /// Without one, no permit is handed on or accepted.
    pub permit_keys: Vec<SecretString>,
    /// The path at which the gate itself tells whether the user of a request is still paused.
    pub status_path: String,
    /// The page that a browser gets in place of a page of the application, complete; `None` for the built-in one.
    pub splash: Option<String>,
}

impl Settings {
    /// The defaults.
    pub fn new(kind: impl Into<String>) -> Self {
        Self {
            kind: kind.into(),
            lease: Duration::from_secs(5),
            max_request: Duration::from_secs(10),
            hold_for: Duration::from_secs(5),
            max_waiters_per_user: 32,
            max_waiters: 4_096,
            release_jitter: Duration::from_millis(20),
            cached_users: 100_000,
            max_look_ups: 64,
            max_clock_skew: Duration::from_millis(500),
            permit_keys: Vec::new(),
            status_path: "/.well-known/handover".to_owned(),
            splash: None,
        }
    }

    /// Refuses what cannot work.
    pub fn validate(&self) -> Result<(), Error> {
        let hour = Duration::from_hours(1);
        let within = |time: Duration, least: Duration| time >= least && time <= hour;
        let rules = [
            (within(self.lease, Duration::from_millis(100)), "lease must be from 100 ms to an hour"),
            (within(self.max_request, Duration::from_millis(1)), "max_request must be from 1 ms to an hour"),
            (self.hold_for <= hour, "hold_for must be an hour at most"),
            (self.cached_users > 0, "cached_users must be at least 1"),
            (self.max_look_ups > 0, "max_look_ups must be at least 1"),
            (self.status_path.starts_with('/'), "status_path must begin with /"),
            (
                self.permit_keys.iter().all(|key| key.expose_secret().len() >= SHORTEST_KEY),
                "each of permit_keys must be of at least 32 bytes",
            ),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(Error::Settings(rule)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_what_cannot_work_is_refused() {
        let settings = Settings::new("layer");
        assert!(settings.validate().is_ok());
        let short = Settings { permit_keys: vec!["short".into()], ..settings.clone() };
        assert!(matches!(short.validate(), Err(Error::Settings(_))));
        assert!(Settings { lease: Duration::ZERO, ..settings }.validate().is_err());
    }
}
