//! Why an attempt was taken back or refused, as it is kept in tracking and shown by `user show`.

use serde_json::{Value, json};

use crate::Error;
use crate::compare::Report;

/// An error as a reason.
pub(crate) fn of_error(stage: &str, error: &Error) -> Value {
    json!({ "stage": stage, "kind": error.kind(), "message": error.to_string() })
}

/// A text as a reason.
pub(crate) fn of_text(stage: &str, kind: &str, message: &str) -> Value {
    json!({ "stage": stage, "kind": kind, "message": message })
}

/// Two sides that differ, as a reason.
pub(crate) fn of_report(stage: &str, kind: &str, message: &str, report: &Report) -> Value {
    json!({ "stage": stage, "kind": kind, "message": message, "differences": report })
}

/// The reason of an attempt whose rows had to be left at the destination.
pub(crate) fn with_rows_left(reason: &Value, error: &Error) -> Value {
    let mut reason = reason.clone();
    reason["rows_left"] = json!(error.to_string());
    reason["message"] = json!(format!("{}; rows were left at the destination: {error}", message(&reason)));
    reason
}

/// The message of a reason.
pub(crate) fn message(reason: &Value) -> String {
    reason.get("message").and_then(Value::as_str).unwrap_or("no reason was kept").to_owned()
}
