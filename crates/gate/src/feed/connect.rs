//! How a gate reaches the server of the changes. Every connection is made here, none is shared.

use std::time::Duration;

use handover_identity::Keys;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, Client, IntoConnectionInfo, RedisError, TlsCertificates};
use secrecy::ExposeSecret;

use super::Changes;
use crate::error::Error;

/// How long a connection, or a command that does not block, may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// Pauses between attempts, doubled from the first to the last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// A server, and the names of the keys.
pub(crate) struct Address {
    client: Client,
    pub(super) changes: String,
    pub(super) gate: String,
}

/// Why a connection is given up.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error(transparent)]
    Redis(#[from] RedisError),
    #[error("no answer in time")]
    Silent,
    #[error(transparent)]
    Injected(#[from] handover_fault::Injected),
}

impl Address {
    /// The keys of the gate of that id. Reads the certificate file, and does not connect yet.
    pub(crate) fn new(changes: &Changes, id: &str) -> Result<Self, Error> {
        let unreadable = |_| Error::Address("write redis://host:port/database or rediss://…");
        let info = changes.url.expose_secret().into_connection_info().map_err(unreadable)?;
        let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let client = match &changes.ca_file {
            None => Client::open(info).map_err(unreadable)?,
            Some(path) => {
                let pem = std::fs::read(path).map_err(|_| Error::Address("`ca_file` cannot be read"))?;
                let certificates = TlsCertificates { client_tls: None, root_cert: Some(pem) };
                Client::build_with_tls(info, certificates)
                    .map_err(|_| Error::Address("`ca_file` needs a rediss:// address and a PEM file"))?
            }
        };
        let keys = Keys::new(changes.prefix.as_str());
        Ok(Self { client, changes: keys.changes(), gate: keys.gate(id) })
    }

    /// A connection without a response time-out: the library's would end before a blocking read does, and an
    /// answer could then pass for that of the next question. Each use is bounded by [`bounded`].
    pub(super) async fn connect(&self) -> Result<MultiplexedConnection, Broken> {
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(PATIENCE)).set_response_timeout(None);
        bounded(PATIENCE, self.client.get_multiplexed_async_connection_with_config(&config)).await
    }
}

/// Bounds a command. After [`Broken::Silent`] the connection must not be used again.
pub(super) async fn bounded<T>(
    patience: Duration,
    work: impl Future<Output = redis::RedisResult<T>>,
) -> Result<T, Broken> {
    tokio::time::timeout(patience, work).await.map_err(|_| Broken::Silent)?.map_err(Broken::from)
}

/// Pauses between attempts that fail, longer each time, never the same for all gates.
pub(super) struct Backoff(Duration);

impl Backoff {
    pub(super) fn new() -> Self {
        Self(PAUSES.0)
    }

    pub(super) async fn pause(&mut self) {
        let pause = self.0.mul_f64(0.5 + fastrand::f64() / 2.0);
        self.0 = (self.0 * 2).min(PAUSES.1);
        tokio::time::sleep(pause).await;
    }
}
