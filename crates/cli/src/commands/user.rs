//! `user show`: where a user stands, and every attempt with its times, digest and reason.

use anyhow::Result;
use handover_identity::Record;
use handover_tracking::{AttemptRecord, OpenRecord, UserRecord};
use serde::Serialize;
use serde_json::{Value, json};

use crate::args::UserCommand;
use crate::context::Context;
use crate::exit::{Exit, stop};

/// What a user without a row in Identity is.
const NO_ROW: &str = "no row: on legacy everywhere";

/// The kind of attempt that copies; a rollback's record carries the time of the copy that it undid.
const MOVE: &str = "move";

/// How many rows that differ are listed; `--json` shows all that were kept.
const LISTED: usize = 10;

/// A user as `--json` shows them.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    user: &'a str,
    /// None where Identity has no row: on legacy everywhere.
    identity: Option<Value>,
    /// One for each migration whose cohorts hold the user.
    migrations: &'a [UserRecord],
}

pub(crate) async fn run(context: &Context, command: UserCommand) -> Result<Exit> {
    let UserCommand::Show { user } = command;
    let tracking = context.tracking()?;
    let user = context.user_key(&tracking, &user).await?;
    let records = tracking.user(&user).await?;
    let identity = context.truth()?.get(std::slice::from_ref(&user)).await?;
    let known = identity.first().filter(|record| record.is_known());
    if records.is_empty() && known.is_none() {
        let text = format!("user {user} is of no cohort, and Identity has {NO_ROW}");
        return Err(stop(Exit::NotFound, text));
    }
    let shown = Shown { user: &user, identity: known.map(states), migrations: &records };
    context.output.result(&shown, || text(&user, known, &records))?;
    Ok(Exit::Done)
}

/// What Identity knows of a user, as the mirror spells it.
pub(crate) fn in_words(record: &Record) -> String {
    match (record.is_known(), record.states().is_empty()) {
        (false, _) => NO_ROW.to_owned(),
        (true, true) => format!("{} (on legacy everywhere)", record.snapshot().text),
        (true, false) => record.snapshot().text,
    }
}

/// What Identity knows of a user, as JSON.
pub(crate) fn states(record: &Record) -> Value {
    let states: serde_json::Map<String, Value> =
        record.states().into_iter().map(|(name, state)| (name.to_owned(), json!(state.as_str()))).collect();
    json!({ "revision": record.revision(), "paused": record.is_paused(), "states": states })
}

fn text(user: &str, identity: Option<&Record>, records: &[UserRecord]) -> String {
    let known = identity.map_or_else(|| NO_ROW.to_owned(), in_words);
    let mut lines = vec![format!("user {user}"), format!("identity: {known}")];
    for record in records {
        let UserRecord { migration, cohort, version, .. } = record;
        let state = record.state.replace('_', " ");
        let asked = if record.rollback_requested { ", to be rolled back" } else { "" };
        lines.push(format!("\n{migration} (cohort {cohort}): {state}, version {version}{asked}"));
        lines.extend(record.open.iter().flat_map(open_lines));
        lines.extend(record.attempts.iter().flat_map(attempt_lines));
    }
    lines.join("\n")
}

fn open_lines(open: &OpenRecord) -> Vec<String> {
    let state = open.state.replace('_', " ");
    let head = format!("  attempt {} ({}): {state}, in progress", open.attempt, open.kind);
    let times = [
        ("queued", Some(&open.queued_at)),
        ("admitted", open.admitted_at.as_ref()),
        ("copied", open.copied_at.as_ref().filter(|_| open.kind == MOVE)),
        ("verified", open.verified_at.as_ref()),
    ];
    let reason = open.reason.iter().flat_map(reason_lines);
    [vec![head], facts(&times, open.rows, open.digest.as_ref()), reason.collect()].concat()
}

fn attempt_lines(attempt: &AttemptRecord) -> Vec<String> {
    let outcome = attempt.outcome.replace('_', " ");
    let paused = attempt.paused_ms.map(|ms| format!(", paused for {ms} ms")).unwrap_or_default();
    let head = format!("  attempt {} ({}): {outcome}{paused}", attempt.attempt, attempt.kind);
    let times = [
        ("queued", Some(&attempt.queued_at)),
        ("paused", attempt.paused_at.as_ref()),
        ("copied", attempt.copied_at.as_ref().filter(|_| attempt.kind == MOVE)),
        ("verified", attempt.verified_at.as_ref()),
        ("unpaused", attempt.unpaused_at.as_ref()),
        ("ended", Some(&attempt.ended_at)),
    ];
    let reason = attempt.reason.iter().flat_map(reason_lines);
    [vec![head], facts(&times, attempt.rows, attempt.digest.as_ref()), reason.collect()].concat()
}

fn facts(times: &[(&str, Option<&String>)], rows: Option<i64>, digest: Option<&String>) -> Vec<String> {
    let rows = rows.map(|rows| rows.to_string());
    let more = [("rows", rows.as_ref()), ("digest", digest)];
    let known = times.iter().chain(&more).filter_map(|(name, value)| Some((name, (*value)?)));
    known.map(|(name, value)| format!("    {name:<9} {value}")).collect()
}

/// Why an attempt was taken back or refused: the stage, the message, and the rows that differed.
fn reason_lines(reason: &Value) -> Vec<String> {
    let word = |name: &str| reason.get(name).and_then(Value::as_str).unwrap_or("unknown");
    let (kind, stage, message) = (word("kind").replace('_', " "), word("stage"), word("message"));
    let mut lines = vec![format!("    reason    {kind}, found by {stage}: {message}")];
    let Some(differences) = reason.get("differences") else { return lines };
    let rows = differences.get("rows").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    lines.extend(rows.iter().take(LISTED).map(|row| format!("      {}", difference_text(row))));
    let count = differences.get("count").and_then(Value::as_u64).unwrap_or(0) as usize;
    let more = count.saturating_sub(rows.len().min(LISTED));
    if more > 0 {
        lines.push(format!("      and {more} more rows"));
    }
    lines
}

/// `reminder legacy_id=7: differs in subject, body`.
fn difference_text(row: &Value) -> String {
    let word = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or("?");
    let fields: Vec<&str> =
        row.get("fields").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let fields = if fields.is_empty() { String::new() } else { format!(" in {}", fields.join(", ")) };
    format!("{} {}: {}{fields}", word("entity"), word("key"), word("kind"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_names_the_rows_and_fields_that_differed() {
        let reason = json!({
            "stage": "verify", "kind": "mismatch", "message": "the digests differ",
            "differences": { "count": 12, "rows": [
                { "entity": "reminder", "key": "legacy_id=7", "kind": "differs", "fields": ["subject", "body"] },
                { "entity": "reminder", "key": "legacy_id=8", "kind": "missing at the destination" },
            ] },
        });
        let want = [
            "    reason    mismatch, found by verify: the digests differ",
            "      reminder legacy_id=7: differs in subject, body",
            "      reminder legacy_id=8: missing at the destination",
            "      and 10 more rows",
        ];
        assert_eq!(reason_lines(&reason), want);
    }
}
