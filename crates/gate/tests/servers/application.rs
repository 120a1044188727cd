//! A small application behind a gate, in a process of its own: for the tests that stop it by SIGSTOP.
//!
//! The addresses come by environment. It prints the address at which it listens.
//! A write waits for advisory lock 7 of
//! the database before it inserts, in one statement: a test that holds the lock decides when it happens, also while
//! this process is stopped.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Extension, Router};
use handover_gate::{Changes, Decision, Gate, GateLayer, Settings, Side, Subject};
use handover_identity::{Identity, Mirror, MirrorOptions, Truth};
use handover_postgres::{Database, Pool};
use secrecy::SecretString;

use crate::direct::Direct;

/// What stands before the address.
pub(crate) const LISTENING: &str = "listening on ";

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn variable(name: &str) -> Result<String, Failure> {
    std::env::var(name).map_err(|_| format!("{name} is missing").into())
}

fn milliseconds(name: &str) -> Result<Duration, Failure> {
    Ok(Duration::from_millis(variable(name)?.parse()?))
}

/// No test by itself: run by name in another process, with the addresses, it serves until it is killed.
#[tokio::test(flavor = "multi_thread")]
async fn serves_in_a_process_of_its_own() -> Result<(), Failure> {
    if std::env::var_os("DATABASE").is_none() {
        return Ok(());
    }
    let (redis, prefix) = (SecretString::from(variable("REDIS")?), variable("PREFIX")?);
    let pool = Database::new("identity", &SecretString::from(variable("DATABASE")?))?.pool(8);
    let mirror = Mirror::new(&MirrorOptions { prefix: prefix.clone(), ..MirrorOptions::new(redis.clone()) })?;
    let identity = Identity::new(Truth::new(pool.clone()), mirror);
    let settings = Settings {
        lease: milliseconds("LEASE")?,
        max_request: milliseconds("MAX_REQUEST")?,
        ..Settings::new("test")
    };
    let changes = Changes { prefix, ..Changes::new(redis) };
    let gate = Gate::start(settings, Arc::new(Direct::new(identity)), &changes).await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let mut out = std::io::stdout();
    writeln!(out, "\n{LISTENING}{}", listener.local_addr()?)?;
    out.flush()?;
    axum::serve(listener, router(gate, pool)).await?;
    Ok(())
}

fn router(gate: Gate, pool: Pool) -> Router {
    let of_cache = gate.clone();
    let cached = async move || {
        // Only what is known without asking anybody.
        of_cache.admit_now("1").map_or("asks", |pass| word(pass.side("invoices")))
    };
    Router::new()
        .route("/side", get(async |Extension(decision): Extension<Decision>| word(decision.side("invoices"))))
        .route("/write", post(write))
        .layer(GateLayer::new(gate, |_: &axum::extract::Request| Subject::User("1".to_owned())))
        .route("/cached", get(cached))
        .layer(Extension(pool))
}

fn word(side: Side) -> &'static str {
    match side {
        Side::Legacy => "legacy",
        Side::New => "new",
    }
}

fn failed(error: impl std::fmt::Debug) -> (StatusCode, String) {
    (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:?}"))
}

/// Written where the gate says, whenever the database gets to it.
async fn write(
    Extension(pool): Extension<Pool>,
    Extension(decision): Extension<Decision>,
) -> Result<&'static str, (StatusCode, String)> {
    let side = word(decision.side("invoices"));
    let session = pool.get().await.map_err(failed)?;
    let sql = "WITH turn AS MATERIALIZED (SELECT pg_advisory_lock(7)::text AS locked), done AS MATERIALIZED
                   (SELECT pg_advisory_unlock(7) AS unlocked, locked FROM turn)
               INSERT INTO public.written (side) SELECT $1 FROM done";
    session.execute(sql, &[&side]).await.map_err(failed)?;
    Ok(side)
}
