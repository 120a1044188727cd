//! The Lua scripts: one per transition, each with its contract at its head.
//!
//! They use commands of Redis 6.2 only, take leases from Redis' own clock, check the types of the keys
//! they will write before they change anything, and take at most [`CHUNK`] jobs at a time.

use redis::Script;

/// How many jobs one command or script takes at most: Lua's `unpack` fails above some 8,000 values, and
/// Redis serves nobody else meanwhile.
pub(crate) const CHUNK: usize = 1000;

pub(crate) struct Scripts {
    pub(crate) claim: Script,
    pub(crate) ack: Script,
    pub(crate) retry: Script,
    pub(crate) hand_back: Script,
    pub(crate) park: Script,
    pub(crate) renew: Script,
    pub(crate) expired: Script,
    pub(crate) recover: Script,
    pub(crate) promote: Script,
    pub(crate) depth: Script,
    pub(crate) dead_requeue: Script,
    pub(crate) heartbeat: Script,
}

impl Scripts {
    pub(crate) fn new() -> Self {
        Self {
            claim: Script::new(include_str!("scripts/claim.lua")),
            ack: Script::new(include_str!("scripts/ack.lua")),
            retry: Script::new(include_str!("scripts/retry.lua")),
            hand_back: Script::new(include_str!("scripts/hand_back.lua")),
            park: Script::new(include_str!("scripts/park.lua")),
            renew: Script::new(include_str!("scripts/renew.lua")),
            expired: Script::new(include_str!("scripts/expired.lua")),
            recover: Script::new(include_str!("scripts/recover.lua")),
            promote: Script::new(include_str!("scripts/promote.lua")),
            depth: Script::new(include_str!("scripts/depth.lua")),
            dead_requeue: Script::new(include_str!("scripts/dead_requeue.lua")),
            heartbeat: Script::new(include_str!("scripts/heartbeat.lua")),
        }
    }
}
