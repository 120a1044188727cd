//! Logging to standard error. Keys of users are logged at `debug` only, values of their rows never.

use std::io::IsTerminal as _;

use handover_settings::{Format, Log};
use tracing_subscriber::EnvFilter;

/// The variable that replaces the configured level by a finer filter.
const FILTER_VARIABLE: &str = "RUST_LOG";

/// Starts logging. An unreadable filter falls back on the configured level, and says so.
pub(crate) fn init(log: Log) {
    let configured = || EnvFilter::new(log.level.as_str());
    let given = std::env::var(FILTER_VARIABLE).ok().filter(|text| !text.is_empty());
    let parsed = given.as_deref().map(EnvFilter::try_new);
    let unreadable = matches!(parsed, Some(Err(_)));
    let filter = parsed.and_then(Result::ok).unwrap_or_else(configured);
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start in one process, as in tests, keeps the first one's logger.
    let _already = match log.format {
        Format::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        Format::Json => builder.json().flatten_event(true).try_init(),
    };
    if unreadable {
        tracing::warn!("{FILTER_VARIABLE} cannot be read as a filter; using log.level");
    }
}
