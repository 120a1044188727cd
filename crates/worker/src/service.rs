//! The program of Identity's service, from its start to its exit code. What it serves is `crates/identity`'s.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use handover_identity::http::{self, Canonical, Site};
use handover_identity::{Identity, LookUps};
use handover_plan::KeyType;
use handover_settings::{Server, Settings, UserKey};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::arguments::Arguments;
use crate::exit::Exit;
use crate::lifecycle::Lifecycle;
use crate::program::{self, tend};
use crate::{connections, metric};

const PROGRAM: &str = "handover-identity";
const ABOUT: &str = "Tells each user's migration states, enters sign-ups, and keeps the membership of gates";
/// How long `--check` waits for each server.
const PATIENCE: Duration = Duration::from_secs(5);

/// The program of Identity's service.
pub fn identity_main() -> ExitCode {
    program::run(PROGRAM, ABOUT, prepare, async |service: Service, arguments: &Arguments| {
        if arguments.check { Ok(service.check().await) } else { service.serve().await }
    })
}

struct Service {
    settings: Settings,
    user_key: KeyType,
}

fn prepare(settings: Settings) -> anyhow::Result<Service> {
    settings.require(&[Server::Identity, Server::Redis])?;
    settings.require_identity_service()?;
    let user_key = match settings.identity.user_key {
        Some(UserKey::Int8) => KeyType::Int8,
        Some(UserKey::Uuid) => KeyType::Uuid,
        Some(UserKey::Text) => KeyType::Text,
        None => anyhow::bail!("identity.user_key is not set"),
    };
    Ok(Service { settings, user_key })
}

impl Service {
    async fn serve(self) -> anyhow::Result<Exit> {
        let lifecycle = Lifecycle::new();
        lifecycle.listen(self.settings.worker.shutdown)?;
        let metrics = metric::install()?;
        let mut tasks = JoinSet::new();
        tend(&mut tasks, metrics.clone());
        let bind = self.settings.identity.http_bind;
        let unusable = |error| anyhow::anyhow!("cannot listen on {bind} (identity.http_bind): {error}");
        let listener = TcpListener::bind(bind).await.map_err(unusable)?;
        tracing::info!(http = %listener.local_addr()?, "started");
        let stop = lifecycle.stopping().clone();
        let serving = http::serve(listener, self.site(metrics)?, stop.cancelled_owned());
        let _aborted = lifecycle.aborting().run_until_cancelled(serving).await;
        tracing::info!("stopped");
        Ok(Exit::Success)
    }

    fn site(&self, metrics: PrometheusHandle) -> anyhow::Result<Site> {
        let settings = &self.settings;
        let identity = self.identity()?;
        let user_key = self.user_key;
        let canonical: Canonical =
            Arc::new(move |user| user_key.canonical(user).map_err(|error| error.to_string()));
        // Who scrapes should not need to be trusted with sign-ups: the workers' token serves for both.
        let metrics_token = settings.worker.token.as_ref().or(settings.identity.token.as_ref());
        Ok(Site {
            look_ups: LookUps::new(identity.clone(), settings.identity.max_clock_skew),
            identity,
            canonical,
            token: settings.identity.token.clone(),
            metrics_token: metrics_token.cloned(),
            render: Arc::new(move || metrics.render()),
            longest_term: settings.pause.max_pause / 2,
        })
    }

    fn identity(&self) -> anyhow::Result<Identity> {
        connections::identity(&self.settings, self.settings.identity.sessions)
    }

    /// Tries both connections and says how it went, one line each.
    async fn check(&self) -> Exit {
        let identity = match self.identity() {
            Ok(identity) => identity,
            Err(error) => {
                eprintln!("{PROGRAM}: {error:#}");
                return Exit::Settings;
            }
        };
        let truth = tokio::time::timeout(PATIENCE, identity.truth().members()).await;
        let mirror = tokio::time::timeout(PATIENCE, identity.mirror().run_id()).await;
        let well = [program::say("identity", truth), program::say("redis", mirror)];
        if well.into_iter().all(|well| well) { Exit::Success } else { Exit::Unavailable }
    }
}
