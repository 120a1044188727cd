//! What does not move: accounts and invoices stay in the old system, for users of both. No gate is asked where they
//! are; a sign-up's are written under the new user's pass all the same.

use handover_postgres::Pool;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::failure::Failure;
use crate::transaction::Transaction;

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The user.
    pub user: i64,
    /// The name.
    pub name: String,
}

/// Accounts from `from` on, by their number, at most `most`.
pub async fn accounts(pool: &Pool, from: i64, most: i64) -> Result<Vec<Account>, Failure> {
    let sql = "SELECT id, username::text FROM shop.auth_user WHERE id >= $1 ORDER BY id LIMIT $2";
    let rows = query(pool, sql, &[&from, &most]).await?;
    Ok(rows.iter().map(|row| Account { user: row.get(0), name: row.get(1) }).collect())
}

/// The last accounts that signed up, at most `most`.
pub async fn newest_accounts(pool: &Pool, most: i64) -> Result<Vec<Account>, Failure> {
    let sql = "SELECT id, username::text FROM shop.auth_user ORDER BY id DESC LIMIT $1";
    let rows = query(pool, sql, &[&most]).await?;
    Ok(rows.iter().map(|row| Account { user: row.get(0), name: row.get(1) }).collect())
}

/// That account.
pub async fn account(pool: &Pool, user: i64) -> Result<Account, Failure> {
    let found = accounts(pool, user, 1).await?.into_iter().find(|account| account.user == user);
    found.ok_or(Failure::NotFound("user"))
}

/// The invoice of that number, if it is this user's; their first one where no number is given.
pub async fn invoice(pool: &Pool, user: i64, invoice: Option<i64>) -> Result<i64, Failure> {
    let sql = "SELECT id FROM shop.invoice WHERE owner_id = $1 AND ($2::int8 IS NULL OR id = $2) ORDER BY id LIMIT 1";
    let rows = query(pool, sql, &[&user, &invoice]).await?;
    rows.first().map(|row| row.get(0)).ok_or(Failure::NotFound("invoice"))
}

/// A number for a user who signs up. It is never given again, whatever becomes of the sign-up.
pub async fn next_user(pool: &Pool) -> Result<i64, Failure> {
    let rows = query(pool, "SELECT nextval('shop.auth_user_id_seq')", &[]).await?;
    rows.first().map(|row| row.get(0)).ok_or(Failure::NotFound("number"))
}

/// Makes the account of a user who signs up, and a first invoice.
pub async fn add_account(at: &mut Transaction, user: i64, name: &str) -> Result<(), Failure> {
    let account = "
        INSERT INTO shop.auth_user (id, password, is_superuser, username, email, is_active, date_joined)
        VALUES ($1::int8, '!', false, $2::text, 'user' || $1::int8 || '@example.org', true, now() AT TIME ZONE 'UTC')";
    at.query(account, &[&user, &name]).await?;
    let invoice = "
        INSERT INTO shop.invoice (owner_id, number, customer_name, status, total, issued_on, created_at)
        VALUES ($1::int8, 'INV-' || $1::int8 || '-1', 'Example', 1, 100, current_date, now() AT TIME ZONE 'UTC')";
    at.query(invoice, &[&user]).await?;
    Ok(())
}

async fn query(pool: &Pool, sql: &'static str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Failure> {
    let mut session = pool.get().await?;
    let statement = session.prepared(sql).await?;
    let rows = session.query(&statement, values).await;
    Ok(rows.map_err(|error| session.explain(error))?)
}
