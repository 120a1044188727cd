//! Who holds requests back while a user is paused, and whether all of them can be waited for.

use std::time::SystemTime;

use anyhow::Result;
use handover_identity::Member;
use handover_settings::Server;

use super::Patient;
use super::finding::{Findings, Level};
use crate::output::seconds;

const SERVER: Server = Server::Identity;

pub(super) async fn examine(patient: &Patient<'_>, findings: &mut Findings) -> Result<()> {
    if patient.session(SERVER).is_none() || !patient.context.truth()?.pending().await?.is_empty() {
        return Ok(());
    }
    let truth = patient.context.truth()?;
    let members = truth.members().await?;
    present(&members, findings);
    silent(&members, findings);
    longest(&members, patient, findings);
    outbox(patient, &truth, findings).await
}

fn present(members: &[Member], findings: &mut Findings) {
    findings.holds(
        ("gates", SERVER),
        !members.is_empty(),
        format!("{} registered", crate::users::count(members.len(), "gate")),
        (
            Level::Warning,
            "no gate is registered: only the fixed drain and the database fence, if any, keep writes out of a pause",
            "start the application's gates; where middleware asks Redis itself, pause.drain must cover it (docs/sidecar.md)",
        ),
    );
}

fn silent(members: &[Member], findings: &mut Findings) {
    let now = SystemTime::now();
    let unheard = |member: &&Member| now.duration_since(member.last_seen).is_ok_and(|age| age > member.lease);
    let silent: Vec<&str> = members.iter().filter(unheard).map(|member| member.id.as_str()).collect();
    findings.holds(
        ("silent gates", SERVER),
        silent.is_empty(),
        "every gate was heard of within its lease",
        (
            Level::Warning,
            format!("{} not heard of for longer than a lease: each pause waits for them", silent.join(", ")),
            "restart them, or stop them properly; they are forgotten after their lease and longest request",
        ),
    );
}

/// A drain that waits for a silent gate must end while the pause still lasts.
fn longest(members: &[Member], patient: &Patient<'_>, findings: &mut Findings) {
    let max_pause = patient.context.settings.pause.max_pause;
    let Some(worst) = members.iter().max_by_key(|member| member.term()) else { return };
    let term = seconds(worst.term().as_secs_f64());
    findings.holds(
        ("longest request", SERVER),
        worst.term() < max_pause,
        format!("a silent gate costs a pause at most {term}"),
        (
            Level::Error,
            format!("gate {} may have to be waited for {term}, longer than pause.max_pause", worst.id),
            "shorten its lease or max_request, or raise pause.max_pause",
        ),
    );
}

async fn outbox(
    patient: &Patient<'_>,
    truth: &handover_identity::Truth,
    findings: &mut Findings,
) -> Result<()> {
    let outbox = truth.outbox().await?;
    let allowed = patient.context.settings.reconcile.ready_for;
    findings.holds(
        ("unmirrored changes", SERVER),
        outbox.oldest.is_none_or(|age| age < allowed),
        format!("{} wait for the mirror", outbox.rows),
        (
            Level::Warning,
            format!("{} wait for the mirror, the oldest for longer than reconcile.ready_for", outbox.rows),
            "see whether a reconciler leads, and whether it reaches Redis",
        ),
    );
    Ok(())
}
