//! The application as a process: `INVOICING_…` in the environment, until SIGTERM or Ctrl-C.

use std::process::ExitCode;

use handover_invoicing::{Config, start};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> ExitCode {
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| "warn,handover_invoicing=info".to_owned());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "handover-invoicing ends");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let mut terminated = signal(SignalKind::terminate())?;
    let running = start(Config::from_env()?).await?;
    announce(running.address());
    tokio::select! {
        _ = terminated.recv() => {}
        result = tokio::signal::ctrl_c() => result?,
    }
    running.stop().await?;
    Ok(())
}

/// One line of JSON for whoever started it, one for people.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "the address is this program's one result")]
fn announce(address: std::net::SocketAddr) {
    println!("{}", serde_json::json!({ "listening": format!("http://{address}") }));
    eprintln!("listening on http://{address}");
}
