//! Private throw-away servers for the demo, the tests and the benches: a legacy Postgres primary, a real
//! streaming replica of it, a destination, an Identity database and a Redis, from the binaries that are
//! installed on this machine.
//!
//! They listen on 127.0.0.1 only, on free ports, and vanish when the [`Sandbox`] is stopped or dropped. What
//! a killed owner leaves behind is swept by the next start on this machine. Nothing here is meant for real
//! data: the servers trust every local user.
//!
//! A server whose URL is given in the environment is used as it is, never started, and nothing of it is
//! touched but databases that this crate created: see [`Server::variable`].
//!
//! [`example`] holds the schemas and the seeded data of the worked example. [`Browser`] is what the tests of its pages
//! look at them with.

mod account;
mod binaries;
mod browser;
mod cluster;
mod error;
pub mod example;
mod external;
mod install;
mod options;
mod process;
mod ready;
mod root;
mod sandbox;

pub use binaries::ensure_installed;
pub use browser::Browser;
pub use error::Error;
pub use install::ensure_package;
pub use options::{Install, Options, Server};
pub use root::{stop_kept, sweep};
pub use sandbox::{Kept, Sandbox, Shutdown};
