//! The core against a world that does what worlds do: schedules of pauses, look-ups, reads, clocks, lost and
//! stale streams, generated and shrunk; and the single schedules that matter, by name.

mod schedules;
mod world;
