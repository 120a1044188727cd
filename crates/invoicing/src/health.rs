//! Whether the process lives, and whether it can reach its databases.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use handover_postgres::Pool;
use serde_json::{Value, json};

use crate::app::App;

pub(crate) async fn alive() -> &'static str {
    "alive\n"
}

pub(crate) async fn ready(State(app): State<App>) -> Response {
    let (legacy, new) = tokio::join!(problem(&app.legacy), problem(&app.new));
    let ready = legacy.is_null() && new.is_null();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": ready, "legacy": legacy, "new": new }))).into_response()
}

/// What is wrong with a database; null where nothing is.
async fn problem(pool: &Pool) -> Value {
    let answer =
        async { Ok::<_, handover_postgres::Error>(pool.get().await?.batch_execute("SELECT 1").await?) };
    match answer.await {
        Ok(()) => Value::Null,
        Err(error) => error.to_string().into(),
    }
}
