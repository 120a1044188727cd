//! How much a plan may hold. Generous for people, and small enough that no file can exhaust a worker.

/// Bytes of plan.toml, and of each SQL file.
pub const MAX_FILE_BYTES: usize = 1 << 20;
/// Entities of a plan.
pub const MAX_ENTITIES: usize = 64;
/// Canonical columns of an entity, derived ones included.
pub const MAX_COLUMNS: usize = 400;
/// Destination columns that an entity fills: what a Postgres table can have.
pub const MAX_FILLS: usize = 1600;
/// Listed legacy tables.
pub const MAX_LEGACY_TABLES: usize = 4000;
/// Characters of a migration's and an entity's name, and bytes of a column's: Postgres' own limit for names.
pub const MAX_NAME: usize = 63;
