//! The closed list of column types that canonical rows may have, each with its one canonical spelling.
//!
//! A type is here if its binary send format is the value and nothing but the value: the same bytes on every
//! server, whatever its locale, catalogue and history. Knows nothing of a value's bytes themselves.

use std::fmt;
use std::str::FromStr;

/// Why a type's spelling was refused. Messages name the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TypeError {
    /// The type exists, but its values cannot be compared byte by byte between two servers.
    #[error("type `{name}` cannot be a canonical column's: {reason}")]
    Refused {
        /// The type as it was written.
        name: String,
        /// What stands against it, and what to write instead.
        reason: &'static str,
    },
    /// A length, precision or scale was given.
    #[error(
        "type `{0}` has a modifier: a canonical column has none, since a cast would cut or round values in silence \
         on both sides alike; write the type alone and let the query return it so"
    )]
    Modifier(String),
    /// Not a name of the list.
    #[error(
        "type `{0}` is not in the list of canonical types: write `enum` for an enum type, the base type for a domain; \
         composites are spread over several columns"
    )]
    Unknown(String),
}

/// A column's type: a [`Scalar`] or a one- or more-dimensional array of one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Type {
    scalar: Scalar,
    array: bool,
}

impl Type {
    /// `int8`.
    pub const INT8: Type = Type::of(Scalar::Int8);
    /// `uuid`.
    pub const UUID: Type = Type::of(Scalar::Uuid);
    /// `text`.
    pub const TEXT: Type = Type::of(Scalar::Text);

    /// The scalar type itself.
    pub const fn of(scalar: Scalar) -> Type {
        Type { scalar, array: false }
    }

    /// The array whose elements are `scalar`.
    pub const fn array_of(scalar: Scalar) -> Type {
        Type { scalar, array: true }
    }

    /// The scalar, or an array's element as a scalar.
    pub const fn scalar(self) -> Scalar {
        self.scalar
    }

    /// Whether this is an array. Postgres has one array type for all dimensions.
    pub const fn is_array(self) -> bool {
        self.array
    }

    /// An array's element type; `None` for a scalar.
    pub fn element(self) -> Option<Type> {
        self.array.then_some(Type::of(self.scalar))
    }

    /// The type's OID where it is the same on every server; `None` for `enum`, `citext` and arrays of them.
    pub fn oid(self) -> Option<u32> {
        let entry = self.scalar.entry();
        let oid = if self.array { entry.array_oid } else { entry.oid };
        (oid != 0).then_some(oid)
    }

    /// The type of a built-in OID; `None` outside the list, and for all types that a database itself defines.
    pub fn from_oid(oid: u32) -> Option<Type> {
        if oid == 0 {
            return None;
        }
        TABLE.iter().find_map(|entry| match oid {
            _ if oid == entry.oid => Some(Type::of(entry.scalar)),
            _ if oid == entry.array_oid => Some(Type::array_of(entry.scalar)),
            _ => None,
        })
    }

    /// All types of the list, scalars and arrays.
    pub fn all() -> impl Iterator<Item = Type> {
        TABLE.iter().flat_map(|entry| [Type::of(entry.scalar), Type::array_of(entry.scalar)])
    }
}

impl fmt::Display for Type {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let brackets = if self.array { "[]" } else { "" };
        write!(out, "{}{brackets}", self.scalar.entry().name)
    }
}

impl fmt::Debug for Type {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl FromStr for Type {
    type Err = TypeError;

    fn from_str(written: &str) -> Result<Type, TypeError> {
        let spelling = written.split_whitespace().collect::<Vec<_>>().join(" ").to_ascii_lowercase();
        let (name, array) = match spelling.strip_suffix("[]") {
            Some(element) => (element.trim_end(), true),
            None => (spelling.as_str(), false),
        };
        // Before the modifier's test: `char(3)` and `"char"` are told apart by it, `char` alone by `refusal`.
        if let Some(entry) = TABLE.iter().find(|entry| entry.is_called(name)) {
            return Ok(Type { scalar: entry.scalar, array });
        }
        Err(match refusal(name) {
            Some(reason) => TypeError::Refused { name: written.to_owned(), reason },
            None if name.contains('(') => TypeError::Modifier(written.to_owned()),
            None => TypeError::Unknown(written.to_owned()),
        })
    }
}

/// Reasons for names that people do write, so that the error teaches more than "not in the list".
fn refusal(name: &str) -> Option<&'static str> {
    Some(match name {
        "char" | "character" | "nchar" => {
            "it means character(1); write `bpchar` for blank-padded text, or `\"char\"` for the one-byte type"
        }
        "xml" => "its bytes depend on the declared encoding; return it as `text`",
        "money" => "its meaning depends on the server's locale; return it as `numeric`",
        "oid" | "xid" | "xid8" | "cid" | "tid" | "oidvector" | "int2vector" | "aclitem" => {
            "it names things of one server's catalogue or storage"
        }
        "record" => "composites carry their database's own type numbers; spread it over several columns",
        "smallserial" | "serial2" | "serial" | "serial4" | "bigserial" | "serial8" => {
            "it is a column default, not a type; write `int2`, `int4` or `int8`"
        }
        "jsonpath" | "refcursor" | "pg_snapshot" | "txid_snapshot" => "return it as `text`",
        _ if name.starts_with("reg") => {
            "it names things of one server's catalogue; return the name as `text`"
        }
        _ if name.ends_with("[]") => "write one pair of brackets: an array type covers all dimensions",
        _ => return None,
    })
}

struct Entry {
    scalar: Scalar,
    name: &'static str,
    aliases: &'static [&'static str],
    oid: u32,
    array_oid: u32,
    send: &'static str,
}

impl Entry {
    fn is_called(&self, name: &str) -> bool {
        self.name == name || self.aliases.contains(&name)
    }
}

impl Scalar {
    fn entry(self) -> &'static Entry {
        // The macro writes enum and table from one list, so the position is the discriminant.
        &TABLE[self as usize]
    }

    /// The SQL function that gives a value's canonical bytes; for `citext` it wants a cast to `text`.
    pub fn send_function(self) -> &'static str {
        self.entry().send
    }
}

macro_rules! scalars {
    ($($variant:ident $name:literal [$($alias:literal),*] $oid:literal $array_oid:literal $send:literal;)*) => {
        /// One element of the closed list. What its bytes are is in `docs/digest.md`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Scalar {
            $(#[doc = concat!("`", $name, "`")] $variant,)*
        }

        const TABLE: &[Entry] = &[$(Entry {
            scalar: Scalar::$variant,
            name: $name,
            aliases: &[$($alias),*],
            oid: $oid,
            array_oid: $array_oid,
            send: $send,
        },)*];
    };
}

// Name, other spellings, OID, array's OID, send function. The test `the_list_is_the_servers` compares all of it with
// a real server's pg_type.
scalars! {
    Bool "bool" ["boolean"] 16 1000 "boolsend";
    Int2 "int2" ["smallint"] 21 1005 "int2send";
    Int4 "int4" ["integer", "int"] 23 1007 "int4send";
    Int8 "int8" ["bigint"] 20 1016 "int8send";
    Float4 "float4" ["real"] 700 1021 "float4send";
    Float8 "float8" ["double precision", "float"] 701 1022 "float8send";
    Numeric "numeric" ["decimal", "dec"] 1700 1231 "numeric_send";
    Text "text" [] 25 1009 "textsend";
    Varchar "varchar" ["character varying", "char varying"] 1043 1015 "varcharsend";
    Bpchar "bpchar" [] 1042 1014 "bpcharsend";
    Char "\"char\"" [] 18 1002 "charsend";
    Name "name" [] 19 1003 "namesend";
    Bytea "bytea" [] 17 1001 "byteasend";
    Date "date" [] 1082 1182 "date_send";
    Time "time" ["time without time zone"] 1083 1183 "time_send";
    Timetz "timetz" ["time with time zone"] 1266 1270 "timetz_send";
    Timestamp "timestamp" ["timestamp without time zone"] 1114 1115 "timestamp_send";
    Timestamptz "timestamptz" ["timestamp with time zone"] 1184 1185 "timestamptz_send";
    Interval "interval" [] 1186 1187 "interval_send";
    Uuid "uuid" [] 2950 2951 "uuid_send";
    Json "json" [] 114 199 "json_send";
    Jsonb "jsonb" [] 3802 3807 "jsonb_send";
    Inet "inet" [] 869 1041 "inet_send";
    Cidr "cidr" [] 650 651 "cidr_send";
    Macaddr "macaddr" [] 829 1040 "macaddr_send";
    Macaddr8 "macaddr8" [] 774 775 "macaddr8_send";
    Bit "bit" [] 1560 1561 "bit_send";
    Varbit "varbit" ["bit varying"] 1562 1563 "varbit_send";
    Point "point" [] 600 1017 "point_send";
    Lseg "lseg" [] 601 1018 "lseg_send";
    Box "box" [] 603 1020 "box_send";
    Path "path" [] 602 1019 "path_send";
    Polygon "polygon" [] 604 1027 "poly_send";
    Line "line" [] 628 629 "line_send";
    Circle "circle" [] 718 719 "circle_send";
    Tsvector "tsvector" [] 3614 3643 "tsvectorsend";
    Tsquery "tsquery" [] 3615 3645 "tsquerysend";
    PgLsn "pg_lsn" [] 3220 3221 "pg_lsn_send";
    Int4range "int4range" [] 3904 3905 "range_send";
    Int8range "int8range" [] 3926 3927 "range_send";
    Numrange "numrange" [] 3906 3907 "range_send";
    Tsrange "tsrange" [] 3908 3909 "range_send";
    Tstzrange "tstzrange" [] 3910 3911 "range_send";
    Daterange "daterange" [] 3912 3913 "range_send";
    Int4multirange "int4multirange" [] 4451 6150 "multirange_send";
    Int8multirange "int8multirange" [] 4536 6157 "multirange_send";
    Nummultirange "nummultirange" [] 4532 6151 "multirange_send";
    Tsmultirange "tsmultirange" [] 4533 6152 "multirange_send";
    Tstzmultirange "tstzmultirange" [] 4534 6153 "multirange_send";
    Datemultirange "datemultirange" [] 4535 6155 "multirange_send";
    Enum "enum" [] 0 0 "enum_send";
    Citext "citext" [] 0 0 "textsend";
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(written: &str) -> String {
        written.parse::<Type>().expect(written).to_string()
    }

    #[test]
    fn every_spelling_becomes_the_canonical_one() {
        for (written, canonical) in [
            ("bigint", "int8"),
            (" Double   Precision ", "float8"),
            ("timestamp with time zone[]", "timestamptz[]"),
            ("CHARACTER VARYING", "varchar"),
            ("\"char\" []", "\"char\"[]"),
            ("text[]", "text[]"),
        ] {
            assert_eq!(parsed(written), canonical);
        }
    }

    #[test]
    fn every_type_of_the_list_survives_being_written_and_read() {
        for ty in Type::all() {
            assert_eq!(ty.to_string().parse(), Ok(ty));
            assert_eq!(ty.oid().map(Type::from_oid), ty.oid().map(|_| Some(ty)));
        }
    }

    #[test]
    fn an_array_and_its_element_are_two_types() {
        let array: Type = "int4[]".parse().expect("in the list");
        assert!(array.is_array());
        assert_eq!(array.element(), Some(Type::of(Scalar::Int4)));
        assert_ne!(array, Type::of(Scalar::Int4));
        assert_eq!(Type::of(Scalar::Int4).element(), None);
    }

    #[test]
    fn types_outside_the_list_are_refused_with_the_reason() {
        for (written, part) in [
            ("money", "locale"),
            ("xml", "encoding"),
            ("oid", "catalogue"),
            ("regclass", "catalogue"),
            ("regproc[]", "catalogue"),
            ("record", "composites"),
            ("serial", "int4"),
            ("char", "bpchar"),
            ("text[][]", "one pair of brackets"),
            ("varchar(3)", "modifier"),
            ("numeric(10,2)[]", "modifier"),
            ("timestamp(3) with time zone", "modifier"),
            ("char(3)", "modifier"),
            ("shop.mood", "`enum` for an enum type"),
            ("", "not in the list"),
        ] {
            let error = written.parse::<Type>().expect_err(written).to_string();
            assert!(error.contains(part), "{written}: {error}");
        }
    }
}
