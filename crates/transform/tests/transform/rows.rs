//! Short hands for layouts, targets, rows, and tuples that were written.

use bytes::{Bytes, BytesMut};
use handover_canonical::{
    Layout, Type,
    copy::{Decoder, HEADER, TRAILER, put_field},
};
use handover_transform::{Fill, Scratch, Target, Transform};

/// A layout called `thing`.
pub(crate) fn layout(columns: &[&str]) -> Layout {
    Layout::new("thing", columns.iter().map(|column| column.parse().unwrap()).collect()).unwrap()
}

/// A destination column of a built-in type; `!` behind the type makes it NOT NULL.
pub(crate) fn target(name: &str, ty: &str) -> Target {
    let (ty, not_null) = ty.strip_suffix('!').map_or((ty, false), |ty| (ty, true));
    let oid = ty.parse::<Type>().unwrap().oid().unwrap();
    Target { name: name.into(), type_oid: oid, type_name: ty.into(), not_null, ..Target::default() }
}

/// A destination column of an enum type.
pub(crate) fn enum_target(name: &str) -> Target {
    Target {
        name: name.into(),
        type_oid: 99_001,
        type_name: "mood".into(),
        is_enum: true,
        ..Target::default()
    }
}

pub(crate) fn column(column: &str) -> Fill {
    Fill::Column { column: column.into() }
}

pub(crate) fn map(column: &str, entries: &[(&str, &str)]) -> Fill {
    let map = entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect();
    Fill::Map { column: column.into(), map }
}

pub(crate) fn uuid5(columns: &[&str]) -> Fill {
    let columns = columns.iter().map(|column| (*column).to_owned()).collect();
    Fill::Uuid5 { columns, namespace: NAMESPACE.parse().unwrap() }
}

pub(crate) const NAMESPACE: &str = "0b6ac4d2-6f0e-4f0e-9d0c-0e6f3b1f7a11";

pub(crate) fn json(fields: &[(&str, &str)]) -> Fill {
    Fill::Json { fields: fields.iter().map(|(key, column)| ((*key).into(), (*column).into())).collect() }
}

/// The canonical bytes of a row.
pub(crate) fn row(fields: &[Option<&[u8]>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for field in fields {
        put_field(&mut bytes, *field).unwrap();
    }
    bytes
}

/// The fields of the one tuple that a transform writes for a row of user 42, by both ways in.
pub(crate) fn encoded(
    transform: &Transform,
    fields: &[Option<&[u8]>],
) -> Result<Vec<Option<Vec<u8>>>, String> {
    let user = 42_i64.to_be_bytes();
    let mut slices = BytesMut::new();
    let of_slices = transform.encode(&user, fields, &mut slices);
    let mut bytes = BytesMut::new();
    let of_bytes = transform.encode_row(&user, &row(fields), &[], &mut Scratch::default(), &mut bytes);
    assert_eq!((&of_slices, &slices), (&of_bytes, &bytes));
    of_slices.map_err(|error| error.to_string())?;
    Ok(tuple(&slices))
}

/// The fields of exactly one tuple.
pub(crate) fn tuple(written: &[u8]) -> Vec<Option<Vec<u8>>> {
    let mut decoder = Decoder::new();
    decoder.push(Bytes::from([&HEADER[..], written, &TRAILER].concat()));
    let tuple = decoder.next().unwrap().unwrap();
    assert!(decoder.next().unwrap().is_none());
    decoder.finish().unwrap();
    tuple.fields().map(|field| field.map(<[u8]>::to_vec)).collect()
}
