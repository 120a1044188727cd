//! Which of a plan's legacy tables carry triggers, in which role, and how their rows reach their user.
//!
//! Decided from the plan and the catalogue alone; nothing is written here.

use std::collections::{BTreeMap, BTreeSet};

use handover_plan::{Entity, KeyType, Plan, Reach, TargetKind};
use handover_postgres::QualifiedName;
use handover_transform::Fill;
use tokio_postgres::Client;

use crate::Error;
use crate::catalogue::{Member, Stored, Table, refused};
use crate::scope::{Scope, Side};
use crate::spelling;

/// What a table is to its migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Its rows move: no write for a fenced user.
    Moves,
    /// Rows that move reach their user through it, and it stays behind itself. Writes that would change whose
    /// those rows are count while a user is paused; once the user has moved, the legacy application may go on
    /// inserting and deleting here.
    Path,
}

impl Role {
    /// The word in `handover_fence.guarded`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Moves => "moves",
            Self::Path => "path",
        }
    }
}

/// One step from a table towards its user.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) parent: QualifiedName,
    /// This table's column, the parent's, and both types.
    pub(crate) pairs: Vec<Pair>,
    /// Whether the server sees to it that the parent exists.
    pub(crate) is_enforced: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) here: (String, Stored),
    pub(crate) there: (String, Stored),
}

/// Columns with their types.
pub(crate) type Columns = BTreeMap<String, Stored>;

/// A table that carries the fence.
#[derive(Debug)]
pub(crate) struct Guard {
    /// The fence's name.
    pub(crate) migration: String,
    pub(crate) side: Side,
    pub(crate) key: KeyType,
    pub(crate) table: QualifiedName,
    pub(crate) role: Role,
    /// The way to the table with the user's column; empty where it is this one.
    pub(crate) links: Vec<Link>,
    /// The column that holds the key, at the end of the way.
    pub(crate) user: (String, Stored),
    /// Columns that say whose rows there are, here and in the tables below.
    pub(crate) structural: Columns,
    /// Tables that hang from this one: table, and pairs of their column and this one's.
    pub(crate) children: Vec<(QualifiedName, Vec<Pair>)>,
    pub(crate) family: Vec<Member>,
}

/// The guards that a plan's fence needs on this server, in the plan's order.
pub(crate) async fn of_scope(client: &Client, scope: Scope<'_>) -> Result<Vec<Guard>, Error> {
    let read = match scope.side {
        Side::Legacy => legacy(client, scope).await?,
        Side::Destination => destination(client, scope).await?,
    };
    let moving: BTreeSet<&QualifiedName> =
        read.said.iter().filter(|said| read.moves(said)).map(|said| &said.table).collect();
    let mut on_way = BTreeSet::new();
    for table in &moving {
        on_way.extend(read.ancestors(table));
    }
    let mut guards = Vec::new();
    for said in &read.said {
        if moving.contains(&said.table) {
            guards.push(read.guard(said, Role::Moves)?);
        } else if on_way.contains(&said.table) {
            guards.push(read.guard(said, Role::Path)?);
        }
    }
    Ok(guards)
}

/// What is said of a table whose rows reach their user.
struct Said {
    table: QualifiedName,
    reach: Reach,
    ignore: BTreeSet<String>,
    stays: bool,
}

struct Read<'p> {
    scope: Scope<'p>,
    said: Vec<Said>,
    tables: BTreeMap<QualifiedName, Table>,
}

async fn existing(client: &Client, table: &QualifiedName) -> Result<Table, Error> {
    let missing = || refused(table, "there is no such table", "run `handover plan check`");
    Table::read(client, table).await?.ok_or_else(missing)
}

async fn legacy<'p>(client: &Client, scope: Scope<'p>) -> Result<Read<'p>, Error> {
    let mut read = Read { scope, said: Vec::new(), tables: BTreeMap::new() };
    for table in scope.plan.legacy() {
        if matches!(table.reach, Reach::User { .. } | Reach::Via { .. }) {
            read.tables.insert(table.table.clone(), existing(client, &table.table).await?);
            read.said.push(Said {
                table: table.table.clone(),
                reach: table.reach.clone(),
                ignore: table.ignore.keys().cloned().collect(),
                stays: table.ignore_table.is_some(),
            });
        }
    }
    Ok(read)
}

/// The destination's tables reach their user by the column that the plan fills with it, else by the foreign key to
/// the table of their parent.
async fn destination<'p>(client: &Client, scope: Scope<'p>) -> Result<Read<'p>, Error> {
    let mut read = Read { scope, said: Vec::new(), tables: BTreeMap::new() };
    for entity in scope.plan.entities() {
        let TargetKind::Table { table, fill } = &entity.target else { return Err(unknown_target(entity)) };
        if read.tables.contains_key(table) {
            continue;
        }
        let found = existing(client, table).await?;
        let user = fill.iter().find(|(_, fill)| matches!(fill, Fill::User));
        let reach = match user {
            Some((column, _)) => Reach::User { column: column.clone() },
            None => by_parent(scope.plan, entity, table, &found)?,
        };
        read.tables.insert(table.clone(), found);
        read.said.push(Said { table: table.clone(), reach, ignore: BTreeSet::new(), stays: false });
    }
    Ok(read)
}

fn unknown_target(entity: &Entity) -> Error {
    Error::Table {
        table: format!("what entity {} is loaded into", entity.name),
        why: "its `load` does not tell which tables it writes".to_owned(),
        remedy: "load it by `into` and `fill`, or do without the database fence",
    }
}

fn by_parent(plan: &Plan, entity: &Entity, table: &QualifiedName, found: &Table) -> Result<Reach, Error> {
    let parent = entity.parent.as_ref().and_then(|name| plan.entities().iter().find(|e| e.name == *name));
    let target = parent.and_then(|parent| match &parent.target {
        TargetKind::Table { table, .. } => Some(table),
        TargetKind::Load { .. } => None,
    });
    let key = target.and_then(|target| found.foreign_keys.iter().find(|key| key.target == *target));
    let key = key.ok_or_else(|| {
        let remedy = "fill a column with { user = true }, or give it a foreign key to its parent's table";
        refused(table, "nothing tells whose its rows are", remedy)
    })?;
    Ok(Reach::Via { parent: key.target.clone(), columns: key.columns.clone() })
}

impl Read<'_> {
    fn said(&self, table: &QualifiedName) -> Option<&Said> {
        self.said.iter().find(|said| said.table == *table)
    }

    /// Whether rows move: a column is left that neither stays behind nor only says whose the rows are. A table
    /// of which nothing is ignored moves, whatever its columns.
    fn moves(&self, said: &Said) -> bool {
        if said.stays {
            return false;
        }
        let structural = self.structural(said);
        let mut columns = self.tables[&said.table].columns.keys();
        said.ignore.is_empty()
            || columns.any(|column| !said.ignore.contains(column) && !structural.contains(column))
    }

    /// The tables above one, nearest first. A valid plan's ways end.
    fn ancestors(&self, table: &QualifiedName) -> Vec<QualifiedName> {
        let (mut found, mut at) = (Vec::new(), self.said(table));
        while let Some(Said { reach: Reach::Via { parent, .. }, .. }) = at {
            found.push(parent.clone());
            at = self.said(parent);
        }
        found
    }

    fn children(&self, table: &QualifiedName) -> impl Iterator<Item = (&Said, &[(String, String)])> {
        self.said.iter().filter_map(move |said| match &said.reach {
            Reach::Via { parent, columns } if parent == table => Some((said, columns.as_slice())),
            _ => None,
        })
    }

    fn structural(&self, said: &Said) -> BTreeSet<String> {
        let mut structural: BTreeSet<String> = match &said.reach {
            Reach::User { column } => [column.clone()].into(),
            Reach::Via { columns, .. } => columns.iter().map(|(here, _)| here.clone()).collect(),
            Reach::Shared { .. } | Reach::Unsaid => BTreeSet::new(),
        };
        for (_, pairs) in self.children(&said.table) {
            structural.extend(pairs.iter().map(|(_, there)| there.clone()));
        }
        structural
    }

    /// The structural columns with their types.
    fn typed(&self, said: &Said) -> Result<Columns, Error> {
        let columns = self.structural(said).into_iter();
        columns.map(|name| Ok((name.clone(), self.column(&said.table, &name)?))).collect()
    }

    fn guard(&self, said: &Said, role: Role) -> Result<Guard, Error> {
        let (mut links, mut at) = (Vec::new(), said);
        let user = loop {
            match &at.reach {
                Reach::User { column } => break (column.clone(), self.column(&at.table, column)?),
                Reach::Via { parent, columns } => {
                    links.push(self.link(&at.table, parent, columns)?);
                    let unlisted = || refused(parent, "it reaches no user", "give it a `user` or `via`");
                    at = self.said(parent).ok_or_else(unlisted)?;
                }
                Reach::Shared { .. } | Reach::Unsaid => {
                    return Err(refused(&at.table, "it reaches no user", "give it a `user` or `via`"));
                }
            }
        };
        let key = self.scope.plan.user_key();
        if spelling::of_user("x", &user.1, key).is_none() {
            let why = format!("its user column is {}, and keys are {key}", user.1.name);
            return Err(refused(&at.table, why, "name the column that holds the key"));
        }
        let mut children = Vec::new();
        for (child, pairs) in self.children(&said.table) {
            children.push((child.table.clone(), self.pairs(&child.table, &said.table, pairs)?));
        }
        Ok(Guard {
            migration: self.scope.fence().into_owned(),
            side: self.scope.side,
            key,
            table: said.table.clone(),
            role,
            links,
            user,
            structural: self.typed(said)?,
            children,
            family: self.tables[&said.table].family.clone(),
        })
    }

    fn link(
        &self,
        table: &QualifiedName,
        parent: &QualifiedName,
        columns: &[(String, String)],
    ) -> Result<Link, Error> {
        let above = self.tables.get(parent);
        let above = above.ok_or_else(|| refused(parent, "it is not listed", "list it in the plan"))?;
        let there: Vec<&str> = columns.iter().map(|(_, there)| there.as_str()).collect();
        if !above.is_unique(&there) {
            let why =
                format!("rows of {} hang from columns of it that no unique index covers", table.plain());
            return Err(refused(parent, why, "add a unique index, or let `via` name the key's columns"));
        }
        if above.has_policies {
            let why = "row policies hide rows of it from the role that installs the fence";
            return Err(refused(parent, why, "install as a role with BYPASSRLS that owns the tables"));
        }
        let is_enforced = self.tables[table].refers(parent, columns);
        Ok(Link { parent: parent.clone(), pairs: self.pairs(table, parent, columns)?, is_enforced })
    }

    fn pairs(
        &self,
        table: &QualifiedName,
        parent: &QualifiedName,
        columns: &[(String, String)],
    ) -> Result<Vec<Pair>, Error> {
        let pair = |(here, there): &(String, String)| {
            Ok(Pair {
                here: (here.clone(), self.column(table, here)?),
                there: (there.clone(), self.column(parent, there)?),
            })
        };
        columns.iter().map(pair).collect()
    }

    fn column(&self, table: &QualifiedName, column: &str) -> Result<Stored, Error> {
        let found = self.tables.get(table).and_then(|table| table.columns.get(column));
        let missing = || refused(table, format!("it has no column {column}"), "run `handover plan check`");
        found.cloned().ok_or_else(missing)
    }
}
