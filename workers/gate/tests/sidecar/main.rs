//! The sidecar as a process, on real servers.
