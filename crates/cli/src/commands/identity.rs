//! `identity get|enroll|rebuild-mirror|verify-mirror`.

use anyhow::Result;
use handover_identity::{DifferenceKind, Enroll};
use serde_json::{Value, json};

use super::user::states;
use crate::args::IdentityCommand;
use crate::context::Context;
use crate::exit::{Exit, stop};
use crate::users::count;

pub(crate) async fn run(context: &Context, command: IdentityCommand) -> Result<Exit> {
    match command {
        IdentityCommand::Get { user } => get(context, &user).await,
        IdentityCommand::Enroll { user, migration } => enroll(context, &user, migration).await,
        IdentityCommand::RebuildMirror => rebuild(context).await,
        IdentityCommand::VerifyMirror => verify(context).await,
    }
}

async fn key(context: &Context, user: &str) -> Result<String> {
    let key = context.key_type(&context.tracking()?).await?;
    key.canonical(user).map_err(|error| stop(Exit::Usage, error.to_string()))
}

async fn get(context: &Context, user: &str) -> Result<Exit> {
    let user = [key(context, user).await?];
    let identity = context.identity()?;
    let record = identity.get(&user).await?.remove(0);
    // The mirror is a convenience: without it the truth is shown all the same.
    let mirror = match identity.mirror().get(&user).await {
        Ok(texts) => texts.into_iter().next().flatten().unwrap_or_else(|| "absent: ask Identity".to_owned()),
        Err(error) => format!("no answer: {error}"),
    };
    let value = json!({ "user": user[0], "truth": states(&record), "mirror": mirror });
    context.output.result(&value, || {
        format!("user {}\ntruth:  {}\nmirror: {mirror}", user[0], record.snapshot().text)
    })?;
    Ok(Exit::Done)
}

async fn enroll(context: &Context, user: &str, migrations: Vec<String>) -> Result<Exit> {
    let tracking = context.tracking()?;
    let registered: Vec<String> = tracking.migrations().await?.into_iter().map(|(_, name)| name).collect();
    if let Some(unknown) = migrations.iter().find(|name| !registered.contains(name)) {
        return Err(stop(Exit::NotFound, format!("there is no migration `{unknown}`")));
    }
    let user = key(context, user).await?;
    let migrations = if migrations.is_empty() { registered } else { migrations };
    let done = context.identity()?.enroll(&user, &migrations).await.map_err(refused)?;
    let again = done.outcomes.first() == Some(&Enroll::AlreadyEnrolled);
    let value = json!({ "user": user, "migrations": migrations, "already": again });
    context.output.result(&value, || {
        let already = if again { "was enrolled already" } else { "is born on the new system" };
        format!("user {user} {already}: {}", migrations.join(", "))
    })?;
    Ok(Exit::Done)
}

fn refused(error: handover_identity::Error) -> anyhow::Error {
    use handover_identity::Error;
    match error {
        Error::Paused { .. } | Error::KnownOnLegacy { .. } => stop(Exit::Refused, error.to_string()),
        other => other.into(),
    }
}

async fn rebuild(context: &Context) -> Result<Exit> {
    let rebuilt = context.identity()?.rebuild_mirror().await?;
    let value = json!({ "users": rebuilt.users, "written": rebuilt.written });
    context.output.result(&value, || {
        format!("{} known to Identity, {} written", count(rebuilt.users as usize, "user"), rebuilt.written)
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
        let lines = found.differences.iter().take(20).map(|d| {
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
