//! What stands of the fence: its triggers, compared with what the plan needs, and the users behind it.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use handover_postgres::{Connection, QualifiedName};

use crate::Error;
use crate::guard::{self, Guard, Role};
use crate::install::exists;
use crate::scope::Scope;

/// How many fenced users a status lists, the longest-standing first; moved ones are only counted.
const MOST_LISTED: i64 = 1000;

/// Whether the fence stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Installed {
    /// Every table of the plan carries it, as this program would install it.
    Yes,
    /// Something is missing or outdated: it must not be relied on until it is installed again.
    Partly,
    /// There is none.
    No,
}

/// The fence of one migration.
#[derive(Clone, Debug)]
pub struct Status {
    /// Whether the fence stands.
    pub installed: Installed,
    /// Each table that the plan needs guarded.
    pub tables: Vec<GuardedTable>,
    /// Tables with triggers that the plan no longer needs.
    pub superfluous: Vec<QualifiedName>,
    /// Users behind the fence, by state.
    pub counts: BTreeMap<State, u64>,
    /// Users who are paused or on their way back, longest first, at most a thousand.
    pub fenced: Vec<Fenced>,
}

/// One table of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardedTable {
    /// The table.
    pub table: QualifiedName,
    /// What it is to the migration.
    pub role: Role,
    /// The plan or the program has changed since its triggers were installed.
    pub is_outdated: bool,
    /// Triggers that are missing or do not fire always: table (a partition, say) and trigger.
    pub missing: Vec<(QualifiedName, String)>,
}

/// Why a user is fenced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// On the way out of this database, which is still the home.
    Paused,
    /// The home is the other system.
    Moved,
    /// On the way back to this database; the home is the other system.
    Returning,
}

impl State {
    /// The word in `handover_fence.fenced`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Moved => "moved",
            Self::Returning => "returning",
        }
    }
}

impl FromStr for State {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "paused" => Ok(Self::Paused),
            "moved" => Ok(Self::Moved),
            "returning" => Ok(Self::Returning),
            other => Err(Error::Unknown(other.to_owned())),
        }
    }
}

/// A user behind the fence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fenced {
    /// The user's key.
    pub user: String,
    /// The attempt that fences.
    pub version: i64,
    /// Why.
    pub state: State,
    /// Whether every transaction that wrote for the user before has ended.
    pub is_drained: bool,
    /// For how long, by the server's clock.
    pub age: Duration,
}

/// Compares the fence with the plan. Reads only.
pub async fn status<'p>(connection: &mut Connection, scope: impl Into<Scope<'p>>) -> Result<Status, Error> {
    let scope = scope.into();
    let fence = scope.fence();
    let guards = guard::of_scope(connection, scope).await?;
    if !exists(connection).await? {
        let missing = guards.iter().map(|guard| table(guard, None, Vec::new())).collect();
        return Ok(Status {
            installed: Installed::No,
            tables: missing,
            superfluous: Vec::new(),
            counts: BTreeMap::new(),
            fenced: Vec::new(),
        });
    }
    let mut noted = noted(connection, &fence).await?;
    let is_empty = noted.is_empty();
    let mut tables = Vec::new();
    for guard in &guards {
        let missing = missing(connection, guard).await?;
        tables.push(table(guard, noted.remove(&guard.table).as_deref(), missing));
    }
    let superfluous: Vec<QualifiedName> = noted.into_keys().collect();
    let is_whole = tables.iter().all(|table| !table.is_outdated && table.missing.is_empty());
    let installed = match (is_empty, is_whole) {
        (true, _) => Installed::No,
        (false, true) => Installed::Yes,
        (false, false) => Installed::Partly,
    };
    let (counts, fenced) =
        (counts(connection, &fence).await?, standing(connection, &fence, MOST_LISTED).await?);
    Ok(Status { installed, tables, superfluous, counts, fenced })
}

fn table(guard: &Guard, noted: Option<&str>, missing: Vec<(QualifiedName, String)>) -> GuardedTable {
    let is_outdated = noted != Some(guard.definition().as_str());
    GuardedTable { table: guard.table.clone(), role: guard.role, is_outdated, missing }
}

async fn noted(connection: &Connection, migration: &str) -> Result<BTreeMap<QualifiedName, String>, Error> {
    let sql = "SELECT schema_name, table_name, definition FROM handover_fence.guarded WHERE migration = $1";
    let rows = connection.query(sql, &[&migration]).await?;
    Ok(rows.iter().map(|row| (QualifiedName { schema: row.get(0), name: row.get(1) }, row.get(2))).collect())
}

async fn missing(connection: &Connection, guard: &Guard) -> Result<Vec<(QualifiedName, String)>, Error> {
    let names = guard.names();
    let sql = "SELECT t.tgrelid, t.tgname::text FROM pg_trigger t
                WHERE t.tgrelid = ANY ($1) AND t.tgname = ANY ($2) AND t.tgenabled = 'A'";
    let tables: Vec<u32> = guard.family.iter().map(|member| member.oid).collect();
    let wanted = [names.row_trigger, names.truncate_trigger];
    let rows = connection.query(sql, &[&tables, &wanted.as_slice()]).await?;
    let found: Vec<(u32, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let mut missing = Vec::new();
    for member in &guard.family {
        for trigger in &wanted {
            if !found.contains(&(member.oid, trigger.clone())) {
                missing.push((member.name.clone(), trigger.clone()));
            }
        }
    }
    Ok(missing)
}

async fn counts(connection: &Connection, migration: &str) -> Result<BTreeMap<State, u64>, Error> {
    let sql = "SELECT state, count(*) FROM handover_fence.fenced WHERE migration = $1 GROUP BY state";
    let rows = connection.query(sql, &[&migration]).await?;
    rows.iter().map(|row| Ok((row.get::<_, &str>(0).parse()?, row.get::<_, i64>(1).unsigned_abs()))).collect()
}

/// The users of a fence who are paused or on their way back, longest first, at most `limit`; nobody where the fence
/// was never installed.
pub async fn standing(connection: &Connection, fence: &str, limit: i64) -> Result<Vec<Fenced>, Error> {
    if !exists(connection).await? {
        return Ok(Vec::new());
    }
    let sql = "SELECT user_key, version, state, drained,
                      greatest(extract(epoch FROM clock_timestamp() - since), 0)::float8
                 FROM handover_fence.fenced WHERE migration = $1 AND state <> 'moved'
                ORDER BY since, user_key LIMIT $2";
    let rows = connection.query(sql, &[&fence, &limit]).await?;
    rows.iter()
        .map(|row| {
            Ok(Fenced {
                user: row.get(0),
                version: row.get(1),
                state: row.get::<_, &str>(2).parse()?,
                is_drained: row.get(3),
                age: Duration::from_secs_f64(row.get(4)),
            })
        })
        .collect()
}

/// A fence row, of whatever state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stands {
    /// The attempt that fences.
    pub version: i64,
    /// Why.
    pub state: State,
    /// Whether every transaction that wrote for the user before has ended.
    pub is_drained: bool,
    /// For how long, by the server's clock.
    pub age: Duration,
}

/// These users' rows of a fence, in their order.
pub async fn look(
    connection: &Connection,
    fence: &str,
    users: &[String],
) -> Result<Vec<Option<Stands>>, Error> {
    let sql = "SELECT user_key, version, state, drained,
                      greatest(extract(epoch FROM clock_timestamp() - since), 0)::float8
                 FROM handover_fence.fenced WHERE migration = $1 AND user_key = ANY ($2)";
    let mut found = BTreeMap::new();
    for row in connection.query(sql, &[&fence, &users]).await? {
        let stands = Stands {
            version: row.get(1),
            state: row.get::<_, &str>(2).parse()?,
            is_drained: row.get(3),
            age: Duration::from_secs_f64(row.get(4)),
        };
        found.insert(row.get::<_, String>(0), stands);
    }
    Ok(users.iter().map(|user| found.get(user).copied()).collect())
}
