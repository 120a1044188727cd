//! Whether the server accepts the plan's SQL, and whether a query returns exactly the declared columns.
//!
//! Nothing is cast and nothing is run: types are compared as the server describes them.

use handover_canonical::{Column, Scalar, Type};
use handover_postgres::Error;
use tokio_postgres::Statement;
use tokio_postgres::types::{Kind, Type as WireType};

use super::session::{Refusal, Session};
use crate::KeyType;
use crate::finding::{Code, Findings, Place};
use crate::sql;

/// A piece of the plan's SQL, and where it comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'p> {
    pub(super) file: &'p str,
    /// The compiled file.
    pub(super) whole: &'p str,
    /// The byte at which `sql` begins in it.
    pub(super) offset: usize,
    pub(super) sql: &'p str,
    pub(super) key: KeyType,
}

impl<'p> Piece<'p> {
    /// The statements of a file.
    pub(super) fn all(file: &'p str, whole: &'p str, key: KeyType) -> Vec<Self> {
        let statements = sql::statements(whole).into_iter();
        statements.map(|(offset, sql)| Self { file, whole, offset, sql, key }).collect()
    }

    /// A file that is one query, as validation has seen to.
    pub(super) fn query(file: &'p str, whole: &'p str, key: KeyType) -> Self {
        let first = Self::all(file, whole, key).into_iter().next();
        first.unwrap_or(Self { file, whole, offset: 0, sql: whole, key })
    }

    /// The place of a character (from 1) of the statement in the file as it was written.
    pub(super) fn place(&self, position: u32) -> Place {
        let before = self.whole[..self.offset].chars().count() as u32;
        let mut place = Place::of_char(self.file, self.whole, before + position);
        place.column = sql::original_column(self.whole, place.line, place.column, self.key);
        place
    }

    /// The place of a byte of the file.
    pub(super) fn place_of_byte(&self, offset: usize) -> Place {
        let mut place = Place::of_byte(self.file, self.whole, offset);
        place.column = sql::original_column(self.whole, place.line, place.column, self.key);
        place
    }

    /// Where the statement begins.
    pub(super) fn start(&self) -> Place {
        self.place_of_byte(self.offset)
    }

    /// Reports what the server said.
    pub(super) fn refused(&self, refusal: &Refusal, server: &str, findings: &mut Findings) {
        let code = if refusal.is_privilege() { Code::NoPrivilege } else { Code::SqlRefused };
        let place = refusal.position.map_or_else(|| self.start(), |position| self.place(position));
        findings.error(code, &place, format!("{server}: {}", refusal.message), refusal.remedy());
    }
}

/// Prepares a statement; a refusal is a finding.
pub(super) async fn prepare(
    session: &Session<'_>,
    piece: &Piece<'_>,
    server: &str,
    findings: &mut Findings,
) -> Result<Option<Statement>, Error> {
    match session.attempt(session.client().prepare(piece.sql)).await? {
        Ok(statement) => Ok(Some(statement)),
        Err(refusal) => {
            piece.refused(&refusal, server, findings);
            Ok(None)
        }
    }
}

/// What a query must return behind the user.
pub(super) struct Declared<'p> {
    /// `extract` or `read_back`.
    pub(super) query: &'static str,
    pub(super) columns: Vec<(&'p Column, &'p Place)>,
}

/// Compares what the query returns with what is declared; tells whether names and order are.
pub(super) fn compare(
    statement: &Statement,
    piece: &Piece<'_>,
    declared: &Declared<'_>,
    findings: &mut Findings,
) -> bool {
    let returned = statement.columns();
    let Some((user, rest)) = returned.split_first() else {
        let remedy = "select the user first, then the declared columns";
        findings.error(Code::ColumnMismatch, &piece.start(), "the query returns no columns", remedy);
        return false;
    };
    check_user(user, piece, findings);
    if !check_names(rest, piece, declared, findings) {
        return false;
    }
    for (actual, (column, place)) in rest.iter().zip(&declared.columns) {
        check_type(actual, column, place, piece, findings);
    }
    true
}

fn check_user(user: &tokio_postgres::Column, piece: &Piece<'_>, findings: &mut Findings) {
    let wanted = piece.key.wire_type();
    if !is_type(wanted, user.type_()) {
        let what = format!(
            "the first column must be the user, of type {wanted}, and is `{}` of type {}",
            user.name(),
            spelling(user.type_())
        );
        let remedy = format!("select the user first, as in `owner_id::{wanted}`");
        findings.error(Code::ColumnMismatch, &piece.start(), what, remedy);
    } else if user.type_modifier() != -1 {
        let what = format!("the user's column `{}` has a type modifier", user.name());
        let remedy = format!("cast it to the type alone: `{}::{wanted}`", user.name());
        findings.error(Code::TypeModifier, &piece.start(), what, remedy);
    }
}

/// Whether names and order are the declared ones. Types are compared only then.
fn check_names(
    rest: &[tokio_postgres::Column],
    piece: &Piece<'_>,
    declared: &Declared<'_>,
    findings: &mut Findings,
) -> bool {
    let actual: Vec<&str> = rest.iter().map(tokio_postgres::Column::name).collect();
    let wanted: Vec<&str> = declared.columns.iter().map(|(column, _)| column.name.as_str()).collect();
    if actual == wanted {
        return true;
    }
    let list = |names: &[&str], without: &[&str]| {
        let names: Vec<_> = names.iter().filter(|name| !without.contains(name)).copied().collect();
        names.join(", ")
    };
    let (missing, extra) = (list(&wanted, &actual), list(&actual, &wanted));
    let query = declared.query;
    let difference = match (missing.is_empty(), extra.is_empty()) {
        (false, true) => format!("it lacks {missing}"),
        (true, false) => format!("it also returns {extra}"),
        (false, false) => format!("it lacks {missing}, and also returns {extra}"),
        (true, true) => format!("the order is {}", actual.join(", ")),
    };
    let what = format!("`{query}` does not return the declared columns behind the user: {difference}");
    let remedy = format!("return exactly, in this order: the user, {}", wanted.join(", "));
    findings.error(Code::ColumnMismatch, &piece.start(), what, remedy);
    false
}

fn check_type(
    actual: &tokio_postgres::Column,
    column: &Column,
    place: &Place,
    piece: &Piece<'_>,
    findings: &mut Findings,
) {
    let Column { name, ty } = column;
    let file = piece.file;
    if !is_type(*ty, actual.type_()) {
        let got = spelling(actual.type_());
        let what = format!("{file} returns `{name}` as {got}, and it is declared {ty}");
        let remedy = match got.parse::<Type>() {
            Ok(_) => {
                format!("cast in the query, or declare \"{name} {got}\" and return that from both queries")
            }
            Err(error) => format!("cast in the query to a type of the list ({error})"),
        };
        findings.error(Code::ColumnMismatch, place, what, remedy);
    } else if actual.type_modifier() != -1 {
        let alone = if ty.scalar() == Scalar::Bit { Type::of(Scalar::Varbit) } else { *ty };
        let what =
            format!("{file} returns `{name}` with a length, precision or scale, which could cut values");
        let remedy = format!("cast to the type alone, which changes no value: `{name}::{alone}`");
        findings.error(Code::TypeModifier, place, what, remedy);
    }
}

/// Whether the server's type is the declared one.
fn is_type(declared: Type, actual: &WireType) -> bool {
    if let Some(oid) = declared.oid() {
        return oid == actual.oid();
    }
    let element = match (declared.is_array(), actual.kind()) {
        (true, Kind::Array(element)) => element,
        (true, _) => return false,
        (false, _) => actual,
    };
    match declared.scalar() {
        Scalar::Enum => matches!(element.kind(), Kind::Enum(_)),
        Scalar::Citext => element.name() == "citext",
        _ => false,
    }
}

/// The server's type as a plan would spell it.
fn spelling(actual: &WireType) -> String {
    if let Some(known) = Type::from_oid(actual.oid()) {
        return known.to_string();
    }
    match actual.kind() {
        Kind::Array(element) => format!("{}[]", spelling(element)),
        Kind::Enum(_) => "enum".to_owned(),
        _ => actual.name().to_owned(),
    }
}
