//! Writes the SQL with which Postgres itself recomputes users' digests: an independent check of the engine, by code
//! that it does not share. Plain SQL without extensions, for Postgres 14 and newer, primary or standby.
//!
//! What it writes holds the attempts' secret key blocks. It runs nothing.

use std::fmt::Write as _;

use crate::digest::FORMAT_VERSION;
use crate::key::KeyBlock;
use crate::layout::{Column, Layout};
use crate::types::{Scalar, Type};

/// One entity of the plan, as one side's query returns it.
#[derive(Debug, Clone, Copy)]
pub struct Entity<'a> {
    /// Its declared columns.
    pub layout: &'a Layout,
    /// A query that returns the user, then exactly these columns; what follows them is not looked at. It takes its
    /// users from `current_setting('handover.users')`.
    pub sql: &'a str,
}

/// What digests are computed of.
#[derive(Debug, Clone, Copy)]
pub struct Audit<'a> {
    /// SHA-256 of the plan.
    pub plan_hash: &'a [u8; 32],
    /// The type of user keys: `int8`, `uuid` or `text`.
    pub user_type: Type,
    /// In the plan's order.
    pub entities: &'a [Entity<'a>],
    /// Users, each with the key block of the attempt whose digest is wanted.
    pub users: &'a [(&'a str, &'a KeyBlock)],
}

/// The statements that must come before the query in the same session: they pin what a value's bytes depend on, and
/// set the users. They are the engine's own pins, so that the plan's queries mean the same here.
pub fn session(users: &[&str]) -> String {
    let keys: Vec<String> = users.iter().map(|user| array_element(user)).collect();
    format!(
        "SET client_encoding = 'UTF8';\n\
         SET standard_conforming_strings = on;\n\
         SET TimeZone = 'UTC';\n\
         SET DateStyle = 'ISO';\n\
         SET IntervalStyle = 'postgres';\n\
         SET extra_float_digits = 1;\n\
         SET search_path = pg_catalog;\n\
         SET row_security = off;\n\
         SELECT set_config('handover.users', {}, false);\n",
        literal(&format!("{{{}}}", keys.join(",")))
    )
}

/// [`session`] and [`digest_query`], to be given to psql.
pub fn script(audit: &Audit<'_>) -> String {
    let users: Vec<&str> = audit.users.iter().map(|(user, _)| *user).collect();
    format!("{}{};\n", session(&users), digest_query(audit))
}

/// One query, without parameters, that returns a row for each user: `user_key` (text), `digest` (64 hexadecimal
/// digits) and `row_count` (int8). A user without rows has a digest as well. There must be an entity and a user.
pub fn digest_query(audit: &Audit<'_>) -> String {
    let sections = [
        format!("WITH attempt(user_key, key_block) AS (VALUES\n{}\n)", attempts(audit)),
        format!(
            "declared(entity, entity_name, place, column_name, column_type) AS (VALUES\n{}\n)",
            declared(audit)
        ),
        HEAD.to_owned(),
        format!("row_hash(entity, user_key, hash) AS (\n{}\n)", row_hashes(audit)),
        LANES.to_owned(),
        SUMS.to_owned(),
    ];
    let plan = hex::encode(audit.plan_hash);
    format!(
        "{}\n\
         SELECT attempt.user_key::text AS user_key,\n       \
         encode(sha256(int4send({FORMAT_VERSION}) || '\\x{plan}'::bytea || int4send({})\n         \
         || string_agg(head.bytes || {ENTITY_HASH},\n                       \
         ''::bytea ORDER BY head.entity)), 'hex') AS digest,\n       \
         sum(coalesce(sums.row_count, 0))::int8 AS row_count\n  \
         FROM attempt\n CROSS JOIN head\n  \
         LEFT JOIN sums ON sums.entity = head.entity AND sums.user_key = attempt.user_key\n \
         GROUP BY attempt.user_key\n ORDER BY attempt.user_key",
        sections.join(",\n"),
        audit.entities.len(),
    )
}

/// Each entity's part of the digest's preimage that the plan decides: its name and its columns' names and types.
const HEAD: &str = "\
head(entity, bytes) AS (
  SELECT entity, int4send(octet_length(textsend(entity_name))) || textsend(entity_name) || int4send(count(*)::int4)
         || string_agg(int4send(octet_length(textsend(column_name))) || textsend(column_name)
                       || int4send(octet_length(textsend(column_type))) || textsend(column_type),
                       ''::bytea ORDER BY place)
    FROM declared GROUP BY entity, entity_name
)";

/// A lane is read as a signed integer, which is the same number modulo 2^64; sum(int8) is an exact numeric.
const LANES: &str = "\
lanes(entity, user_key, row_count, a, b, c, d) AS (
  SELECT entity, user_key, count(*),
         sum(('x' || encode(substr(hash,  1, 8), 'hex'))::bit(64)::int8),
         sum(('x' || encode(substr(hash,  9, 8), 'hex'))::bit(64)::int8),
         sum(('x' || encode(substr(hash, 17, 8), 'hex'))::bit(64)::int8),
         sum(('x' || encode(substr(hash, 25, 8), 'hex'))::bit(64)::int8)
    FROM row_hash GROUP BY entity, user_key
)";

/// Brings each sum back into 64 bits: `mod` keeps the sign of its first argument, hence the 2^64 + 2^63.
const SUMS: &str = "\
sums(entity, user_key, row_count, hash) AS (
  SELECT entity, user_key, row_count,
         int8send((mod(mod(a, 18446744073709551616) + 27670116110564327424, 18446744073709551616) - 9223372036854775808)::int8)
      || int8send((mod(mod(b, 18446744073709551616) + 27670116110564327424, 18446744073709551616) - 9223372036854775808)::int8)
      || int8send((mod(mod(c, 18446744073709551616) + 27670116110564327424, 18446744073709551616) - 9223372036854775808)::int8)
      || int8send((mod(mod(d, 18446744073709551616) + 27670116110564327424, 18446744073709551616) - 9223372036854775808)::int8)
    FROM lanes
)";

/// Number of rows and lanes; zeros for a user without rows of the entity.
const ENTITY_HASH: &str =
    "int8send(coalesce(sums.row_count, 0)) || coalesce(sums.hash, decode(repeat('00', 32), 'hex'))";

fn attempts(audit: &Audit<'_>) -> String {
    let rows = audit.users.iter().map(|(user, key)| {
        format!("  ({}::{}, '\\x{}'::bytea)", literal(user), audit.user_type, hex::encode(key.as_bytes()))
    });
    rows.collect::<Vec<_>>().join(",\n")
}

fn declared(audit: &Audit<'_>) -> String {
    let mut rows = Vec::new();
    for (entity, Entity { layout, .. }) in audit.entities.iter().enumerate() {
        for (place, Column { name, ty }) in layout.columns().iter().enumerate() {
            let (entity_name, name, ty) = (literal(layout.name()), literal(name), literal(&ty.to_string()));
            rows.push(format!("  ({}, {entity_name}, {}, {name}, {ty})", entity + 1, place + 1));
        }
    }
    rows.join(",\n")
}

fn row_hashes(audit: &Audit<'_>) -> String {
    let parts = audit.entities.iter().enumerate();
    parts.map(|(place, entity)| row_hash(place + 1, entity)).collect::<Vec<_>>().join("\n  UNION ALL\n")
}

/// The rows' hashes of one entity: values to bytes in the inner query, bytes to a hash in the outer one.
fn row_hash(place: usize, entity: &Entity<'_>) -> String {
    let name = literal(entity.layout.name());
    let sql = entity.sql.trim_end_matches(|c: char| c == ';' || c.is_whitespace());
    let alias = alias(sql);
    let (mut fields, mut sends, mut names) = (String::new(), String::new(), format!("{alias}_user"));
    for (n, column) in (1..).zip(entity.layout.columns()) {
        // Writing to a String cannot fail.
        let _ =
            write!(fields, "\n           || coalesce(int4send(octet_length(v{n})) || v{n}, int4send(-1))");
        let _ = write!(sends, ",\n                 {} AS v{n}", send(column.ty, &format!("{alias}_{n}")));
        let _ = write!(names, ", {alias}_{n}");
    }
    format!(
        "  SELECT {place}, attempt.user_key,\n         \
         sha256(attempt.key_block || int4send(octet_length(textsend({name}))) || textsend({name}){fields})\n    \
         FROM (SELECT {alias}_user AS owner{sends}\n            FROM (\n{sql}\n            ) AS returned({names})) AS value\n    \
         JOIN attempt ON attempt.user_key = value.owner"
    )
}

/// A prefix for the returned columns that none of the further columns, which keep their names, begins with.
fn alias(sql: &str) -> String {
    let sql = sql.to_ascii_lowercase();
    let mut alias = String::from("returned");
    while sql.contains(&alias) {
        alias.push('_');
    }
    alias
}

/// The SQL expression for a value's canonical bytes; NULL for NULL.
fn send(ty: Type, value: &str) -> String {
    if ty.is_array() {
        // Has-null flag and element OID, bytes 5 to 12, count as zero.
        return format!("overlay(array_send({value}) PLACING '\\x0000000000000000'::bytea FROM 5 FOR 8)");
    }
    match ty.scalar() {
        // The extension's own send function may lie in a schema that the search path lacks.
        Scalar::Citext => format!("textsend({value}::text)"),
        scalar => format!("{}({value})", scalar.send_function()),
    }
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn array_element(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_quoted_for_the_array_and_for_the_literal() {
        let sql = session(&["42", "o'b\"r\\ien, {x}"]);
        assert!(
            sql.contains(r#"set_config('handover.users', '{"42","o''b\"r\\ien, {x}"}', false)"#),
            "{sql}"
        );
    }
}
