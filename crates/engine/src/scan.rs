//! Hashing what a server holds of a bundle's users, without writing anything.
//!
//! A session whose stream was left before its end is busy, and so is not given back to its pool.

use std::borrow::Cow;
use std::collections::HashMap;

use handover_canonical::copy::Tuple;
use handover_fence::CARRY;
use handover_postgres::{Pool, PooledConnection};
use handover_transform::Scratch;
use tokio_postgres::types::Type;
use tokio_postgres::{IsolationLevel, Transaction};

use crate::bound::Load;
use crate::bundle::{Bundle, Hashes};
use crate::position::{self, Position};
use crate::rows::{Rows, Side};
use crate::{Engine, Error};

/// What a transaction does, which tells how long its client may be silent in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// It holds nothing that others wait for, and may have to wait for the other side.
    Reads,
    /// It ends up holding the lock on an attempt: a client that stopped must not keep it for long.
    Writes,
    /// It carries changes back to legacy, and holds the lock on the user's marker there.
    Carries,
}

/// Sets `:users` for the rest of the transaction, by a bound parameter, since COPY takes none; and how long a
/// statement may take. A COPY is one statement however many rows a user has, and its bound is that of the pause.
///
/// A few users' rows are asked for, by an index (`plan check` sees to that). While a table fills faster than it is
/// analysed the planner takes them for a large part of it, and would read all of it for each bundle.
pub(crate) async fn set_users(
    transaction: &Transaction<'_>,
    bundle: &Bundle<'_>,
    access: Access,
) -> Result<(), Error> {
    const SET: &str =
        "SELECT set_config('handover.users', $1, true), set_config('statement_timeout', $2, true),
        set_config('idle_in_transaction_session_timeout',
                   coalesce($3, current_setting('idle_in_transaction_session_timeout')), true),
        set_config('enable_seqscan', 'off', true), set_config('max_parallel_workers_per_gather', '0', true),
        set_config($4, $5, true)";
    let patience = bundle.patience.as_millis().clamp(1, i32::MAX as u128).to_string();
    let silence = (access == Access::Reads).then_some(&patience);
    // The fences let the attempt's own writes through.
    let name = bundle.bound.plan.name();
    let carried = match access {
        Access::Reads => Cow::Borrowed(""),
        Access::Writes => handover_fence::Side::Destination.fence(name),
        Access::Carries => handover_fence::Side::Legacy.fence(name),
    };
    let params: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 5] = [
        (&bundle.literal, Type::TEXT),
        (&patience, Type::TEXT),
        (&silence, Type::TEXT),
        (&CARRY, Type::TEXT),
        (&carried, Type::TEXT),
    ];
    transaction.query_typed(SET, &params).await?;
    Ok(())
}

/// Whether a query returns any row. It counts them all, and does not ask `EXISTS`: that makes the planner bet on
/// meeting one early, and where there is none, as there should be, it has read the whole table.
pub(crate) async fn holds_any(transaction: &Transaction<'_>, sql: &str) -> Result<bool, Error> {
    let rows: i64 =
        transaction.query_one(&format!("SELECT count(*) FROM ({sql}) AS held"), &[]).await?.get(0);
    Ok(rows > 0)
}

/// Whose row it is. A row of anybody else than those asked for is the plan's error, and never loaded.
pub(crate) fn owner(bundle: &Bundle<'_>, entity: &str, tuple: &Tuple) -> Result<usize, Error> {
    tuple.field(0).and_then(|wire| bundle.user(wire)).ok_or_else(|| Error::Plan {
        migration: bundle.bound.plan.name().to_owned(),
        text: format!("entity {entity}: a query returned a row of a user who was not asked for"),
    })
}

/// Hashes the source's rows of a bundle, in one snapshot on the replica past that position, which shows the bundle's
/// fences where these are switched on.
pub(crate) async fn source(engine: &Engine, bundle: &Bundle<'_>, past: &Position) -> Result<Hashes, Error> {
    let mut session = engine.replica.get().await?;
    position::wait(&mut session, past, engine.options.replica_wait).await?;
    let hashes = async {
        let migration = bundle.bound.plan.name();
        if engine.fence.is_some() {
            engine.wait_for_fence(&session, migration, bundle.attempts).await?;
        }
        let transaction = snapshot(&mut session).await?;
        if !engine.is_fenced_in(&transaction, migration, bundle.attempts).await? {
            return Err(Error::FenceUnseen { waited_ms: 0 });
        }
        let hashes = extract(&transaction, bundle, Access::Reads).await?;
        ended(transaction, hashes).await
    }
    .await;
    if hashes.is_err() {
        session.discard();
    }
    hashes
}

/// Hashes the source's rows of a bundle as the given transaction sees them.
pub(crate) async fn extract(
    transaction: &Transaction<'_>,
    bundle: &Bundle<'_>,
    access: Access,
) -> Result<Hashes, Error> {
    set_users(transaction, bundle, access).await?;
    let mut hashes = Hashes::new(bundle);
    for (nth, entity) in bundle.bound.plan.entities().iter().enumerate() {
        let fields = 1 + entity.layout.columns().len();
        let mut rows = Rows::of(transaction, &entity.extract, fields, &entity.name, Side::Source).await?;
        let mut hashing = hashes.entity(bundle, nth);
        while let Some(tuple) = rows.next().await? {
            hashing.add(owner(bundle, &entity.name, &tuple)?, tuple.after(1))?;
        }
    }
    Ok(hashes)
}

/// A read-only snapshot.
pub(crate) async fn snapshot(session: &mut PooledConnection) -> Result<Transaction<'_>, Error> {
    let builder = session.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
    Ok(builder.start().await?)
}

/// Ends a transaction that wrote nothing: the rollback only gives the snapshot up.
async fn ended<T>(transaction: Transaction<'_>, result: T) -> Result<T, Error> {
    transaction.rollback().await?;
    Ok(result)
}

/// Hashes the destination's rows of a bundle in a transaction of its own.
pub(crate) async fn destination(pool: &Pool, bundle: &Bundle<'_>) -> Result<Hashes, Error> {
    let mut session = pool.get().await?;
    let hashes = async {
        let transaction = snapshot(&mut session).await?;
        set_users(&transaction, bundle, Access::Reads).await?;
        let hashes = read_back(&transaction, bundle).await?;
        ended(transaction, hashes).await
    }
    .await;
    if hashes.is_err() {
        session.discard();
    }
    hashes
}

/// Hashes the destination's rows of a bundle as the given transaction, whose users are set, sees them; and
/// compares each derived column with what the row read back makes of it, unless the plan was only read.
pub(crate) async fn read_back(transaction: &Transaction<'_>, bundle: &Bundle<'_>) -> Result<Hashes, Error> {
    let (mut hashes, mut spoilt) = (Hashes::new(bundle), HashMap::new());
    for (nth, entity) in bundle.bound.plan.entities().iter().enumerate() {
        let load = bundle.bound.loads.get(nth);
        let columns = entity.layout.columns().len();
        let fields = 1 + columns + entity.derived.len();
        let mut rows = Rows::of(transaction, &entity.read_back, fields, &entity.name, Side::Readback).await?;
        let mut hashing = hashes.entity(bundle, nth);
        let mut scratch = Scratch::default();
        while let Some(tuple) = rows.next().await? {
            let user = owner(bundle, &entity.name, &tuple)?;
            hashing.add(user, tuple.run(1..1 + columns))?;
            let derived = load.and_then(|load| underived(entity, load, &tuple, columns, &mut scratch));
            if let Some(column) = derived {
                spoilt.entry(user).or_insert((&entity.name, column));
            }
        }
    }
    for (user, (entity, column)) in spoilt {
        hashes.spoil(user, entity, column);
    }
    Ok(hashes)
}

/// The first derived column that is not what the row read back makes of it; also one that cannot be made of it.
fn underived<'e>(
    entity: &'e handover_plan::Entity,
    load: &Load,
    tuple: &Tuple,
    columns: usize,
    scratch: &mut Scratch,
) -> Option<&'e str> {
    let Load::Table { transform, derived, .. } = load else { return None };
    let row = tuple.run(1..1 + columns);
    let user = tuple.field(0).unwrap_or_default();
    let pairs = entity.derived.iter().zip(derived).enumerate();
    let mut spoilt = pairs.filter(|(nth, (_, sent))| {
        let read = tuple.field(1 + columns + nth);
        !transform.derived_equals(**sent, user, row, read, scratch).unwrap_or(false)
    });
    spoilt.next().map(|(_, (column, _))| column.name.as_str())
}
