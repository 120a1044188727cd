//! Configuration, from the environment alone. Whatever is wrong is said at once.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use secrecy::SecretString;

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Pages and API.
    Web,
    /// Sends due reminders; of HTTP it answers only the health checks.
    Scheduler,
    /// Both.
    All,
}

/// How a process runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens; port 0 takes a free one. `INVOICING_BIND`, `127.0.0.1:0`.
    pub bind: SocketAddr,
    /// The old system's primary. `INVOICING_LEGACY_URL`.
    pub legacy: SecretString,
    /// The new system. `INVOICING_NEW_URL`.
    pub new: SecretString,
    /// Where changes of users' homes are heard. `INVOICING_REDIS_URL`.
    pub redis: SecretString,
    /// What the keys there begin with. `INVOICING_REDIS_PREFIX`, `handover`.
    pub redis_prefix: String,
    /// Identity's service. `INVOICING_IDENTITY_URL`.
    pub identity: String,
    /// Its token. `INVOICING_IDENTITY_TOKEN`.
    pub identity_token: Option<SecretString>,
    /// What the process does. `INVOICING_ROLE`, `all`.
    pub role: Role,
    /// For how long the gate relies on what it has heard. `INVOICING_LEASE`, `5s`.
    pub lease: Duration,
    /// For how long a paused user's request is held. `INVOICING_HOLD_FOR`, `5s`.
    pub hold_for: Duration,
    /// For how long an admitted request may take. `INVOICING_MAX_REQUEST`, `5s`.
    pub max_request: Duration,
    /// The key that permits are handed on with, 32 bytes or more. `INVOICING_PERMIT_KEY`.
    pub permit_key: Option<SecretString>,
    /// Time between two looks for due reminders. `INVOICING_TICK`, `1s`.
    pub tick: Duration,
    /// A reminder that is due for longer than this is sent no more. `INVOICING_STALE_AFTER`, `1day`.
    pub stale_after: Duration,
    /// Sessions on each of the two databases at most. `INVOICING_SESSIONS`, 8.
    pub sessions: usize,
}

/// What is wrong with the environment, all of it. No value is named: some are secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the configuration cannot be used: {}", .0.join("; "))]
pub struct ConfigError(pub Vec<String>);

impl Config {
    /// The configuration of this process' environment.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::of(std::env::vars())
    }

    /// The configuration in these variables; others than `INVOICING_…` are passed over.
    pub fn of(variables: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let ours = |(name, value): (String, String)| {
            name.strip_prefix("INVOICING_").map(|name| (name.to_owned(), value))
        };
        let mut reader = Reader { left: variables.into_iter().filter_map(ours).collect(), wrong: Vec::new() };
        let config = Self::read(&mut reader);
        reader.wrong.extend(reader.left.keys().map(|name| format!("INVOICING_{name} is no setting")));
        if reader.wrong.is_empty() { Ok(config) } else { Err(ConfigError(reader.wrong)) }
    }

    fn read(reader: &mut Reader) -> Self {
        let time = humantime::parse_duration;
        Self {
            bind: reader.parsed("BIND", ([127, 0, 0, 1], 0).into(), str::parse::<SocketAddr>),
            legacy: reader.needed("LEGACY_URL").into(),
            new: reader.needed("NEW_URL").into(),
            redis: reader.needed("REDIS_URL").into(),
            redis_prefix: reader.left.remove("REDIS_PREFIX").unwrap_or_else(|| "handover".to_owned()),
            identity: reader.needed("IDENTITY_URL"),
            identity_token: reader.left.remove("IDENTITY_TOKEN").map(SecretString::from),
            role: reader.parsed("ROLE", Role::All, Role::named),
            lease: reader.parsed("LEASE", Duration::from_secs(5), time),
            hold_for: reader.parsed("HOLD_FOR", Duration::from_secs(5), time),
            max_request: reader.parsed("MAX_REQUEST", Duration::from_secs(5), time),
            permit_key: reader.left.remove("PERMIT_KEY").map(SecretString::from),
            tick: reader.parsed("TICK", Duration::from_secs(1), time),
            stale_after: reader.parsed("STALE_AFTER", Duration::from_hours(24), time),
            sessions: reader.parsed("SESSIONS", 8, str::parse::<usize>),
        }
    }
}

struct Reader {
    left: BTreeMap<String, String>,
    wrong: Vec<String>,
}

impl Reader {
    fn needed(&mut self, name: &str) -> String {
        self.left.remove(name).filter(|value| !value.is_empty()).unwrap_or_else(|| {
            self.wrong.push(format!("INVOICING_{name} is missing"));
            String::new()
        })
    }

    fn parsed<T, E: std::fmt::Display>(
        &mut self,
        name: &str,
        default: T,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> T {
        let Some(text) = self.left.remove(name) else { return default };
        parse(&text).unwrap_or_else(|error| {
            self.wrong.push(format!("INVOICING_{name}: {error}"));
            default
        })
    }
}

impl Role {
    fn named(text: &str) -> Result<Self, &'static str> {
        match text {
            "web" => Ok(Self::Web),
            "scheduler" => Ok(Self::Scheduler),
            "all" => Ok(Self::All),
            _ => Err("must be web, scheduler or all"),
        }
    }

    /// Whether it serves pages and API.
    pub fn serves(self) -> bool {
        self != Self::Scheduler
    }

    /// Whether it sends reminders.
    pub fn sends(self) -> bool {
        self != Self::Web
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(more: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let least = [
            ("INVOICING_LEGACY_URL", "postgres://h/l"),
            ("INVOICING_NEW_URL", "postgres://h/n"),
            ("INVOICING_REDIS_URL", "redis://h"),
            ("INVOICING_IDENTITY_URL", "http://h"),
            ("HOME", "/"),
        ];
        let all = least.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::of(all.filter(|(_, value)| value != "-"))
    }

    #[test]
    fn the_defaults_hold_where_nothing_is_said() {
        let config = of(&[]).unwrap();
        assert_eq!((config.bind.port(), config.role, config.sessions), (0, Role::All, 8));
        assert_eq!(config.hold_for, Duration::from_secs(5));
        let config = of(&[("INVOICING_ROLE", "scheduler"), ("INVOICING_TICK", "50ms")]).unwrap();
        assert!(config.role.sends() && !config.role.serves());
        assert_eq!(config.tick, Duration::from_millis(50));
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once_and_no_value_is_named() {
        let wrong = [("INVOICING_ROLE", "boss"), ("INVOICING_TICK", "soon"), ("INVOICING_TYPO", "s3cret")];
        let error = of(&wrong).unwrap_err();
        assert_eq!(error.0.len(), 3, "{error}");
        assert!(!error.to_string().contains("s3cret"));
        assert_eq!(Config::of([]).unwrap_err().0.len(), 4);
    }
}
