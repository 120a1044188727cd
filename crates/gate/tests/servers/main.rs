//! Gates on a real Redis and a real Identity. One binary: one link step, one set of servers.

mod application;
mod cut_off;
mod direct;
mod http;
mod jobs;
mod loss;
mod pause;
mod stopped;
mod support;
