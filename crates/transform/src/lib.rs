//! Fills: how a canonical row becomes a destination row, from binary wire to binary wire.
//!
//! [`Transform::compile`] checks the fills of one destination table against an entity's layout and the
//! catalogue, and turns them into a flat list of operations; [`Transform::encode`] runs them for one row and
//! appends one tuple of a binary `COPY`. What each fill writes, byte by byte, is in `docs/transforms.md`.
//!
//! This crate does no input or output, asks no catalogue and knows no plan files.

mod compile;
mod constant;
mod encode;
mod error;
mod fill;
mod registry;
mod row;
pub mod spelling;
mod wire;

pub use encode::{Scratch, SequenceColumn, Transform};
pub use error::{CompileError, Problem, RowError, RowProblem};
pub use fill::{Fill, Target, Value};
pub use registry::{Applied, Registry, RowTransform};
pub use spelling::{Malformed, Speller};
