//! SQL expressions for a user's key in its canonical spelling, and for columns that must be equal.

use handover_plan::KeyType;

use crate::catalogue::Stored;

/// What kinds of types are told apart here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Int,
    Numeric,
    Uuid,
    Text,
    Other,
}

fn family(stored: &Stored) -> Family {
    match (stored.schema.as_str(), stored.name.as_str()) {
        ("pg_catalog", "int2" | "int4" | "int8") => Family::Int,
        ("pg_catalog", "numeric") => Family::Numeric,
        ("pg_catalog", "uuid") => Family::Uuid,
        ("pg_catalog", "text" | "varchar" | "bpchar" | "name") | (_, "citext") => Family::Text,
        _ => Family::Other,
    }
}

/// The column `at` as the key's text, with the collation of the fence's table; `None` where a column of this
/// type holds no such key. A text that is no number or no UUID stays as it is: a write must not fail for it.
pub(crate) fn of_user(at: &str, stored: &Stored, key: KeyType) -> Option<String> {
    let text = match (key, family(stored)) {
        (KeyType::Text, _) | (KeyType::Int8, Family::Int) | (KeyType::Uuid, Family::Uuid) => {
            format!("({at})::pg_catalog.text")
        }
        (KeyType::Int8, Family::Numeric) => format!("pg_catalog.trim_scale({at})::pg_catalog.text"),
        (KeyType::Int8, Family::Text) => {
            let text = format!("({at})::pg_catalog.text");
            let is_number = format!("{text} OPERATOR(pg_catalog.~) '^\\s*[+-]?[0-9]{{1,18}}\\s*$'");
            format!("(CASE WHEN {is_number} THEN {text}::pg_catalog.int8::pg_catalog.text ELSE {text} END)")
        }
        (KeyType::Uuid, Family::Text) => {
            let text = format!("({at})::pg_catalog.text");
            let digits = format!("pg_catalog.translate(pg_catalog.lower({text}), '{{}}- ', '')");
            let is_uuid = format!("{digits} OPERATOR(pg_catalog.~) '^[0-9a-f]{{32}}$'");
            format!("(CASE WHEN {is_uuid} THEN {digits}::pg_catalog.uuid::pg_catalog.text ELSE {text} END)")
        }
        (KeyType::Int8, Family::Uuid | Family::Other)
        | (KeyType::Uuid, Family::Int | Family::Numeric | Family::Other) => return None,
    };
    Some(format!("({text} COLLATE pg_catalog.\"C\")"))
}

/// `left = right`, by the types' own operator where they are of a kind and as texts where they are not.
pub(crate) fn equal(left: (&str, &Stored), right: (&str, &Stored)) -> String {
    let ((a, of_a), (b, of_b)) = (left, right);
    if of_a == of_b {
        // A type without an operator of its own (an enum, a varchar) has one of pg_catalog.
        let schema = handover_postgres::quote_ident(of_a.equals.as_deref().unwrap_or("pg_catalog"));
        return format!("{a} OPERATOR({schema}.=) {b}");
    }
    let kinds = (family(of_a), family(of_b));
    let is_citext = of_a.name == "citext" || of_b.name == "citext";
    match kinds {
        (Family::Int | Family::Numeric, Family::Int | Family::Numeric) => {
            format!("{a} OPERATOR(pg_catalog.=) {b}")
        }
        (Family::Text, Family::Text) if !is_citext => format!("{a} OPERATOR(pg_catalog.=) {b}"),
        _ => format!(
            "({a})::pg_catalog.text COLLATE pg_catalog.\"C\" OPERATOR(pg_catalog.=) \
             ({b})::pg_catalog.text COLLATE pg_catalog.\"C\""
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(name: &str) -> Stored {
        Stored { schema: "pg_catalog".to_owned(), name: name.to_owned(), equals: None }
    }

    #[test]
    fn a_column_that_cannot_hold_the_key_is_refused() {
        assert!(of_user("NEW.a", &stored("bool"), KeyType::Int8).is_none());
        assert!(of_user("NEW.a", &stored("int8"), KeyType::Uuid).is_none());
        assert!(of_user("NEW.a", &stored("int4"), KeyType::Int8).is_some());
    }

    #[test]
    fn columns_of_different_kinds_are_compared_as_texts() {
        let sql = equal(("a.x", &stored("int8")), ("b.y", &stored("text")));
        assert!(sql.contains("(a.x)::pg_catalog.text"), "{sql}");
        let sql = equal(("a.x", &stored("int4")), ("b.y", &stored("int8")));
        assert_eq!(sql, "a.x OPERATOR(pg_catalog.=) b.y");
    }
}
