//! Which Redis to use, and how connections to it are made.
//!
//! Every connection sets TCP_NODELAY and names its own response time-out: the client library's default
//! of 500 ms would also cut off blocking commands.

use std::path::PathBuf;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo, TlsCertificates};
use secrecy::{ExposeSecret, SecretString};

use crate::error::Error;

/// The prefix of all keys unless another is configured.
pub const DEFAULT_PREFIX: &str = "handover";
/// How many dead jobs a stage keeps unless another number is configured.
pub const DEFAULT_DEAD_CAP: usize = 10_000;
/// How long a plain command may take unless another time is configured.
pub const DEFAULT_RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long connecting may take, handshake included.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Which Redis to use.
#[derive(Clone, Debug)]
pub struct RedisTarget {
    /// `redis://` or, with TLS, `rediss://`; may hold a password.
    pub url: SecretString,
    /// What all keys begin with.
    pub prefix: String,
    /// PEM file with the certificate authority that the server's certificate is checked against, in
    /// place of the system's.
    pub ca_file: Option<PathBuf>,
    /// How long a plain command may take before its connection is replaced.
    pub response_timeout: Duration,
    /// How many dead jobs a stage keeps; older ones are dropped.
    pub dead_cap: usize,
}

impl RedisTarget {
    /// The server at `url`, with everything else as by default.
    pub fn new(url: SecretString) -> Self {
        Self {
            url,
            prefix: DEFAULT_PREFIX.to_owned(),
            ca_file: None,
            response_timeout: DEFAULT_RESPONSE_TIMEOUT,
            dead_cap: DEFAULT_DEAD_CAP,
        }
    }

    /// The same with another prefix.
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// A client for this server. Opens no connection, but reads the certificate file.
    pub(crate) fn client(&self) -> Result<Client, Error> {
        // Neither the address nor the library's message goes into the error: either may hold the password.
        let unusable = |what: &str| Error::Settings(what.to_owned());
        let info = self.url.expose_secret().into_connection_info().map_err(|_| {
            unusable("the address is not of the form redis://[user:password@]host[:port][/db]")
        })?;
        if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
            // rustls panics where it is left to choose among several providers, or has none. An error
            // means that the process has chosen already.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let Some(path) = &self.ca_file else {
            return Client::open(info).map_err(|_| unusable("the address is not supported"));
        };
        let pem = std::fs::read(path)
            .map_err(|error| unusable(&format!("cannot read {}: {error}", path.display())))?;
        let certificates = TlsCertificates { client_tls: None, root_cert: Some(pem) };
        Client::build_with_tls(info, certificates).map_err(|_| {
            unusable("a certificate authority needs a rediss:// address and a pem file with certificates")
        })
    }
}

/// Settings of a connection whose commands may take `patience`; `None` for one that blocks.
pub(crate) fn connection_config(patience: Option<Duration>) -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(patience)
        // Each slot is one command of up to a thousand jobs; the default of 50 would make callers wait.
        .set_pipeline_buffer_size(256)
}

/// Opens one connection, and gives up after [`CONNECT_TIMEOUT`] wherever it hangs.
pub(crate) async fn connect(
    client: &Client,
    config: &AsyncConnectionConfig,
) -> Result<MultiplexedConnection, Error> {
    let connecting = client.get_multiplexed_async_connection_with_config(config);
    match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(Error::from_redis(&error, CONNECT_TIMEOUT)),
        Err(_) => Err(Error::Silent(CONNECT_TIMEOUT)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_debug_output_nor_an_error_shows_the_password() {
        let target = RedisTarget::new("redis://:hunter2@bad host/".into());
        assert!(!format!("{target:?}").contains("hunter2"));
        let error = target.client().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }

    #[test]
    fn a_certificate_authority_for_an_address_without_tls_is_refused() {
        let file = std::env::current_exe().unwrap();
        let target = RedisTarget { ca_file: Some(file), ..RedisTarget::new("redis://localhost/".into()) };
        assert!(matches!(target.client(), Err(Error::Settings(_))));
    }
}
