//! Faults of servers and of the network: each, while users are moved, ends with every user completed, or failed with a
//! reason and not paused; with the mirror equal to Identity's truth; and with no row lost or doubled.
//!
//! In [`sweep`] the stages run in this process, one query of one server fails at a time, and that for every query
//! there is. Elsewhere the real programs run, and servers or the network between fail under them.

mod chaos;
mod errors;
mod moving;
mod network;
mod proxied;
mod redis;
mod replica;
mod restarts;
mod sweep;
