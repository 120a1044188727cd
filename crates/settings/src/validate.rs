//! What must hold of single values and between them. All that does not hold is reported.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use secrecy::ExposeSecret;

use crate::servers::variable;
use crate::{Problem, Server, Settings};

/// No wait of this system is meant to be longer; it also keeps every value inside Postgres' milliseconds.
const LONGEST: Duration = Duration::from_hours(24);
/// A queue script handles at most this many jobs in one piece.
const LARGEST_BATCH: usize = 1000;

impl Settings {
    /// Adds a problem for every limit and relation that does not hold.
    pub(crate) fn validate(&self, problems: &mut Vec<Problem>) {
        let mut checks = Checks { problems };
        self.check_servers(&mut checks);
        self.check_numbers(&mut checks);
        self.check_durations(&mut checks);
        self.check_against_the_pause(&mut checks);
        self.check_relations(&mut checks);
        self.check_exposure(&mut checks);
    }

    fn check_servers(&self, checks: &mut Checks<'_>) {
        for server in Server::ALL {
            let Some(url) = self.find(server) else { continue };
            let url = url.expose_secret();
            let known = match server {
                Server::Redis => ["redis://", "rediss://", "unix://", "redis+unix://"].as_slice(),
                _ => &["postgres://", "postgresql://", "host=", "hostaddr="],
            };
            checks.holds(
                known.iter().any(|start| url.starts_with(start)),
                server.field(),
                || format!("must begin with one of {}", known.join(", ")),
                "write a connection URL",
            );
        }
        let prefix = &self.redis.prefix;
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_-.:{}".contains(c);
        checks.holds(
            (1..=64).contains(&prefix.len()) && prefix.chars().all(allowed),
            "redis.prefix",
            || "must be 1 to 64 letters, digits or any of _-.:{}".to_owned(),
            "shorten it, or leave out other characters",
        );
        let encrypted =
            self.redis.url.as_ref().is_none_or(|url| url.expose_secret().starts_with("rediss://"));
        checks.holds(
            self.redis.ca_file.is_none() || encrypted,
            "redis.ca_file",
            || "is set, but redis.url is not encrypted".to_owned(),
            "begin redis.url with rediss://, or remove redis.ca_file",
        );
    }

    fn check_numbers(&self, checks: &mut Checks<'_>) {
        checks.within("pause.max_paused", &self.pause.max_paused, &(1..=1_000_000));
        checks.within("pause.window", &self.pause.window, &(1..=1_000_000));
        checks.within("identity.sessions", &self.identity.sessions, &(1..=256));
        checks.within("worker.concurrency", &self.worker.concurrency, &(1..=256));
        checks.within("worker.batch", &self.worker.batch, &(1..=LARGEST_BATCH));
        checks.within("worker.max_tries", &self.worker.max_tries, &(1..=1000));
        checks.within("worker.max_recoveries", &self.worker.max_recoveries, &(1..=1000));
        checks.within("breaker.min_attempts", &self.breaker.min_attempts, &(1..=100_000));
        checks.within("breaker.failure_rate", &self.breaker.failure_rate, &(0.0..=1.0));
        checks.within("breaker.max_mismatches", &self.breaker.max_mismatches, &(0..=1_000_000));
    }

    fn check_durations(&self, checks: &mut Checks<'_>) {
        let millisecond = Duration::from_millis(1);
        for (field, value) in self.waits() {
            checks.lasts(field, value, millisecond..=LONGEST);
        }
        // A drain of nothing is a legitimate wish of tests and of installations with the database fence.
        checks.lasts("pause.drain", self.pause.drain, Duration::ZERO..=LONGEST);
        checks.lasts("identity.max_clock_skew", self.identity.max_clock_skew, Duration::ZERO..=LONGEST);
        // Renewed each third of it: below this, one lost reply would lose the lease.
        checks.lasts("worker.lease", self.worker.lease, Duration::from_secs(3)..=LONGEST);
        // Renewed each quarter of it; the server ends the leader's session when it has passed.
        checks.lasts("reconcile.leader_lease", self.reconcile.leader_lease, Duration::from_secs(1)..=LONGEST);
    }

    fn waits(&self) -> [(&'static str, Duration); 21] {
        let (worker, reconcile, postgres) = (&self.worker, &self.reconcile, &self.postgres);
        [
            ("pause.max_pause", self.pause.max_pause),
            ("fence.patience", self.fence.patience),
            ("copy.replica_wait", self.copy.replica_wait),
            ("worker.shutdown", worker.shutdown),
            ("worker.idle_wait", worker.idle_wait),
            ("worker.upkeep", worker.upkeep),
            ("worker.watchdog", worker.watchdog),
            ("worker.backoff_base", worker.backoff_base),
            ("worker.backoff_cap", worker.backoff_cap),
            ("reconcile.interval", reconcile.interval),
            ("reconcile.requeue_after", reconcile.requeue_after),
            ("reconcile.heartbeat", reconcile.heartbeat),
            ("reconcile.ready_for", reconcile.ready_for),
            ("reconcile.fill", reconcile.fill),
            ("reconcile.verify_mirror", reconcile.verify_mirror),
            ("reconcile.sample", reconcile.sample),
            ("reconcile.leader_retry", reconcile.leader_retry),
            ("postgres.statement_timeout", postgres.statement_timeout),
            ("postgres.lock_timeout", postgres.lock_timeout),
            ("postgres.idle_in_transaction_timeout", postgres.idle_in_transaction_timeout),
            ("postgres.connect_timeout", postgres.connect_timeout),
        ]
    }

    /// What must be over before a pause is: a session that outlives it would hold the user's row lock
    /// against the one who takes the attempt back.
    fn check_against_the_pause(&self, checks: &mut Checks<'_>) {
        let pause = ("pause.max_pause", self.pause.max_pause);
        let postgres = &self.postgres;
        checks.below(("postgres.statement_timeout", postgres.statement_timeout), pause);
        checks.below(("postgres.lock_timeout", postgres.lock_timeout), pause);
        checks.below(("postgres.idle_in_transaction_timeout", postgres.idle_in_transaction_timeout), pause);
        checks.below(("postgres.connect_timeout", postgres.connect_timeout), pause);
        checks.below(("fence.patience", self.fence.patience), pause);
        checks.below(("copy.replica_wait", self.copy.replica_wait), pause);
        checks.below(("pause.drain", self.pause.drain), pause);
        // A dead worker's users must be picked up again while their pause lasts.
        checks.below(("worker.lease", self.worker.lease), pause);
        checks.below(("worker.backoff_cap", self.worker.backoff_cap), pause);
        checks.below(("reconcile.interval", self.reconcile.interval), pause);
        checks.below(("reconcile.leader_lease", self.reconcile.leader_lease), pause);
        checks.below(("reconcile.requeue_after", self.reconcile.requeue_after), pause);
    }

    fn check_relations(&self, checks: &mut Checks<'_>) {
        let (worker, reconcile) = (&self.worker, &self.reconcile);
        checks.at_most(
            ("worker.backoff_base", worker.backoff_base),
            ("worker.backoff_cap", worker.backoff_cap),
        );
        checks.below(("worker.idle_wait", worker.idle_wait), ("worker.watchdog", worker.watchdog));
        checks.below(("worker.upkeep", worker.upkeep), ("worker.lease", worker.lease));
        checks.below(
            ("reconcile.heartbeat", reconcile.heartbeat),
            ("reconcile.ready_for", reconcile.ready_for),
        );
        // Else the mirror could never be believed.
        checks.below(
            ("identity.max_clock_skew", self.identity.max_clock_skew),
            ("reconcile.ready_for", reconcile.ready_for),
        );
        checks.at_most(
            ("reconcile.interval", reconcile.interval),
            ("reconcile.requeue_after", reconcile.requeue_after),
        );
        checks.at_most(
            ("postgres.lock_timeout", self.postgres.lock_timeout),
            ("postgres.statement_timeout", self.postgres.statement_timeout),
        );
        checks.holds(
            self.pause.window as usize >= self.worker.batch,
            "pause.window",
            || format!("must be at least worker.batch ({})", self.worker.batch),
            "raise pause.window or lower worker.batch",
        );
    }

    fn check_exposure(&self, checks: &mut Checks<'_>) {
        let worker = &self.worker;
        for (field, token) in [("worker.token", &worker.token), ("identity.token", &self.identity.token)] {
            let token = token.as_ref().map(ExposeSecret::expose_secret);
            checks.holds(
                token.is_none_or(|token| !token.trim().is_empty()),
                field,
                || "must not be blank".to_owned(),
                "set a token, or leave it out",
            );
            // Else nobody could ever send it: no header holds anything else.
            checks.holds(
                token.is_none_or(|token| token.bytes().all(|byte| matches!(byte, b' '..=b'~'))),
                field,
                || "must be of visible ASCII characters, without line breaks".to_owned(),
                "set another token",
            );
        }
        let identity = &self.identity;
        checks.holds(
            identity.http_bind.ip().is_loopback() || identity.token.is_some() || identity.open,
            "identity.http_bind",
            || format!("{} can be reached from other machines, without a token", identity.http_bind),
            &format!(
                "set {}, or identity.open = true if the network is trusted, or bind to 127.0.0.1",
                variable("identity.token")
            ),
        );
        checks.holds(
            worker.http_bind.ip().is_loopback() || worker.token.is_some() || worker.open,
            "worker.http_bind",
            || format!("{} can be reached from other machines, without a token", worker.http_bind),
            &format!(
                "set {}, or worker.open = true if the network is trusted, or bind to 127.0.0.1",
                variable("worker.token")
            ),
        );
    }
}

struct Checks<'a> {
    problems: &'a mut Vec<Problem>,
}

impl Checks<'_> {
    fn holds(&mut self, holds: bool, field: &str, constraint: impl FnOnce() -> String, remedy: &str) {
        if !holds {
            self.problems.push(Problem::new(field, constraint(), remedy));
        }
    }

    fn within<T: PartialOrd + Display>(&mut self, field: &str, value: &T, range: &RangeInclusive<T>) {
        let (low, high) = (range.start(), range.end());
        let text = || format!("is {value}, but must be between {low} and {high}");
        self.holds(range.contains(value), field, text, "choose a value in that range");
    }

    fn lasts(&mut self, field: &str, value: Duration, range: RangeInclusive<Duration>) {
        let text = || {
            let (low, high) = (human(*range.start()), human(*range.end()));
            format!("is {}, but must be between {low} and {high}", human(value))
        };
        self.holds(range.contains(&value), field, text, "choose a duration in that range");
    }

    fn below(&mut self, small: (&str, Duration), large: (&str, Duration)) {
        self.relation(small, large, small.1 < large.1, "shorter than");
    }

    fn at_most(&mut self, small: (&str, Duration), large: (&str, Duration)) {
        self.relation(small, large, small.1 <= large.1, "at most");
    }

    fn relation(&mut self, small: (&str, Duration), large: (&str, Duration), holds: bool, words: &str) {
        let text = || format!("is {}, but must be {words} {} ({})", human(small.1), large.0, human(large.1));
        self.holds(holds, small.0, text, &format!("lower it, or raise {}", large.0));
    }
}

fn human(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}
