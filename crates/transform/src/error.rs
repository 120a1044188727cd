//! What can be wrong with a plan's fills, and with one row. No message holds a row's value.

use thiserror::Error;

/// A fill that does not suit its column. All of a table's are reported at once.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{entity}, column {column}: {problem}")]
pub struct CompileError {
    /// The entity, as the plan names it.
    pub entity: String,
    /// The destination column.
    pub column: String,
    /// What is wrong.
    pub problem: Problem,
}

impl CompileError {
    /// What to change in the plan.
    pub fn remedy(&self) -> String {
        self.problem.remedy()
    }
}

/// Why a fill was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Problem {
    /// The fill names a column that the entity does not declare.
    #[error("the entity has no column {0}")]
    NoSuchColumn(String),
    /// The destination column is filled twice.
    #[error("it is filled twice")]
    FilledTwice,
    /// The fill writes one wire form and the column reads another.
    #[error("{from} does not fit into {into}")]
    Unfit {
        /// What the fill writes.
        from: String,
        /// What the destination column is.
        into: String,
    },
    /// The type has no spelling that a map, a UUID or a JSON object could use.
    #[error("{column} is {ty}, which has no spelling for {fill}")]
    Unspellable {
        /// The canonical column.
        column: String,
        /// Its type.
        ty: String,
        /// The fill that needs the spelling.
        fill: &'static str,
    },
    /// A value of the plan is not a value of the destination's type.
    #[error("{given} is no value of {into}: {why}")]
    BadValue {
        /// What the plan holds there, by kind.
        given: &'static str,
        /// The destination's type.
        into: String,
        /// What is wrong with it.
        why: String,
    },
    /// A map's key can never be met, since the column never spells a value so.
    #[error("the map's key {key:?} is not how {ty} spells a value")]
    BadKey {
        /// The key as the plan holds it.
        key: String,
        /// The canonical column's type.
        ty: String,
    },
    /// A fill that needs at least one column, key or mapping has none.
    #[error("{0} is empty")]
    Empty(&'static str),
    /// A JSON object's key is there twice.
    #[error("the json object has the key {0:?} twice")]
    KeyTwice(String),
    /// No Rust transform is registered under the name.
    #[error("no transform is registered as {name:?} (registered: {registered})")]
    Unregistered {
        /// The name that the plan holds.
        name: String,
        /// Those that are there.
        registered: String,
    },
    /// A Rust transform reads other types than it is given.
    #[error("the transform {name:?} reads ({reads}) and is given ({given})")]
    TransformInputs {
        /// The transform.
        name: String,
        /// The types that it declares.
        reads: String,
        /// The types of the columns in the plan.
        given: String,
    },
    /// An array's element type is neither a built-in nor told by the catalogue.
    #[error("the element type of {0} is not known")]
    ElementUnknown(String),
    /// Nothing of the row would be sent.
    #[error("no column of the table is sent")]
    NothingSent,
}

impl Problem {
    /// What to change in the plan.
    fn remedy(&self) -> String {
        match self {
            Self::NoSuchColumn(name) => {
                format!("declare {name} under columns and return it from both queries, or correct the name")
            }
            Self::FilledTwice => "keep one of the two".to_owned(),
            Self::Unfit { into, .. } => format!("cast in the extract, and declare the column as {into}"),
            Self::Unspellable { .. } => {
                "cast in the extract, for instance to text, and declare it so".to_owned()
            }
            Self::BadValue { into, .. } => {
                format!("write a value of {into}, or select it in the extract and fill by column")
            }
            Self::BadKey { .. } => "spell the key as docs/transforms.md says".to_owned(),
            Self::Empty(_) => "name at least one".to_owned(),
            Self::KeyTwice(_) => "rename or remove one of them".to_owned(),
            Self::Unregistered { .. } => {
                "register it in the worker's registry, or run the worker that has it".to_owned()
            }
            Self::TransformInputs { .. } => "name columns of those types, in that order".to_owned(),
            Self::ElementUnknown(_) => "describe the column with its element's object identifier".to_owned(),
            Self::NothingSent => "fill at least one column, if only with a constant".to_owned(),
        }
    }
}

/// A row that cannot be written. It names the entity and the destination column, and never a value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{entity}, column {column}: {problem}")]
pub struct RowError {
    /// The entity, as the plan names it.
    pub entity: String,
    /// The destination column, or empty where the row as a whole is meant.
    pub column: String,
    /// What is wrong.
    pub problem: RowProblem,
}

/// Why a row was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RowProblem {
    /// NULL would go into a column that is NOT NULL.
    #[error("null in a column that is not null")]
    Null,
    /// The map has no entry for the value.
    #[error("the map has no entry for the value")]
    Unmapped,
    /// The bytes are no value of the declared type.
    #[error("the bytes are no value of the declared type")]
    Malformed,
    /// The value is outside what the destination's type can hold.
    #[error("the value is out of the range of the column's type")]
    OutOfRange,
    /// The value would change on its way through the destination's type.
    #[error("the user's key is no value of the column's type in its own spelling")]
    UserKey,
    /// The row has not as many fields as the entity has columns.
    #[error("the row has not as many fields as the entity has columns")]
    FieldCount,
    /// Fewer sequence values were given than the table draws.
    #[error("no value was drawn from the sequence")]
    NotDrawn,
    /// The destination has no such column, or none that can be computed from the row.
    #[error("the column cannot be computed from the row")]
    NotComputed,
    /// A Rust transform refused the row.
    #[error("the transform refused the row: {0}")]
    Refused(&'static str),
    /// A Rust transform panicked.
    #[error("the transform panicked")]
    Panicked,
    /// A value that Postgres could not store: of 1 GiB or more.
    #[error("the value is longer than 1 GiB")]
    TooLong,
}
