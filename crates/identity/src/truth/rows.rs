//! A row of the truth's statements, read.

use std::collections::BTreeMap;
use std::time::SystemTime;

use tokio_postgres::Row;
use tokio_postgres::types::Json;

use crate::error::Error;
use crate::record::{Open, Record};
use crate::state::OpenState;

/// A row of a changing statement.
pub(super) struct Touched {
    pub(super) record: Record,
    pub(super) changed: bool,
    pub(super) outbox: Option<i64>,
}

/// Reads the columns that `statements::columns!` names.
pub(super) fn record(row: &Row) -> Result<Record, Error> {
    let map = |column: usize| -> Result<BTreeMap<String, i64>, Error> {
        let Json(map) =
            row.try_get(column).map_err(|_| Error::Row("a map of versions holds something else"))?;
        Ok(map)
    };
    Ok(Record {
        user: get(row, 0)?,
        revision: get(row, 1)?,
        migrated: map(2)?,
        floors: map(3)?,
        open: open(get(row, 4)?, get(row, 5)?, get(row, 6)?, get(row, 7)?)?,
    })
}

/// Reads a row of a changing statement.
pub(super) fn touched(row: &Row) -> Result<Touched, Error> {
    Ok(Touched { record: record(row)?, changed: get(row, 8)?, outbox: get(row, 9)? })
}

fn get<'a, T: tokio_postgres::types::FromSql<'a>>(row: &'a Row, column: usize) -> Result<T, Error> {
    row.try_get(column).map_err(|_| Error::Row("a column is of another type"))
}

fn open(
    migration: Option<String>,
    state: Option<&str>,
    version: Option<i64>,
    since: Option<SystemTime>,
) -> Result<Option<Open>, Error> {
    let Some(migration) = migration else { return Ok(None) };
    let state = match state {
        Some("migrating") => OpenState::Migrating,
        Some("rolling_back") => OpenState::RollingBack,
        _ => return Err(Error::Row("an unknown state")),
    };
    match (version, since) {
        (Some(version), Some(since)) => Ok(Some(Open { migration, state, version, since })),
        _ => Err(Error::Row("an open attempt without version or time")),
    }
}
