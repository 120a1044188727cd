//! The mirror's scripts and what they answer.

use std::sync::LazyLock;

use redis::Script;

use super::Position;

macro_rules! script {
    ($file:literal) => {
        LazyLock::new(|| Script::new(concat!(include_str!("../scripts/changes.lua"), include_str!($file))))
    };
}

pub(super) static WRITE: LazyLock<Script> = script!("../scripts/write.lua");
pub(super) static FORCE: LazyLock<Script> = script!("../scripts/force.lua");
pub(super) static HEARTBEAT: LazyLock<Script> = script!("../scripts/heartbeat.lua");
pub(super) static READY: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("../scripts/ready.lua")));

/// What several calls of `write.lua` or `force.lua` did together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    /// The last entry, if any was appended.
    pub(super) last: Option<Position>,
    /// Fields that changed.
    pub(super) fields: u64,
    /// Fields left alone: newer than what was given, or no longer what was found.
    pub(super) left: u64,
}

impl Written {
    pub(super) fn add(&mut self, (number, generation, fields, left): (u64, String, u64, u64)) {
        if number > 0 {
            self.last = Some(Position { number, generation });
        }
        self.fields += fields;
        self.left += left;
    }
}
