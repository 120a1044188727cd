//! What each fill writes, byte by byte.

use bytes::BytesMut;
use handover_canonical::Type;
use handover_transform::{Applied, Fill, Registry, RowProblem, RowTransform, Scratch, Transform};

use crate::rows::{column, encoded, enum_target, json, layout, map, row, target, tuple, uuid5};

type Field = Option<Vec<u8>>;

/// One column filled from one row.
fn one(
    columns: &[&str],
    target: handover_transform::Target,
    fill: Fill,
    fields: &[Option<&[u8]>],
) -> Result<Field, String> {
    let transform = Transform::compile(&layout(columns), &Type::INT8, &[(target, fill)]).unwrap();
    Ok(encoded(&transform, fields)?.remove(0))
}

#[expect(clippy::unnecessary_wraps, reason = "it is compared with fields")]
fn bytes(value: impl AsRef<[u8]>) -> Field {
    Some(value.as_ref().to_vec())
}

#[test]
fn plain_columns_are_copied_in_the_destinations_order() {
    let layout = layout(&["a int8", "b text", "c bool", "d inet"]);
    let into = [
        ("z", "inet", "d"),
        ("a", "int8", "a"),
        ("b", "varchar", "b"),
        ("c", "bool", "c"),
        ("b2", "name", "b"),
    ];
    let fills: Vec<_> = into.iter().map(|(name, ty, from)| (target(name, ty), column(from))).collect();
    let transform = Transform::compile(&layout, &Type::INT8, &fills).unwrap();
    assert_eq!(transform.columns(), ["z", "a", "b", "c", "b2"]);
    let written = encoded(&transform, &[Some(&[9; 8]), None, Some(&[1]), Some(b"inet")]).unwrap();
    assert_eq!(written, [bytes("inet"), bytes([9; 8]), None, bytes([1]), None]);
}

#[test]
fn a_default_is_not_sent() {
    let fills = [
        (target("a", "int8"), column("a")),
        (target("at", "timestamptz!"), Fill::Default { reason: "now".into() }),
        (target("b", "text"), Fill::Constant("legacy".into())),
    ];
    let transform = Transform::compile(&layout(&["a int8"]), &Type::INT8, &fills).unwrap();
    assert_eq!(transform.columns(), ["a", "b"]);
    assert_eq!(encoded(&transform, &[None]).unwrap(), [None, bytes("legacy")]);
}

#[test]
fn a_map_looks_up_the_spelling_and_refuses_what_it_does_not_hold() {
    let fill = || map("kind", &[("0", "before_due"), ("-1", "on_due")]);
    let kind = |number: i16| one(&["kind int2"], enum_target("kind"), fill(), &[Some(&number.to_be_bytes())]);
    assert_eq!(kind(0), Ok(bytes("before_due")));
    assert_eq!(kind(-1), Ok(bytes("on_due")));
    let error = kind(77).unwrap_err();
    assert_eq!(error, "thing, column kind: the map has no entry for the value");
}

#[test]
fn a_large_map_finds_each_of_its_keys() {
    let keys: Vec<String> = (0..100).map(|number| (number * 37).to_string()).collect();
    let entries: Vec<_> = keys.iter().map(|key| (key.as_str(), key.as_str())).collect();
    let into = target("a", "text");
    let transform =
        Transform::compile(&layout(&["a text"]), &Type::INT8, &[(into, map("a", &entries))]).unwrap();
    for key in &keys {
        assert_eq!(encoded(&transform, &[Some(key.as_bytes())]).unwrap(), [bytes(key)]);
    }
    assert!(encoded(&transform, &[Some(b"38")]).is_err());
}

#[test]
fn null_is_mapped_by_the_key_null_and_the_text_null_is_not() {
    let mapped = |fill, value| one(&["a text"], target("a", "text"), fill, &[value]);
    let with = || map("a", &[("x", "y"), ("null", "none")]);
    assert_eq!(mapped(with(), None), Ok(bytes("none")));
    assert_eq!(mapped(map("a", &[("x", "y")]), None), Ok(None));
    assert!(mapped(with(), Some(b"null")).is_err());
}

#[test]
fn a_uuid5_is_that_of_the_spellings_joined_with_colons() {
    let fields: [Option<&[u8]>; 2] = [Some(&42_i64.to_be_bytes()), Some(b"a")];
    let id = one(&["n int8", "t text"], target("id", "uuid"), uuid5(&["n", "t", "n"]), &fields).unwrap();
    // uuid_generate_v5('0b6ac4d2-6f0e-4f0e-9d0c-0e6f3b1f7a11', '42:a:42'), by uuid-ossp.
    let expected: uuid::Uuid = "f17221bd-5b2a-52ff-a533-d564b052ed9c".parse().unwrap();
    assert_eq!(id, bytes(expected.as_bytes()));
    let null = one(&["n int8", "t text"], target("id", "uuid"), uuid5(&["n", "t"]), &[fields[0], None]);
    assert_eq!(null, Ok(None));
}

#[test]
fn a_jsonb_object_is_written_as_postgres_keeps_it() {
    let columns = ["days int4", "at timestamp", "zone text", "tags text[]"];
    let fill = json(&[("days", "days"), ("at", "at"), ("zone", "zone"), ("tags", "tags")]);
    let tags = b"\0\0\0\x01\0\0\0\x01\0\0\0\x19\0\0\0\x02\0\0\0\x01\0\0\0\x01a\xff\xff\xff\xff";
    let tags = [&tags[..20], b"\0\0\0\x01", &tags[24..]].concat();
    let fields: [Option<&[u8]>; 4] =
        [Some(&(-3_i32).to_be_bytes()), Some(&1_500_000_i64.to_be_bytes()), None, Some(&tags)];
    let written = one(&columns, target("schedule", "jsonb"), fill, &fields).unwrap();
    let expected =
        "\u{1}{\"at\": \"2000-01-01T00:00:01.5\", \"days\": -3, \"tags\": [\"a\", null], \"zone\": null}";
    assert_eq!(written, bytes(expected));
}

#[test]
fn a_json_object_keeps_the_plans_order() {
    let written = one(
        &["a int4", "b text"],
        target("j", "json"),
        json(&[("bb", "b"), ("a\"", "a")]),
        &[None, Some(b"x\n\"")],
    );
    assert_eq!(written, Ok(bytes(r#"{"bb" : "x\n\"", "a\"" : null}"#)));
}

#[test]
fn null_into_a_not_null_column_names_the_column() {
    let refused = |fill| one(&["a int8"], target("wanted", "int8!"), fill, &[None]).unwrap_err();
    assert_eq!(refused(column("a")), "thing, column wanted: null in a column that is not null");
    let id = one(&["a int8"], target("id", "uuid!"), uuid5(&["a"]), &[None]).unwrap_err();
    assert_eq!(id, "thing, column id: null in a column that is not null");
    let tags = one(&["a text[]"], target("tags", "text[]!"), column("a"), &[None]).unwrap_err();
    assert_eq!(tags, "thing, column tags: null in a column that is not null");
}

#[test]
fn an_array_gets_the_destinations_element_type() {
    // Flag and element type are blanked, as in a normalised row.
    let array = b"\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\x01\0\0\0\x01a";
    let mut into = enum_target("moods");
    (into.type_name, into.element_oid) = ("mood[]".into(), 0x0102_0304);
    let written = one(&["a enum[]"], into, column("a"), &[Some(array)]).unwrap().unwrap();
    assert_eq!(written[8..12], [1, 2, 3, 4]);
    assert_eq!((&written[..8], &written[12..]), (&array[..8], &array[12..]));
    let written = one(&["a text[]"], target("a", "varchar[]"), column("a"), &[Some(array)]).unwrap().unwrap();
    assert_eq!(written[8..12], 1043_u32.to_be_bytes());
}

#[test]
fn the_user_is_written_in_the_columns_own_type() {
    let written = |user: &str, key: &[u8], into: &str| {
        let fills = [(target("owner", into), Fill::User)];
        let transform = Transform::compile(&layout(&["a int8"]), &user.parse().unwrap(), &fills).unwrap();
        let mut out = BytesMut::new();
        transform.encode(key, &[None], &mut out).map_err(|error| error.problem)?;
        Ok(tuple(&out).remove(0).unwrap())
    };
    let uuid = [0x11; 16];
    let spelled = b"11111111-1111-1111-1111-111111111111";
    assert_eq!(written("int8", &42_i64.to_be_bytes(), "int8"), Ok(42_i64.to_be_bytes().to_vec()));
    assert_eq!(written("int8", &42_i64.to_be_bytes(), "int4"), Ok(42_i32.to_be_bytes().to_vec()));
    assert_eq!(written("int8", &42_i64.to_be_bytes(), "text"), Ok(b"42".to_vec()));
    assert_eq!(written("int8", &(1_i64 << 40).to_be_bytes(), "int4"), Err(RowProblem::OutOfRange));
    assert_eq!(written("uuid", &uuid, "text"), Ok(spelled.to_vec()));
    assert_eq!(written("text", spelled, "uuid"), Ok(uuid.to_vec()));
    assert_eq!(written("text", &[b'A'; 36], "uuid"), Err(RowProblem::UserKey));
    assert_eq!(written("text", b"-7", "int8"), Ok((-7_i64).to_be_bytes().to_vec()));
    for key in [&b"007"[..], b"+7", b"-0", b"", b"7 ", b"\xff"] {
        assert_eq!(written("text", key, "int8"), Err(RowProblem::UserKey));
    }
}

#[test]
fn drawn_values_go_into_the_columns_that_ask_for_them() {
    let sequence = |key: &str| Fill::Sequence { sequence: "s.id_seq".into(), key: key.into() };
    let fills = [
        (target("a", "text"), column("a")),
        (target("id", "int8!"), sequence("k")),
        (target("small", "int4"), sequence("k")),
    ];
    let transform = Transform::compile(&layout(&["a text", "k int8"]), &Type::INT8, &fills).unwrap();
    let drawn: Vec<_> = transform.sequences().iter().map(|s| (s.column, s.key_field, &*s.sequence)).collect();
    assert_eq!(drawn, [(1, 1, "s.id_seq"), (2, 1, "s.id_seq")]);
    let write = |values: &[i64]| {
        let mut out = BytesMut::new();
        let done = transform.encode_with(&[], &[None, None], values, &mut Scratch::default(), &mut out);
        done.map(|()| tuple(&out)).map_err(|error| (error.column, error.problem, out.len()))
    };
    assert_eq!(write(&[7, 8]), Ok(vec![None, bytes(7_i64.to_be_bytes()), bytes(8_i32.to_be_bytes())]));
    assert_eq!(write(&[7]), Err(("small".into(), RowProblem::NotDrawn, 0)));
    assert_eq!(write(&[7, 1 << 40]), Err(("small".into(), RowProblem::OutOfRange, 0)));
    assert_eq!(transform.derived("id"), None);
}

#[test]
fn a_derived_column_is_recomputed_and_compared() {
    let fills = [(target("id", "uuid!"), uuid5(&["n"])), (target("tags", "text[]"), column("tags"))];
    let transform = Transform::compile(&layout(&["n int8", "tags text[]"]), &Type::INT8, &fills).unwrap();
    let number = 42_i64.to_be_bytes();
    let empty = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let fields: [Option<&[u8]>; 2] = [Some(&number), Some(&empty)];
    let id = transform.encode_derived("id", &[], &fields).unwrap().unwrap();
    assert_eq!(encoded(&transform, &fields).unwrap()[0], bytes(&id));
    let mut scratch = Scratch::default();
    let mut equals = |column, read: Option<&[u8]>| {
        transform.derived_equals(column, &[], &row(&fields), read, &mut scratch).unwrap()
    };
    assert!(equals(0, Some(&id)));
    assert!(!equals(0, Some(&[0; 16])));
    assert!(!equals(0, None));
    assert!(equals(1, Some(&[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 99])));
    assert!(!equals(1, Some(&[])));
    assert_eq!(transform.derived("nothing"), None);
    assert_eq!(
        transform.encode_derived("nothing", &[], &fields).unwrap_err().problem,
        RowProblem::NotComputed
    );
}

struct Shout;

impl RowTransform for Shout {
    fn inputs(&self) -> Vec<Type> {
        vec![Type::TEXT]
    }

    fn output(&self) -> Type {
        Type::TEXT
    }

    fn apply(&self, from: &[Option<&[u8]>], out: &mut Vec<u8>) -> Result<Applied, &'static str> {
        let Some(text) = from[0] else { return Ok(Applied::Null) };
        match text {
            b"no" => Err("it says no"),
            b"panic" => panic!("on purpose"),
            _ => {
                out.extend(text.to_ascii_uppercase());
                Ok(Applied::Value)
            }
        }
    }
}

#[test]
fn a_rust_transform_fills_its_column_and_its_trouble_is_the_rows() {
    let registry = Registry::new().with("shout", Shout);
    let fill = Fill::Rust { name: "shout".into(), from: vec!["a".into()] };
    let fills = [(target("b", "text"), fill)];
    let transform = Transform::compile_with(&layout(&["a varchar"]), &Type::INT8, &fills, &registry).unwrap();
    assert_eq!(encoded(&transform, &[Some(b"x")]), Ok(vec![bytes("X")]));
    assert_eq!(encoded(&transform, &[None]), Ok(vec![None]));
    assert_eq!(
        encoded(&transform, &[Some(b"no")]).unwrap_err(),
        "thing, column b: the transform refused the row: it says no"
    );
    assert_eq!(
        encoded(&transform, &[Some(b"panic")]).unwrap_err(),
        "thing, column b: the transform panicked"
    );
}

#[test]
fn a_failed_row_leaves_the_buffer_as_it_was() {
    let fills = [(target("b", "text"), column("b")), (target("a", "int8!"), column("a"))];
    let transform = Transform::compile(&layout(&["a int8", "b text"]), &Type::INT8, &fills).unwrap();
    let mut out = BytesMut::from(&b"before"[..]);
    transform.encode(&[], &[None, Some(b"x")], &mut out).unwrap_err();
    assert_eq!(&out[..], b"before");
}
