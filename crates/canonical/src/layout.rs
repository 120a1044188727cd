//! What a canonical row consists of: an entity's name and its ordered, named, typed columns; and the one thing that
//! is normalised, array headers. Does not read values.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::copy::{RowFields, WireError};
use crate::types::{Type, TypeError};

/// Bytes of an array's header that are blanked: the has-null flag (4) and the element type's OID (4).
const BLANK: usize = 8;
/// Where they begin in the value: behind the number of dimensions.
const BLANK_AT: usize = 4;

/// Why columns do not make a layout.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// Written without a name or without a type.
    #[error("column `{0}` is not written as `name type`")]
    Spelling(String),
    /// The type is not in the list.
    #[error("column `{column}`: {error}")]
    Type {
        /// The column's name.
        column: String,
        /// What is wrong with its type.
        #[source]
        error: TypeError,
    },
    /// An entity or column name that Postgres could not carry.
    #[error("`{0}` cannot be a name: it is empty, or holds a NUL byte")]
    Name(String),
    /// Two columns of one name.
    #[error("column `{0}` is listed twice")]
    Duplicate(String),
    /// No columns at all.
    #[error("entity `{0}` has no columns, so that its rows could not be told apart")]
    Empty(String),
    /// More columns than a query can return beside the user.
    #[error("entity `{0}` has more than {max} columns", max = Layout::MAX_COLUMNS)]
    TooMany(String),
}

/// One canonical column. Written `legacy_id int8`; a name with blanks is put in double quotes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Column {
    /// As the queries name it.
    pub name: String,
    /// As the queries return it, without a cast.
    pub ty: Type,
}

impl Column {
    /// A column of this name and type.
    pub fn new(name: impl Into<String>, ty: Type) -> Column {
        Column { name: name.into(), ty }
    }
}

impl fmt::Display for Column {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(|c: char| c.is_whitespace() || c == '"') {
            write!(out, "\"{}\" {}", self.name.replace('"', "\"\""), self.ty)
        } else {
            write!(out, "{} {}", self.name, self.ty)
        }
    }
}

impl FromStr for Column {
    type Err = LayoutError;

    fn from_str(written: &str) -> Result<Column, LayoutError> {
        let spelling = || LayoutError::Spelling(written.to_owned());
        let (name, rest) = split_name(written.trim()).ok_or_else(spelling)?;
        if rest.trim().is_empty() {
            return Err(spelling());
        }
        let ty = rest.parse().map_err(|error| LayoutError::Type { column: name.clone(), error })?;
        Ok(Column { name, ty })
    }
}

/// The name, without its quotes, and what follows it.
fn split_name(written: &str) -> Option<(String, &str)> {
    let Some(quoted) = written.strip_prefix('"') else {
        let (name, rest) = written.split_once(char::is_whitespace)?;
        return Some((name.to_owned(), rest));
    };
    let mut from = 0;
    loop {
        let end = from + quoted[from..].find('"')?;
        if quoted[end + 1..].starts_with('"') {
            from = end + 2;
        } else {
            return Some((quoted[..end].replace("\"\"", "\""), &quoted[end + 1..]));
        }
    }
}

/// An entity's canonical columns, in order. Cheap to share, immutable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    name: String,
    columns: Vec<Column>,
    shape: Shape,
}

impl Layout {
    /// One less than what a Postgres query may return (1664), since the user comes first.
    pub const MAX_COLUMNS: usize = 1663;

    /// Checks the names and that no column is listed twice.
    pub fn new(name: impl Into<String>, columns: Vec<Column>) -> Result<Layout, LayoutError> {
        let name = name.into();
        if columns.is_empty() {
            return Err(LayoutError::Empty(name));
        }
        if columns.len() > Layout::MAX_COLUMNS {
            return Err(LayoutError::TooMany(name));
        }
        let mut seen = std::collections::HashSet::new();
        for given in std::iter::once(&name).chain(columns.iter().map(|column| &column.name)) {
            if given.is_empty() || given.contains('\0') {
                return Err(LayoutError::Name(given.clone()));
            }
        }
        for column in &columns {
            if !seen.insert(column.name.as_str()) {
                return Err(LayoutError::Duplicate(column.name.clone()));
            }
        }
        let shape = Shape::of(&columns);
        Ok(Layout { name, columns, shape })
    }

    /// The entity's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The columns in order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// A column's place, counted from 0.
    pub fn position(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|known| known.name == column)
    }

    /// Whether rows have array columns, so that equal rows may differ on the wire.
    pub fn needs_normalising(&self) -> bool {
        self.shape.has_arrays
    }

    /// The row as it is hashed: equal rows of two servers give equal bytes. Borrowed where nothing is to be changed.
    pub fn normalise<'a>(&self, row: &'a [u8]) -> Result<Cow<'a, [u8]>, WireError> {
        let mut row = Cow::Borrowed(row);
        let wire = row.clone();
        self.shape.blanks(&wire, |at| row.to_mut()[at..at + BLANK].fill(0))?;
        Ok(row)
    }

    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }
}

/// What hashing has to know of a layout; shared, so that a hasher per user and entity allocates nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shape {
    is_array: Arc<[bool]>,
    has_arrays: bool,
}

impl Shape {
    fn of(columns: &[Column]) -> Shape {
        let is_array: Arc<[bool]> = columns.iter().map(|column| column.ty.is_array()).collect();
        let has_arrays = is_array.contains(&true);
        Shape { is_array, has_arrays }
    }

    /// Checks that `row` has exactly the declared columns, and tells in ascending order where each run of
    /// [`BLANK`] bytes begins that counts as zero.
    pub(crate) fn blanks(&self, row: &[u8], mut found: impl FnMut(usize)) -> Result<(), WireError> {
        let mut fields = RowFields::new(row);
        for (column, is_array) in self.is_array.iter().enumerate() {
            let value = fields
                .next()
                .ok_or(WireError::MissingFields { expected: self.is_array.len(), got: column })??;
            let Some(value) = value.filter(|_| *is_array) else { continue };
            if value.len() < BLANK_AT + BLANK {
                return Err(WireError::ShortArray { column });
            }
            // The iterator stands behind the value.
            found(fields.position() - value.len() + BLANK_AT);
        }
        if fields.position() != row.len() {
            return Err(WireError::ExtraBytes { expected: self.is_array.len() });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy::put_field;

    fn layout(columns: &[&str]) -> Result<Layout, LayoutError> {
        Layout::new("e", columns.iter().map(|written| written.parse()).collect::<Result<_, _>>()?)
    }

    #[test]
    fn columns_are_read_as_they_are_written() {
        for written in ["legacy_id int8", "\"odd name\" text[]", "\"with \"\"quotes\"\"\" \"char\""] {
            assert_eq!(written.parse::<Column>().expect(written).to_string(), written);
        }
        assert_eq!(
            "  at   timestamp with time zone ".parse::<Column>().expect("ok").to_string(),
            "at timestamptz"
        );
    }

    #[test]
    fn a_column_without_name_or_type_is_refused() {
        for written in ["", "id", "\"id", "\"id\"", "id  "] {
            assert!(matches!(written.parse::<Column>(), Err(LayoutError::Spelling(_))), "{written}");
        }
        let error = "sum money".parse::<Column>().expect_err("refused").to_string();
        assert!(error.starts_with("column `sum`: type `money`"), "{error}");
    }

    #[test]
    fn duplicates_and_empty_layouts_are_refused() {
        assert_eq!(layout(&["a int8", "a text"]), Err(LayoutError::Duplicate("a".into())));
        assert_eq!(layout(&[]), Err(LayoutError::Empty("e".into())));
        assert_eq!(layout(&["\"\" text"]), Err(LayoutError::Name(String::new())));
        assert!(Layout::new("", vec![Column::new("a", Type::TEXT)]).is_err());
        let many = (0..1664).map(|n| Column::new(format!("c{n}"), Type::TEXT)).collect();
        assert_eq!(Layout::new("e", many), Err(LayoutError::TooMany("e".into())));
    }

    #[test]
    fn normalising_blanks_the_arrays_flag_and_oid_and_nothing_else() {
        let layout = layout(&["a int8", "b int4[]", "c int4[]"]).expect("valid");
        let mut row = Vec::new();
        put_field(&mut row, Some(&[1; 8])).expect("fits");
        put_field(&mut row, Some(&[0xff; 20])).expect("fits");
        put_field(&mut row, None).expect("fits");
        let mut expected = row.clone();
        expected[20..28].fill(0);
        let normal = layout.normalise(&row).expect("well formed");
        assert_eq!(normal, expected);
        assert_eq!(layout.normalise(&normal).expect("well formed"), expected);
    }

    #[test]
    fn a_row_without_arrays_is_not_copied() {
        let layout = layout(&["a int8"]).expect("valid");
        let row = [0, 0, 0, 1, 9];
        assert!(!layout.needs_normalising());
        assert!(matches!(layout.normalise(&row), Ok(Cow::Borrowed(_))));
    }

    #[test]
    fn rows_of_another_shape_are_refused() {
        let layout = layout(&["a int8", "b int4[]"]).expect("valid");
        let null = [0xff; 4];
        let refused = |row: &[u8]| layout.normalise(row).map(drop).expect_err("refused");
        assert_eq!(refused(&null), WireError::MissingFields { expected: 2, got: 1 });
        assert_eq!(refused(&[null, null, null].concat()), WireError::ExtraBytes { expected: 2 });
        assert_eq!(refused(&[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 1]), WireError::ShortArray { column: 1 });
        assert_eq!(refused(&[0, 0, 0, 9, 1]), WireError::Truncated);
        assert_eq!(refused(&[0xff, 0xff, 0xff, 0xfe]), WireError::FieldLength(-2));
    }
}
