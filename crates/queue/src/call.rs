//! One call of Redis: a command or a script, with the keys it touches and how its errors read.

use std::time::Duration;

use redis::aio::ConnectionLike;
use redis::{Cmd, ErrorKind, FromRedisValue, RedisError, RedisResult, Script, ServerErrorKind, ToRedisArgs};

use crate::error::Error;
use crate::keys::Key;

/// A command or a script that is ready to be sent.
pub(crate) struct Call<'a> {
    script: Option<&'a Script>,
    cmd: Cmd,
    keys: Vec<Key>,
}

impl<'a> Call<'a> {
    /// A plain command; `key` is its first argument.
    pub(crate) fn command(name: &str, key: Key) -> Self {
        let mut cmd = redis::cmd(name);
        cmd.arg(key.name());
        Self { script: None, cmd, keys: vec![key] }
    }

    /// A plain command without a key.
    pub(crate) fn keyless(name: &str) -> Self {
        Self { script: None, cmd: redis::cmd(name), keys: Vec::new() }
    }

    /// A script. Its arguments are written straight into the command: `redis::Script` would hold each
    /// of some hundred in a vector of its own first.
    pub(crate) fn script<const N: usize>(script: &'a Script, keys: [Key; N]) -> Self {
        let mut cmd = redis::cmd("EVALSHA");
        cmd.arg(script.get_hash()).arg(N);
        for key in &keys {
            cmd.arg(key.name());
        }
        Self { script: Some(script), cmd, keys: keys.into() }
    }

    /// Adds an argument.
    pub(crate) fn arg(mut self, arg: impl ToRedisArgs) -> Self {
        self.cmd.arg(arg);
        self
    }

    /// Adds an argument to a call that is held by reference, in loops.
    pub(crate) fn push(&mut self, arg: impl ToRedisArgs) {
        self.cmd.arg(arg);
    }

    /// Sends it over `connection`, and the script before it where Redis does not know it (any more).
    pub(crate) async fn send<V: FromRedisValue>(
        &self,
        connection: &mut impl ConnectionLike,
        patience: Duration,
    ) -> Result<V, Error> {
        match self.invoke(connection).await {
            Ok(value) => Ok(value),
            Err(error) if Error::is_wrong_type(&error) => {
                Err(self.wrong_type(connection).await.unwrap_or_else(|| Error::from_redis(&error, patience)))
            }
            Err(error) => Err(Error::from_redis(&error, patience)),
        }
    }

    async fn invoke<V: FromRedisValue>(&self, connection: &mut impl ConnectionLike) -> RedisResult<V> {
        let result = self.cmd.query_async(connection).await;
        match (self.script, &result) {
            (Some(script), Err(error)) if is_unknown_script(error) => {
                script.load_async(connection).await?;
                self.cmd.query_async(connection).await
            }
            _ => result,
        }
    }

    /// Redis does not say which of the keys has the wrong type, so they are looked at.
    async fn wrong_type(&self, connection: &mut impl ConnectionLike) -> Option<Error> {
        for key in &self.keys {
            let kept = key.kind().as_str();
            let found: String = redis::cmd("TYPE").arg(key.name()).query_async(connection).await.ok()?;
            if found != kept && found != "none" {
                return Some(Error::WrongType { key: key.name().to_owned(), found, kept });
            }
        }
        None
    }
}

fn is_unknown_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}
