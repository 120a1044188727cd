//! Carrying changes back to legacy: the plan's reverse load, in one legacy transaction that is proven by digest before
//! it commits, and a compare-and-set on a marker row that the attempt has claimed before it hashed anything.
//!
//! The load commits once. Whoever comes after it, a second try of the same attempt or a newer one, finds what it left in
//! the marker, and need not take legacy for changed by somebody else.

use std::collections::HashMap;

use handover_canonical::Digest;
use handover_fault::point;
use handover_plan::Entity;
use handover_postgres::{Connection, Error as PostgresError, Step};
use handover_tracking::{Claim, OpenAttempt};
use tokio_postgres::{IsolationLevel, Transaction};

use crate::bound::Bound;
use crate::bundle::{Bundle, Hashes};
use crate::rows::{Rows, Side};
use crate::scan::{Access, extract, owner, set_users, snapshot};
use crate::stages::Writer;
use crate::{Engine, Error};

/// The schema that holds the markers, on the legacy primary.
const SCHEMA: &str = "handover_carry";
const IS_THERE: &str = "SELECT to_regclass('handover_carry.marker') IS NOT NULL";
const STEPS: &[Step] = &[("0001_marker", include_str!("carry/0001_marker.sql"))];

/// Makes the markers' table on the legacy primary, where it is missing. For the operator who orders the first
/// rollback that carries back; the role must be allowed to create a schema.
pub async fn install(primary: &mut Connection) -> Result<Vec<String>, PostgresError> {
    // Asked first: whoever may use the table need not be allowed to create a schema.
    if primary.query_one(IS_THERE, &[]).await?.get(0) {
        return Ok(Vec::new());
    }
    handover_postgres::migrate(primary, SCHEMA, STEPS).await
}

/// What the workers' role needs on the legacy primary, beyond the right to write the plan's tables. `role` is quoted.
pub fn grants(role: &str) -> Vec<String> {
    vec![
        format!("GRANT USAGE ON SCHEMA {SCHEMA} TO {role}"),
        format!("GRANT SELECT, INSERT, UPDATE ON {SCHEMA}.marker TO {role}"),
    ]
}

/// What the last reverse load of a user left in legacy.
pub(crate) type Left = Option<Vec<u8>>;

/// Claims the markers of these attempts; gives what older loads left, for those that hold theirs now. The others are
/// stale: a newer attempt holds theirs. Where nothing was ever carried back there is nothing to claim.
///
/// It comes before the position and the hashes: a load that an older attempt still has open is shut out, or waited
/// for, from here on.
pub(crate) async fn claim(
    engine: &Engine,
    migration: &str,
    attempts: &[OpenAttempt],
) -> Result<HashMap<Claim, Left>, Error> {
    let session = engine.primary.get().await?;
    if !session.query_one(IS_THERE, &[]).await?.get::<_, bool>(0) {
        if attempts.iter().any(|attempt| attempt.carry_back) {
            let text =
                "legacy holds no table handover_carry.marker: `handover rollback --carry-back` makes it";
            return Err(Error::Plan { migration: migration.to_owned(), text: text.to_owned() });
        }
        return Ok(attempts.iter().map(|attempt| (attempt.claim(), None)).collect());
    }
    let users: Vec<&str> = attempts.iter().map(|attempt| attempt.user.as_str()).collect();
    let versions: Vec<i64> = attempts.iter().map(|attempt| attempt.version).collect();
    // In one order everywhere.
    let sql = "INSERT INTO handover_carry.marker AS m (migration, user_key, version)
               SELECT $1, u.user_key, u.version FROM unnest($2::text[], $3::int8[]) AS u (user_key, version)
                ORDER BY u.user_key COLLATE \"C\"
               ON CONFLICT (migration, user_key) DO UPDATE SET version = excluded.version
                WHERE m.version <= excluded.version
               RETURNING user_key, version, digest";
    let rows = session.query(sql, &[&migration, &users, &versions]).await?;
    Ok(rows.iter().map(|row| (Claim { user: row.get(0), version: row.get(1) }, row.get(2))).collect())
}

/// Spends the markers of attempts that remove without having to carry anything, each with what legacy holds: a second
/// worker of the same attempt, which stood still before it hashed, could else load once the user has gone on.
pub(crate) async fn spend(engine: &Engine, migration: &str, held: &[(Claim, Digest)]) -> Result<(), Error> {
    let session = engine.primary.get().await?;
    if held.is_empty() || !session.query_one(IS_THERE, &[]).await?.get::<_, bool>(0) {
        return Ok(());
    }
    let users: Vec<&str> = held.iter().map(|(claim, _)| claim.user.as_str()).collect();
    let versions: Vec<i64> = held.iter().map(|(claim, _)| claim.version).collect();
    let digests: Vec<&[u8]> = held.iter().map(|(_, digest)| digest.as_bytes().as_slice()).collect();
    // A load of this very attempt that left something else means that legacy is not what was hashed.
    let sql = "WITH mine AS (
                 SELECT m.user_key, u.digest FROM handover_carry.marker m
                   JOIN unnest($2::text[], $3::int8[], $4::bytea[]) AS u (user_key, version, digest)
                     ON m.user_key = u.user_key AND m.version = u.version
                  WHERE m.migration = $1 AND (m.loaded_by IS DISTINCT FROM m.version OR m.digest = u.digest)
                  ORDER BY m.user_key FOR UPDATE OF m)
               UPDATE handover_carry.marker m SET digest = mine.digest, loaded_by = m.version
                 FROM mine WHERE m.migration = $1 AND m.user_key = mine.user_key";
    let spent = session.execute(sql, &[&migration, &users, &versions, &digests]).await?;
    if spent == held.len() as u64 { Ok(()) } else { Err(Error::Outrun) }
}

/// What became of a reverse load.
pub(crate) enum Carried {
    /// Legacy holds what the destination held, of that digest.
    Loaded(Vec<u8>),
    /// Legacy is not what was hashed on the replica: somebody writes there.
    LegacyChanged,
}

/// Carries one user's rows back to legacy, where these are still of the digest `source`.
pub(crate) async fn carry(
    engine: &Engine,
    bound: &Bound,
    attempt: &OpenAttempt,
    source: &Digest,
) -> Result<Carried, Error> {
    if let Some(entity) = bound.plan.entities().iter().find(|entity| entity.reverse.is_none()) {
        return Err(Error::OneWay { entity: entity.name.clone() });
    }
    point("rollback.carrying").await?;
    let bundle = engine.bundle(bound, std::slice::from_ref(attempt))?;
    let (mut primary, mut destination) = (engine.primary.get().await?, engine.destination.get().await?);
    let done = async {
        // Repeatable read: a row that somebody writes meanwhile makes the load fail.
        let builder = primary.build_transaction().isolation_level(IsolationLevel::RepeatableRead);
        let legacy = builder.start().await?;
        let new = snapshot(&mut destination).await?;
        let carried = load(&legacy, &new, &bundle, source).await?;
        if matches!(carried, Carried::Loaded(_)) {
            point("rollback.carries").await?;
            legacy.commit().await?;
        }
        Ok(carried)
    }
    .await;
    if done.is_err() {
        primary.discard();
        destination.discard();
    }
    point("rollback.carried").await?;
    done
}

async fn load(
    legacy: &Transaction<'_>,
    new: &Transaction<'_>,
    bundle: &Bundle<'_>,
    source: &Digest,
) -> Result<Carried, Error> {
    if let Some(digest) = marker(legacy, bundle).await? {
        return Ok(Carried::Loaded(digest));
    }
    if extract(legacy, bundle, Access::Carries).await?.digest(bundle.bound, 0) != *source {
        return Ok(Carried::LegacyChanged);
    }
    set_users(new, bundle, Access::Reads).await?;
    let mut hashes = Hashes::new(bundle);
    for (nth, entity) in bundle.bound.plan.entities().iter().enumerate() {
        stage(legacy, new, bundle, nth, entity, &mut hashes).await?;
        point("rollback.staging").await?;
    }
    for sql in bundle.bound.plan.entities().iter().filter_map(|entity| entity.reverse.as_ref()) {
        legacy.batch_execute(sql).await?;
    }
    point("rollback.loaded").await?;
    let digest = hashes.digest(bundle.bound, 0);
    if extract(legacy, bundle, Access::Carries).await?.digest(bundle.bound, 0) != digest {
        return Err(Error::NotCarried);
    }
    let digest = digest.as_bytes().to_vec();
    note(legacy, bundle, &digest).await?;
    metrics::counter!("handover_carried_back_total").increment(1);
    Ok(Carried::Loaded(digest))
}

/// Locks the user's marker, which must still be this attempt's; gives the digest of what it has loaded already.
async fn marker(legacy: &Transaction<'_>, bundle: &Bundle<'_>) -> Result<Option<Vec<u8>>, Error> {
    // A crash must not forget a load on whose commit rows are removed at the destination.
    let durable = "SELECT set_config('synchronous_commit', 'local', true)
                    WHERE current_setting('synchronous_commit') = 'off'";
    legacy.execute(durable, &[]).await?;
    let sql = "SELECT CASE WHEN loaded_by = version THEN digest END FROM handover_carry.marker
                WHERE migration = $1 AND user_key = $2 AND version = $3 FOR UPDATE";
    let (migration, attempt) = (bundle.bound.plan.name(), &bundle.attempts[0]);
    let row = legacy.query_opt(sql, &[&migration, &attempt.user, &attempt.version]).await?;
    Ok(row.ok_or(Error::Outrun)?.get(0))
}

/// The compare-and-set: the last statement before the commit.
async fn note(legacy: &Transaction<'_>, bundle: &Bundle<'_>, digest: &[u8]) -> Result<(), Error> {
    let sql = "UPDATE handover_carry.marker
                  SET digest = $4, loaded_by = version, loaded_at = clock_timestamp()
                WHERE migration = $1 AND user_key = $2 AND version = $3";
    let (migration, attempt) = (bundle.bound.plan.name(), &bundle.attempts[0]);
    let noted = legacy.execute(sql, &[&migration, &attempt.user, &attempt.version, &digest]).await?;
    if noted == 1 { Ok(()) } else { Err(Error::Outrun) }
}

/// Fills an entity's temporary table in legacy with the canonical rows that the destination holds.
async fn stage(
    legacy: &Transaction<'_>,
    new: &Transaction<'_>,
    bundle: &Bundle<'_>,
    nth: usize,
    entity: &Entity,
    hashes: &mut Hashes,
) -> Result<(), Error> {
    legacy.batch_execute(&entity.staging_table(bundle.bound.plan.user_key())).await?;
    let columns = entity.layout.columns().len();
    let fields = i16::try_from(1 + columns).map_err(|_| Error::Plan {
        migration: bundle.bound.plan.name().to_owned(),
        text: format!("entity {} has too many columns", entity.name),
    })?;
    let into =
        format!("COPY pg_temp.{} FROM STDIN (FORMAT binary)", handover_postgres::quote_ident(&entity.name));
    let mut writer = Writer::new(legacy, &into, "legacy").await?;
    let read = 1 + columns + entity.derived.len();
    let mut rows = Rows::of(new, &entity.read_back, read, &entity.name, Side::Readback).await?;
    let mut hashing = hashes.entity(bundle, nth);
    while let Some(tuple) = rows.next().await? {
        hashing.add(owner(bundle, &entity.name, &tuple)?, tuple.run(1..1 + columns))?;
        if !writer.pass(fields, tuple.run(0..1 + columns)).await? {
            break;
        }
    }
    writer.finish().await
}
