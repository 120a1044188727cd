//! The program, from its arguments to its exit code.

use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser as _;
use handover_identity::IdentityClient;
use handover_listen::Bounds;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use super::arguments::{Arguments, Ask, Command, LogFormat};
use super::counted::Counted;
use super::health::{self, Health};
use super::listen;
use super::options::{self, Kind, Options};
use super::site::{Mode, Site};
use super::upstream::Upstream;
use crate::gate::Gate;

const UNAVAILABLE: u8 = 69;
const INTERNAL: u8 = 70;
const SETTINGS: u8 = 78;
const INTERRUPTED: u8 = 130;
const TERMINATED: u8 = 143;

/// How often what was recorded is folded.
const UPKEEP: Duration = Duration::from_secs(5);
const HELD: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 60.0];

/// The program `handover-gate`. Parses the process' arguments, and ends when a signal says so.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(INTERNAL, &[error.to_string()]),
    };
    let code = runtime.block_on(run(arguments));
    // A name that is still being resolved must not hold up the end.
    runtime.shutdown_background();
    code
}

async fn run(arguments: Arguments) -> ExitCode {
    let options = match &arguments.command {
        Command::Native(serve) => options::asked(serve, Kind::Native),
        Command::Nginx(serve) => options::asked(serve, Kind::Nginx),
        Command::Proxy(proxy) => options::proxy(proxy),
        Command::Health(ask) => return ask_health(ask).await,
    };
    match options {
        Ok(options) => {
            log(options.log);
            serve(options).await
        }
        Err(wrong) => failed(SETTINGS, &wrong),
    }
}

fn failed(code: u8, errors: &[String]) -> ExitCode {
    for error in errors {
        // A closed standard error is no reason to fail otherwise.
        let _ = writeln!(std::io::stderr(), "handover-gate: {error}");
    }
    ExitCode::from(code)
}

/// Logs to standard error. No user's key is logged.
fn log(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let _already = match format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}

async fn ask_health(ask: &Ask) -> ExitCode {
    let (ready, value) = match health::ask(ask.health_bind).await {
        Ok(answered) => answered,
        Err(error) if ask.json => (false, serde_json::json!({ "ready": false, "problem": error })),
        Err(error) => return failed(UNAVAILABLE, &[error]),
    };
    let text = match (ask.json, ready) {
        (true, _) => value.to_string(),
        (false, true) => "ready".to_owned(),
        (false, false) => "not ready".to_owned(),
    };
    let _ = writeln!(std::io::stdout(), "{text}");
    if ready { ExitCode::SUCCESS } else { ExitCode::from(UNAVAILABLE) }
}

async fn bound(address: SocketAddr, option: &str) -> Result<TcpListener, String> {
    TcpListener::bind(address)
        .await
        .map_err(|error| format!("cannot listen on {address} ({option}): {error}"))
}

fn recorder() -> Result<PrometheusHandle, String> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full("handover_gate_held_seconds".to_owned()), HELD)
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(|error| error.to_string())
}

async fn serve(options: Options) -> ExitCode {
    // Before anything is begun, so that no signal finds the default handler, which would kill.
    let signals = Signals::new().map_err(|error| error.to_string());
    let listeners = async {
        let traffic = bound(options.bind, "--bind").await?;
        Ok::<_, String>((traffic, bound(options.health_bind, "--health-bind").await?))
    };
    let (signals, listeners, metrics) = match (signals, listeners.await, recorder()) {
        (Ok(signals), Ok(listeners), Ok(metrics)) => (signals, listeners, metrics),
        (signals, listeners, metrics) => {
            let errors = [signals.err(), listeners.err(), metrics.err()];
            return failed(INTERNAL, &errors.into_iter().flatten().collect::<Vec<_>>());
        }
    };
    let bounds = Bounds {
        connections: options.connections,
        last_requests: options.settings.hold_for + options.settings.max_request,
        ..Bounds::TRAFFIC
    };
    match site(options).await {
        Ok(site) => stand(Arc::new(site), listeners, bounds, metrics, signals).await,
        Err(error) => failed(SETTINGS, &[error]),
    }
}

async fn site(options: Options) -> Result<Site, String> {
    let identity = IdentityClient::new(&options.identity).map_err(|error| error.to_string())?;
    let gate = Gate::start(options.settings, Arc::new(identity), &options.changes).await;
    let mode = match options.kind {
        Kind::Native => Mode::Native,
        Kind::Nginx => Mode::Nginx,
        Kind::Proxy(upstream) => Mode::Proxy(Upstream::new(upstream)),
    };
    Ok(Site {
        gate: gate.map_err(|error| error.to_string())?,
        mode,
        finder: options.finder,
        migrations: options.migrations,
        token: options.token,
        counted: Arc::new(Counted::default()),
    })
}

/// Serves until a signal; then answers what is under way, waits for what counts, and signs off.
async fn stand(
    site: Arc<Site>,
    (traffic, probes): (TcpListener, TcpListener),
    bounds: Bounds,
    metrics: PrometheusHandle,
    signals: Signals,
) -> ExitCode {
    let (stop, ended) = (CancellationToken::new(), CancellationToken::new());
    tokio::spawn(signals.obey(stop.clone()));
    let (http, probe) = (traffic.local_addr().ok(), probes.local_addr().ok());
    let address =
        |address: Option<SocketAddr>| address.map(|address| address.to_string()).unwrap_or_default();
    tracing::info!(
        mode = site.mode.word(),
        gate = site.gate.id(),
        http = address(http),
        health = address(probe),
        "started"
    );
    let health = Health { site: Arc::clone(&site), metrics: metrics.clone(), stop: stop.clone() };
    let probing = listen::serve(probes, Bounds::PROBES, ended.clone(), move |request, _| {
        std::future::ready(health.answer(&request))
    });
    let probing = tokio::spawn(probing);
    let upkeep = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(UPKEEP);
        loop {
            ticks.tick().await;
            metrics.run_upkeep();
        }
    });
    let tending = tokio::spawn({
        let (site, ended) = (Arc::clone(&site), ended.clone());
        async move { site.counted.tend(ended).await }
    });
    let serving = Arc::clone(&site);
    listen::serve(traffic, bounds, stop, move |request, peer| Arc::clone(&serving).serve(request, peer))
        .await;
    ended.cancel();
    // What counts until its deadline is waited for: whoever pauses a user relies on it.
    let _ = tending.await;
    if let Err(error) = site.gate.close().await {
        tracing::warn!(%error, "the gate did not sign off: its membership runs out by itself");
    }
    upkeep.abort();
    let _ = probing.await;
    tracing::info!("stopped");
    ExitCode::SUCCESS
}

struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> (&'static str, u8) {
        tokio::select! {
            _ = self.term.recv() => ("SIGTERM", TERMINATED),
            _ = self.int.recv() => ("SIGINT", INTERRUPTED),
        }
    }

    /// The first one stops; the second ends the process on the spot, and the membership runs out by itself.
    async fn obey(mut self, stop: CancellationToken) {
        let (name, _) = self.next().await;
        tracing::info!(signal = name, "stopping: ending what is in flight, and signing off");
        stop.cancel();
        let (name, code) = self.next().await;
        tracing::warn!(signal = name, "stopped by a second signal");
        std::process::exit(i32::from(code));
    }
}
