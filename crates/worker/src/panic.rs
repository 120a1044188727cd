//! A panic in a step must not take the process, and with it other users' jobs, along.
//!
//! Its message may quote a row's value, so it is neither logged nor kept: the place where it happened is.

use std::future::Future;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;

/// A future panicked; the log says where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the program panicked; its log names the place")]
pub(crate) struct Panicked;

/// Runs `future`, and turns a panic into an error.
///
/// Unwind safety: what a step shares with others sits behind locks and pools that survive a panic, and its
/// database sessions roll back when they are dropped.
pub(crate) async fn caught<F: Future>(future: F) -> Result<F::Output, Panicked> {
    AssertUnwindSafe(future).catch_unwind().await.map_err(|_| Panicked)
}

/// Logs the place of each panic, without its message.
pub(crate) fn install_hook() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        tracing::error!(place, "panicked");
    }));
}
