//! Plans from outside: reading them, checking them on real servers, and what the documents say of them.

mod common;
mod documents;
mod live;
mod reading;
