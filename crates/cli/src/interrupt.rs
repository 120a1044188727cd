//! Ctrl-C and SIGTERM: what a command was doing is dropped, which rolls back what it had not committed.

use std::future::Future;

use anyhow::Result;
use tokio::signal::unix::{SignalKind, signal};

use crate::exit::{self, Exit};
use crate::output;

/// Runs a command until it ends or is interrupted.
pub(crate) async fn or_interrupted(command: impl Future<Output = Result<Exit>>) -> Exit {
    tokio::select! {
        result = command => result.unwrap_or_else(|error| {
            let text = chain(&error);
            if !text.is_empty() {
                output::problem(&text);
            }
            exit::of_error(&error)
        }),
        () = interrupted() => {
            output::problem("interrupted");
            Exit::Interrupted
        }
    }
}

/// Resolves at the first Ctrl-C or SIGTERM.
async fn interrupted() {
    let Ok(mut terminated) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    let ctrl_c = tokio::signal::ctrl_c();
    tokio::select! {
        result = ctrl_c => if result.is_err() { std::future::pending::<()>().await },
        _ = terminated.recv() => {}
    }
}

/// The error with its causes, each said once: several of our errors show their source's text as their own.
pub(crate) fn chain(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}
