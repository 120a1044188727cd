//! Wire forms: which types' binary send format are the same bytes, so that one can be copied into the other.
//!
//! Canonical types and the catalogue's types meet here, and only here. Nothing is converted.

use std::fmt;

use handover_canonical::{self as canonical, Type};

use crate::fill::Target;

/// A scalar that this crate can spell and parse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scalar {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Numeric,
    /// text, varchar, bpchar, name, citext and the labels of an enum: the same bytes on the wire.
    Text,
    Bytea,
    Uuid,
    Date,
    Time,
    Timestamp,
    Timestamptz,
    Json,
    Jsonb,
}

/// The wire form of a type, or of an array's elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Form {
    Scalar(Scalar),
    /// Copied only, and only into itself.
    Opaque(String),
}

/// A type as the wire carries it. Two types that compare equal can be copied into each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wire {
    pub(crate) form: Form,
    pub(crate) array: bool,
}

impl Wire {
    /// The wire form of a canonical type.
    pub(crate) fn of_type(ty: Type) -> Self {
        Self { form: form(ty.scalar()), array: ty.is_array() }
    }

    /// The wire form of a destination column. The object identifier decides where it is a built-in's, since
    /// a search path cannot change its meaning.
    pub(crate) fn of_target(target: &Target) -> Self {
        if let Some(builtin) = Type::from_oid(target.type_oid) {
            return Self::of_type(builtin);
        }
        let array = target.element_oid != 0 || target.type_name.ends_with("[]");
        let name = element_name(&target.type_name, array);
        let form = if target.is_enum || name == "citext" {
            Form::Scalar(Scalar::Text)
        } else {
            Form::Opaque(name.to_owned())
        };
        Self { form, array }
    }

    /// The scalar, where this is one that can be spelled and is no array.
    pub(crate) fn scalar(&self) -> Option<Scalar> {
        match self.form {
            Form::Scalar(scalar) if !self.array => Some(scalar),
            _ => None,
        }
    }
}

impl From<Scalar> for Wire {
    fn from(scalar: Scalar) -> Self {
        Self { form: Form::Scalar(scalar), array: false }
    }
}

/// The object identifier of an array column's elements, as its wire form must name it.
pub(crate) fn element_oid(target: &Target) -> Option<u32> {
    let builtin = Type::from_oid(target.type_oid).and_then(Type::element).and_then(Type::oid);
    builtin.or((target.element_oid != 0).then_some(target.element_oid))
}

/// The name of a type or of an array's elements, from `citext`, `public.citext`, `_citext` or `citext[]`.
fn element_name(name: &str, array: bool) -> &str {
    let bare = name.rsplit('.').next().unwrap_or(name);
    if !array {
        return bare;
    }
    bare.strip_suffix("[]").or_else(|| bare.strip_prefix('_')).unwrap_or(bare)
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bool => "bool",
            Self::Int2 => "int2",
            Self::Int4 => "int4",
            Self::Int8 => "int8",
            Self::Float4 => "float4",
            Self::Float8 => "float8",
            Self::Numeric => "numeric",
            Self::Text => "text",
            Self::Bytea => "bytea",
            Self::Uuid => "uuid",
            Self::Date => "date",
            Self::Time => "time",
            Self::Timestamp => "timestamp",
            Self::Timestamptz => "timestamptz",
            Self::Json => "json",
            Self::Jsonb => "jsonb",
        })
    }
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.form {
            Form::Scalar(scalar) => write!(f, "{scalar}")?,
            Form::Opaque(name) => f.write_str(name)?,
        }
        f.write_str(if self.array { "[]" } else { "" })
    }
}

fn form(scalar: canonical::Scalar) -> Form {
    use canonical::Scalar as From;
    Form::Scalar(match scalar {
        From::Bool => Scalar::Bool,
        From::Int2 => Scalar::Int2,
        From::Int4 => Scalar::Int4,
        From::Int8 => Scalar::Int8,
        From::Float4 => Scalar::Float4,
        From::Float8 => Scalar::Float8,
        From::Numeric => Scalar::Numeric,
        From::Text | From::Varchar | From::Bpchar | From::Name | From::Citext | From::Enum => Scalar::Text,
        From::Bytea => Scalar::Bytea,
        From::Uuid => Scalar::Uuid,
        From::Date => Scalar::Date,
        From::Time => Scalar::Time,
        From::Timestamp => Scalar::Timestamp,
        From::Timestamptz => Scalar::Timestamptz,
        From::Json => Scalar::Json,
        From::Jsonb => Scalar::Jsonb,
        From::Bit | From::Varbit => return Form::Opaque("bit".to_owned()),
        other => return Form::Opaque(Type::of(other).to_string()),
    })
}
