//! `identity get|enroll|rebuild-mirror|verify-mirror`.

use anyhow::Result;
use handover_identity::{DifferenceKind, Enroll, Mirrored};
use serde_json::{Value, json};

use super::user::{in_words, states};
use crate::args::IdentityCommand;
use crate::context::Context;
use crate::exit::{Exit, stop};
use crate::output;
use crate::users::count;

/// How many differences are listed as text.
const LISTED: usize = 20;

pub(crate) async fn run(context: &Context, command: IdentityCommand) -> Result<Exit> {
    match command {
        IdentityCommand::Get { user } => get(context, &user).await,
        IdentityCommand::Enroll { user, migration } => enroll(context, &user, migration).await,
        IdentityCommand::RebuildMirror => rebuild(context).await,
        IdentityCommand::VerifyMirror => verify(context).await,
    }
}

async fn get(context: &Context, user: &str) -> Result<Exit> {
    let user = [context.user_key(&context.tracking()?, user).await?];
    let identity = context.identity()?;
    let record = identity.get(&user).await?.remove(0);
    // The mirror is a convenience: without it the truth is shown all the same.
    let mirror = match identity.mirror().get(&user).await {
        Ok(texts) => texts
            .into_iter()
            .next()
            .flatten()
            .map_or_else(|| (Value::Null, "no field: ask Identity".to_owned()), |text| (json!(text), text)),
        Err(error) => (Value::Null, format!("no answer: {error}")),
    };
    let value = json!({ "user": user[0], "truth": states(&record), "mirror": mirror.0 });
    let truth = in_words(&record);
    context.output.result(&value, || format!("user {}\ntruth:  {truth}\nmirror: {}", user[0], mirror.1))?;
    Ok(Exit::Done)
}

async fn enroll(context: &Context, user: &str, migrations: Vec<String>) -> Result<Exit> {
    let tracking = context.tracking()?;
    let registered: Vec<String> = tracking.migrations().await?.into_iter().map(|(_, name)| name).collect();
    if let Some(unknown) = migrations.iter().find(|name| !registered.contains(name)) {
        return Err(handover_tracking::Error::NoSuchMigration(unknown.clone()).into());
    }
    let user = context.user_key(&tracking, user).await?;
    let migrations = if migrations.is_empty() { registered } else { migrations };
    let done = context.identity()?.enroll(&user, &migrations).await.map_err(|error| refused(&user, error))?;
    let again = done.outcomes.first() == Some(&Enroll::AlreadyEnrolled);
    let value =
        json!({ "user": user, "migrations": migrations, "already": again, "mirrored": done.is_mirrored() });
    context.output.result(&value, || {
        let already = if again { "was enrolled already" } else { "is born on the new system" };
        format!("user {user} {already}: {}", migrations.join(", "))
    })?;
    if let Mirrored::NotYet(reason) = &done.mirrored {
        output::warning(&format!("the mirror does not know yet; the reconciler will tell it: {reason}"));
    }
    Ok(Exit::Done)
}

/// A sign-up that is refused, with what can be done instead.
fn refused(user: &str, error: handover_identity::Error) -> anyhow::Error {
    use handover_identity::Error;
    match error {
        Error::Paused { migration } => {
            let text = format!("user {user} is no sign-up: {migration} is moving them at this moment");
            stop(Exit::Refused, text)
        }
        Error::KnownOnLegacy { migration } => {
            let text = format!(
                "user {user} is no sign-up: Identity knows them, with {migration} on legacy; a cohort moves them"
            );
            stop(Exit::Refused, text)
        }
        other => other.into(),
    }
}

async fn rebuild(context: &Context) -> Result<Exit> {
    let rebuilt = context.identity()?.rebuild_mirror().await?;
    let value = json!({ "users": rebuilt.users, "written": rebuilt.written, "newer": rebuilt.newer });
    context.output.result(&value, || {
        let users = count(rebuilt.users as usize, "user");
        let newer = match rebuilt.newer {
            0 => String::new(),
            newer => format!(
                ", {newer} newer than the truth when it was read (`verify-mirror` tells whether wrong)"
            ),
        };
        format!("{users} known to Identity, {} written{newer}", count(rebuilt.written as usize, "field"))
    })?;
    Ok(Exit::Done)
}

async fn verify(context: &Context) -> Result<Exit> {
    let found = context.identity()?.verify_mirror().await?;
    let differences: Vec<Value> = found
        .differences
        .iter()
        .map(|d| json!({ "user": d.truth.user, "kind": word(d.kind), "truth": d.truth.text, "mirror": d.found }))
        .collect();
    let value = json!({
        "compared": found.compared, "missing": found.missing, "stale": found.stale, "wrong": found.wrong,
        "differences": differences,
    });
    context.output.result(&value, || {
        let head = format!(
            "{} compared: {} missing, {} stale, {} wrong",
            found.compared, found.missing, found.stale, found.wrong
        );
        let lines = found.differences.iter().take(LISTED).map(|d| {
            format!(
                "\n  {} {}: truth `{}`, mirror `{}`",
                d.truth.user,
                word(d.kind),
                d.truth.text,
                d.found.as_deref().unwrap_or("")
            )
        });
        head + &lines.collect::<String>()
    })?;
    // A missing field is harmless: it means "ask Identity".
    Ok(if found.stale + found.wrong == 0 { Exit::Done } else { Exit::Findings })
}

fn word(kind: DifferenceKind) -> &'static str {
    match kind {
        DifferenceKind::Missing => "missing",
        DifferenceKind::Stale => "stale",
        DifferenceKind::Wrong => "wrong",
    }
}
