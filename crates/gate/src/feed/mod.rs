//! Follows the stream of changes and tells what the gate acts on: the Redis side of the core, and the only place
//! that knows Redis. What a read is worth is the core's decision.

mod acknowledge;
mod connect;
mod follow;
mod read;

use std::path::PathBuf;

use secrecy::SecretString;

pub(crate) use acknowledge::acknowledge;
pub(crate) use connect::Address;
pub(crate) use follow::follow;

/// Where the stream of changes is.
#[derive(Clone, Debug)]
pub struct Changes {
    /// `redis://…` or, with TLS, `rediss://…`; may hold a password.
    pub url: SecretString,
    /// What all keys begin with.
    pub prefix: String,
    /// PEM file with the authority that the server's certificate is checked against, in place of the system's.
    /// For `rediss://` only.
    pub ca_file: Option<PathBuf>,
}

impl Changes {
    /// At that address, under the default prefix.
    pub fn new(url: SecretString) -> Self {
        Self { url, prefix: "handover".to_owned(), ca_file: None }
    }
}
