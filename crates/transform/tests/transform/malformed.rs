//! Bytes that Postgres never sends: an error or a tuple with exactly the sent columns, and never a panic.

use bytes::BytesMut;
use handover_canonical::Type;
use handover_transform::{Fill, Scratch, Speller, Target, Transform, spelling::Style};
use proptest::{collection::vec, option, prelude::*};

use crate::rows::{column, json, layout, map, row, target, tuple, uuid5};

const TYPES: [&str; 21] = [
    "bool",
    "int2",
    "int4",
    "int8",
    "float4",
    "float8",
    "numeric",
    "text",
    "bytea",
    "uuid",
    "date",
    "time",
    "timestamp",
    "timestamptz",
    "json",
    "jsonb",
    "numeric[]",
    "text[]",
    "timestamptz[]",
    "jsonb[]",
    "enum",
];

/// A table with each fill over each type that it can take.
fn everything() -> Transform {
    let columns: Vec<String> = TYPES.iter().enumerate().map(|(at, ty)| format!("c{at} {ty}")).collect();
    let layout = layout(&columns.iter().map(String::as_str).collect::<Vec<_>>());
    let names: Vec<String> = (0..TYPES.len()).map(|at| format!("c{at}")).collect();
    let named: Vec<&str> = names.iter().map(String::as_str).collect();
    let members: Vec<_> = names.iter().map(|name| (name.as_str(), name.as_str())).collect();
    let mut fills: Vec<(Target, Fill)> = vec![
        (target("id", "uuid"), uuid5(&named)),
        (target("object", "jsonb"), json(&members)),
        (target("plain", "json"), json(&members)),
        (target("user", "text"), Fill::User),
        (target("mapped", "text"), map("c1", &[("1", "one"), ("null", "none")])),
    ];
    for (name, ty) in names.iter().zip(TYPES).filter(|(_, ty)| *ty != "enum") {
        fills.push((target(&format!("into_{name}"), ty), column(name)));
        fills.push((target(&format!("id_{name}"), "uuid"), uuid5(&[name])));
    }
    Transform::compile(&layout, &Type::INT8, &fills).unwrap()
}

/// Bytes that are sometimes nearly right: the lengths of real values, and the beginnings of arrays and
/// numerics.
fn field() -> impl Strategy<Value = Option<Vec<u8>>> {
    let near = prop_oneof![
        vec(any::<u8>(), 0..40),
        prop_oneof![Just(1), Just(2), Just(4), Just(8), Just(16)].prop_flat_map(|len| vec(any::<u8>(), len)),
        vec(0_u8..3, 0..60),
        "[ -~\\x00-\\x1f]{0,20}".prop_map(String::into_bytes),
        (0_u8..8, vec(0_u8..4, 0..60)).prop_map(|(dims, rest)| [
            &[0, 0, 0, dims, 0, 0, 0, 0, 0, 0, 0, 25, 0, 0, 0][..],
            &rest
        ]
        .concat()),
        (0_u16..6, any::<i16>(), vec(any::<u8>(), 0..12)).prop_map(|(count, weight, rest)| {
            [&count.to_be_bytes()[..], &weight.to_be_bytes(), &[0, 0, 0, 9], &rest].concat()
        }),
    ];
    option::weighted(0.9, near)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn malformed_fields_are_an_error_and_never_a_panic(
        user in vec(any::<u8>(), 0..10),
        fields in vec(field(), TYPES.len()),
    ) {
        let transform = everything();
        let fields: Vec<Option<&[u8]>> = fields.iter().map(Option::as_deref).collect();
        let mut out = BytesMut::new();
        match transform.encode(&user, &fields, &mut out) {
            Ok(()) => prop_assert_eq!(tuple(&out).len(), transform.columns().len()),
            Err(error) => {
                prop_assert!(out.is_empty());
                prop_assert!(transform.columns().contains(&error.column));
            }
        }
        for name in transform.columns() {
            let _ = transform.encode_derived(name, &user, &fields);
        }
    }

    #[test]
    fn a_row_of_arbitrary_bytes_is_an_error_or_a_tuple(bytes in vec(any::<u8>(), 0..60)) {
        let transform = Transform::compile(
            &layout(&["a text", "b int4"]),
            &Type::INT8,
            &[(target("b", "int4"), column("b")), (target("a", "text"), column("a"))],
        ).unwrap();
        let mut out = BytesMut::new();
        if transform.encode_row(&[], &bytes, &[], &mut Scratch::default(), &mut out).is_ok() {
            prop_assert_eq!(tuple(&out).len(), 2);
        }
    }

    #[test]
    fn every_type_spells_or_refuses_any_bytes(ty in 0..TYPES.len(), field in field()) {
        let speller = Speller::of(TYPES[ty].parse().unwrap()).unwrap();
        let bytes = field.unwrap_or_default();
        let mut json = Vec::new();
        if speller.json(&bytes, Style::Json, &mut json).is_ok() {
            prop_assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&json).is_ok());
        }
        let mut text = Vec::new();
        if speller.text(&bytes, &mut text).is_ok() {
            prop_assert!(String::from_utf8(text).is_ok());
        }
    }

    #[test]
    fn well_formed_rows_are_written_with_exactly_the_sent_columns(
        number in option::of(any::<i64>()),
        text in option::of("[^\\x00]{0,30}"),
        at in option::of(-211_813_488_000_000_000_i64..9_223_371_331_200_000_000),
        amount in option::of(any::<f64>()),
    ) {
        let transform = Transform::compile(
            &layout(&["n int8", "t text", "at timestamptz", "f float8"]),
            &Type::INT8,
            &[
                (target("id", "uuid"), uuid5(&["n", "t", "at", "f"])),
                (target("n", "int8"), column("n")),
                (target("t", "text"), column("t")),
                (target("all", "jsonb"), json(&[("n", "n"), ("t", "t"), ("at", "at"), ("f", "f")])),
                (target("owner", "int8"), Fill::User),
            ],
        ).unwrap();
        let (number, at) = (number.map(i64::to_be_bytes), at.map(i64::to_be_bytes));
        let amount = amount.map(f64::to_be_bytes);
        let fields: [Option<&[u8]>; 4] = [
            number.as_ref().map(|n| &n[..]),
            text.as_ref().map(String::as_bytes),
            at.as_ref().map(|at| &at[..]),
            amount.as_ref().map(|amount| &amount[..]),
        ];
        let mut out = BytesMut::new();
        let user = 42_i64.to_be_bytes();
        transform.encode_row(&user, &row(&fields), &[], &mut Scratch::default(), &mut out).unwrap();
        let written = tuple(&out);
        prop_assert_eq!(written[0].is_none(), fields.contains(&None));
        prop_assert_eq!(written[1].as_deref(), fields[0]);
        prop_assert_eq!(written[2].as_deref(), fields[1]);
        let object: serde_json::Value = serde_json::from_slice(&written[3].as_ref().unwrap()[1..]).unwrap();
        prop_assert_eq!(object["t"].as_str(), text.as_deref());
        prop_assert_eq!(written[4].as_deref(), Some(&user[..]));
    }
}
