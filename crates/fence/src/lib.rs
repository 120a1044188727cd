//! The database fence: triggers on a plan's tables that refuse writes for a user who is paused or lives in the
//! other system, and a lock protocol by which a pause waits for the transactions in flight. docs/fence.md tells it.
//!
//! It knows no tracking, no Identity and no Redis: who is fenced, and when, is its caller's to decide.

mod catalogue;
mod error;
mod grants;
mod guard;
mod install;
mod raise;
mod release;
mod scope;
mod spelling;
mod status;
mod triggers;

pub use error::Error;
pub use grants::{grants_to_pause, grants_to_read};
pub use guard::Role;
pub use install::{guards_any, install, remove};
pub use raise::{Holder, Raise, holders, raise, recall};
pub use release::{Lift, Settle, carry, clear, lift, settle, visible_in};
pub use scope::{CARRY, Scope, Side};
pub use status::{Fenced, GuardedTable, Installed, Stands, State, Status, look, standing, status};

/// SQLSTATE of a write that was refused since its user is paused: it can be made again after the pause.
pub const PAUSED: &str = "MV001";
/// SQLSTATE of a write that was refused since its user lives on the new system.
pub const MOVED: &str = "MV002";
/// SQLSTATE of a TRUNCATE that was refused since some user of the table is fenced.
pub const TRUNCATE: &str = "MV003";

/// The first number of every advisory lock of the fence ("hand" in ASCII); the second is the bucket.
pub(crate) const LOCK_CLASS: i32 = 0x6861_6e64;

/// The key that stands for "no user": no user's key begins with `!`.
pub(crate) const NOBODY: &str = "!";

/// A user's key in its canonical spelling, and the version of the attempt that fences or lifts.
pub type UserVersion = (String, i64);

/// The two columns of `users`, as parameters for `unnest`.
pub(crate) fn columns(users: &[UserVersion]) -> (Vec<&str>, Vec<i64>) {
    users.iter().map(|(user, version)| (user.as_str(), *version)).unzip()
}
