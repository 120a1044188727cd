//! The mirror's one connection: shared, pipelined, made again when it breaks, and bounded in time.
//!
//! The client library's `ConnectionManager` is not used: it keeps a connection on which an answer timed out,
//! and so stays with a server that a failover has cut off.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ErrorKind, FromRedisValue, IntoConnectionInfo,
    Pipeline, ScriptInvocation, ServerErrorKind, TlsCertificates,
};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;

use crate::error::Error;

#[derive(Clone)]
pub(super) struct Link {
    client: Client,
    config: AsyncConnectionConfig,
    timeout: Duration,
    slot: Arc<Mutex<Slot>>,
}

#[derive(Default)]
struct Slot {
    connection: Option<MultiplexedConnection>,
    /// Grows with each connection, so that only the broken one is thrown away.
    number: u64,
}

/// What is sent.
enum Call<'a> {
    Command(&'a Cmd),
    Script(&'a ScriptInvocation<'a>),
    Batch(&'a Pipeline),
}

impl Link {
    pub(super) fn new(url: &SecretString, ca_file: Option<&Path>, timeout: Duration) -> Result<Self, Error> {
        let client = client(url, ca_file)?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(timeout))
            .set_response_timeout(Some(timeout));
        Ok(Self { client, config, timeout, slot: Arc::default() })
    }

    pub(super) async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Error> {
        self.send(Call::Command(command), self.timeout).await
    }

    pub(super) async fn run<T: FromRedisValue>(&self, call: &ScriptInvocation<'_>) -> Result<T, Error> {
        self.send(Call::Script(call), self.timeout).await
    }

    /// Several commands, answered within less than the configured time.
    pub(super) async fn batch<T: FromRedisValue>(
        &self,
        pipeline: &Pipeline,
        patience: Duration,
    ) -> Result<T, Error> {
        self.send(Call::Batch(pipeline), patience.min(self.timeout)).await
    }

    /// A script that the server does not know takes three round trips, each with its own bound, and a
    /// connection may have to be made before; this bounds them together. Nothing is sent a second time: it may
    /// have been done.
    async fn send<T: FromRedisValue>(&self, call: Call<'_>, timeout: Duration) -> Result<T, Error> {
        let mut used = None;
        let answer = tokio::time::timeout(timeout, async {
            let (number, mut connection) = self.connection().await?;
            used = Some(number);
            match call {
                Call::Command(command) => command.query_async(&mut connection).await,
                Call::Batch(pipeline) => pipeline.query_async(&mut connection).await,
                Call::Script(script) => script.invoke_async(&mut connection).await,
            }
        });
        let answer = match answer.await {
            Ok(answer) => answer.map_err(Error::from),
            Err(_) => Err(Error::MirrorTimeout(timeout)),
        };
        if let (Err(error), Some(number)) = (&answer, used)
            && spoils(error)
        {
            self.discard(number).await;
        }
        answer
    }

    async fn connection(&self) -> redis::RedisResult<(u64, MultiplexedConnection)> {
        let mut slot = self.slot.lock().await;
        if let Some(connection) = &slot.connection {
            return Ok((slot.number, connection.clone()));
        }
        let connection = self.client.get_multiplexed_async_connection_with_config(&self.config).await?;
        slot.number += 1;
        slot.connection = Some(connection.clone());
        Ok((slot.number, connection))
    }

    async fn discard(&self, number: u64) {
        let mut slot = self.slot.lock().await;
        if slot.number == number {
            slot.connection = None;
        }
    }
}

/// Whether the connection should not be used again: after all but a server's plain refusal. One that has
/// become a replica refuses to write, and its address may lead elsewhere by now.
fn spoils(error: &Error) -> bool {
    match error {
        Error::Redis(error) => {
            let demoted = ErrorKind::Server(ServerErrorKind::ReadOnly);
            error.is_io_error()
                || error.is_timeout()
                || error.is_unrecoverable_error()
                || error.kind() == demoted
        }
        _ => true,
    }
}

fn client(url: &SecretString, ca_file: Option<&Path>) -> Result<Client, Error> {
    // The library's parse error can quote the URL, password included, so it is not handed on.
    let info = url.expose_secret().into_connection_info().map_err(|_| {
        Error::MirrorConfig("the URL cannot be read: write redis://host:port/database or rediss://…")
    })?;
    if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
        // rustls panics where it is left to choose among several providers, or has none. An error means that
        // the process has chosen already.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
    let Some(path) = ca_file else {
        return Client::open(info).map_err(|_| Error::MirrorConfig("the URL is not supported"));
    };
    let pem = std::fs::read(path).map_err(|_| Error::MirrorConfig("the file of `ca_file` cannot be read"))?;
    let certificates = TlsCertificates { client_tls: None, root_cert: Some(pem) };
    Client::build_with_tls(info, certificates).map_err(|_| {
        Error::MirrorConfig("`ca_file` needs a rediss:// address and a PEM file with certificates")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_without_tls_or_without_certificates_is_refused_and_no_password_is_shown() {
        let timeout = Duration::from_secs(1);
        let binary = std::env::current_exe().unwrap();
        for (url, file) in [
            ("redis://:hunter2@localhost/", Some(binary.as_path())),
            ("rediss://:hunter2@localhost/", Some(Path::new("/nonexistent/ca.pem"))),
            ("redis://:hunter2@bad host/", None),
        ] {
            let error = Link::new(&url.into(), file, timeout).err().unwrap();
            assert!(matches!(error, Error::MirrorConfig(_)), "{error:?}");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
        assert!(Link::new(&"rediss://localhost/".into(), None, timeout).is_ok());
    }
}
