//! Plans as workers use them: parsed from what tracking stored, checked against the live databases once,
//! and compiled into transforms.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use handover_canonical::{Column, Layout, Scalar, Type};
use handover_plan::{Entity, KeyType, Plan, TargetKind};
use handover_postgres::{Connection, Pool};
use handover_tracking::Tracking;
use handover_transform::{Fill, Registry, Target, Transform};
use tokio_postgres::types::Kind;

use crate::{Error, targets};

/// A plan bound to the databases that it runs on.
pub struct Bound {
    /// The plan.
    pub plan: Plan,
    /// Its hash, which goes into every digest.
    pub hash: [u8; 32],
    /// The migration's number in tracking.
    pub migration_id: i32,
    /// One for each of the plan's entities, in their order.
    pub(crate) loads: Vec<Load>,
}

/// How an entity's rows are written.
pub(crate) enum Load {
    /// Transformed, by COPY into the table.
    Table { copy: String, transform: Transform, derived: Vec<usize> },
    /// As canonical rows into a temporary table, from which the plan's SQL takes them.
    Staged { create: String, copy: String, sql: String },
}

/// The plans in use by this process.
#[derive(Clone)]
pub struct Plans {
    registry: Arc<Registry>,
    known: Arc<Mutex<HashMap<i32, Arc<Bound>>>>,
}

impl Plans {
    /// No plans yet; `registry` holds the Rust transforms that this process was built with.
    pub fn new(registry: Registry) -> Self {
        Self { registry: Arc::new(registry), known: Arc::default() }
    }

    /// The plan of that number, bound at its first use.
    pub(crate) async fn get(
        &self,
        id: i32,
        tracking: &Tracking,
        replica: &Pool,
        destination: &Pool,
    ) -> Result<Arc<Bound>, Error> {
        if let Some(bound) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&id) {
            return Ok(Arc::clone(bound));
        }
        let stored = tracking.plan(id).await?;
        let misfit = |text: String| Error::Plan { migration: stored.migration.clone(), text };
        let plan = Plan::from_files(stored.files.clone()).map_err(|errors| misfit(errors.to_string()))?;
        let mut source = replica.get().await?;
        let mut target = destination.get().await?;
        let mut loads = Vec::with_capacity(plan.entities().len());
        for entity in plan.entities() {
            check_description(&mut source, &plan, entity, &entity.extract, &[]).await?;
            check_description(&mut target, &plan, entity, &entity.read_back, &entity.derived).await?;
            loads.push(self.load(&plan, entity, &target).await?);
        }
        let bound = Arc::new(Bound { hash: plan.hash(), migration_id: stored.migration_id, loads, plan });
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::clone(&bound));
        Ok(bound)
    }

    async fn load(&self, plan: &Plan, entity: &Entity, target: &Connection) -> Result<Load, Error> {
        match &entity.target {
            TargetKind::Load { sql, .. } => Ok(staged(plan.user_key(), entity, sql)),
            TargetKind::Table { table, fill } => {
                let misfit = |text: String| Error::Plan { migration: plan.name().to_owned(), text };
                let described = targets::describe(target, entity).await?;
                let columns = paired(described, fill).map_err(|name| {
                    misfit(format!("entity {}: {table} has no column {name}", entity.name))
                })?;
                let user = plan.user_key().wire_type();
                let compiled = Transform::compile_with(&entity.layout, &user, &columns, &self.registry);
                let transform = compiled.map_err(|errors| {
                    let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
                    misfit(format!("entity {}: {}", entity.name, all.join("; ")))
                })?;
                if !transform.sequences().is_empty() {
                    let text = "drawn sequence values are not supported by this version's engine";
                    return Err(misfit(format!("entity {}: {text}", entity.name)));
                }
                let derived = entity.derived.iter().map(|column| {
                    let text = format!(
                        "entity {}: the derived column {} cannot be recomputed",
                        entity.name, column.name
                    );
                    transform.derived(&column.name).ok_or_else(|| misfit(text))
                });
                let derived = derived.collect::<Result<Vec<usize>, Error>>()?;
                let names: Vec<String> =
                    transform.columns().iter().map(|name| handover_postgres::quote_ident(name)).collect();
                let copy = format!("COPY {table} ({}) FROM STDIN (FORMAT binary)", names.join(", "));
                Ok(Load::Table { copy, transform, derived })
            }
        }
    }
}

/// Each filled column with what the catalogue says of it; else the name of one that is not there.
fn paired(mut described: Vec<Target>, fills: &[(String, Fill)]) -> Result<Vec<(Target, Fill)>, String> {
    let pair = |(name, fill): &(String, Fill)| {
        let at = described.iter().position(|target| target.name == *name).ok_or_else(|| name.clone())?;
        Ok((described.swap_remove(at), fill.clone()))
    };
    fills.iter().map(pair).collect()
}

fn staged(key: KeyType, entity: &Entity, sql: &str) -> Load {
    let table = format!("pg_temp.{}", handover_postgres::quote_ident(&entity.name));
    Load::Staged {
        create: entity.staging_table(key),
        copy: format!("COPY {table} FROM STDIN (FORMAT binary)"),
        sql: sql.to_owned(),
    }
}

/// Whether a column that the server describes by that type is of the declared one. An enum's and an extension's
/// type have a number of their own in each database, and are known by their kind or name.
fn describes(declared: Type, described: &tokio_postgres::types::Type) -> bool {
    let element = match described.kind() {
        Kind::Array(element) if declared.is_array() => element,
        _ if declared.is_array() => return false,
        _ => described,
    };
    match declared.scalar() {
        Scalar::Enum => matches!(element.kind(), Kind::Enum(_)),
        Scalar::Citext => element.name() == "citext",
        _ => declared.oid() == Some(described.oid()),
    }
}

/// Refuses a query that does not return exactly the user and the declared columns, of the declared types: the
/// engine casts nothing, and a type modifier would have cut values on both sides alike.
async fn check_description(
    session: &mut Connection,
    plan: &Plan,
    entity: &Entity,
    sql: &str,
    derived: &[Column],
) -> Result<(), Error> {
    let misfit = |text: String| Error::Plan {
        migration: plan.name().to_owned(),
        text: format!("entity {}: {text}", entity.name),
    };
    let role = session.role();
    let described = session.prepare(sql).await.map_err(|error| session.explain(error))?;
    let user = Column::new("user", plan.user_key().wire_type());
    let declared: Vec<&Column> =
        std::iter::once(&user).chain(entity.layout.columns()).chain(derived.iter()).collect();
    if described.columns().len() != declared.len() {
        let counts = format!("{} columns instead of {}", described.columns().len(), declared.len());
        return Err(misfit(format!("its query on the {role} returns {counts}")));
    }
    for (index, (got, want)) in described.columns().iter().zip(&declared).enumerate() {
        let named = index == 0 || got.name() == want.name;
        if !named || !describes(want.ty, got.type_()) || got.type_modifier() != -1 {
            let got = format!("{} {}", got.name(), got.type_().name());
            return Err(misfit(format!(
                "its query on the {role} returns `{got}` where `{want}` is declared"
            )));
        }
    }
    Ok(())
}

impl Bound {
    /// The entities with their loads.
    pub(crate) fn entities(&self) -> impl Iterator<Item = (&Entity, &Load)> {
        self.plan.entities().iter().zip(&self.loads)
    }

    /// The canonical layouts.
    pub(crate) fn layouts(&self) -> impl Iterator<Item = &Layout> {
        self.plan.entities().iter().map(|entity| &entity.layout)
    }
}
