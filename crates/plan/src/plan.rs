//! A plan that has passed validation, and its parts.
//!
//! A [`Plan`] can be had from [`Plan::load`] and [`Plan::from_files`] alone, so whoever holds one holds a
//! valid one. Whether it suits the databases is for [`check`](crate::check()) to say.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use handover_canonical::{Column, Layout, Scalar, Type};
use handover_postgres::{QualifiedName, quote_ident};
use handover_transform::Fill;
use sha2::{Digest, Sha256};

use crate::finding::{Place, PlanErrors};
use crate::{KeyType, files};

/// The file of a plan's folder that names the others.
pub const PLAN_FILE: &str = "plan.toml";

/// The first column of the temporary table of canonical rows, before the entity's own.
pub const USER_COLUMN: &str = "user_key";

/// A valid plan.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) files: BTreeMap<String, String>,
    pub(crate) name: String,
    pub(crate) user_key: KeyType,
    pub(crate) entities: Vec<Entity>,
    pub(crate) legacy: Vec<LegacyTable>,
    pub(crate) name_place: Place,
}

impl Plan {
    /// Reads the plan in a folder. All errors of all its files come at once.
    pub fn load(folder: &Path) -> Result<Self, PlanErrors> {
        files::load(folder)
    }

    /// Reads the plan out of its files, by their names within the folder. Files that it does not name are
    /// left out.
    pub fn from_files(files: BTreeMap<String, String>) -> Result<Self, PlanErrors> {
        files::from_memory(files)
    }

    /// `plan.toml` and every SQL file that it names, as they were read.
    pub fn files(&self) -> &BTreeMap<String, String> {
        &self.files
    }

    /// SHA-256 over the files: for each, in the order of the names, the name and the content, both with their
    /// length in bytes before them as 8 bytes, big end first.
    pub fn hash(&self) -> [u8; 32] {
        let mut hasher = Sha256::new();
        for (name, content) in &self.files {
            for part in [name, content] {
                hasher.update((part.len() as u64).to_be_bytes());
                hasher.update(part.as_bytes());
            }
        }
        hasher.finalize().into()
    }

    /// The migration's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The type of the installation's user keys.
    pub fn user_key(&self) -> KeyType {
        self.user_key
    }

    /// The entities, parents first.
    pub fn entities(&self) -> &[Entity] {
        &self.entities
    }

    /// What the plan says about legacy tables, in the order of the file.
    pub fn legacy(&self) -> &[LegacyTable] {
        &self.legacy
    }
}

/// One kind of row that moves.
#[derive(Clone, Debug)]
pub struct Entity {
    /// The name, which is also that of the temporary table of canonical rows.
    pub name: String,
    /// The canonical columns, in order.
    pub layout: Layout,
    /// The canonical columns that tell a user's rows apart.
    pub key: Vec<String>,
    /// The entity that must be loaded before this one.
    pub parent: Option<String>,
    /// Query at the legacy replica: the user, then the canonical columns. No semicolon at the end.
    pub extract: String,
    /// Query at the destination: the user, the canonical columns, then the derived ones.
    pub read_back: String,
    /// Statements at the destination that remove the users' rows; more than one are parted by `;`.
    pub delete: String,
    /// Statements at the legacy primary that write the canonical rows of [`Entity::staging_table`] back.
    pub reverse: Option<String>,
    /// Destination columns that are read back, recomputed from the row, and compared.
    pub derived: Vec<Column>,
    /// Rows that the extract leaves out: a condition and the reason.
    pub dropped: Vec<(String, String)>,
    /// Where the rows go.
    pub target: TargetKind,
    pub(crate) origin: Origin,
}

/// Where an entity's rows go.
#[derive(Clone, Debug)]
pub enum TargetKind {
    /// By COPY into a table.
    Table {
        /// The table.
        table: QualifiedName,
        /// What fills each destination column, in the order of the file.
        fill: Vec<(String, Fill)>,
    },
    /// By statements over [`Entity::staging_table`].
    Load {
        /// The statements; more than one are parted by `;`.
        sql: String,
    },
}

impl Entity {
    /// The statement that makes the temporary table of canonical rows for `load` and `reverse`: named as the
    /// entity, first `user_key`, then the canonical columns. An `enum` or `citext` column is `text` here, so
    /// that the table needs no type of one database; their binary formats are the same.
    pub fn staging_table(&self, user: KeyType) -> String {
        let mut sql = format!("CREATE TEMPORARY TABLE {} (", quote_ident(&self.name));
        let _ = write!(sql, "{} {} NOT NULL", quote_ident(USER_COLUMN), user.sql());
        for column in self.layout.columns() {
            let _ = write!(sql, ", {} {}", quote_ident(&column.name), storage_type(column.ty));
        }
        sql.push_str(") ON COMMIT DROP");
        sql
    }
}

/// The SQL type that holds a canonical type's values in a temporary table.
fn storage_type(ty: Type) -> String {
    match ty.scalar() {
        Scalar::Enum | Scalar::Citext if ty.is_array() => "text[]".to_owned(),
        Scalar::Enum | Scalar::Citext => "text".to_owned(),
        _ => ty.to_string(),
    }
}

/// What the plan says about one legacy table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegacyTable {
    /// The table.
    pub table: QualifiedName,
    /// How its rows reach their user.
    pub reach: Reach,
    /// Columns that stay behind, each with the reason.
    pub ignore: BTreeMap<String, String>,
    /// Why the whole table stays behind, where it does.
    pub ignore_table: Option<String>,
    pub(crate) origin: LegacyOrigin,
}

/// How a legacy table's rows reach their user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// A column holds the user's key.
    User {
        /// The column.
        column: String,
    },
    /// The rows hang from another listed table's rows.
    Via {
        /// The other table.
        parent: QualifiedName,
        /// Pairs of this table's column and the other's column that it equals.
        columns: Vec<(String, String)>,
    },
    /// The rows belong to no single user, and are only looked up.
    Shared {
        /// Why that is so.
        reason: String,
    },
    /// Nothing is said, since the whole table is ignored.
    Unsaid,
}

/// Where an entity's parts stand in the plan's files.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) place: Place,
    /// One for each canonical column.
    pub(crate) columns: Vec<Place>,
    /// One for each derived column.
    pub(crate) derived: Vec<Place>,
    /// The `into` or `load` key.
    pub(crate) target: Place,
    /// Destination column to its fill.
    pub(crate) fills: BTreeMap<String, Place>,
    pub(crate) sql: SqlFiles,
}

/// The files of an entity's SQL.
#[derive(Clone, Debug)]
pub(crate) struct SqlFiles {
    pub(crate) extract: String,
    pub(crate) read_back: String,
    pub(crate) delete: String,
    pub(crate) reverse: Option<String>,
    pub(crate) load: Option<String>,
}

/// Where a legacy table's parts stand in plan.toml.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LegacyOrigin {
    pub(crate) place: Place,
    /// The `user` or `via` key, or else the table's.
    pub(crate) reach: Place,
    /// Ignored column to its place.
    pub(crate) ignore: BTreeMap<String, Place>,
}
