//! The hybrid application on real servers: what is served by which side, before, during and after a move.

mod browser;
mod scheduling;
mod sides;
mod support;
mod timing;
