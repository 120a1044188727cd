//! A worker process from its start to its exit code.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use handover_engine::{Complete, Copy, Engine, Pause, Rollback, StageName, Step, Verify};
use handover_queue::WorkerId;
use handover_settings::{Server, Settings};
use handover_transform::Registry;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::arguments::Arguments;
use crate::connections::{self, Databases};
use crate::driver::{Driver, Worker};
use crate::exit::Exit;
use crate::http::{self, Site};
use crate::leader::{self, Leading};
use crate::lifecycle::Lifecycle;
use crate::limits::Limits;
use crate::line::Line;
use crate::readiness::Readiness;
use crate::vitals::Vitals;
use crate::{logging, metric, panic, presence, reconcile};

/// How often the metrics' recorder tidies up.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);
/// How long the runtime waits for tasks that were dropped to let go of their sockets.
const LAST_MOMENT: Duration = Duration::from_secs(1);
/// The reconciler's word in the list of workers.
const RECONCILE: &str = "reconcile";

/// The program of one stage, with the stock transforms only.
pub fn stage_main(stage: StageName) -> ExitCode {
    stage_main_with(stage, Registry::new())
}

/// The program of one stage, with Rust transforms that plans may name: `main` of a worker of one's own.
pub fn stage_main_with(stage: StageName, transforms: Registry) -> ExitCode {
    let (program, about) = match stage {
        StageName::Pause => ("handover-pause", "Pauses users, drains, and takes the fence position"),
        StageName::Copy => ("handover-copy", "Copies users' data from the replica to the destination"),
        StageName::Verify => ("handover-verify", "Reads the destination back and compares digests"),
        StageName::Complete => ("handover-complete", "Lets verified users onto the new system"),
        StageName::Rollback => ("handover-rollback", "Takes completed users back to legacy"),
    };
    run_process(program, about, async move |process| Box::pin(process.work(stage, transforms)).await)
}

/// The reconciler's program, with the stock transforms only.
pub fn reconcile_main() -> ExitCode {
    reconcile_main_with(Registry::new())
}

/// The reconciler's program, with Rust transforms that plans may name.
pub fn reconcile_main_with(transforms: Registry) -> ExitCode {
    let about =
        "Puts back what is missing, ends overdue pauses, and keeps queues and Identity's mirror right";
    let program = "handover-reconcile";
    run_process(program, about, async move |process| Box::pin(process.reconcile(transforms)).await)
}

fn run_process(
    program: &'static str,
    about: &'static str,
    main: impl AsyncFnOnce(Process) -> anyhow::Result<()>,
) -> ExitCode {
    run(program, about, prepare, async move |process: Process, arguments: &Arguments| {
        if arguments.check {
            return Ok(process.check().await);
        }
        main(process).await.map(|()| Exit::Success)
    })
}

/// Arguments, settings, what `prepare` makes of them, logging, runtime; then `main`.
pub(crate) fn run<P>(
    program: &'static str,
    about: &'static str,
    prepare: impl FnOnce(Settings) -> anyhow::Result<P>,
    main: impl AsyncFnOnce(P, &Arguments) -> anyhow::Result<Exit>,
) -> ExitCode {
    let arguments = Arguments::parse_for(program, about);
    let loaded = Settings::load(arguments.config.as_deref()).map_err(anyhow::Error::from);
    let prepared = loaded.and_then(|settings| {
        let log = settings.log;
        Ok((prepare(settings)?, log))
    });
    let (prepared, log) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            eprintln!("{program}: {error:#}");
            return Exit::Settings.into();
        }
    };
    logging::init(log);
    panic::install_hook();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("{program}: no runtime: {error}");
            return Exit::Internal.into();
        }
    };
    let exit = runtime.block_on(async {
        match main(prepared, &arguments).await {
            Ok(exit) => exit,
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "cannot go on");
                Exit::Internal
            }
        }
    });
    runtime.shutdown_timeout(LAST_MOMENT);
    exit.into()
}

fn prepare(settings: Settings) -> anyhow::Result<Process> {
    settings.require(&Server::ALL)?;
    let databases = Databases::new(&settings)?;
    let line = connections::line(&settings)?;
    Ok(Process { settings, databases, line, lifecycle: Lifecycle::new() })
}

/// A process that has its settings, and is connected to nothing yet.
struct Process {
    settings: Settings,
    databases: Databases,
    line: Arc<Line>,
    lifecycle: Lifecycle,
}

impl Process {
    async fn work(self, stage: StageName, transforms: Registry) -> anyhow::Result<()> {
        let metrics = self.begin()?;
        let engine = connections::engine(&self.settings, &self.databases, transforms)?;
        let limits = Limits::from(&self.settings);
        let worker = Arc::new(Worker::new(stage, Arc::clone(&self.line), limits, self.lifecycle.clone()));
        let mut tasks = JoinSet::new();
        let address = self.serve(&mut tasks, metrics, &worker.id, Some(Arc::clone(&worker.vitals))).await?;
        // Set once, before anybody reads it.
        let _first = worker.http.set(address);
        match stage {
            StageName::Pause => drive(Pause(engine), worker).await,
            StageName::Copy => drive(Copy(engine), worker).await,
            StageName::Verify => drive(Verify(engine), worker).await,
            StageName::Complete => drive(Complete(engine), worker).await,
            StageName::Rollback => drive(Rollback(engine), worker).await,
        }
        tracing::info!("stopped");
        Ok(())
    }

    async fn reconcile(self, transforms: Registry) -> anyhow::Result<()> {
        let metrics = self.begin()?;
        let engine: Engine = connections::engine(&self.settings, &self.databases, transforms)?;
        let id = WorkerId::new(RECONCILE);
        let mut tasks = JoinSet::new();
        let address = self.serve(&mut tasks, metrics, &id, None).await?;
        let leading = Leading::default();
        let seen = leading.clone();
        presence::spawn(&mut tasks, Arc::clone(&self.line), id.clone(), RECONCILE, move || {
            let phase = if seen.get() { "leading" } else { "standing_by" };
            vec![("phase", phase.to_owned()), ("http", address.to_string())]
        });
        let tracking = engine.tracking.clone();
        let reconcile = &self.settings.reconcile;
        let terms = leader::Terms { lease: reconcile.leader_lease, retry: reconcile.leader_retry };
        let context = reconcile::Context::new(engine, Arc::clone(&self.line), self.settings);
        for duty in reconcile::sampling(&context) {
            tasks.spawn(async move { duty.attend(&CancellationToken::new()).await });
        }
        let duties = reconcile::duties(&context);
        leader::lead(&tracking, duties, &self.lifecycle, &leading, terms).await;
        drop(tasks);
        presence::leave(&self.line, &id).await;
        tracing::info!("stopped");
        Ok(())
    }

    /// Listens for signals, and starts to record.
    fn begin(&self) -> anyhow::Result<PrometheusHandle> {
        self.lifecycle.listen(self.settings.worker.shutdown)?;
        Ok(metric::install()?)
    }

    async fn serve(
        &self,
        tasks: &mut JoinSet<()>,
        metrics: PrometheusHandle,
        id: &WorkerId,
        vitals: Option<Arc<Vitals>>,
    ) -> anyhow::Result<SocketAddr> {
        tend(tasks, metrics.clone());
        let readiness = Readiness::new(Arc::clone(&self.line), &self.databases.all(), vitals);
        let site = Site { metrics, token: self.settings.worker.token.clone(), readiness };
        let bind = self.settings.worker.http_bind;
        let address = http::serve(tasks, site, bind)
            .await
            .map_err(|error| anyhow::anyhow!("cannot listen on {bind} (worker.http_bind): {error}"))?;
        tracing::info!(worker = %id, http = %address, "started");
        Ok(address)
    }

    /// Tries every connection and says how it went, one line each.
    async fn check(&self) -> Exit {
        let readiness = Readiness::new(Arc::clone(&self.line), &self.databases.all(), None);
        let mut all_well = true;
        for check in readiness.checks().await {
            all_well &= verdict(check.name, check.problem.as_deref());
        }
        if all_well { Exit::Success } else { Exit::Unavailable }
    }
}

/// Lets the metrics' recorder tidy up from time to time.
pub(crate) fn tend(tasks: &mut JoinSet<()>, metrics: PrometheusHandle) {
    tasks.spawn(async move {
        let mut ticks = tokio::time::interval(METRICS_UPKEEP);
        loop {
            ticks.tick().await;
            metrics.run_upkeep();
        }
    });
}

/// Says how one server answered `--check`; whether it did.
pub(crate) fn say<T, E: std::fmt::Display>(
    name: &str,
    answer: Result<Result<T, E>, tokio::time::error::Elapsed>,
) -> bool {
    let problem = match answer {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("no answer in time".to_owned()),
    };
    verdict(name, problem.as_deref())
}

fn verdict(name: &str, problem: Option<&str>) -> bool {
    let well = problem.is_none();
    // Nobody may be reading any more; the exit code still tells.
    let _unread = writeln!(std::io::stdout(), "{name}: {}", problem.unwrap_or("ok"));
    well
}

async fn drive<S: Step>(step: S, worker: Arc<Worker>) {
    // Boxed: the future holds a whole stage's, and would lie on the stack of each that holds it.
    Box::pin(Driver::new(step, worker).run()).await;
}
