//! `audit`: hashes legacy once more for users who have moved, and names the rows that somebody wrote there since.

use std::time::Duration;

use anyhow::Result;
use handover_engine::{Alarm, Auditor, Escape, Escaped, Plans};
use handover_settings::Server;
use handover_tracking::{CohortInfo, Completed, Tracking};
use handover_worker::Registry;
use indicatif::ProgressBar;
use serde::Serialize;

use crate::args::AuditArgs;
use crate::commands::demo::bars::style;
use crate::context::Context;
use crate::exit::Exit;
use crate::users::count;

/// Users in one snapshot.
const BATCH: usize = 100;

/// What came of it.
#[derive(Debug, Serialize)]
struct Report<'a> {
    cohort: &'a str,
    /// Completed users whose legacy rows were hashed.
    audited: usize,
    alarms: Vec<Alarm>,
}

pub(crate) async fn run(context: &Context, args: &AuditArgs) -> Result<Exit> {
    let tracking = context.tracking()?;
    let cohort = tracking.cohort(&args.cohort).await?;
    let auditor = auditor(context, &tracking, args.values)?;
    let completed = tracking.status(&cohort).await?.users.completed.max(0) as u64;
    let bar = bar(context, args.sample.map_or(completed, |sample| completed.min(sample.into())));
    let mut report = Report { cohort: &cohort.name, audited: 0, alarms: Vec::new() };
    let mut drawn = match args.sample {
        Some(sample) => Some(tracking.sample(&cohort, sample.into()).await?),
        None => None,
    };
    let mut after = 0;
    loop {
        let batch = next(&tracking, &cohort, &mut drawn, &mut after).await?;
        if batch.is_empty() {
            break;
        }
        let attempts: Vec<_> = batch.into_iter().map(|completed| completed.attempt).collect();
        report.alarms.extend(auditor.audit(&attempts).await?);
        report.audited += attempts.len();
        bar.inc(attempts.len() as u64);
        bar.set_message(match report.alarms.len() {
            0 => String::new(),
            alarms => count(alarms, "alarm"),
        });
    }
    bar.finish_and_clear();
    context.output.result(&report, || text(&report))?;
    Ok(if report.alarms.is_empty() { Exit::Done } else { Exit::Findings })
}

fn auditor(context: &Context, tracking: &Tracking, values: bool) -> Result<Auditor> {
    let pool = |server| anyhow::Ok(context.database(server)?.pool(2));
    Ok(Auditor {
        primary: pool(Server::LegacyPrimary)?,
        replica: pool(Server::LegacyReplica)?,
        destination: pool(Server::Destination)?,
        tracking: tracking.clone(),
        plans: Plans::new(Registry::new()),
        // Nobody is paused for it: a user of very many rows may take as long as it takes.
        patience: Duration::from_hours(1),
        replica_wait: context.settings.copy.replica_wait,
        values,
    })
}

/// The next users: of those who were drawn, or the next page of the cohort.
async fn next(
    tracking: &Tracking,
    cohort: &CohortInfo,
    drawn: &mut Option<Vec<Completed>>,
    after: &mut i64,
) -> Result<Vec<Completed>> {
    let Some(drawn) = drawn else {
        let page = tracking.completed(cohort, *after, BATCH as i64).await?;
        *after = page.last().map_or(*after, |last| last.seq);
        return Ok(page);
    };
    Ok(drawn.split_off(drawn.len().saturating_sub(BATCH)))
}

fn bar(context: &Context, users: u64) -> ProgressBar {
    if context.output.is_json() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(users).with_style(style());
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn text(report: &Report<'_>) -> String {
    let audited = count(report.audited, "completed user");
    if report.alarms.is_empty() {
        return format!("{audited} of {}: legacy is as it was when each moved", report.cohort);
    }
    let mut lines = vec![format!(
        "{audited} of {}: legacy has changed for {} since the move",
        report.cohort,
        count(report.alarms.len(), "user")
    )];
    for alarm in &report.alarms {
        let doubt = if alarm.certain { "" } else { ", unless it was the new system that changed" };
        let rows = count(alarm.count, "row");
        lines.push(format!("user {} (attempt {}): {rows} escaped{doubt}", alarm.user, alarm.attempt));
        lines.extend(alarm.rows.iter().map(row));
        if alarm.count > alarm.rows.len() {
            lines.push(format!("  and {} more", alarm.count - alarm.rows.len()));
        }
    }
    lines.join("\n")
}

fn row(row: &Escaped) -> String {
    let what = match row.what {
        Escape::Changed => "changed",
        Escape::Added => "added",
        Escape::Deleted => "deleted",
    };
    let field = |name: &String| match row.values.get(name) {
        None => name.clone(),
        Some(values) => {
            let value =
                |value: &Option<String>| value.as_ref().map_or("NULL".to_owned(), |text| format!("{text:?}"));
            format!("{name} (legacy {}, new {})", value(&values.legacy), value(&values.new))
        }
    };
    let fields: Vec<String> = row.fields.iter().map(field).collect();
    let fields = if fields.is_empty() { String::new() } else { format!(": {}", fields.join(", ")) };
    format!("  {} {} {what}{fields}", row.entity, row.key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_told_with_its_fields_and_values_only_where_they_were_asked_for() {
        let mut escaped = Escaped {
            entity: "reminder".to_owned(),
            key: "legacy_id=7".to_owned(),
            what: Escape::Changed,
            fields: vec!["body".to_owned()],
            values: std::collections::BTreeMap::new(),
        };
        assert_eq!(row(&escaped), "  reminder legacy_id=7 changed: body");
        let values = handover_engine::Values { legacy: Some("new \"text\"".to_owned()), new: None };
        escaped.values.insert("body".to_owned(), values);
        assert_eq!(
            row(&escaped),
            "  reminder legacy_id=7 changed: body (legacy \"new \\\"text\\\"\", new NULL)"
        );
        let added = Escaped { what: Escape::Added, fields: Vec::new(), ..escaped };
        assert_eq!(row(&added), "  reminder legacy_id=7 added");
    }
}
