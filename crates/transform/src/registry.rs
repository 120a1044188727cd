//! Transforms written in Rust, by the name under which a plan refers to them.
//!
//! Nothing here runs them: `encode` does, and turns a panic into an error of the one row.

use std::{collections::BTreeMap, fmt, sync::Arc};

use handover_canonical::Type;

/// Whether a transform wrote a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// What was appended to the output is the value.
    Value,
    /// The value is NULL; what was appended is dropped.
    Null,
}

/// A transform that SQL cannot say: some canonical columns in, one destination column out, both in Postgres'
/// binary send format. It must be pure: the same input has the same output in every process and at any time,
/// or the read-back will not equal what was hashed.
pub trait RowTransform: Send + Sync {
    /// The canonical types that it reads, in the order of the plan's `from`.
    fn inputs(&self) -> Vec<Type>;

    /// The type that it writes.
    fn output(&self) -> Type;

    /// Appends the value's bytes, without a length, to `out`.
    ///
    /// # Errors
    ///
    /// A fixed text, so that no value of the row can reach a log with it.
    fn apply(&self, from: &[Option<&[u8]>], out: &mut Vec<u8>) -> Result<Applied, &'static str>;
}

/// The transforms that a worker was built with.
#[derive(Clone, Default)]
pub struct Registry {
    by_name: BTreeMap<String, Arc<dyn RowTransform>>,
}

impl Registry {
    /// A registry without any transform.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a transform. The last one registered under a name is the one that counts.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, transform: impl RowTransform + 'static) -> Self {
        self.by_name.insert(name.into(), Arc::new(transform));
        self
    }

    /// The transform of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn RowTransform>> {
        self.by_name.get(name)
    }

    /// The registered names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}
