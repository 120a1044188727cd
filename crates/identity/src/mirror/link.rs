//! The mirror's one connection: shared, pipelined, made again when it breaks, and bounded in time.

use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::io::tcp::TcpSettings;
use redis::{Client, Cmd, FromRedisValue, IntoConnectionInfo, ScriptInvocation};
use secrecy::{ExposeSecret, SecretString};

use crate::error::Error;

#[derive(Clone)]
pub(super) struct Link {
    manager: ConnectionManager,
    timeout: Duration,
}

impl Link {
    pub(super) fn new(url: &SecretString, timeout: Duration) -> Result<Self, Error> {
        // The library's parse error can quote the URL, password included, so it is not handed on.
        let info = url.expose_secret().into_connection_info().map_err(|_| {
            Error::MirrorConfig("the URL cannot be read: write redis://host:port/database or rediss://…")
        })?;
        let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        // A failed attempt is not repeated here: the next command makes the next one, and the caller's time
        // is bounded.
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(timeout))
            .set_response_timeout(Some(timeout))
            .set_number_of_retries(0);
        let manager = ConnectionManager::new_lazy_with_config(Client::open(info)?, config)?;
        Ok(Self { manager, timeout })
    }

    pub(super) async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Error> {
        self.bounded(command.query_async(&mut self.manager.clone())).await
    }

    pub(super) async fn run<T: FromRedisValue>(&self, call: &ScriptInvocation<'_>) -> Result<T, Error> {
        self.bounded(call.invoke_async(&mut self.manager.clone())).await
    }

    /// A script that the server does not know takes three round trips, each with its own bound; this bounds
    /// them together.
    async fn bounded<T>(&self, work: impl Future<Output = redis::RedisResult<T>>) -> Result<T, Error> {
        match tokio::time::timeout(self.timeout, work).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(Error::MirrorTimeout(self.timeout)),
        }
    }
}
