//! The files of the worked example's plans, built in, so that a demonstration needs no folder.

use std::collections::BTreeMap;

macro_rules! files {
    ($folder:literal: $($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../../../../config/plans/", $folder, "/", $name)))),+]
    };
}

const REMINDERS: &[(&str, &str)] = files!("invoice-reminders": "plan.toml",
    "reminder.extract.sql", "reminder.read_back.sql", "reminder.delete.sql", "reminder.reverse.sql",
    "recipient.extract.sql", "recipient.read_back.sql", "recipient.delete.sql", "recipient.reverse.sql");

const SETTINGS: &[(&str, &str)] = files!("invoice-settings": "plan.toml", "invoice_settings.extract.sql",
    "invoice_settings.read_back.sql", "invoice_settings.delete.sql", "invoice_settings.reverse.sql");

/// The files of both plans, `invoice-reminders` first: for each, every file's text by its name.
pub fn plans() -> [BTreeMap<String, String>; 2] {
    let owned = |files: &[(&str, &str)]| {
        files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    };
    [owned(REMINDERS), owned(SETTINGS)]
}

#[cfg(test)]
mod tests {
    use handover_plan::Plan;

    #[test]
    fn the_built_in_plans_are_valid() {
        let plans = super::plans().map(|files| Plan::from_files(files).unwrap());
        assert_eq!(plans.map(|plan| plan.name().to_owned()), ["invoice-reminders", "invoice-settings"]);
    }
}
