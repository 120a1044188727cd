//! The processes of a demonstration: the binaries beside this one, with the sandbox's addresses.

use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use handover_sandbox::Sandbox;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, ChildStdout, Command};

/// One process a stage, two of `copy`, and the reconciler.
const WORKERS: [&str; 7] = ["pause", "copy", "copy", "verify", "complete", "rollback", "reconcile"];

/// How long a process may take to drain.
const DRAIN: Duration = Duration::from_secs(25);

/// Processes in the order of their starts. Dropping them kills them.
#[derive(Default)]
pub(crate) struct Processes(Vec<(String, Child)>);

/// How the sandbox is reached, as settings in the environment. The application stands behind gates, which are waited
/// for by name, and nobody else writes: the fixed drain is short, unless the environment says otherwise.
pub(crate) fn environment(sandbox: &Sandbox) -> Vec<(String, String)> {
    let mut variables: Vec<(String, String)> = [
        ("HANDOVER_LEGACY__PRIMARY_URL", sandbox.legacy_url()),
        ("HANDOVER_LEGACY__REPLICA_URL", sandbox.replica_url()),
        ("HANDOVER_DESTINATION__URL", sandbox.destination_url()),
        ("HANDOVER_IDENTITY__URL", sandbox.identity_url()),
        ("HANDOVER_REDIS__URL", sandbox.redis_url()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec();
    let drain = "HANDOVER_PAUSE__DRAIN";
    if std::env::var_os(drain).is_none() {
        variables.push((drain.to_owned(), "20ms".to_owned()));
    }
    variables
}

/// Writes the settings as a file for a shell to read, with shorter names for psql and redis-cli.
pub(crate) fn write_environment(sandbox: &Sandbox) -> Result<PathBuf> {
    let short = [
        ("PRIMARY_URL", sandbox.legacy_url()),
        ("REPLICA_URL", sandbox.replica_url()),
        ("DESTINATION_URL", sandbox.destination_url()),
        ("IDENTITY_URL", sandbox.identity_url()),
        ("REDIS_URL", sandbox.redis_url()),
    ];
    let short = short.map(|(name, value)| (name.to_owned(), value));
    let lines = environment(sandbox).into_iter().chain(short);
    let lines: Vec<String> =
        lines.map(|(name, value)| format!("export {name}={}\n", quoted(&value))).collect();
    let file = sandbox.root().join("env.sh");
    std::fs::write(&file, lines.concat()).with_context(|| format!("failed to write {}", file.display()))?;
    Ok(file)
}

/// A text as one word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

impl Processes {
    /// Starts the workers.
    pub(crate) fn workers(sandbox: &Sandbox) -> Result<Self> {
        let mut workers = Self::default();
        for (nth, stage) in WORKERS.iter().enumerate() {
            workers.start(sandbox, &format!("{stage}-{nth}"), stage, &[])?;
        }
        super::say(&format!("started {} worker processes: {}", WORKERS.len(), WORKERS.join(", ")));
        Ok(workers)
    }

    /// Starts a program, which logs into the sandbox's folder.
    pub(crate) fn start(
        &mut self,
        sandbox: &Sandbox,
        name: &str,
        program: &str,
        settings: &[(&str, String)],
    ) -> Result<()> {
        let log = log(sandbox, name)?;
        self.spawn(sandbox, name, program, settings, log.into())
    }

    /// Starts a program whose standard output is read; the rest is logged.
    pub(crate) fn start_and_read(
        &mut self,
        sandbox: &Sandbox,
        name: &str,
        program: &str,
        settings: &[(&str, String)],
    ) -> Result<ChildStdout> {
        self.spawn(sandbox, name, program, settings, Stdio::piped())?;
        let child = self.0.last_mut().and_then(|(_, child)| child.stdout.take());
        child.context("the process has no standard output")
    }

    fn spawn(
        &mut self,
        sandbox: &Sandbox,
        name: &str,
        program: &str,
        settings: &[(&str, String)],
        output: Stdio,
    ) -> Result<()> {
        let program = self::program(program)?;
        let child = Command::new(&program)
            .envs(environment(sandbox))
            .envs(settings.iter().map(|(name, value)| (*name, value)))
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(log(sandbox, name)?)
            // Ctrl-C at the terminal is for the demonstration, which then stops its processes itself.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("failed to start {}", program.display()))?;
        if let Some(pid) = child.id() {
            sandbox.adopt(name, pid)?;
        }
        self.0.push((name.to_owned(), child));
        Ok(())
    }

    /// SIGTERM, and then waits until each has drained.
    pub(crate) async fn stop(mut self) {
        for (_, child) in &self.0 {
            if let Some(pid) = child.id() {
                // It may have ended by itself.
                let _ = kill(Pid::from_raw(pid as i32), Signal::SIGTERM);
            }
        }
        for (name, child) in &mut self.0 {
            if tokio::time::timeout(DRAIN, child.wait()).await.is_err() {
                crate::output::warning(&format!("{name} did not drain in time and is killed"));
            }
        }
    }

    /// Lets them outlive this process.
    pub(crate) fn detach(self) {
        for (_, child) in self.0 {
            std::mem::forget(child);
        }
    }
}

fn log(sandbox: &Sandbox, name: &str) -> Result<File> {
    let path = sandbox.root().join(format!("{name}.log"));
    let open = File::options().create(true).append(true).open(&path);
    open.with_context(|| format!("failed to write {}", path.display()))
}

fn program(stage: &str) -> Result<PathBuf> {
    let folder = std::env::current_exe().context("failed to find this program's folder")?;
    let path = folder.with_file_name(format!("handover-{stage}"));
    anyhow::ensure!(path.is_file(), "{} is missing: build it with `cargo build --release`", path.display());
    Ok(path)
}

/// Lines with which to look around.
pub(crate) fn look_around(sandbox: &Sandbox) -> String {
    let (destination, identity) = (sandbox.destination_url(), sandbox.identity_url());
    let redis = sandbox.redis_url();
    format!(
        "\nlook around (while the servers run: --keep):\n  \
         psql {destination} -c 'select outcome, count(*) from handover.attempt group by 1'\n  \
         psql {destination} -c 'select * from reminders.reminder limit 5'\n  \
         psql {identity} -c 'select * from identity.users limit 5'\n  \
         redis-cli -u {redis} hget handover:identity 1\n  \
         redis-cli -u {redis} xrevrange handover:changes + - count 1\n  \
         redis-cli -u {redis} llen handover:queue:copy\n  \
         logs: {}",
        sandbox.root().display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_one_word_to_a_shell() {
        assert_eq!(quoted("a b'c$d"), r"'a b'\''c$d'");
    }
}
