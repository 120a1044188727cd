//! Plans: what moves in one migration, how, and what stays behind.
//!
//! A plan is a folder: `plan.toml` and the SQL that it names (`docs/plans.md` is the reference). It goes through
//! three steps: *parse* (each key by itself, with its place), *validate* (what refers to what, and SQL that can be
//! what its key says), *compile* (`:users` becomes a setting, since COPY takes no parameters). All errors come at
//! once, each with file, line and remedy. [`check()`] then proves a plan against live databases.
//!
//! This crate moves no rows and knows no cohorts, attempts or queues.

mod check;
mod document;
mod files;
mod finding;
mod key;
pub mod limits;
mod parse;
mod plan;
mod rights;
mod sql;
mod suggest;
mod token;
mod validate;

pub use check::{DescribeError, check, check_with, describe_targets};
pub use finding::{Code, Finding, Place, PlanErrors, Severity};
pub use key::{KeyError, KeyType, MAX_KEY_BYTES};
pub use plan::{Entity, LegacyTable, PLAN_FILE, Plan, Reach, TargetKind, USER_COLUMN};
pub use rights::{Privilege, Rights};
