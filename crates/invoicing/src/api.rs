//! The JSON API. In each handler one line asks where the user lives, and nothing after it knows.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use handover_gate::{Kind, Side};
use serde::Deserialize;
use serde_json::json;

use crate::app::App;
use crate::failure::Failure;
use crate::home::Home;
use crate::model::{NewReminder, SettingsChange};
use crate::session::Caller;
use crate::transaction::Transaction;
use crate::{REMINDERS, SETTINGS, shared};

type Answer = Result<Response, Failure>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Note {
    note: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignUp {
    pub(crate) name: String,
}

pub(crate) async fn reminders(State(app): State<App>, caller: Caller) -> Answer {
    let mut home = Home::open(&app, &caller, REMINDERS).await?;
    let reminders = home.reminders(caller.user).await?;
    let side = home.side();
    home.commit().await?;
    let body = Json(json!({ "served_by": word(side), "reminders": reminders }));
    Ok((served_by("reminders", side), body).into_response())
}

pub(crate) async fn add_reminder(
    State(app): State<App>,
    caller: Caller,
    Json(asked): Json<NewReminder>,
) -> Answer {
    asked.validate()?;
    let invoice = shared::invoice(&app.legacy, caller.user, asked.invoice_id).await?;
    let mut home = Home::open(&app, &caller, REMINDERS).await?;
    let id = home.add_reminder(caller.user, invoice, &asked).await?;
    let side = home.side();
    home.commit().await?;
    let body = Json(json!({ "id": id, "served_by": word(side) }));
    Ok((StatusCode::CREATED, served_by("reminders", side), body).into_response())
}

pub(crate) async fn add_note(
    State(app): State<App>,
    caller: Caller,
    Path((_, reminder)): Path<(String, i64)>,
    Json(Note { note }): Json<Note>,
) -> Answer {
    if note.contains('\0') {
        return Err(Failure::Invalid("note holds a NUL"));
    }
    let mut home = Home::open(&app, &caller, REMINDERS).await?;
    home.add_note(caller.user, reminder, &note).await?;
    let side = home.side();
    home.commit().await?;
    Ok(done("reminders", side, reminder))
}

pub(crate) async fn remove_reminder(
    State(app): State<App>,
    caller: Caller,
    Path((_, reminder)): Path<(String, i64)>,
) -> Answer {
    let mut home = Home::open(&app, &caller, REMINDERS).await?;
    home.remove_reminder(caller.user, reminder).await?;
    let side = home.side();
    home.commit().await?;
    Ok(done("reminders", side, reminder))
}

pub(crate) async fn settings(State(app): State<App>, caller: Caller) -> Answer {
    let mut home = Home::open(&app, &caller, SETTINGS).await?;
    let settings = home.settings(caller.user).await?.ok_or(Failure::NotFound("settings"))?;
    let side = home.side();
    home.commit().await?;
    let mut body = json!(settings);
    body["served_by"] = word(side).into();
    Ok((served_by("settings", side), Json(body)).into_response())
}

pub(crate) async fn change_settings(
    State(app): State<App>,
    caller: Caller,
    Json(change): Json<SettingsChange>,
) -> Answer {
    change.validate()?;
    shared::account(&app.legacy, caller.user).await?;
    let mut home = Home::open(&app, &caller, SETTINGS).await?;
    home.change_settings(caller.user, &change).await?;
    let side = home.side();
    home.commit().await?;
    Ok(done("settings", side, caller.user))
}

pub(crate) async fn sign_up(State(app): State<App>, Json(asked): Json<SignUp>) -> Answer {
    let user = new_user(&app, &asked).await?;
    Ok((StatusCode::CREATED, Json(json!({ "user": user }))).into_response())
}

/// A user is enrolled first, so that nothing of theirs is ever anywhere but on the new system; then written under a
/// pass of their own, since the request named nobody when it passed the gate.
pub(crate) async fn new_user(app: &App, asked: &SignUp) -> Result<i64, Failure> {
    let name = asked.name.trim();
    if name.is_empty() || name.chars().count() > 100 || name.contains('\0') {
        return Err(Failure::Invalid("name must be of 1 to 100 characters"));
    }
    let user = shared::next_user(&app.legacy).await?;
    app.enrol(user).await?;
    let pass = app.gate.admit(&user.to_string(), Kind::Holdable).await?;
    let mut transaction = Transaction::begin(&app.legacy, &pass).await?;
    // Names need not be unique among people, but legacy's column is.
    shared::add_account(&mut transaction, user, &format!("{name} ({user})")).await?;
    transaction.commit().await?;
    Ok(user)
}

fn done(what: &'static str, side: Side, id: i64) -> Response {
    (served_by(what, side), Json(json!({ "id": id, "served_by": word(side) }))).into_response()
}

/// The header that says which side has served what.
pub(crate) fn served_by(what: &str, side: Side) -> [(&'static str, String); 1] {
    [("served-by", format!("{what}={}", word(side)))]
}

/// A side's word in answers.
pub(crate) const fn word(side: Side) -> &'static str {
    match side {
        Side::Legacy => "legacy",
        Side::New => "new",
    }
}
