//! A small invoicing application that lives in two systems at once: the reference for those who put a gate before
//! an application of their own. `docs/application.md` is its guide.
//!
//! Each feature has one module per side, [`legacy`](mod@legacy) and [`new`](mod@new), with the same functions over
//! different tables. A handler opens the user's [`Home`] by the gate's decision, in one line, and from there on does
//! not know where it works. Accounts and invoices stay in the old system and are not asked about: [`shared`].
//!
//! It is an example, and signs nobody in: the caller is who the path says.

mod api;
mod app;
mod body;
mod config;
mod failure;
mod health;
mod home;
pub mod legacy;
mod model;
pub mod new;
mod page;
mod scheduler;
mod server;
mod session;
pub mod shared;
mod transaction;
mod web;

pub use app::{App, StartError};
pub use config::{Config, ConfigError, Role};
pub use failure::Failure;
pub use home::{Home, Leave};
pub use model::{NewReminder, Reminder, Settings, SettingsChange};
pub use server::{Render, Running, start, start_with};
pub use transaction::Transaction;

/// The migration that reminders move by.
pub const REMINDERS: &str = "invoice-reminders";
/// The migration that settings move by.
pub const SETTINGS: &str = "invoice-settings";
