//! What a plan says about one destination column: the fill, its constants, and the column as the catalogue
//! describes it.
//!
//! Only the vocabulary: whether a fill suits its column is decided in `compile`.

use std::collections::BTreeMap;

use uuid::Uuid;

/// What fills one destination column.
#[derive(Debug, Clone, PartialEq)]
pub enum Fill {
    /// The user's key.
    User,
    /// A canonical column as it stands, byte for byte.
    Column {
        /// The canonical column.
        column: String,
    },
    /// A canonical column's value looked up in a table; a value that is not in it fails the row.
    Map {
        /// The canonical column whose text spelling is looked up.
        column: String,
        /// Spelling to value. The key `null` stands for NULL; without it NULL stays NULL.
        map: BTreeMap<String, Value>,
    },
    /// A version 5 UUID of the columns' spellings joined with `:`; NULL where one of them is NULL.
    Uuid5 {
        /// The canonical columns, in order.
        columns: Vec<String>,
        /// The namespace of RFC 9562.
        namespace: Uuid,
    },
    /// A JSON object.
    Json {
        /// Key and canonical column, in the order in which a `json` column spells them.
        fields: Vec<(String, String)>,
    },
    /// The same value in each row.
    Constant(Value),
    /// Not sent: the destination's own default fills it.
    Default {
        /// Why the destination may fill it.
        reason: String,
    },
    /// A value drawn from a sequence by the caller and kept beside the row's key.
    Sequence {
        /// The sequence, as the plan spells it.
        sequence: String,
        /// The canonical column under whose value the drawn number is kept.
        key: String,
    },
    /// A transform written in Rust and registered under a name.
    Rust {
        /// The name in the [`Registry`](crate::Registry).
        name: String,
        /// The canonical columns that it reads, in order.
        from: Vec<String>,
    },
}

/// A scalar as a plan file spells it. There is no NULL: a column that is to be NULL is left out of the plan's
/// fills.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A quoted string.
    String(String),
    /// A whole number.
    Int(i64),
    /// `true` or `false`.
    Bool(bool),
    /// A number with a fraction or exponent.
    Float(f64),
}

impl Value {
    /// What a message calls this kind of value.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::String(_) => "a string",
            Self::Int(_) => "a whole number",
            Self::Bool(_) => "a bool",
            Self::Float(_) => "a float",
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

/// A destination column as the destination's catalogue describes it; a domain is described as its base type.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Target {
    /// The column's name.
    pub name: String,
    /// `pg_attribute.atttypid`, or the base type's where that is a domain.
    pub type_oid: u32,
    /// `pg_type.typname` or `format_type(type_oid, NULL)`.
    pub type_name: String,
    /// Whether the type (for an array: its element type) is an enum.
    pub is_enum: bool,
    /// `pg_attribute.attnotnull`.
    pub not_null: bool,
    /// `pg_type.typelem` where the type is an array, or 0. An array's wire form names it, and an enum's or an
    /// extension's differs from one database to the next.
    pub element_oid: u32,
}
