//! The process: routes, the gate before them, and the end in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use handover_gate::GateLayer;
use handover_listen::{Bounds, Tower};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::app::{App, StartError};
use crate::config::{Config, Role};
use crate::failure::Failure;
use crate::{api, body, health, scheduler, session, web};

/// How long a connection may be silent. Whoever keeps connections should let go of idle ones sooner.
const IDLE: Duration = Duration::from_secs(30);
/// How much longer than the listener's own end its task may take.
const GRACE: Duration = Duration::from_secs(1);

/// A running application.
pub struct Running {
    address: SocketAddr,
    app: App,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    patience: Duration,
}

/// What `/metrics` answers, in Prometheus' text format.
pub type Render = Arc<dyn Fn() -> String + Send + Sync>;

/// Starts one without metrics, and returns once it listens.
pub async fn start(config: Config) -> Result<Running, StartError> {
    start_with(config, Arc::new(String::new)).await
}

/// Starts one, and returns once it listens.
pub async fn start_with(config: Config, metrics: Render) -> Result<Running, StartError> {
    let app = App::start(&config).await?;
    let listen = |error| StartError::Listen { address: config.bind, error };
    let listener = TcpListener::bind(config.bind).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    let stop = CancellationToken::new();
    let stopped = stop.clone().cancelled_owned();
    let routes = router(&app, config.role).route("/metrics", get(async move || metrics()));
    let patience = config.hold_for + config.max_request;
    let bounds = Bounds { headers_within: IDLE, last_requests: patience, ..Bounds::TRAFFIC };
    let service = Tower::new(routes);
    let server = async move { handover_listen::serve(listener, bounds, stopped, |_| service.clone()).await };
    let mut tasks = vec![tokio::spawn(server)];
    if config.role.sends() {
        tasks.push(tokio::spawn(scheduler::run(app.clone(), config.tick, stop.clone())));
    }
    Ok(Running { address, app, stop, tasks, patience: patience + GRACE })
}

fn router(app: &App, role: Role) -> Router {
    let health = Router::new().route("/healthz", get(health::alive)).route("/readyz", get(health::ready));
    if !role.serves() {
        return health.with_state(app.clone());
    }
    let pages = Router::new()
        .route("/", get(web::index))
        .route("/users", post(web::sign_up))
        .route("/users/{user}", get(web::user))
        .route("/users/{user}/reminders", post(web::add_reminder))
        .route("/users/{user}/settings", post(web::change_settings));
    let api = Router::new()
        .route("/api/users", post(api::sign_up))
        .route("/api/users/{user}/reminders", get(api::reminders).post(api::add_reminder))
        .route("/api/users/{user}/reminders/{reminder}", delete(api::remove_reminder))
        .route("/api/users/{user}/reminders/{reminder}/notes", post(api::add_note))
        .route("/api/users/{user}/settings", get(api::settings).put(api::change_settings));
    // From the inside out: handlers; the gate; who asks; what a client that hangs up cannot end; and the body, without
    // which nothing begins. The fallback is where the gate's own address arrives: it stands before that too.
    pages
        .merge(api)
        .fallback(async || Failure::NotFound("page"))
        .layer(GateLayer::new(app.gate.clone(), session::subject))
        .layer(from_fn(session::recognise))
        .layer(from_fn(to_the_end))
        .layer(from_fn(body::arrived))
        .merge(health)
        .with_state(app.clone())
}

/// Serves a request to its end even if its client has gone: else the handler would be dropped half-way, and with it
/// the permit, while a commit is perhaps still on its way to the database.
async fn to_the_end(request: Request, next: Next) -> Response {
    let served = tokio::spawn(next.run(request)).await;
    served.unwrap_or_else(|_panicked| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The gate's id, as Identity's list of members has it.
    pub fn gate(&self) -> &str {
        self.app.gate.id()
    }

    /// Takes no more requests, finishes those under way, and signs the gate off.
    pub async fn stop(self) -> Result<(), handover_gate::Error> {
        self.stop.cancel();
        for mut task in self.tasks {
            // A client may hold its connection open for as long as it likes.
            if tokio::time::timeout(self.patience, &mut task).await.is_err() {
                task.abort();
            }
        }
        self.app.gate.close().await
    }
}
