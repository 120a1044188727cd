//! Digests computed again by Postgres itself, and held against those that handover recorded.
//!
//! Of each user who lives on the new system and was moved there: legacy's rows must still give the digest of the move,
//! since nothing may have come to them afterwards. The new system's must give it too, where nobody has written since.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use handover_canonical::KeyBlock;
use handover_canonical::audit_sql::{Audit, Entity, script};
use handover_plan::Plan;
use handover_sandbox::example;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::check::{Fault, REMINDERS, Wrong, perhaps};
use crate::record::Record;
use crate::rows::{self, Rows};

use super::world::World;

/// Users whose digests one query computes.
const AT_ONCE: usize = 50;

/// Digests that were held against one another.
#[derive(Debug, Default)]
pub(super) struct Digests {
    pub(super) compared: usize,
    pub(super) mismatches: Vec<Fault>,
}

/// The last move of a user.
struct Move {
    user: String,
    block: KeyBlock,
    digest: String,
    /// Nothing of the user has changed on the new system since.
    untouched: bool,
}

/// Computes and compares.
pub(super) async fn compare(world: &World, history: &[Record]) -> Result<Digests> {
    let rows = world.rows().await?;
    let legacy = rows::connect(&world.sandbox.legacy_url()).await?;
    let new = rows::connect(&world.sandbox.destination_url()).await?;
    let mut digests = Digests::default();
    for files in example::plans() {
        let plan = Plan::from_files(files)?;
        let written = written(history, &rows, plan.name());
        let moves = moves(world, plan.name(), &written).await?;
        for some in moves.chunks(AT_ONCE) {
            let users: Vec<&Move> = some.iter().collect();
            digests.hold("legacy", &plan, &users, &computed(&legacy, &plan, &users, true).await?);
            let untouched: Vec<&Move> = some.iter().filter(|one| one.untouched).collect();
            let again = computed(&new, &plan, &untouched, false).await?;
            digests.hold("the new system", &plan, &untouched, &again);
        }
    }
    Ok(digests)
}

impl Digests {
    fn hold(&mut self, side: &str, plan: &Plan, moves: &[&Move], again: &BTreeMap<String, String>) {
        for one in moves {
            self.compared += 1;
            if again.get(&one.user) != Some(&one.digest) {
                let what = format!("{side} does not give the digest of the move in {}", plan.name());
                let user = one.user.parse().unwrap_or_default();
                self.mismatches.push(Fault { wrong: Wrong::Altered, user, number: 0, what });
            }
        }
    }
}

/// The last completed move of every user whose home is the new system, by the destination's tables.
async fn moves(world: &World, migration: &str, written: &BTreeMap<String, i64>) -> Result<Vec<Move>> {
    let sql = "SELECT DISTINCT ON (a.user_key) a.user_key, a.key_block, encode(a.digest, 'hex'), a.kind = 'move' AND m.state = 'completed',
                      (extract(epoch FROM a.paused_at) * 1000000)::int8
                 FROM handover.attempt a JOIN handover.migration g ON g.id = a.migration_id
                 JOIN handover.member m ON m.migration_id = a.migration_id AND m.user_key = a.user_key
                WHERE g.name = $1 AND a.outcome IN ('completed', 'rolled_back') ORDER BY a.user_key, a.attempt DESC";
    let rows = world.tracking.pool().get().await?.query(sql, &[&migration]).await?;
    let mut moves = Vec::new();
    for row in rows.iter().filter(|row| row.get::<_, bool>(3)) {
        let user: String = row.get(0);
        let block: [u8; 64] = row.get::<_, Vec<u8>>(1).try_into().ok().context("a key block's length")?;
        let since: i64 = row.get(4);
        let untouched = written.get(&user).is_none_or(|last| *last < since);
        moves.push(Move { user, block: KeyBlock::from_bytes(block), digest: row.get(2), untouched });
    }
    Ok(moves)
}

/// When a write or a mail last may have changed each user's rows of a migration.
fn written(history: &[Record], rows: &Rows, migration: &str) -> BTreeMap<String, i64> {
    let mut last: BTreeMap<String, i64> = BTreeMap::new();
    let ours = |record: &&Record| record.kind.writes() && record.kind.migration() == Some(migration);
    let writes = history.iter().filter(ours).filter(|record| perhaps(record));
    let writes = writes.map(|record| (record.user, record.over()));
    let sent = rows.new.sent.iter().filter(|_| migration == REMINDERS);
    for (user, at) in writes.chain(sent.filter_map(|mail| Some((mail.user?, mail.at)))) {
        let last = last.entry(user.to_string()).or_insert(at);
        *last = at.max(*last);
    }
    last
}

/// Digests by user, as one side's server computes them.
async fn computed(
    client: &Client,
    plan: &Plan,
    moves: &[&Move],
    source: bool,
) -> Result<BTreeMap<String, String>> {
    if moves.is_empty() {
        return Ok(BTreeMap::new());
    }
    let entities: Vec<Entity<'_>> = plan
        .entities()
        .iter()
        .map(|entity| Entity {
            layout: &entity.layout,
            sql: if source { &entity.extract } else { &entity.read_back },
        })
        .collect();
    let users: Vec<(&str, &KeyBlock)> = moves.iter().map(|one| (one.user.as_str(), &one.block)).collect();
    let hash = plan.hash();
    let user_type = plan.user_key().wire_type();
    let audit = Audit { plan_hash: &hash, user_type, entities: &entities, users: &users };
    let mut again = BTreeMap::new();
    for message in client.simple_query(&script(&audit)).await? {
        if let SimpleQueryMessage::Row(row) = message
            && let (Ok(Some(user)), Ok(Some(digest))) = (row.try_get("user_key"), row.try_get("digest"))
        {
            again.insert(user.to_owned(), digest.to_owned());
        }
    }
    Ok(again)
}
