//! Hashing what a server holds of a bundle's users, without writing anything.

use handover_canonical::copy::Tuple;
use handover_postgres::Pool;
use handover_transform::Scratch;
use tokio_postgres::{IsolationLevel, Transaction};

use crate::bound::Load;
use crate::bundle::{Bundle, Hashes};
use crate::position::{self, Position};
use crate::rows::{Rows, Side};
use crate::{Engine, Error};

/// Sets `:users` for the rest of the transaction, by a bound parameter, since COPY takes none.
pub(crate) async fn set_users(transaction: &Transaction<'_>, literal: &str) -> Result<(), Error> {
    transaction.execute("SELECT set_config('handover.users', $1, true)", &[&literal]).await?;
    Ok(())
}

/// Whose row it is. A row of anybody else than those asked for is the plan's error, and never loaded.
pub(crate) fn owner(bundle: &Bundle<'_>, entity: &str, tuple: &Tuple) -> Result<usize, Error> {
    tuple.field(0).and_then(|wire| bundle.user(wire)).ok_or_else(|| Error::Plan {
        migration: bundle.bound.plan.name().to_owned(),
        text: format!("entity {entity}: a query returned a row of a user who was not asked for"),
    })
}

/// Hashes the source's rows of a bundle, in one snapshot on the replica past that position.
pub(crate) async fn source(engine: &Engine, bundle: &Bundle<'_>, past: &Position) -> Result<Hashes, Error> {
    let mut session = engine.replica.get().await?;
    position::wait(&mut session, past, engine.options.replica_wait).await?;
    let transaction = snapshot(&mut session).await?;
    let hashes = hash_source(&transaction, bundle).await;
    session_end(transaction, hashes).await
}

async fn hash_source(transaction: &Transaction<'_>, bundle: &Bundle<'_>) -> Result<Hashes, Error> {
    set_users(transaction, &bundle.literal).await?;
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
pub(crate) async fn snapshot(
    session: &mut handover_postgres::PooledConnection,
) -> Result<Transaction<'_>, Error> {
    let builder = session.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
    Ok(builder.start().await?)
}

async fn session_end<T>(transaction: Transaction<'_>, result: Result<T, Error>) -> Result<T, Error> {
    // Nothing was written: the rollback only ends the snapshot, and its loss would lose nothing.
    if result.is_ok() {
        transaction.rollback().await?;
    }
    result
}

/// Hashes the destination's rows of a bundle in a transaction of its own.
pub(crate) async fn destination(pool: &Pool, bundle: &Bundle<'_>) -> Result<Hashes, Error> {
    let mut session = pool.get().await?;
    let transaction = snapshot(&mut session).await?;
    let hashes = read_back(&transaction, bundle).await;
    session_end(transaction, hashes).await
}

/// Hashes the destination's rows of a bundle as the given transaction sees them, and compares each derived
/// column with what the row read back makes of it. A user with a derived column that differs is given as changed.
pub(crate) async fn read_back(transaction: &Transaction<'_>, bundle: &Bundle<'_>) -> Result<Hashes, Error> {
    set_users(transaction, &bundle.literal).await?;
    let (mut hashes, mut spoilt) = (Hashes::new(bundle), Vec::new());
    for (nth, (entity, load)) in bundle.bound.entities().enumerate() {
        let columns = entity.layout.columns().len();
        let fields = 1 + columns + entity.derived.len();
        let mut rows = Rows::of(transaction, &entity.read_back, fields, &entity.name, Side::Readback).await?;
        let mut hashing = hashes.entity(bundle, nth);
        let mut scratch = Scratch::default();
        while let Some(tuple) = rows.next().await? {
            let user = owner(bundle, &entity.name, &tuple)?;
            hashing.add(user, tuple.run(1..1 + columns))?;
            if let Some(column) = underived(entity, load, &tuple, columns, &mut scratch)? {
                spoilt.push((user, format!("{}.{column}", entity.name)));
            }
        }
    }
    hashes.spoil(spoilt);
    Ok(hashes)
}

/// The first derived column that is not what the row read back makes of it.
fn underived<'e>(
    entity: &'e handover_plan::Entity,
    load: &Load,
    tuple: &Tuple,
    columns: usize,
    scratch: &mut Scratch,
) -> Result<Option<&'e str>, Error> {
    let Load::Table { transform, derived, .. } = load else { return Ok(None) };
    let row = tuple.run(1..1 + columns);
    for (nth, (column, sent)) in entity.derived.iter().zip(derived).enumerate() {
        let user = tuple.field(0).unwrap_or_default();
        let equal = transform
            .derived_equals(*sent, user, row, tuple.field(1 + columns + nth), scratch)
            .map_err(|error| Error::Row { entity: entity.name.clone(), error })?;
        if !equal {
            return Ok(Some(&column.name));
        }
    }
    Ok(None)
}
