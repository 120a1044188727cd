//! Fills that do not suit their columns are refused when they are compiled, all at once, with a remedy.

use handover_canonical::Type;
use handover_transform::{Fill, Registry, Target, Transform, Value};

use crate::rows::{column, enum_target, json, layout, map, target, uuid5};

const COLUMNS: [&str; 9] = [
    "n int4",
    "t text",
    "j json",
    "b jsonb",
    "f float8",
    "span interval",
    "spans interval[]",
    "c \"char\"",
    "tags text[]",
];

fn refused(target: Target, fill: Fill) -> String {
    let errors = Transform::compile(&layout(&COLUMNS), &Type::INT8, &[(target, fill)]).unwrap_err();
    assert_eq!(errors.len(), 1);
    format!("{} | {}", errors[0], errors[0].remedy())
}

#[test]
fn a_column_goes_only_into_its_own_wire_form() {
    for (from, into) in [
        ("n", "int8"),
        ("n", "text"),
        ("t", "uuid"),
        ("j", "jsonb"),
        ("b", "json"),
        ("f", "float4"),
        ("c", "text"),
        ("t", "text[]"),
        ("tags", "text"),
        ("n", "numeric"),
    ] {
        let error = refused(target("x", into), column(from));
        assert!(error.contains("does not fit") && error.contains("cast in the extract"), "{error}");
    }
    for (from, into) in [
        ("t", "bpchar"),
        ("t", "name"),
        ("span", "interval"),
        ("spans", "interval[]"),
        ("tags", "varchar[]"),
        ("c", "\"char\""),
    ] {
        let fills = [(target("x", into), column(from))];
        assert!(Transform::compile(&layout(&COLUMNS), &Type::INT8, &fills).is_ok(), "{from} into {into}");
    }
}

#[test]
fn types_without_a_spelling_cannot_be_named_or_looked_up() {
    for fill in [uuid5(&["span"]), json(&[("a", "spans")]), json(&[("a", "c")])] {
        let into = if matches!(fill, Fill::Json { .. }) { "jsonb" } else { "uuid" };
        let error = refused(target("x", into), fill);
        assert!(error.contains("no spelling"), "{error}");
    }
    for from in ["f", "j", "b", "tags", "span"] {
        assert!(refused(target("x", "text"), map(from, &[("1", "a")])).contains("no spelling for a map"));
    }
}

#[test]
fn map_keys_and_values_must_be_ones() {
    assert!(
        refused(target("x", "text"), map("n", &[("07", "a")])).contains("is not how int4 spells a value")
    );
    assert!(refused(target("x", "int2"), map("n", &[("7", "a")])).contains("without quotes"));
    assert!(refused(target("x", "text"), map("n", &[])).contains("the map is empty"));
    assert!(refused(target("x", "text"), map("n", &[("null", "a")])).contains("the map is empty"));
}

#[test]
fn constants_must_be_values_of_their_column() {
    let constant = |into: &str, value: Value| refused(target("x", into), Fill::Constant(value));
    assert!(constant("int2", Value::Int(40_000)).contains("a whole number is no value of int2"));
    assert!(constant("text", Value::Int(1)).contains("put it in quotes"));
    assert!(constant("uuid", "x".into()).contains("is no value of uuid"));
    assert!(constant("inet", "127.0.0.1".into()).contains("select it in the extract"));
    assert!(constant("text[]", "{a}".into()).contains("the empty one"));
}

#[test]
fn names_that_are_not_there_are_told() {
    assert!(refused(target("x", "text"), column("gone")).contains("the entity has no column gone"));
    let rust = Fill::Rust { name: "clean".into(), from: vec!["t".into()] };
    assert!(refused(target("x", "text"), rust).contains("no transform is registered as \"clean\""));
    let sequence = Fill::Sequence { sequence: "s".into(), key: "gone".into() };
    assert!(refused(target("x", "int8"), sequence).contains("no column gone"));
}

#[test]
fn objects_uuids_sequences_and_users_want_columns_of_their_types() {
    assert!(
        refused(target("x", "text"), json(&[("a", "n")])).contains("a json object does not fit into text")
    );
    assert!(refused(target("x", "jsonb"), json(&[("a", "n"), ("a", "t")])).contains("the key \"a\" twice"));
    assert!(refused(target("x", "jsonb"), json(&[])).contains("is empty"));
    assert!(refused(target("x", "text"), uuid5(&["n"])).contains("a uuid5 does not fit into text"));
    assert!(refused(target("x", "uuid"), uuid5(&[])).contains("is empty"));
    let sequence = Fill::Sequence { sequence: "s".into(), key: "n".into() };
    assert!(refused(target("x", "uuid"), sequence).contains("a sequence's value does not fit"));
    assert!(refused(target("x", "uuid"), Fill::User).contains("the user's key, int8 does not fit into uuid"));
}

#[test]
fn an_array_of_a_databases_own_type_wants_its_element_type() {
    let mut into = enum_target("x");
    into.type_name = "mood[]".into();
    assert!(refused(into, column("tags")).contains("the element type of mood[] is not known"));
}

#[test]
fn all_errors_are_reported_at_once() {
    let fills = [
        (target("a", "int8"), column("n")),
        (target("b", "text"), column("gone")),
        (target("c", "text"), column("t")),
        (target("c", "text"), column("t")),
    ];
    let errors = Transform::compile(&layout(&COLUMNS), &Type::INT8, &fills).unwrap_err();
    let columns: Vec<_> = errors.iter().map(|error| error.column.as_str()).collect();
    assert_eq!(columns, ["a", "b", "c"]);
    assert!(errors.iter().all(|error| error.entity == "thing" && !error.remedy().is_empty()));
}

#[test]
fn a_table_of_defaults_is_refused() {
    let error = refused(target("x", "text"), Fill::Default { reason: "none".into() });
    assert!(error.contains("no column of the table is sent"));
    assert_eq!(Registry::new().names().count(), 0);
}
