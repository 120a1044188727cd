//! `identity get|enroll|rebuild-mirror|verify-mirror`.

use anyhow::Result;
use handover_identity::{Difference, DifferenceKind, Enroll, Identity, Mirrored, Verification};
use serde::Serialize;
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
        IdentityCommand::VerifyMirror { repair } => verify(context, repair).await,
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
                ", {newer} newer than the truth as it was read: `verify-mirror` tells whether they are wrong"
            ),
        };
        format!("{users} known to Identity, {} written{newer}", count(rebuilt.written as usize, "field"))
    })?;
    Ok(Exit::Done)
}

/// What a comparison found.
#[derive(Debug, Serialize)]
struct Comparison {
    compared: u64,
    missing: u64,
    stale: u64,
    wrong: u64,
    /// Fields that were written over; none without `--repair`.
    repaired: Option<u64>,
    /// The first thousand.
    differences: Vec<Value>,
}

async fn verify(context: &Context, repair: bool) -> Result<Exit> {
    let identity = context.identity()?;
    let found = identity.verify_mirror().await?;
    let differ = found.missing + found.stale + found.wrong;
    let repaired = if repair { Some(repair_all(&identity, &found).await?) } else { None };
    let difference = |d: &Difference| json!({ "user": d.truth.user, "kind": word(d.kind), "truth": d.truth.text, "mirror": d.found });
    let compared = Comparison {
        compared: found.compared,
        missing: found.missing,
        stale: found.stale,
        wrong: found.wrong,
        repaired,
        differences: found.differences.iter().map(difference).collect(),
    };
    context.output.result(&compared, || {
        let Comparison { compared, missing, stale, wrong, .. } = &compared;
        let done = repaired
            .map(|fields| format!("; {} repaired", count(fields as usize, "field")))
            .unwrap_or_default();
        let mut lines =
            vec![format!("{compared} compared: {missing} missing, {stale} stale, {wrong} wrong{done}")];
        lines.extend(found.differences.iter().take(LISTED).map(difference_text));
        if differ > LISTED as u64 {
            lines.push(format!("  and {} more", differ - LISTED as u64));
        }
        lines.join("\n")
    })?;
    // A missing field is harmless: it means "ask Identity".
    Ok(if repair || found.stale + found.wrong == 0 { Exit::Done } else { Exit::Findings })
}

/// Repairs what a comparison listed, and compares again for as long as it listed less than it counted.
async fn repair_all(identity: &Identity, found: &Verification) -> Result<u64> {
    let (mut found, mut repaired) = (found.clone(), 0);
    loop {
        let written = identity.mirror().repair(identity.truth(), &found.differences).await?;
        repaired += written;
        let listed = found.differences.len() as u64;
        if written == 0 || listed >= found.missing + found.stale + found.wrong {
            return Ok(repaired);
        }
        found = identity.verify_mirror().await?;
    }
}

fn difference_text(d: &Difference) -> String {
    let found = d.found.as_deref().map_or_else(|| "no field".to_owned(), |text| format!("`{text}`"));
    format!("  {}: {}: truth `{}`, mirror {found}", d.truth.user, word(d.kind), d.truth.text)
}

fn word(kind: DifferenceKind) -> &'static str {
    match kind {
        DifferenceKind::Missing => "missing",
        DifferenceKind::Stale => "stale",
        DifferenceKind::Wrong => "wrong",
    }
}
