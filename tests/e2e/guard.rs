//! The tests' own servers: they end with the process that started them, however it ends.

use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use handover_sandbox::{Options, Sandbox, Server};
use handover_tests::{program, until};

#[tokio::test(flavor = "multi_thread")]
async fn servers_end_with_the_process_that_started_them() -> Result<()> {
    let sandbox = Sandbox::start(Options { replica: false, ..Options::default() }).await?;
    let pid = sandbox.pid(Server::Destination).context("a server of ours")?;
    // Kept, so that nothing but the guard ends them.
    let kept = sandbox.keep()?;
    let mut guard = Command::new(program("handover-test-guard")?);
    let mut guard = guard.arg(&kept.root).stdin(Stdio::piped()).spawn()?;
    assert!(alive(pid) && guard.try_wait()?.is_none(), "they live as long as the pipe is held");
    drop(guard.stdin.take());
    assert!(guard.wait()?.success());
    until("the servers and their files are gone", || async { Ok(!alive(pid) && !kept.root.exists()) }).await
}

/// Whether a process runs; a zombie, which nobody has waited for, does not.
fn alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next());
    state.is_some_and(|state| state != "Z")
}
