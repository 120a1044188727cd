//! The application as a process: `INVOICING_…` in the environment, until SIGTERM or Ctrl-C.

use std::process::ExitCode;

use handover_invoicing::{Config, Render, start_with};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

/// Bounds of the times for which requests are held, in seconds.
const HELD: &[f64] = &[
    0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0,
    10.0, 20.0,
];

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
    let running = start_with(Config::from_env()?, metrics()?).await?;
    announce(running.address());
    tokio::select! {
        _ = terminated.recv() => {}
        result = tokio::signal::ctrl_c() => result?,
    }
    running.stop().await?;
    Ok(())
}

/// The gate counts; this renders.
fn metrics() -> Result<Render, Box<dyn std::error::Error>> {
    let held = Matcher::Full("handover_gate_held_seconds".to_owned());
    let handle = PrometheusBuilder::new().set_buckets_for_metric(held, HELD)?.install_recorder()?;
    Ok(Arc::new(move || handle.render()))
}

/// One line of JSON for whoever started it, one for people.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "the address is this program's one result")]
fn announce(address: std::net::SocketAddr) {
    println!("{}", serde_json::json!({ "listening": format!("http://{address}") }));
    eprintln!("listening on http://{address}");
}
