//! What the two databases hold, read by SQL of the ledger's own, in plain types that can be kept as JSON and judged
//! again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tokio_postgres::{Client, NoTls, Row};

/// A reminder on one side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reminder {
    /// Whose it is.
    pub user: i64,
    /// Its number, the same on both sides.
    pub id: i64,
    /// Its subject.
    pub subject: String,
    /// Its body.
    pub body: String,
    /// Whether it is still to be sent.
    pub enabled: bool,
    /// Whether legacy has deleted it by a date.
    pub deleted: bool,
    /// What else is moved and nobody changes, its recipients included, in one spelling for both sides.
    pub content: String,
}

/// Somebody's settings on one side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Whose.
    pub user: i64,
    /// The footer.
    pub footer: String,
    /// What else is moved and nobody changes, in one spelling for both sides.
    pub content: String,
}

/// A mail that one side has sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// The reminder's number.
    pub id: i64,
    /// Whose it was, as far as that is still known.
    pub user: Option<i64>,
    /// When, in microseconds since 1970.
    pub at: i64,
}

/// One side's rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Its reminders, legacy's deleted ones included.
    pub reminders: Vec<Reminder>,
    /// Its settings.
    pub settings: Vec<Setting>,
    /// What it sent.
    pub sent: Vec<Sent>,
}

/// Both sides' rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rows {
    /// Legacy's.
    pub legacy: Held,
    /// The new system's.
    pub new: Held,
    /// The accounts, which both share: number and name.
    pub accounts: BTreeMap<i64, String>,
}

const LEGACY_REMINDERS: &str = "
    SELECT i.owner_id, r.id, r.subject::text, r.body, coalesce(r.enabled, true), r.deleted_at IS NOT NULL,
           json_build_array(r.invoice_id, r.kind, coalesce(r.channel, 1), r.days_offset, r.send_at::text, r.zone,
                            r.amount_cap::text, r.created_at::text,
                            ARRAY(SELECT json_build_array(x.id, x.email, coalesce(x.tags, '{}'))::text
                                    FROM shop.reminder_recipient x WHERE x.reminder_id = r.id ORDER BY x.id))::text
      FROM shop.invoice_reminder r JOIN shop.invoice i ON i.id = r.invoice_id";

const NEW_REMINDERS: &str = "
    SELECT r.owner_id, r.legacy_id, r.subject, r.body, r.enabled, false,
           json_build_array(r.invoice_id,
                            array_position('{before_due,on_due,after_due}', r.kind::text) - 1,
                            array_position('{email,sms,letter}', r.channel::text),
                            (r.schedule ->> 'days')::int4, (r.schedule ->> 'at')::timestamp::text,
                            r.schedule ->> 'zone', r.amount_cap::text,
                            (r.created_at AT TIME ZONE 'UTC')::text,
                            ARRAY(SELECT json_build_array(x.legacy_id, x.email, x.tags)::text
                                    FROM reminders.recipient x WHERE x.reminder_id = r.id ORDER BY x.legacy_id))::text
      FROM reminders.reminder r";

const LEGACY_SETTINGS: &str = "
    SELECT s.user_id, s.footer,
           json_build_array(s.id, s.numbering, coalesce(s.paper, 0), s.tax_mode, s.currency, s.default_rate::text,
                            s.late_fee::text, s.logo_scale::text, coalesce(s.show_logo, true), s.attach_pdf, s.due_days,
                            s.send_time::text, s.zone, s.signature, s.preferences::text)::text
      FROM shop.invoice_settings s";

const NEW_SETTINGS: &str = "
    SELECT s.owner_id, s.footer,
           json_build_array(s.legacy_id, array_position('{yearly,continuous,monthly}', s.numbering::text) - 1,
                            array_position('{a4,letter}', s.paper::text) - 1,
                            array_position('{net,gross,exempt}', s.tax_mode::text), s.currency, s.default_rate::text,
                            s.late_fee::text, s.logo_scale::text, s.show_logo, s.attach_pdf,
                            (s.delivery ->> 'days')::int4, ((s.delivery ->> 'at')::time)::text, s.delivery ->> 'zone',
                            s.signature, s.preferences::text)::text
      FROM settings.invoice_settings s";

const LEGACY_SENT: &str = "
    SELECT s.reminder_id, i.owner_id, (extract(epoch FROM s.sent_at AT TIME ZONE 'UTC') * 1000000)::int8
      FROM shop.reminder_sent s JOIN shop.invoice_reminder r ON r.id = s.reminder_id JOIN shop.invoice i ON i.id = r.invoice_id";

const NEW_SENT: &str = "
    SELECT s.reminder_legacy_id, s.owner_id, (extract(epoch FROM s.sent_at) * 1000000)::int8 FROM reminders.sent s";

/// A session of the ledger's own: not through handover's code.
pub async fn connect(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    // What breaks it is an error of the next query as well.
    tokio::spawn(async move { drop(connection.await) });
    client.batch_execute("SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET extra_float_digits = 1").await?;
    Ok(client)
}

/// Reads both sides, each in one snapshot. At rest the two are of one moment.
pub async fn read(legacy: &mut Client, new: &mut Client) -> Result<Rows, tokio_postgres::Error> {
    let accounts =
        legacy.query("SELECT id, username::text || ' ' || email::text FROM shop.auth_user", &[]).await?;
    Ok(Rows {
        legacy: side(legacy, [LEGACY_REMINDERS, LEGACY_SETTINGS, LEGACY_SENT]).await?,
        new: side(new, [NEW_REMINDERS, NEW_SETTINGS, NEW_SENT]).await?,
        accounts: accounts.iter().map(|row| (row.get(0), row.get(1))).collect(),
    })
}

async fn side(client: &mut Client, queries: [&str; 3]) -> Result<Held, tokio_postgres::Error> {
    let snapshot = client.build_transaction().isolation_level(tokio_postgres::IsolationLevel::RepeatableRead);
    let transaction = snapshot.read_only(true).start().await?;
    let held = Held {
        reminders: transaction.query(queries[0], &[]).await?.iter().map(reminder).collect(),
        settings: transaction.query(queries[1], &[]).await?.iter().map(setting).collect(),
        sent: transaction.query(queries[2], &[]).await?.iter().map(sent).collect(),
    };
    transaction.commit().await?;
    Ok(held)
}

fn reminder(row: &Row) -> Reminder {
    Reminder {
        user: row.get(0),
        id: row.get(1),
        subject: row.get(2),
        body: row.get(3),
        enabled: row.get(4),
        deleted: row.get(5),
        content: row.get(6),
    }
}

fn setting(row: &Row) -> Setting {
    Setting { user: row.get(0), footer: row.get(1), content: row.get(2) }
}

fn sent(row: &Row) -> Sent {
    Sent { id: row.get(0), user: row.get(1), at: row.get(2) }
}
