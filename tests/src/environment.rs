//! A world as settings, and the command line run on it.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use handover_sandbox::Server;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::World;

/// How a command ended.
#[derive(Debug)]
pub struct Ran {
    /// The exit code; -1 where a signal ended it.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Ran {
    /// The output, which must be one JSON value on one line.
    pub fn json(&self) -> Result<Value> {
        ensure!(self.out.lines().count() == 1, "not one line: {self:?}");
        serde_json::from_str(&self.out).with_context(|| format!("not JSON: {self:?}"))
    }

    /// The same command's end, which must have been that code.
    pub fn exited(self, code: i32) -> Result<Self> {
        ensure!(self.code == code, "exited with {} in place of {code}: {self:?}", self.code);
        Ok(self)
    }
}

impl World {
    /// The settings by which a program works in this world; short times, so that tests need not wait.
    pub fn settings(&self) -> Result<Vec<(String, String)>> {
        let setup = self.setup();
        let pause = setup.max_pause.as_millis();
        let texts = [
            ("LEGACY__PRIMARY_URL", self.url(Server::Legacy)?),
            ("LEGACY__REPLICA_URL", self.url(Server::Replica)?),
            ("DESTINATION__URL", self.url(Server::Destination)?),
            ("IDENTITY__URL", self.url(Server::Identity)?),
            ("REDIS__URL", self.redis_url()),
            ("REDIS__PREFIX", self.prefix.clone()),
            ("PLANS__DIR", self.plans.display().to_string()),
            ("PAUSE__MAX_PAUSED", setup.max_paused.to_string()),
            ("PAUSE__MAX_PAUSE", format!("{pause}ms")),
            ("PAUSE__DRAIN", "20ms".to_owned()),
            ("FENCE__DATABASE", setup.fence.is_some().to_string()),
            ("FENCE__PATIENCE", format!("{}ms", setup.fence.map_or(1_000, |patience| patience.as_millis()))),
            ("COPY__REPLICA_WAIT", "5s".to_owned()),
            ("WORKER__CONCURRENCY", "2".to_owned()),
            ("WORKER__BATCH", "64".to_owned()),
            ("WORKER__LEASE", "3s".to_owned()),
            ("WORKER__IDLE_WAIT", "500ms".to_owned()),
            ("WORKER__UPKEEP", "100ms".to_owned()),
            ("WORKER__BACKOFF_CAP", "1s".to_owned()),
            ("RECONCILE__INTERVAL", "200ms".to_owned()),
            ("RECONCILE__FILL", "50ms".to_owned()),
            ("RECONCILE__REQUEUE_AFTER", "1s".to_owned()),
            ("RECONCILE__LEADER_RETRY", "200ms".to_owned()),
            ("RECONCILE__LEADER_LEASE", "2s".to_owned()),
            ("POSTGRES__STATEMENT_TIMEOUT", "10s".to_owned()),
            ("POSTGRES__LOCK_TIMEOUT", "8s".to_owned()),
            ("POSTGRES__IDLE_IN_TRANSACTION_TIMEOUT", "10s".to_owned()),
        ];
        Ok(texts.into_iter().map(|(name, value)| (format!("HANDOVER_{name}"), value)).collect())
    }

    /// The folder of one of this world's plans.
    pub fn plan(&self, name: &str) -> String {
        self.plans.join(name).display().to_string()
    }

    /// A program that works in this world and knows no other settings.
    pub fn command(&self, program: &str) -> Result<Command> {
        let mut command = Command::new(crate::program(program)?);
        let inherited =
            std::env::vars_os().filter(|(name, _)| !name.to_string_lossy().starts_with("HANDOVER_"));
        // From a folder without settings: the workspace's own must play no part.
        command.env_clear().envs(inherited).envs(self.settings()?).current_dir(Path::new("/"));
        command.env("NO_COLOR", "1").kill_on_drop(true);
        Ok(command)
    }

    /// Runs `handover` with these arguments to its end.
    pub async fn handover(&self, arguments: &[&str]) -> Result<Ran> {
        self.handover_with_input(arguments, b"").await
    }

    /// Runs `handover` with these arguments and that standard input to its end.
    pub async fn handover_with_input(&self, arguments: &[&str], input: &[u8]) -> Result<Ran> {
        let mut command = self.command("handover")?;
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("handover did not start")?;
        let mut stdin = child.stdin.take().context("a pipe was asked for")?;
        let feeding = async {
            // A command that does not want its input may have ended already.
            let _unread = stdin.write_all(input).await;
            drop(stdin);
        };
        let (output, ()) = tokio::join!(child.wait_with_output(), feeding);
        let output = output.context("handover was not waited for")?;
        let text = |bytes| String::from_utf8(bytes).context("handover writes something else than UTF-8");
        Ok(Ran {
            code: output.status.code().unwrap_or(-1),
            out: text(output.stdout)?,
            err: text(output.stderr)?,
        })
    }
}
