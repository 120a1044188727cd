//! What every handler and job shares: the gate, Identity, and the two databases.

use std::sync::Arc;
use std::time::Duration;

use handover_gate::{Changes, Gate};
use handover_identity::{ClientError, ClientOptions, IdentityClient};
use handover_postgres::{Database, Pool, Timeouts};

use crate::config::Config;
use crate::{REMINDERS, SETTINGS};

/// The application. Cheap to clone.
#[derive(Clone)]
pub struct App {
    /// Tells who is served where, and holds who is being moved.
    pub gate: Gate,
    /// For sign-ups, and to show where users live.
    pub identity: Arc<IdentityClient>,
    /// The old system.
    pub legacy: Pool,
    /// The new one.
    pub new: Pool,
    /// A reminder that is due for longer is sent no more.
    pub stale_after: Duration,
}

/// Why the application cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Identity's address or token.
    #[error(transparent)]
    Identity(#[from] ClientError),
    /// A database's address.
    #[error(transparent)]
    Database(#[from] handover_postgres::Error),
    /// The gate's settings.
    #[error(transparent)]
    Gate(#[from] handover_gate::Error),
    /// It cannot listen.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// Where.
        address: std::net::SocketAddr,
        /// Why.
        error: std::io::Error,
    },
}

impl App {
    /// Connects to nothing yet but Identity, which the gate registers with.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        let identity = Arc::new(identity(config)?);
        let (legacy, new) =
            (pool("legacy", &config.legacy, config)?, pool("new system", &config.new, config)?);
        let mut changes = Changes::new(config.redis.clone());
        changes.prefix.clone_from(&config.redis_prefix);
        let source = Arc::clone(&identity);
        let gate = Gate::start(gate_settings(config), source, &changes).await?;
        Ok(Self { gate, identity, legacy, new, stale_after: config.stale_after })
    }

    /// Enters a sign-up at Identity: from its first request on this user is served by the new system alone. To be
    /// done before anything of the user is written anywhere.
    pub async fn enrol(&self, user: i64) -> Result<(), handover_identity::SourceError> {
        let migrations = [REMINDERS, SETTINGS].map(str::to_owned);
        self.identity.enrol(&user.to_string(), &migrations).await?;
        // Somebody may have guessed the number, and been told that it is on legacy.
        self.gate.forget(&user.to_string());
        Ok(())
    }
}

fn gate_settings(config: &Config) -> handover_gate::Settings {
    let mut settings = handover_gate::Settings::new("invoicing");
    settings.lease = config.lease;
    settings.hold_for = config.hold_for;
    settings.max_request = config.max_request;
    settings.permit_keys = config.permit_key.iter().cloned().collect();
    settings
}

fn identity(config: &Config) -> Result<IdentityClient, ClientError> {
    let mut options = ClientOptions::new(config.identity.clone());
    options.token.clone_from(&config.identity_token);
    IdentityClient::new(&options)
}

/// What is not bounded by a permit (the list of accounts, the look for due reminders) is bounded like a request.
fn pool(
    role: &'static str,
    url: &secrecy::SecretString,
    config: &Config,
) -> Result<Pool, handover_postgres::Error> {
    let bound = config.max_request;
    let timeouts = Timeouts {
        connect: bound.min(Duration::from_secs(3)),
        statement: bound,
        lock: bound,
        idle_in_transaction: bound,
    };
    Ok(Database::new(role, url)?.with_timeouts(timeouts).pool(config.sessions))
}
