//! Quoting of identifiers and literals, for the few places where SQL cannot take a parameter.

use std::fmt;
use std::str::FromStr;

/// `name` as a quoted identifier.
pub fn quote_ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `text` as a quoted literal, right under any setting of `standard_conforming_strings`.
pub fn quote_literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if doubled.contains('\\') {
        format!("E'{}'", doubled.replace('\\', "\\\\"))
    } else {
        format!("'{doubled}'")
    }
}

/// A table's or a sequence's name with its schema; displayed quoted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QualifiedName {
    /// The schema, unquoted.
    pub schema: String,
    /// The name, unquoted.
    pub name: String,
}

impl QualifiedName {
    /// The name as a plan spells it: `schema.name`.
    pub fn plain(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}

impl FromStr for QualifiedName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let part_ok = |part: &str| !part.is_empty() && part.len() <= 63 && !part.contains('\0');
        match text.split_once('.') {
            Some((schema, name)) if part_ok(schema) && part_ok(name) && !name.contains('.') => {
                Ok(Self { schema: schema.to_owned(), name: name.to_owned() })
            }
            _ => Err(format!("`{}` is not of the form schema.name", text.escape_debug())),
        }
    }
}

impl fmt::Display for QualifiedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", quote_ident(&self.schema), quote_ident(&self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_doubles_what_would_end_the_quote() {
        assert_eq!(quote_ident("a\"b"), "\"a\"\"b\"");
        assert_eq!(quote_literal("it's"), "'it''s'");
        assert_eq!(quote_literal("a\\b"), "E'a\\\\b'");
    }

    #[test]
    fn a_qualified_name_needs_exactly_two_parts() {
        assert_eq!("shop.invoice".parse::<QualifiedName>().unwrap().to_string(), "\"shop\".\"invoice\"");
        for bad in ["invoice", "a.b.c", ".b", "a."] {
            assert!(bad.parse::<QualifiedName>().is_err(), "{bad}");
        }
    }
}
