//! A gate as a process of its own, for applications in any language: it answers their questions, nginx'
//! `auth_request`, or stands in the path as a reverse proxy. `docs/sidecar.md` is the guide.
//!
//! What is decided is decided by [`Gate`](crate::Gate); here is only how a decision is asked for over HTTP, how it
//! is handed on, and for how long a request counts as in flight. Plain HTTP/1 on both sides: TLS is the front's.

mod answer;
mod arguments;
mod ask;
mod body;
mod counted;
mod health;
mod listen;
mod nginx;
mod options;
mod path;
mod proxy;
mod run;
mod site;
mod subject;
mod upstream;

pub use run::main;
