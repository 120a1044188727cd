//! The servers of a test process: one set that all tests share, or a set of a test's own where it stops, empties
//! or holds up a whole server.

use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use handover_sandbox::{Options, Sandbox};
use tokio::sync::OnceCell;

/// What all tests share. A static is never dropped: the guard ends these servers.
static SHARED: OnceCell<Arc<Sandbox>> = OnceCell::const_new();

/// The guards, whose standard inputs this process must hold for as long as it lives.
static GUARDS: Mutex<Vec<Child>> = Mutex::new(Vec::new());

/// The servers that the tests of this process share.
pub(crate) async fn shared() -> Result<Arc<Sandbox>> {
    let start = || async {
        let sandbox = own().await?;
        guard(&sandbox)?;
        anyhow::Ok(sandbox)
    };
    SHARED.get_or_try_init(start).await.map(Arc::clone)
}

/// Servers that end when the last who holds them lets go.
pub(crate) async fn own() -> Result<Arc<Sandbox>> {
    let sandbox = Sandbox::start(Options::default()).await.context("the sandbox did not start")?;
    Ok(Arc::new(sandbox))
}

/// Starts the process that ends these servers when this process has ended, be it killed.
fn guard(sandbox: &Sandbox) -> Result<()> {
    let mut command = Command::new(crate::program("handover-test-guard")?);
    command.arg(sandbox.root()).stdin(Stdio::piped()).stdout(Stdio::null());
    // A group of its own: Ctrl-C is meant for the tests.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let child = command.spawn().context("the guard did not start")?;
    GUARDS.lock().unwrap_or_else(PoisonError::into_inner).push(child);
    Ok(())
}
