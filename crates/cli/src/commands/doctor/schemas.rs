//! Handover's own tables and the registered plans.

use anyhow::Result;
use handover_settings::Server;

use super::Patient;
use super::finding::{Findings, Level};

const REMEDY: &str = "run `handover init`";

pub(super) async fn examine(patient: &Patient<'_>, findings: &mut Findings) -> Result<()> {
    if patient.session(Server::Identity).is_some() {
        note(Server::Identity, &patient.context.truth()?.pending().await?, findings);
    }
    let Some(session) = patient.session(Server::Destination) else { return Ok(()) };
    let pending = handover_tracking::pending(session).await?;
    note(Server::Destination, &pending, findings);
    if pending.is_empty() {
        plans(patient, findings).await?;
    }
    Ok(())
}

fn note(server: Server, pending: &[&str], findings: &mut Findings) {
    let bad = format!("lacks {}", pending.join(", "));
    findings.holds(
        ("schema", server),
        pending.is_empty(),
        "handover's tables are up to date",
        (Level::Error, bad, REMEDY),
    );
}

async fn plans(patient: &Patient<'_>, findings: &mut Findings) -> Result<()> {
    let tracking = patient.context.tracking()?;
    for plan in &patient.plans {
        let check = ("plan", Server::Destination);
        let name = plan.name();
        match tracking.current_plan(name).await {
            Ok(current) => findings.holds(
                check,
                current.hash == plan.hash(),
                format!("{name} is registered as it is on disk"),
                (Level::Warning, format!("{name} on disk is not the registered one"), REMEDY),
            ),
            Err(handover_tracking::Error::NoSuchMigration(_)) => {
                findings.warning(check.0, check.1, format!("{name} is not registered"), REMEDY);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
