//! `user show`.

use anyhow::Result;
use handover_identity::Record;
use handover_tracking::{AttemptRecord, UserRecord};
use serde_json::{Value, json};

use crate::args::UserCommand;
use crate::context::Context;
use crate::exit::{Exit, stop};

pub(crate) async fn run(context: &Context, command: UserCommand) -> Result<Exit> {
    let UserCommand::Show { user } = command;
    let tracking = context.tracking()?;
    let key = context.key_type(&tracking).await?;
    let user = key.canonical(&user).map_err(|error| stop(Exit::Usage, error.to_string()))?;
    let records = tracking.user(&user).await?;
    let identity = context.identity()?.get(std::slice::from_ref(&user)).await?;
    let known = identity.first().filter(|record| record.is_known());
    if records.is_empty() && known.is_none() {
        return Err(stop(
            Exit::NotFound,
            format!("user {user} is of no cohort, and Identity has no row: on legacy everywhere"),
        ));
    }
    let value = json!({ "user": user, "identity": known.map(states), "migrations": records });
    context.output.result(&value, || text(&user, known, &records))?;
    Ok(Exit::Done)
}

/// What Identity knows of a user, as JSON.
pub(crate) fn states(record: &Record) -> Value {
    let states: serde_json::Map<String, Value> =
        record.states().into_iter().map(|(name, state)| (name.to_owned(), json!(state.as_str()))).collect();
    json!({ "revision": record.revision(), "paused": record.is_paused(), "states": states })
}

fn text(user: &str, identity: Option<&Record>, records: &[UserRecord]) -> String {
    let mut text = format!("user {user}");
    match identity {
        None => text.push_str("\nidentity: no row: on legacy everywhere"),
        Some(record) => {
            let states: Vec<String> =
                record.states().iter().map(|(name, state)| format!("{name}={}", state.as_str())).collect();
            text.push_str(&format!("\nidentity: revision {} {}", record.revision(), states.join(" ")));
        }
    }
    for record in records {
        let (state, version) = (record.state.replace('_', " "), record.version);
        text.push_str(&format!(
            "\n\n{} (cohort {}): {state}, version {version}",
            record.migration, record.cohort
        ));
        record.attempts.iter().for_each(|attempt| text.push_str(&attempt_text(attempt)));
    }
    text
}

fn attempt_text(attempt: &AttemptRecord) -> String {
    let mut text = format!("\n  attempt {} ({}): {}", attempt.attempt, attempt.kind, attempt.outcome);
    let times = [
        ("queued", Some(&attempt.queued_at)),
        ("paused", attempt.paused_at.as_ref()),
        ("copied", attempt.copied_at.as_ref()),
        ("verified", attempt.verified_at.as_ref()),
        ("unpaused", attempt.unpaused_at.as_ref()),
        ("ended", Some(&attempt.ended_at)),
    ];
    for (what, time) in times.into_iter().filter_map(|(what, time)| Some((what, time?))) {
        text.push_str(&format!("\n    {what:<9}{time}"));
    }
    if let (Some(digest), Some(rows)) = (&attempt.digest, attempt.rows) {
        text.push_str(&format!("\n    rows     {rows}\n    digest   {digest}"));
    }
    if let Some(reason) = &attempt.reason {
        let message = reason.get("message").and_then(Value::as_str).unwrap_or_default();
        text.push_str(&format!("\n    reason   {message}"));
    }
    text
}
