//! The worked example's plans, built in, so that a run needs no folder.

use std::collections::BTreeMap;

use anyhow::Result;
use handover_plan::Plan;

/// A plan's files: name and text.
type Files = &'static [(&'static str, &'static str)];

macro_rules! files {
    ($folder:literal: $($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../../../../config/plans/", $folder, "/", $name)))),+]
    };
}

const REMINDERS: Files = files!("invoice-reminders": "plan.toml",
    "reminder.extract.sql", "reminder.read_back.sql", "reminder.delete.sql", "reminder.reverse.sql",
    "recipient.extract.sql", "recipient.read_back.sql", "recipient.delete.sql", "recipient.reverse.sql");

const SETTINGS: Files = files!("invoice-settings": "plan.toml", "invoice_settings.extract.sql",
    "invoice_settings.read_back.sql", "invoice_settings.delete.sql", "invoice_settings.reverse.sql");

/// Both plans.
pub(super) fn all() -> Result<Vec<Plan>> {
    let plan = |files: Files| {
        let files: BTreeMap<String, String> =
            files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        Ok(Plan::from_files(files)?)
    };
    [REMINDERS, SETTINGS].into_iter().map(plan).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_built_in_plans_are_those_that_the_checks_know() {
        let plans = super::all().unwrap();
        let names: Vec<&str> = plans.iter().map(handover_plan::Plan::name).collect();
        assert_eq!(names, [crate::check::REMINDERS, crate::check::SETTINGS]);
    }
}
