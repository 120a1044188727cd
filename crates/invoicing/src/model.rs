//! What the application talks about, the same whichever side it lies on.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tokio_postgres::Row;

use crate::failure::Failure;

/// What both systems can hold of a subject: what is written on the new one may be carried back.
const LONGEST_SUBJECT: usize = 200;
/// What both systems can hold of an e-mail address.
const LONGEST_EMAIL: usize = 254;

/// A reminder. `id` is legacy's on both sides, and stays when its user moves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reminder {
    /// The number by which callers name it.
    pub id: i64,
    /// The invoice it is about.
    pub invoice_id: i64,
    /// `before_due`, `on_due` or `after_due`.
    pub kind: String,
    /// `email`, `sms` or `letter`.
    pub channel: String,
    /// Days from the invoice's due date.
    pub days: i32,
    /// The subject line.
    pub subject: String,
    /// The text.
    pub body: String,
    /// Whether it is still to be sent.
    pub enabled: bool,
    /// When it is sent, RFC 3339; none: only by the nightly run, which is not part of this example.
    pub due_at: Option<String>,
}

impl Reminder {
    /// From a row with columns of these names, as both sides' queries return them.
    pub(crate) fn of(row: &Row) -> Self {
        Self {
            id: row.get("id"),
            invoice_id: row.get("invoice_id"),
            kind: row.get("kind"),
            channel: row.get("channel"),
            days: row.get("days"),
            subject: row.get("subject"),
            body: row.get("body"),
            enabled: row.get("enabled"),
            due_at: row.get("due_at"),
        }
    }
}

/// A reminder that is asked for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewReminder {
    /// The user's first invoice where it is not given.
    pub invoice_id: Option<i64>,
    /// The subject line.
    pub subject: String,
    /// The text.
    pub body: String,
    /// In how many milliseconds it is to be sent.
    pub due_in_ms: Option<i64>,
    /// Who gets it beside the customer.
    #[serde(default)]
    pub recipients: BTreeSet<String>,
}

impl NewReminder {
    /// Refuses what one of the systems could not hold.
    pub fn validate(&self) -> Result<(), Failure> {
        let fits = |text: &String, longest| text.chars().count() <= longest && !text.contains('\0');
        let century = 100 * 365 * 86_400_000_i64;
        let rules = [
            (fits(&self.subject, LONGEST_SUBJECT), "subject is longer than 200 characters"),
            (fits(&self.body, usize::MAX), "body holds a NUL"),
            (self.recipients.iter().all(|email| fits(email, LONGEST_EMAIL)), "an address is too long"),
            (self.due_in_ms.is_none_or(|ms| (-century..century).contains(&ms)), "due_in_ms is out of range"),
        ];
        rules.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, rule)| Err(Failure::Invalid(rule)))
    }
}

/// A user's settings, those of them that this example shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// `yearly`, `continuous` or `monthly`.
    pub numbering: String,
    /// `a4` or `letter`.
    pub paper: String,
    /// ISO 4217.
    pub currency: String,
    /// Days until an invoice is due.
    pub due_days: i32,
    /// Whether the invoice is attached to mails.
    pub attach_pdf: bool,
    /// Stands below each invoice.
    pub footer: String,
}

impl Settings {
    /// From a row with columns of these names, as both sides' queries return them.
    pub(crate) fn of(row: &Row) -> Self {
        Self {
            numbering: row.get("numbering"),
            paper: row.get("paper"),
            currency: row.get("currency"),
            due_days: row.get("due_days"),
            attach_pdf: row.get("attach_pdf"),
            footer: row.get("footer"),
        }
    }
}

/// Settings as they shall be; what is not named stays.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettingsChange {
    /// Stands below each invoice.
    pub footer: Option<String>,
    /// Days until an invoice is due.
    pub due_days: Option<i32>,
    /// Whether the invoice is attached to mails.
    pub attach_pdf: Option<bool>,
}

impl SettingsChange {
    /// Refuses what a database could not hold.
    pub fn validate(&self) -> Result<(), Failure> {
        let holds_nul = self.footer.as_ref().is_some_and(|footer| footer.contains('\0'));
        if holds_nul { Err(Failure::Invalid("footer holds a NUL")) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_of_the_systems_could_not_hold_is_refused() {
        let good = NewReminder { subject: "ü".repeat(200), ..NewReminder::default() };
        assert!(good.validate().is_ok());
        let long = NewReminder { subject: "ü".repeat(201), ..NewReminder::default() };
        let nul = NewReminder { body: "\0".to_owned(), ..NewReminder::default() };
        let never = NewReminder { due_in_ms: Some(i64::MIN), ..NewReminder::default() };
        assert!([long, nul, never].iter().all(|wrong| wrong.validate().is_err()));
    }
}
