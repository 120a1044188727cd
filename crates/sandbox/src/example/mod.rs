//! The worked example: a legacy invoicing product, the new system, and seeded data for the old one. The plans
//! that move it are in `config/plans/invoice-reminders` and `config/plans/invoice-settings`.
//!
//! Data depends on the seed and the options alone: the same ones give the same rows with the same ids.

mod plans;

use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use crate::Error;
use crate::ready::connect;

pub use plans::plans;

/// Schema `shop` of the legacy system.
pub const LEGACY_SCHEMA: &str = include_str!("legacy.sql");
/// Schemas `reminders` and `settings` of the new system.
pub const DESTINATION_SCHEMA: &str = include_str!("destination.sql");

/// From this many users on, one of them has very much.
const USERS_FOR_A_GIANT: u64 = 500;
/// Beyond that, one of so many.
const USERS_PER_GIANT: u64 = 5_000;
/// Invoices of a giant at most, some three reminders each.
const GIANT_INVOICES: u64 = 6_500;
/// Largest number of users: ids of hashed pairs (user, invoice) must not overflow.
const MOST_USERS: u64 = 1 << 40;

/// How the data is shaped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Exactly that many reminders for every user, none of them soft-deleted: for benches. `None` is skewed:
    /// most users have about twenty, a few have none, a few have tens of thousands (fewer where there are
    /// not many users: a giant has twice as many reminders as there are users).
    pub rows_per_user: Option<u32>,
}

/// Rows that there are after [`generate`], as legacy counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Users, with ids from 1 on.
    pub users: u64,
    /// Invoices.
    pub invoices: u64,
    /// Reminders, the soft-deleted ones included.
    pub reminders: u64,
    /// Soft-deleted reminders, which the plan drops with their recipients.
    pub deleted_reminders: u64,
    /// Recipients of reminders, those of soft-deleted ones included.
    pub recipients: u64,
    /// Rows of invoice settings.
    pub settings: u64,
}

/// Creates the example's schemas on both sides, which may be one and the same database.
pub async fn install(legacy_url: &str, destination_url: &str) -> Result<(), Error> {
    for (url, schema) in [(legacy_url, LEGACY_SCHEMA), (destination_url, DESTINATION_SCHEMA)] {
        // One simple query: all of it or nothing.
        connect(url).await?.batch_execute(schema).await?;
    }
    Ok(())
}

/// Fills the empty legacy schema with `users` users, whose ids are 1 to `users`, and analyses it.
pub async fn generate(legacy_url: &str, users: u64, seed: u64, shape: Shape) -> Result<Counts, Error> {
    let users = users.min(MOST_USERS) as i64;
    let mut client = connect(legacy_url).await?;
    // All references are right by construction; checking each row's costs half of the time. It takes a
    // superuser: anybody else goes the slow way.
    let _ = client.batch_execute("SET session_replication_role = replica").await;
    let transaction = client.transaction().await?;
    fill(transaction.client(), users, seed as i64, shape.rows_per_user.map(i64::from)).await?;
    let counts = count(transaction.client()).await?;
    transaction.commit().await?;
    client.batch_execute("ANALYZE").await?;
    Ok(counts)
}

/// The tables in the order of their references; see the SQL files for what stands in them.
async fn fill(client: &Client, users: i64, seed: i64, each: Option<i64>) -> Result<(), Error> {
    // Seeds that are neighbours must not share the numbers that the statements add to them.
    let seed = seed.wrapping_mul(16);
    let (giants, invoices) = giants(users as u64);
    let run = async |sql: &str, values: &[&(dyn ToSql + Sync)]| client.execute(sql, values).await;
    run(include_str!("generate/users.sql"), &[&users, &seed]).await?;
    run(include_str!("generate/invoices.sql"), &[&users, &seed, &each, &giants, &invoices]).await?;
    run(include_str!("generate/reminders.sql"), &[&seed, &each]).await?;
    run(include_str!("generate/recipients.sql"), &[&seed]).await?;
    run(include_str!("generate/settings.sql"), &[&users, &seed]).await?;
    client.batch_execute(MOVE_SEQUENCES).await?;
    Ok(())
}

/// Ids were given, so the sequences stand where they did: new rows must not collide.
const MOVE_SEQUENCES: &str = "
    SELECT setval('shop.auth_user_id_seq', max(id)) FROM shop.auth_user;
    SELECT setval('shop.invoice_id_seq', max(id)) FROM shop.invoice;
    SELECT setval('shop.invoice_reminder_id_seq', max(id)) FROM shop.invoice_reminder;
    SELECT setval('shop.reminder_recipient_id_seq', max(id)) FROM shop.reminder_recipient;
    SELECT setval('shop.invoice_settings_id_seq', max(id)) FROM shop.invoice_settings;
";

/// How many users are giants, and how many invoices such a one has on average.
fn giants(users: u64) -> (i64, i64) {
    if users < USERS_FOR_A_GIANT {
        return (0, 0);
    }
    let giants = (users / USERS_PER_GIANT).max(1);
    (giants as i64, GIANT_INVOICES.min(users * 2 / 3) as i64)
}

async fn count(client: &Client) -> Result<Counts, Error> {
    let sql = "SELECT (SELECT count(*) FROM shop.auth_user),
                      (SELECT count(*) FROM shop.invoice),
                      (SELECT count(*) FROM shop.invoice_reminder),
                      (SELECT count(*) FROM shop.invoice_reminder WHERE deleted_at IS NOT NULL),
                      (SELECT count(*) FROM shop.reminder_recipient),
                      (SELECT count(*) FROM shop.invoice_settings)";
    let row = client.query_one(sql, &[]).await?;
    let number = |index: usize| row.get::<_, i64>(index).unsigned_abs();
    Ok(Counts {
        users: number(0),
        invoices: number(1),
        reminders: number(2),
        deleted_reminders: number(3),
        recipients: number(4),
        settings: number(5),
    })
}

/// All users' keys in the spelling that handover uses, in ascending order.
pub async fn user_keys(legacy_url: &str) -> Result<Vec<String>, Error> {
    let client = connect(legacy_url).await?;
    let rows = client.query("SELECT id::text FROM shop.auth_user ORDER BY id", &[]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
