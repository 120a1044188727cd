//! The web pages: plain forms, no script. Like the API, each handler asks for the user's home in one line.

use axum::Form;
use axum::extract::State;
use axum::response::{Html, IntoResponse, Redirect, Response};
use handover_gate::Side;
use handover_identity::Trust;
use serde::Deserialize;

use crate::api::{SignUp, new_user, served_by, word};
use crate::app::App;
use crate::failure::Failure;
use crate::home::Home;
use crate::model::{NewReminder, SettingsChange};
use crate::session::Caller;
use crate::shared::Account;
use crate::{REMINDERS, SETTINGS, page, shared};

/// Users on the first page.
const SHOWN: i64 = 20;
/// Newest sign-ups on the first page.
const NEWEST: i64 = 3;

type Answer = Result<Response, Failure>;

#[derive(Deserialize)]
pub(crate) struct ReminderForm {
    subject: String,
    body: String,
    due_in_seconds: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct SettingsForm {
    footer: String,
}

/// Some users, and where each lives. It shows accounts only, which do not move, and so asks no gate.
pub(crate) async fn index(State(app): State<App>) -> Answer {
    let mut accounts = shared::accounts(&app.legacy, 1, SHOWN).await?;
    let newest = shared::newest_accounts(&app.legacy, NEWEST).await?;
    accounts.extend(
        newest
            .into_iter()
            .rev()
            .filter(|new| accounts.iter().all(|old| old != new))
            .collect::<Vec<Account>>(),
    );
    let users: Vec<String> = accounts.iter().map(|account| account.user.to_string()).collect();
    let homes = app.identity.look_up_all(&users, Trust::Mirror).await?;
    let rows: Vec<page::Line> = accounts
        .into_iter()
        .zip(homes)
        .map(|(account, home)| page::Line {
            account,
            paused: home.paused,
            reminders: Side::from(home.state(REMINDERS)),
            settings: Side::from(home.state(SETTINGS)),
        })
        .collect();
    Ok(Html(page::index(&rows)).into_response())
}

pub(crate) async fn user(State(app): State<App>, caller: Caller) -> Answer {
    let account = shared::account(&app.legacy, caller.user).await?;
    let mut home = Home::open(&app, &caller, REMINDERS).await?;
    let reminders = home.reminders(caller.user).await?;
    let reminders_at = home.side();
    home.commit().await?;
    let mut home = Home::open(&app, &caller, SETTINGS).await?;
    let settings = home.settings(caller.user).await?;
    let settings_at = home.side();
    home.commit().await?;
    let page = page::user(&account, (&reminders, reminders_at), (settings.as_ref(), settings_at));
    let what = format!("reminders={}, settings", word(reminders_at));
    Ok((served_by(&what, settings_at), Html(page)).into_response())
}

pub(crate) async fn add_reminder(
    State(app): State<App>,
    caller: Caller,
    Form(form): Form<ReminderForm>,
) -> Answer {
    let asked = form.asked()?;
    asked.validate()?;
    let invoice = shared::invoice(&app.legacy, caller.user, None).await?;
    let mut home = Home::open(&app, &caller, REMINDERS).await?;
    home.add_reminder(caller.user, invoice, &asked).await?;
    let side = home.side();
    home.commit().await?;
    Ok(back_to(caller.user, "reminders", side))
}

pub(crate) async fn change_settings(
    State(app): State<App>,
    caller: Caller,
    Form(form): Form<SettingsForm>,
) -> Answer {
    let change = SettingsChange { footer: Some(form.footer), ..SettingsChange::default() };
    change.validate()?;
    shared::account(&app.legacy, caller.user).await?;
    let mut home = Home::open(&app, &caller, SETTINGS).await?;
    home.change_settings(caller.user, &change).await?;
    let side = home.side();
    home.commit().await?;
    Ok(back_to(caller.user, "settings", side))
}

pub(crate) async fn sign_up(State(app): State<App>, Form(asked): Form<SignUp>) -> Answer {
    let user = new_user(&app, &asked).await?;
    Ok(Redirect::to(&format!("/users/{user}")).into_response())
}

fn back_to(user: i64, what: &str, side: Side) -> Response {
    (served_by(what, side), Redirect::to(&format!("/users/{user}"))).into_response()
}

impl ReminderForm {
    fn asked(self) -> Result<NewReminder, Failure> {
        let seconds = self.due_in_seconds.filter(|text| !text.trim().is_empty());
        let parse = |text: String| text.trim().parse::<i32>();
        let seconds =
            seconds.map(parse).transpose().map_err(|_| Failure::Invalid("due in: a number of seconds"))?;
        Ok(NewReminder {
            subject: self.subject,
            body: self.body,
            due_in_ms: seconds.map(|seconds| i64::from(seconds) * 1_000),
            ..NewReminder::default()
        })
    }
}
