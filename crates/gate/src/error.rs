//! What can go wrong when a gate is started. No message holds a user's key, a password or a URL.

use handover_identity::SourceError;

/// Why a gate cannot be started, or cannot end in order.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting cannot work.
    #[error("the gate's settings: {0}")]
    Settings(&'static str),
    /// The address of the changes cannot be used.
    #[error("the address of the stream of changes: {0}")]
    Address(&'static str),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random,
    /// Identity did not take the gate in, or did not let it go.
    #[error("the gate's membership: {0}")]
    Membership(#[from] SourceError),
    /// Requests were still in flight when the longest of them should have ended.
    #[error("{0} requests are in flight beyond their deadline")]
    InFlight(u64),
}
