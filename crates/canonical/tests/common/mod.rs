//! Reads the test vectors out of `docs/digest.md`, so that the page and the code cannot part.

use std::path::Path;

use handover_canonical::copy::{Decoder, HEADER, TRAILER, Tuple, put_field, put_tuple_header};
use handover_canonical::{Column, EntityHash, KeyBlock, Layout};

/// The lines of the first fenced block of `docs/digest.md` with this info string that begins so.
pub(crate) fn block(info: &str, beginning: &str) -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/digest.md");
    let page = std::fs::read_to_string(page).expect("docs/digest.md is there");
    let opening = format!("```{info}\n{beginning}");
    let (_, rest) = page.split_once(&opening).expect("docs/digest.md has such a block");
    let (block, _) = rest.split_once("\n```").expect("the block ends");
    format!("{beginning}{block}").lines().map(str::to_owned).collect()
}

/// One line of the block `vectors-values`.
#[derive(Debug)]
pub(crate) struct ValueVector {
    pub(crate) ty: String,
    pub(crate) literal: String,
    pub(crate) bytes: String,
}

pub(crate) fn value_vectors() -> Vec<ValueVector> {
    let lines = block("vectors-values", "");
    let vectors = lines.iter().map(|line| {
        let (ty, rest) = line.split_once(" | ").expect("a type");
        let (literal, bytes) = rest.rsplit_once(" | ").expect("a literal and bytes");
        let bytes = if bytes == "-" { "" } else { bytes };
        ValueVector { ty: ty.to_owned(), literal: literal.to_owned(), bytes: bytes.to_owned() }
    });
    vectors.collect()
}

/// The block `vectors-user`.
#[derive(Debug)]
pub(crate) struct UserVector {
    pub(crate) key: KeyBlock,
    pub(crate) plan_hash: [u8; 32],
    pub(crate) entities: Vec<EntityVector>,
    pub(crate) preimage: Vec<u8>,
    pub(crate) user_digest: String,
}

#[derive(Debug)]
pub(crate) struct EntityVector {
    pub(crate) layout: Layout,
    /// Wire bytes and hash.
    pub(crate) rows: Vec<(Vec<u8>, String)>,
    pub(crate) hash: EntityHash,
}

pub(crate) fn user_vector() -> UserVector {
    let lines = block("vectors-user", "");
    let pairs: Vec<(&str, &str)> = lines.iter().filter_map(|line| line.split_once(" = ")).collect();
    let one = |name: &str| pairs.iter().find(|(key, _)| *key == name).expect(name).1;
    let entities = pairs.chunk_by(|_, (key, _)| *key != "entity").filter(|chunk| chunk[0].0 == "entity");
    UserVector {
        key: KeyBlock::try_from(bytes(one("key_block")).as_slice()).expect("64 bytes"),
        plan_hash: bytes(one("plan_hash")).try_into().expect("32 bytes"),
        entities: entities.map(entity_vector).collect(),
        preimage: bytes(one("preimage")),
        user_digest: one("user_digest").to_owned(),
    }
}

fn entity_vector(lines: &[(&str, &str)]) -> EntityVector {
    let all = |name: &str| -> Vec<&str> {
        lines.iter().filter(|(key, _)| *key == name).map(|(_, value)| *value).collect()
    };
    let columns: Vec<Column> = all("column").iter().map(|column| column.parse().expect("a column")).collect();
    let hash = bytes(all("entity_hash")[0]).try_into().expect("40 bytes");
    EntityVector {
        layout: Layout::new(lines[0].1, columns).expect("a layout"),
        rows: std::iter::zip(all("row"), all("row_hash"))
            .map(|(row, hash)| (bytes(row), hash.to_owned()))
            .collect(),
        hash: EntityHash::from_bytes(&hash),
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    hex::decode(hex).expect("hexadecimal")
}

/// A value on the wire.
pub(crate) type Value = Option<Vec<u8>>;

/// A canonical row's bytes.
pub(crate) fn row(values: &[Value]) -> Vec<u8> {
    let mut row = Vec::new();
    for value in values {
        put_field(&mut row, value.as_deref()).expect("fits");
    }
    row
}

/// A whole binary COPY stream.
pub(crate) fn stream(rows: &[Vec<Value>]) -> Vec<u8> {
    let mut stream = HEADER.to_vec();
    for values in rows {
        put_tuple_header(&mut stream, values.len()).expect("fits");
        stream.extend(row(values));
    }
    stream.extend(TRAILER);
    stream
}

/// All rows that the decoder has.
pub(crate) fn drain(decoder: &mut Decoder) -> Result<Vec<Tuple>, handover_canonical::WireError> {
    let mut tuples = Vec::new();
    while let Some(tuple) = decoder.next()? {
        tuples.push(tuple);
    }
    Ok(tuples)
}
