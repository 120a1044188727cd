//! Settings of handover's programs: compiled-in defaults, then one TOML file, then the environment.
//!
//! ```
//! # fn main() -> Result<(), handover_settings::SettingsError> {
//! let environment = [("HANDOVER_PAUSE__MAX_PAUSED".to_owned(), "200".to_owned())];
//! let settings = handover_settings::Settings::load_from(None, environment)?;
//! assert_eq!(settings.pause.max_paused, 200);
//! # Ok(())
//! # }
//! ```
//!
//! Every problem is reported at once, each with its field, what must hold and what to do. Secrets come from
//! the environment (or a file that it names) and are redacted in `Debug`. This crate opens no connection.

mod error;
mod load;
mod number;
mod recovery;
mod sections;
mod servers;
mod validate;

pub use error::{Problem, SettingsError};
pub use recovery::Bound;
pub use sections::{
    Breaker, Copy, Destination, Format, Identity, Legacy, Level, Log, Pause, Plans, Postgres, Reconcile,
    Redis, Settings, UserKey, Verify, Worker,
};
pub use servers::Server;
