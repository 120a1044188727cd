//! The database fence: whole where the stages rely on it, and never half.

use anyhow::Result;
use handover_fence::{Installed, Scope, Side, Status};
use handover_settings::Server;

use super::Patient;
use super::finding::{Findings, Level};

const SIDES: [(Side, Server); 2] =
    [(Side::Legacy, Server::LegacyPrimary), (Side::Destination, Server::Destination)];

pub(super) async fn examine(patient: &Patient<'_>, findings: &mut Findings) -> Result<()> {
    let is_used = patient.context.settings.fence.database;
    for (side, server) in SIDES {
        if patient.session(server).is_none() {
            continue;
        }
        let mut session = patient.context.database(server)?.connect().await?;
        for plan in &patient.plans {
            match handover_fence::status(&mut session, Scope::new(plan, side)).await {
                Ok(status) => judge(plan.name(), &status, (is_used, server), findings),
                Err(error) => {
                    let found = format!("the fence of {} cannot be looked at: {error}", plan.name());
                    findings.warning("fence", server, found, "run `handover fence status` as its owner");
                }
            }
        }
    }
    Ok(())
}

fn judge(migration: &str, status: &Status, (is_used, server): (bool, Server), findings: &mut Findings) {
    let install = format!("run `handover fence install {migration}`");
    match (status.installed, is_used) {
        (Installed::Yes, true) => findings.ok("fence", server, format!("the fence of {migration} stands")),
        (Installed::No, false) => {
            findings.ok("fence", server, format!("there is none of {migration}, and none is asked for"));
        }
        (Installed::No, true) => {
            let found =
                format!("fence.database is set, but there is no fence of {migration}: nobody can be paused");
            findings.error("fence", server, found, install);
        }
        (Installed::Partly, _) => {
            let level = if is_used { Level::Error } else { Level::Warning };
            let found = format!("the fence of {migration} is half installed, or made for another plan");
            findings.holds(("fence", server), false, "", (level, found, install));
        }
        (Installed::Yes, false) => findings.warning(
            "fence",
            server,
            format!("the fence of {migration} stands, but fence.database is not set: no pause raises it"),
            "set HANDOVER_FENCE__DATABASE=true for all workers alike, or run `handover fence remove`",
        ),
    }
}
