//! The mirror's scripts and what they answer.

use std::sync::LazyLock;

use redis::Script;

use super::Position;
use crate::error::Error;

macro_rules! script {
    ($file:literal) => {
        LazyLock::new(|| Script::new(concat!(include_str!("../scripts/changes.lua"), include_str!($file))))
    };
}

pub(super) static WRITE: LazyLock<Script> = script!("../scripts/write.lua");
pub(super) static FORCE: LazyLock<Script> = script!("../scripts/force.lua");
pub(super) static HEARTBEAT: LazyLock<Script> = script!("../scripts/heartbeat.lua");
pub(super) static BEGIN: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("../scripts/begin.lua")));
pub(super) static READY: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("../scripts/ready.lua")));

/// What several calls of `write.lua` or `force.lua` did together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    /// The last entry, if any was appended. All were of its generation.
    pub(super) last: Option<Position>,
    /// Fields that changed.
    pub(super) fields: u64,
    /// Fields left alone: newer than what was given, or no longer what was found.
    pub(super) left: u64,
}

impl Written {
    /// Refuses an entry of another generation: who acts on the last entry would not know of the first, which
    /// was lost with its stream.
    pub(super) fn add(
        &mut self,
        (number, generation, fields, left): (u64, String, u64, u64),
    ) -> Result<(), Error> {
        if number > 0 {
            let before = self.last.replace(Position { number, generation });
            if before.is_some() && before.map(|last| last.generation) != self.generation() {
                return Err(Error::MirrorChanged);
            }
        }
        self.fields += fields;
        self.left += left;
        Ok(())
    }

    fn generation(&self) -> Option<String> {
        self.last.as_ref().map(|last| last.generation.clone())
    }
}
