//! Plans as workers use them: parsed from what tracking stored, checked against the live databases once,
//! and compiled into transforms.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use handover_canonical::{Column, Layout, Scalar, Type};
use handover_plan::{DescribeError, Entity, KeyType, Plan, TargetKind};
use handover_postgres::{Connection, Pool, QualifiedName};
use handover_tracking::Tracking;
use handover_transform::{Fill, Registry, Transform};
use tokio_postgres::types::Kind;

use crate::Error;

/// A plan bound to the databases that it runs on.
pub struct Bound {
    /// The plan.
    pub plan: Plan,
    /// Its hash, which goes into every digest.
    pub hash: [u8; 32],
    /// The migration's number in tracking.
    pub migration_id: i32,
    /// One for each of the plan's entities, in their order; none where the plan was only read.
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
    bound: Known,
    read: Known,
}

/// Plans by their number.
type Known = Arc<Mutex<HashMap<i32, Arc<Bound>>>>;

impl Plans {
    /// No plans yet; `registry` holds the Rust transforms that this process was built with.
    pub fn new(registry: Registry) -> Self {
        Self { registry: Arc::new(registry), bound: Arc::default(), read: Arc::default() }
    }

    /// The plan of that number as it was stored, with which rows can be read back and removed. Taking an attempt
    /// back needs no more, and must not wait for a replica or fail over a column that was dropped since.
    pub(crate) async fn read(&self, id: i32, tracking: &Tracking) -> Result<Arc<Bound>, Error> {
        if let Some(read) = known(&self.read, id) {
            return Ok(read);
        }
        let stored = tracking.plan(id).await?;
        let plan = Plan::from_files(stored.files)
            .map_err(|errors| Error::Plan { migration: stored.migration, text: errors.to_string() })?;
        let (hash, migration_id) = (plan.hash(), stored.migration_id);
        Ok(keep(&self.read, id, Bound { plan, hash, migration_id, loads: Vec::new() }))
    }

    /// The plan of that number, bound at its first use.
    pub(crate) async fn get(
        &self,
        id: i32,
        tracking: &Tracking,
        replica: &Pool,
        destination: &Pool,
    ) -> Result<Arc<Bound>, Error> {
        if let Some(bound) = known(&self.bound, id) {
            return Ok(bound);
        }
        let read = self.read(id, tracking).await?;
        let plan = &read.plan;
        let mut source = replica.get().await?;
        let mut target = destination.get().await?;
        let mut loads = Vec::with_capacity(plan.entities().len());
        for entity in plan.entities() {
            check_description(&mut source, plan, entity, &entity.extract, &[]).await?;
            check_description(&mut target, plan, entity, &entity.read_back, &entity.derived).await?;
            loads.push(self.load(plan, entity, &target).await?);
        }
        let (hash, migration_id) = (read.hash, read.migration_id);
        Ok(keep(&self.bound, id, Bound { plan: plan.clone(), hash, migration_id, loads }))
    }

    async fn load(&self, plan: &Plan, entity: &Entity, target: &Connection) -> Result<Load, Error> {
        match &entity.target {
            TargetKind::Load { sql, .. } => Ok(staged(plan.user_key(), entity, sql)),
            TargetKind::Table { table, fill } => self.table(plan, entity, table, fill, target).await,
        }
    }

    async fn table(
        &self,
        plan: &Plan,
        entity: &Entity,
        table: &QualifiedName,
        fill: &[(String, Fill)],
        target: &Connection,
    ) -> Result<Load, Error> {
        let misfit = |text: String| Error::Plan {
            migration: plan.name().to_owned(),
            text: format!("entity {}: {text}", entity.name),
        };
        let described =
            handover_plan::describe_targets(target, entity).await.map_err(|error| match error {
                DescribeError::Postgres(error) => Error::Postgres(error.of(target.role())),
                other => misfit(other.to_string()),
            })?;
        // One for each fill, in the order of the plan.
        let fills = fill.iter().map(|(_, fill)| fill.clone());
        let columns: Vec<_> = described.into_iter().zip(fills).collect();
        let user = plan.user_key().wire_type();
        let compiled = Transform::compile_with(&entity.layout, &user, &columns, &self.registry);
        let transform = compiled.map_err(|errors| {
            let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
            misfit(all.join("; "))
        })?;
        if !transform.sequences().is_empty() {
            return Err(misfit(
                "drawn sequence values are not supported by this version's engine".to_owned(),
            ));
        }
        let derived = entity.derived.iter().map(|column| {
            let text = format!("the derived column {} cannot be recomputed", column.name);
            transform.derived(&column.name).ok_or_else(|| misfit(text))
        });
        let derived = derived.collect::<Result<Vec<usize>, Error>>()?;
        let names: Vec<String> =
            transform.columns().iter().map(|name| handover_postgres::quote_ident(name)).collect();
        let copy = format!("COPY {table} ({}) FROM STDIN (FORMAT binary)", names.join(", "));
        Ok(Load::Table { copy, transform, derived })
    }
}

fn known(plans: &Known, id: i32) -> Option<Arc<Bound>> {
    plans.lock().unwrap_or_else(PoisonError::into_inner).get(&id).map(Arc::clone)
}

fn keep(plans: &Known, id: i32, plan: Bound) -> Arc<Bound> {
    let plan = Arc::new(plan);
    plans.lock().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::clone(&plan));
    plan
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
    /// The canonical layouts.
    pub(crate) fn layouts(&self) -> impl Iterator<Item = &Layout> {
        self.plan.entities().iter().map(|entity| &entity.layout)
    }
}
